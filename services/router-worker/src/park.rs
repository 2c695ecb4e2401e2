//! How long a request waits that every destination throttles, and where.
//!
//! A request that has been called and refused waits three times 10 s, three times 1 min, then 10 min at a time; one that
//! found no place or only open circuits, so that nobody knows how it would have fared, waits 10 s each time. A time that
//! a provider names, or until a circuit opens to calls, counts if it is longer. After the first wait each destination is called
//! once at most, so a day of waiting is about 150 calls a destination; [`CALLS_MAX`] bounds what a record has to carry.

use std::time::Duration;
use tollgate_runtime::MAX_CLOCK_SKEW_MS;
use tollgate_schemas::{Attempt, Request, Topic, Waiting, topic};

/// A request that has made so many provider calls waits no more: it ends with its last failure. About 600 KiB of attempts.
pub(crate) const CALLS_MAX: usize = 1000;
/// The delays of `topic::PARKED`: no record of a topic waits longer in it than this, so none is held up for longer.
const DELAYS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];
/// How often each delay is waited before the next.
const TIMES_EACH: u32 = 3;

/// A request on its way to wait.
#[derive(Debug)]
pub(crate) struct Parked {
    /// Where it waits.
    pub topic: &'static Topic<Request>,
    /// It, with its [`Waiting`].
    pub request: Request,
}

/// Parks `request`. `attempts` are all its provider calls so far, `has_called`: at least one of them was made since it was
/// parked last; `at_least` is how long waiting makes sense at the least; `random` in 0.0..1.0 spreads what was parked together.
pub(crate) fn park(
    request: &Request,
    attempts: Vec<Attempt>,
    has_called: bool,
    at_least: Duration,
    now_ms: i64,
    random: f64,
) -> Parked {
    let parks = request.waiting.as_ref().map_or(0, |waiting| waiting.parks);
    let step = if has_called { (parks / TIMES_EACH) as usize } else { 0 };
    let own = DELAYS[step.min(DELAYS.len() - 1)].mul_f64(0.9 + 0.1 * random.clamp(0.0, 1.0));
    let longest = DELAYS[DELAYS.len() - 1];
    let wait = own.max(at_least).min(longest);
    let at = DELAYS.iter().position(|delay| wait <= *delay).unwrap_or(DELAYS.len() - 1);
    // Past its deadline it waits for nothing but its end.
    let last_ms = request.deadline_ms.saturating_add(MAX_CLOCK_SKEW_MS);
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let waiting = Waiting {
        not_before_ms: now_ms.saturating_add(wait_ms).min(last_ms.max(now_ms)),
        parks: parks + u32::from(has_called),
        attempts,
    };
    Parked { topic: &topic::PARKED[at], request: Request { waiting: Some(waiting), ..request.clone() } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ask;
    use proptest::prelude::*;

    fn delays(has_called: bool) -> Vec<&'static str> {
        let mut request = Request { deadline_ms: i64::MAX / 2, ..ask("chat") };
        let parked = (0..8).map(|_| {
            let parked = park(&request, Vec::new(), has_called, Duration::ZERO, 0, 1.0);
            request = parked.request;
            parked.topic.spec.name
        });
        parked.collect()
    }

    #[test]
    fn delays_grow_with_the_calls_that_were_refused_and_not_without() {
        let [ten, minute, long] = ["parked.10s", "parked.1m", "parked.10m"];
        assert_eq!(delays(true), [ten, ten, ten, minute, minute, minute, long, long]);
        assert_eq!(delays(false), [ten; 8]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_wait_fits_its_topic_and_is_no_shorter_than_asked(
            parks in 0..20u32,
            has_called: bool,
            at_least_ms in 0..1_000_000u64,
            left_ms in -20_000..2_000_000i64,
            random in 0.0..1.0f64,
        ) {
            let now_ms = 1_750_000_000_000;
            let waiting = Waiting { parks, ..Waiting::default() };
            let request = Request { deadline_ms: now_ms + left_ms, waiting: Some(waiting), ..ask("chat") };
            let at_least = Duration::from_millis(at_least_ms);
            let parked = park(&request, Vec::new(), has_called, at_least, now_ms, random);
            let waiting = parked.request.waiting.expect("it waits");
            let wait_ms = waiting.not_before_ms - now_ms;
            let at = topic::PARKED.iter().position(|topic| topic.spec.name == parked.topic.spec.name).expect("a topic");
            prop_assert!(wait_ms >= 0 && wait_ms as u128 <= DELAYS[at].as_millis());
            prop_assert!(waiting.not_before_ms <= (request.deadline_ms + MAX_CLOCK_SKEW_MS).max(now_ms));
            if left_ms > 1_000_000 {
                prop_assert!(wait_ms as u128 >= at_least.min(DELAYS[2]).as_millis() && wait_ms >= 9_000);
            }
            prop_assert_eq!(waiting.parks, parks + u32::from(has_called));
        }
    }
}
