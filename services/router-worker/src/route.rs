//! Which provider to try next: a pure decision over what has happened so far and over what is open to calls.
//!
//! The destinations come in the order that `order` gave, then the fallbacks in theirs. `retry.on` says which failures
//! are worth another try at the same destination; whatever the class, a failure that is not the caller's fault goes on to
//! the next one, but a fallback that names failures (`on`) is for those only. A request the provider calls wrong ends at once,
//! because the next provider would be asked the same; one that is too long for the model, or that it will not speak of, goes on to
//! the fallbacks that name that, and to no other from then on.
//!
//! A destination whose circuit is open is passed over. If that leaves nothing, somebody who waits for the answer has one tried
//! all the same ("panic", as Envoy calls it), because an open circuit is only a guess that it would fail. Where the provider
//! itself named the time (`retry-after`) it is no guess: a time that is over soon is waited for, a longer one fails
//! the request. A request of the batch lane never panics: it can wait.

use crate::{failure::Class, health::Cooling};
use std::time::Duration;
use tollgate_runtime::config::{Retry, Trigger};
use tollgate_schemas::AttemptAction;

pub(crate) mod order;

/// A provider may ask for this much patience; if it asks for more, the next destination is tried.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// No back-off is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// So often a request is turned away by open circuits before it gives up. Waiting is bounded anyway; this bounds turns without it.
const TURNED_AWAY_MAX: usize = 16;

/// So many refusals of credentials use up no attempt of a request. More are found out about by others.
const REFUSALS_MAX: usize = 16;

/// What came of a try, as far as the next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Index into the plan's order of destinations.
    pub destination: usize,
    /// How it failed.
    pub class: Class,
    /// The provider's status, if it gave one.
    pub status: Option<u16>,
    /// How long the provider asked to wait, or its circuit stays open.
    pub retry_after: Option<Duration>,
    /// See [`crate::failure::Failure::is_throttle`].
    pub is_throttle: bool,
    /// See [`crate::failure::Failure::other_credential`].
    pub other_credential: bool,
}

impl Outcome {
    /// Whether it used up one of the request's attempts. A request that never left for a provider has not, nor has one that was
    /// refused for its credential while there is another: each is found out about once in a while.
    fn is_attempt(&self) -> bool {
        self.class.is_call() && !self.other_credential
    }
}

/// What a request may do, from its beginning to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// Indexes of destinations, in the order they are tried.
    pub order: &'a [usize],
    /// By index of destination: the failures that it stands in for; empty: any that is not the request's own fault.
    pub on: &'a [Vec<Trigger>],
    /// How often.
    pub policy: &'a Retry,
    /// Nobody waits for it at a connection, so it can wait (batch lane).
    pub is_patient: bool,
}

/// What holds at the moment of a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now<'a> {
    /// By index of destination: why it is not to be called; `None`: it is.
    pub cooling: &'a [Option<Cooling>],
    /// How long the request may still wait for circuits.
    pub patience: Duration,
    /// The time until its deadline.
    pub left: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Call a destination after a pause.
    Try {
        /// Index of the destination.
        destination: usize,
        /// Why.
        action: AttemptAction,
        /// The pause.
        after: Duration,
        /// Even if its circuit is open.
        is_forced: bool,
    },
    /// Pass over a destination, because its circuit is open.
    Skip {
        /// Index of the destination.
        destination: usize,
        /// Why.
        cooling: Cooling,
    },
    /// Nothing more can be done; the last failure is the answer.
    GiveUp,
}

/// The next step. `random` in 0.0..1.0 spreads the back-off.
pub(crate) fn next(plan: &Plan<'_>, history: &[Outcome], now: &Now<'_>, random: f64) -> Step {
    let calls = attempts(history);
    let is_over = history.last().is_some_and(|last| matches!(last.class, Class::Rejected | Class::Deadline));
    let turned_away = history.iter().filter(|outcome| outcome.class == Class::Open).count();
    if now.left.is_zero() || is_over || calls >= plan.policy.max_attempts as usize || turned_away > TURNED_AWAY_MAX {
        return Step::GiveUp;
    }
    if let Some(retry) = history.last().and_then(|last| retry(plan, history, last, now, random)) {
        return retry;
    }
    let action = if calls == 0 { AttemptAction::InitialAttempt } else { AttemptAction::Fallback };
    let mut untried = plan.order.iter().filter(|destination| is_untried(history, **destination));
    match untried.find(|destination| stands_in(plan, history, **destination)) {
        Some(next) => match now.cooling[*next] {
            None => Step::Try { destination: *next, action, after: Duration::ZERO, is_forced: false },
            Some(cooling) => Step::Skip { destination: *next, cooling },
        },
        None => passed_over(plan, history, now, calls, action),
    }
}

