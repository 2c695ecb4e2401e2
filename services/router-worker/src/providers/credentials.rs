//! A provider's credentials: used in turn, and left alone for a while after the provider refused or throttled one.
//!
//! Pure but for the lock: times are told. In process: each replica learns by itself.

use crate::failure::{Class, Failure};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tollgate_runtime::Secret;

/// A credential that the provider refused is not tried before: somebody has to do something about it.
const REFUSED: Duration = Duration::from_secs(60);
/// One that is throttled (429) without saying how long.
const THROTTLED: Duration = Duration::from_secs(5);
/// A provider that asks for less patience than this is not asked sooner.
const ASKED_MIN: Duration = Duration::from_secs(1);
/// A provider that asks for more is asked again all the same.
const ASKED_MAX: Duration = Duration::from_secs(600);

/// What is shorter is a word rather than a secret.
const HIDDEN_MIN_BYTES: usize = 8;

/// Which credential a call was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn(usize);

impl Turn {
    /// Its place among all of the provider's.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// All of a provider's.
pub(crate) struct Credentials {
    keys: Vec<Secret>,
    state: Mutex<State>,
}

struct State {
    next: usize,
    /// By credential: not before.
    cooling: Vec<Option<Instant>>,
}

impl Credentials {
    pub(crate) fn new(keys: Vec<Secret>) -> Self {
        let cooling = vec![None; keys.len()];
        Self { keys, state: Mutex::new(State { next: 0, cooling }) }
    }

    /// The credential whose turn it is among those that may be used; if none may, the one that may first. `None`: the provider
    /// takes none.
    pub(crate) fn take(&self, now: Instant) -> Option<(Turn, &Secret)> {
        let mut state = self.state();
        let count = self.keys.len();
        let turns = (0..count).map(|step| (state.next + step) % count);
        let chosen = turns.min_by_key(|turn| state.cooling[*turn].map_or(Duration::ZERO, |until| until - now))?;
        state.next = (chosen + 1) % count;
        Some((Turn(chosen), &self.keys[chosen]))
    }

    /// The provider took it.
    pub(crate) fn works(&self, turn: Turn) {
        self.state().cooling[turn.0] = None;
    }

    /// What a call with it failed of, which may be a matter of the credential whatever the status (Google refuses an unknown key
    /// by 400). True if it is, and another one may be used at once.
    pub(crate) fn failed(&self, turn: Turn, failure: &Failure, now: Instant) -> bool {
        let pause = match failure.class {
            Class::Refused => REFUSED,
            Class::RateLimited => failure.retry_after.unwrap_or(THROTTLED).clamp(ASKED_MIN, ASKED_MAX),
            _ => return false,
        };
        let mut state = self.state();
        state.cooling[turn.0] = Some(now + pause);
        state.cooling.iter().any(|until| until.is_none_or(|until| until <= now))
    }

    /// Takes every credential, and every part of one that has several, out of a text of the provider's.
    pub(crate) fn hide(&self, text: &mut String) {
        for key in self.keys.iter().map(Secret::expose) {
            for part in std::iter::once(key).chain(key.split(':')) {
                if part.len() >= HIDDEN_MIN_BYTES && text.contains(part) {
                    *text = text.replace(part, "***");
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &[&str]) -> Credentials {
        Credentials::new(names.iter().map(|name| Secret::new(*name)).collect())
    }

    fn used(credentials: &Credentials, now: Instant) -> (Turn, String) {
        let (turn, key) = credentials.take(now).expect("one");
        (turn, key.expose().to_owned())
    }

    #[tokio::test]
    async fn they_take_turns_and_a_refused_one_sits_out() {
        let (credentials, now) = (all(&["a", "b", "c"]), Instant::now());
        let turns: Vec<String> = (0..4).map(|_| used(&credentials, now).1).collect();
        assert_eq!(turns, ["a", "b", "c", "a"]);
        let (b, name) = used(&credentials, now);
        assert_eq!(name, "b");
        assert!(credentials.failed(b, &refused(), now), "the others may be used");
        let turns: Vec<String> = (0..4).map(|_| used(&credentials, now).1).collect();
        assert_eq!(turns, ["c", "a", "c", "a"]);
        let later = now + REFUSED;
        assert!((0..3).any(|_| used(&credentials, later).1 == "b"), "and is tried again");
    }

    #[tokio::test]
    async fn when_none_may_be_used_the_one_that_may_first_is() {
        let (credentials, now) = (all(&["a", "b"]), Instant::now());
        let (a, _) = used(&credentials, now);
        assert!(credentials.failed(a, &throttled(30), now));
        let (b, _) = used(&credentials, now);
        assert!(!credentials.failed(b, &throttled(10), now), "nothing is left");
        assert_eq!(used(&credentials, now).1, "b");
        credentials.works(b);
        assert_eq!((used(&credentials, now).1, used(&credentials, now).1), ("b".into(), "b".into()));
        assert!(all(&[]).take(now).is_none());
    }

    /// Found by the end-to-end suite: a lone credential that a provider refused by 402 counted as another one, and was used
    /// again at once until the request's time was over.
    #[tokio::test]
    async fn a_lone_credential_is_no_other_one() {
        let (credentials, now) = (all(&["a"]), Instant::now());
        let (a, _) = used(&credentials, now);
        for failure in [refused(), throttled(0), throttled(1)] {
            assert!(!credentials.failed(a, &failure, now));
        }
        let (two, server) = (all(&["a", "b"]), Failure::new(Class::Server, "down"));
        let turns = [used(&two, now).0, used(&two, now).0];
        assert!(!two.failed(turns[0], &server, now), "it is no matter of the credential");
        assert!(two.failed(turns[0], &throttled(0), now) && !two.failed(turns[1], &throttled(0), now));
    }

    fn refused() -> Failure {
        Failure::new(Class::Refused, "unknown key")
    }

    fn throttled(seconds: u64) -> Failure {
        Failure { retry_after: Some(Duration::from_secs(seconds)), ..Failure::new(Class::RateLimited, "slow down") }
    }

    #[test]
    fn a_credential_that_a_provider_quotes_is_taken_out() {
        let hidden = |keys: &[&str], text: &str| {
            let mut text = text.to_owned();
            all(keys).hide(&mut text);
            text
        };
        assert_eq!(hidden(&["sk-canary-1", "sk-canary-2"], "no sk-canary-2, sk-canary-1"), "no ***, ***");
        assert_eq!(hidden(&["AKIAIOSFODNN:secret-part"], "AKIAIOSFODNN is unknown"), "*** is unknown");
        assert_eq!(hidden(&["short", ""], "a short one"), "a short one");
    }
}
