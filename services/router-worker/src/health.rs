//! A destination's circuit: calls that fail in a row, a 429, or a 503 or 529 that names a time keep further calls away for a
//! while.
//!
//! A pure state machine over the times it is told; [`Health`] is the same behind a lock. What one replica has found out the others
//! hear through `share`, and take for a hint: a call that was let through knows better. Deliberately absent: rates and windows (a run of failures is what an outage looks like), and the decision what to
//! do while a circuit is open, which is `route`'s.
//!
//! ```text
//! closed ── 5 failures in a row, or a throttle ──► open ── its time is over ──► probing ── success ──► closed
//!   ▲                                               ▲                              │
//!   └────────────── success ────────────────────────┴────────── failure ◄──────────┘
//! ```

use crate::{
    failure::{Class, Failure},
    share::Teller,
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// So many failures in a row open a closed circuit.
const FAILURES_MAX: u32 = 5;
/// How long failures open it: this long at first, doubled each time it opens again before a success …
const FAILED_MIN: Duration = Duration::from_secs(5);
/// … up to this.
const FAILED_MAX: Duration = Duration::from_secs(60);
/// The same for a 429 that does not say how long.
const THROTTLED_MIN: Duration = Duration::from_secs(1);
const THROTTLED_MAX: Duration = Duration::from_secs(30);
/// A provider that asks for more patience than this is asked again all the same: no job waits longer.
const ASKED_MAX: Duration = Duration::from_secs(24 * 3600);
/// A probe that has not ended after this long makes room for another: a model may take minutes to answer.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// Of an opening shorter than this nobody else is told: it would be over before it is heard.
const TOLD_MIN: Duration = Duration::from_secs(2);
/// While a probe is out, this is how long the others are told to wait before they look again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Why calls are kept away, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cooling {
    /// How long still.
    pub reopens_in: Duration,
    /// The provider named the time itself (`retry-after`), so that calling earlier is pointless.
    pub is_asked: bool,
    /// A 429 began it: the limit is the gateway's, not the provider's trouble.
    pub is_rate_limit: bool,
}

/// What a call told about its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It answers, if only to say that the request is wrong.
    Well,
    /// It did not answer, or not sensibly.
    Ill,
    /// The gateway asks too much of it (429), and perhaps it says for how long.
    Throttled(Option<Duration>),
    /// It has too much to do (503, 529), for so long.
    Overloaded(Duration),
    /// Nothing: the call was given up, its credential refused, or its answer larger than is taken.
    Nothing,
}

impl Sign {
    /// What a failed call tells.
    pub(crate) fn of(failure: &Failure) -> Self {
        match failure.class {
            // The destination is well with another one.
            _ if failure.other_credential => Sign::Nothing,
            // A request that is large makes it so wherever it goes.
            _ if failure.is_size => Sign::Nothing,
            Class::RateLimited => Sign::Throttled(failure.retry_after),
            Class::Server if failure.is_throttle() => failure.retry_after.map_or(Sign::Ill, Sign::Overloaded),
            Class::Server | Class::Timeout | Class::Connect => Sign::Ill,
            Class::Rejected | Class::ContextWindow | Class::ContentPolicy => Sign::Well,
            Class::Refused | Class::Inexpressible | Class::Deadline | Class::Busy | Class::Open | Class::Limited => {
                Sign::Nothing
            }
        }
    }
}

/// Lets a call through; says which state of the circuit it was made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pass(u64);

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { until: Instant, why: Why },
    Probing { next: Instant, why: Why },
}

/// Why it opened; see [`Cooling`].
#[derive(Debug, Clone, Copy)]
struct Why {
    is_asked: bool,
    is_rate_limit: bool,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Circuit {
    state: State,
    /// Failures in a row while closed.
    failures: u32,
    /// How often it opened since the last success.
    openings: u32,
    /// Counts openings and closings, so that calls from before are told apart.
    generation: u64,
    /// Other replicas have been told of this opening, or have told of it.
    is_shared: bool,
}

/// What others should know of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// No calls for a while.
    Opened(Cooling),
    /// It answers again.
    Closed,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { state: State::Closed, failures: 0, openings: 0, generation: 0, is_shared: false }
    }
}

impl Circuit {
    /// Whether calls are kept away at `now`; `None`: one may be made.
    pub(crate) fn cooling(&self, now: Instant) -> Option<Cooling> {
        let (reopens_in, Why { is_asked, is_rate_limit }) = match self.state {
            State::Closed => return None,
            State::Open { until, why } => (until.saturating_duration_since(now), why),
            State::Probing { next, why } => (next.saturating_duration_since(now).min(LOOK_AGAIN), why),
        };
        (!reopens_in.is_zero()).then_some(Cooling { reopens_in, is_asked, is_rate_limit })
    }

    /// Lets a call through, or says why not. The first one after an opening is the probe. `is_forced`: it goes through
    /// whatever the state is.
    pub(crate) fn admit(&mut self, now: Instant, is_forced: bool) -> Result<Pass, Cooling> {
        match (self.cooling(now), self.state) {
            (Some(cooling), _) if !is_forced => return Err(cooling),
            (None, State::Open { why, .. } | State::Probing { why, .. }) => {
                self.state = State::Probing { next: now + PROBE_EVERY, why };
            }
            _ => {}
        }
        Ok(Pass(self.generation))
    }