/// Who may be called beside `first`, which is about to be: the next in the order that could serve the request by itself.
pub(crate) fn beside(plan: &Plan<'_>, history: &[Outcome], now: &Now<'_>, first: usize) -> Option<usize> {
    let may = |other: &usize| {
        *other != first
            && is_untried(history, *other)
            && stands_in(plan, history, *other)
            && now.cooling[*other].is_none()
    };
    plan.order.iter().copied().find(may)
}

/// Who may go on with an answer that broke off, in the order in which they are asked: `same`, who broke it off, then those who could
/// serve the request by themselves and have not been called. Nobody if no attempt or no time is left.
pub(crate) fn heirs(plan: &Plan<'_>, history: &[Outcome], now: &Now<'_>, same: Option<usize>) -> Vec<usize> {
    let calls = attempts(history);
    if now.left.is_zero() || calls >= plan.policy.max_attempts as usize {
        return Vec::new();
    }
    let may = |other: &usize| is_untried(history, *other) && stands_in(plan, history, *other);
    let others = plan.order.iter().copied().filter(may);
    same.into_iter().chain(others).filter(|heir| now.cooling[*heir].is_none()).collect()
}

fn attempts<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> usize {
    let (mut attempts, mut refusals) = (0, 0usize);
    for outcome in outcomes {
        attempts += usize::from(outcome.is_attempt());
        refusals += usize::from(outcome.other_credential);
    }
    attempts + refusals.saturating_sub(REFUSALS_MAX)
}

fn is_untried(history: &[Outcome], destination: usize) -> bool {
    history.iter().all(|outcome| outcome.destination != destination)
}

/// Whether a destination may serve the request after what has happened.
fn stands_in(plan: &Plan<'_>, history: &[Outcome], destination: usize) -> bool {
    let on = &plan.on[destination];
    let of_request = history.iter().filter_map(|outcome| outcome.class.of_request());
    let mut of_request = of_request.peekable();
    if of_request.peek().is_some() {
        return of_request.all(|trigger| on.contains(&trigger));
    }
    match history.last() {
        Some(last) if !on.is_empty() => on.iter().any(|trigger| is_triggered(*trigger, last)),
        Some(_) => true,
        None => on.is_empty(),
    }
}

fn is_triggered(trigger: Trigger, last: &Outcome) -> bool {
    // Of a circuit that was open nobody knows more than that it was not a matter of limits.
    let is_down = last.class == Class::Open && last.status.is_none();
    match trigger {
        Trigger::Status(429) if matches!(last.class, Class::Busy | Class::Limited) => true,
        Trigger::Status(status) => last.status == Some(status),
        Trigger::ServerError => last.class == Class::Server || is_down,
        Trigger::Timeout => matches!(last.class, Class::Timeout | Class::Connect) || is_down,
        Trigger::Connect => last.class == Class::Connect || is_down,
        Trigger::Refused => last.class == Class::Refused,
        Trigger::ContextWindow | Trigger::ContentPolicy => last.class.of_request() == Some(trigger),
    }
}

/// Another try at the destination that failed last, if that is sensible.
fn retry(plan: &Plan<'_>, history: &[Outcome], last: &Outcome, now: &Now<'_>, random: f64) -> Option<Step> {
    let here = attempts(history.iter().filter(|outcome| outcome.destination == last.destination));
    if here >= plan.policy.attempts as usize || !is_worth_retrying(plan.policy, last) {
        return None;
    }
    let mut after = pause(plan.policy, last, here, random);
    let mut is_forced = false;
    if let Some(cooling) = now.cooling[last.destination] {
        let others = || beside(plan, history, now, last.destination).is_some();
        if !cooling.is_asked && others() {
            return None;
        }
        is_forced = !cooling.is_asked && !plan.is_patient;
        if !is_forced {
            after = after.max(cooling.reopens_in);
        }
        if plan.is_patient && after > now.patience {
            return None;
        }
    }
    (after <= RETRY_AFTER_MAX && after < now.left).then_some(Step::Try {
        destination: last.destination,
        action: AttemptAction::Retry,
        after,
        is_forced,
    })
}

/// What remains when every destination has had its turn: those that were passed over.
fn passed_over(plan: &Plan<'_>, history: &[Outcome], now: &Now<'_>, calls: usize, action: AttemptAction) -> Step {
    let reopens_in = |destination: usize| now.cooling[destination].map_or(Duration::ZERO, |c| c.reopens_in);
    let never_called = |destination: &&usize| {
        let mut its = history.iter().filter(|outcome| outcome.destination == **destination);
        its.all(|outcome| outcome.class == Class::Open) && stands_in(plan, history, **destination)
    };
    let first = plan.order.iter().filter(never_called).min_by_key(|destination| reopens_in(**destination));
    let Some(first) = first.copied() else { return Step::GiveUp };
    let guess = |destination: &&usize| now.cooling[**destination].is_none_or(|cooling| !cooling.is_asked);
    if let Some(destination) = plan.order.iter().filter(never_called).find(guess)
        && !plan.is_patient
        && calls == 0
    {
        return Step::Try { destination: *destination, action, after: Duration::ZERO, is_forced: true };
    }
    let after = reopens_in(first);
    if after <= now.patience && after < now.left {
        return Step::Try { destination: first, action, after, is_forced: false };
    }
    Step::GiveUp
}

/// Whether a request that could not be served now may be served later, and how long that is at least. `None`: waiting is
/// pointless, because no destination merely throttles, or because the request itself is at fault.
pub(crate) fn waits(plan: &Plan<'_>, history: &[Outcome], now: &Now<'_>) -> Option<Duration> {
    let is_pointless =
        |last: &Outcome| matches!(last.class, Class::Rejected | Class::Deadline) || last.class.of_request().is_some();
    if history.last().is_some_and(is_pointless) {
        return None;
    }
    let each = plan.order.iter().filter_map(|destination| {
        let cooling = now.cooling[*destination].map(|cooling| cooling.reopens_in);
        match history.iter().rev().find(|outcome| outcome.destination == *destination) {
            Some(last) if last.class == Class::Inexpressible => None,
            // What it was told then, the circuit knows better now.
            Some(last) if last.class == Class::Open => Some(cooling.unwrap_or_default()),
            Some(last) if last.is_throttle => Some(cooling.max(last.retry_after).unwrap_or_default()),
            _ => cooling,
        }
    });
    each.min()
}

fn is_worth_retrying(policy: &Retry, last: &Outcome) -> bool {
    let on = |trigger| policy.on.contains(&trigger);
    let status = last.status.is_some_and(|status| on(Trigger::Status(status)));
    match last.class {
        _ if last.other_credential => true,
        Class::RateLimited => status,
        Class::Server => status || on(Trigger::ServerError),
        Class::Timeout => status || on(Trigger::Timeout),
        Class::Connect => status || on(Trigger::Timeout) || on(Trigger::Connect),
        Class::ContextWindow
        | Class::ContentPolicy
        | Class::Refused
        | Class::Rejected
        | Class::Inexpressible
        | Class::Deadline
        | Class::Busy
        | Class::Open
        | Class::Limited => false,
    }
}

/// What the provider asks for, else the back-off, doubled each time, between half and the whole of it.
fn pause(policy: &Retry, last: &Outcome, tries: usize, random: f64) -> Duration {
    if last.other_credential {
        return Duration::ZERO;
    }
    if let Some(asked) = last.retry_after {
        return asked;
    }
    let doubling = 1u32 << (tries - 1).min(16) as u32;
    let backoff = policy.backoff.duration().saturating_mul(doubling).min(BACKOFF_MAX);
    backoff.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests;