    /// Takes what a call told.
    pub(crate) fn tell(&mut self, pass: Pass, sign: Sign, now: Instant) {
        let is_current = pass.0 == self.generation;
        match (sign, self.state) {
            (Sign::Well, State::Closed) => self.failures = 0,
            (Sign::Well, _) => self.turn(State::Closed),
            (Sign::Throttled(Some(asked)), _) if !asked.is_zero() => {
                self.open_for(now, asked, Why { is_asked: true, is_rate_limit: true });
            }
            (Sign::Overloaded(asked), _) if !asked.is_zero() => {
                self.open_for(now, asked, Why { is_asked: true, is_rate_limit: false });
            }
            // What began before the circuit turned is old news.
            _ if !is_current => {}
            (Sign::Throttled(_), _) => self.open(now, THROTTLED_MIN, THROTTLED_MAX, true),
            (Sign::Ill | Sign::Overloaded(_), State::Closed) => {
                self.failures += 1;
                if self.failures >= FAILURES_MAX {
                    self.open(now, FAILED_MIN, FAILED_MAX, false);
                }
            }
            // A forced call's failure says no more than the opening did.
            (Sign::Ill | Sign::Overloaded(_), State::Open { .. }) => {}
            (Sign::Ill | Sign::Overloaded(_), State::Probing { .. }) => self.open(now, FAILED_MIN, FAILED_MAX, false),
            // The probe told nothing, so the next call is one.
            (Sign::Nothing, State::Probing { why, .. }) => self.state = State::Probing { next: now, why },
            (Sign::Nothing, _) => {}
        }
    }

    /// Takes what a call told, and says what others should know of it.
    pub(crate) fn learn(&mut self, pass: Pass, sign: Sign, now: Instant) -> Option<News> {
        let before = self.generation;
        self.tell(pass, sign, now);
        if self.generation == before {
            return None;
        }
        match self.cooling(now) {
            Some(cooling) if cooling.reopens_in >= TOLD_MIN => {
                self.is_shared = true;
                Some(News::Opened(cooling))
            }
            None if std::mem::take(&mut self.is_shared) => Some(News::Closed),
            _ => None,
        }
    }

    /// Takes what another replica has found out.
    pub(crate) fn hear(&mut self, news: News, now: Instant) {
        match (news, self.state) {
            (News::Opened(heard), _) => {
                let why = Why { is_asked: heard.is_asked, is_rate_limit: heard.is_rate_limit };
                self.is_shared |= self.open_for(now, heard.reopens_in, why);
            }
            (News::Closed, State::Closed) => {}
            (News::Closed, _) => {
                self.turn(State::Closed);
                self.is_shared = false;
            }
        }
    }

    /// Opens for as long as somebody named, unless it is open for longer; whether it did.
    fn open_for(&mut self, now: Instant, time: Duration, why: Why) -> bool {
        let until = now + time.min(ASKED_MAX);
        let is_longer = until > now + self.cooling(now).map_or(Duration::ZERO, |cooling| cooling.reopens_in);
        if is_longer {
            self.turn(State::Open { until, why });
        }
        is_longer
    }

    fn open(&mut self, now: Instant, least: Duration, most: Duration, is_rate_limit: bool) {
        let doubling = 1u32 << self.openings.min(16);
        self.openings += 1;
        let until = now + least.saturating_mul(doubling).min(most);
        self.turn(State::Open { until, why: Why { is_asked: false, is_rate_limit } });
    }

    fn turn(&mut self, state: State) {
        self.state = state;
        self.failures = 0;
        self.generation += 1;
        if let State::Closed = state {
            self.openings = 0;
        }
    }
}

/// A circuit that calls share.
#[derive(Debug, Default)]
pub(crate) struct Health {
    circuit: Mutex<Circuit>,
    teller: Option<Teller>,
}

/// A call that was let through. Dropped without a word, it told nothing.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    health: &'a Health,
    pass: Pass,
    is_told: bool,
}

impl Health {
    /// One whose news go to other replicas.
    pub(crate) fn shared(teller: Option<Teller>) -> Self {
        Self { circuit: Mutex::default(), teller }
    }

    /// See [`Circuit::hear`].
    pub(crate) fn hear(&self, news: News) {
        self.with(|circuit| circuit.hear(news, Instant::now()));
    }

    fn learn(&self, pass: Pass, sign: Sign) {
        let news = self.with(|circuit| circuit.learn(pass, sign, Instant::now()));
        if let (Some(news), Some(teller)) = (news, &self.teller) {
            teller.tell(news);
        }
    }

    /// See [`Circuit::cooling`].
    pub(crate) fn cooling(&self) -> Option<Cooling> {
        self.with(|circuit| circuit.cooling(Instant::now()))
    }

    /// See [`Circuit::admit`].
    pub(crate) fn admit(&self, is_forced: bool) -> Result<Admitted<'_>, Cooling> {
        let pass = self.with(|circuit| circuit.admit(Instant::now(), is_forced))?;
        Ok(Admitted { health: self, pass, is_told: false })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Circuit) -> T) -> T {
        // The state is whole between any two statements that could panic.
        work(&mut self.circuit.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Admitted<'_> {
    /// See [`Circuit::tell`].
    pub(crate) fn tell(mut self, sign: Sign) {
        self.is_told = true;
        self.health.learn(self.pass, sign);
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            self.health.learn(self.pass, Sign::Nothing);
        }
    }
}

#[cfg(test)]
mod tests;
