//! How long a request waits that every destination throttles, and where.
//!
//! A request that has been called and refused waits three times 10 s, three times 1 min, then 10 min at a time. One that
//! found no place or only open circuits, so that nobody knows how it would have fared, waits 10 s, and longer as it grows older,
//! up to 1 min: each look costs two records, and thousands may wait for the same provider. Those come back at any time of their
//! delay and not together, so that whoever serves them has always work. A time that a provider names, or until a circuit opens
//! to calls, counts if it is longer. After the first wait each destination is called once at most, so a day of waiting is about
//! 150 calls a destination; [`CALLS_MAX`] bounds what a record has to carry.
//!
//! A reader holds a bounded number of a partition's records, so whoever stands behind them waits for them too. That must cost
//! nothing: a request stays in each topic for exactly that topic's delay, the longest that still fits, and hops on through the
//! shorter ones with the rest (75 s: 1m, 10s, and 5 s in 10s). So each topic is a queue in which who came first leaves first;
//! only in the last, for a rest below 10 s, may somebody be held up, for up to 10 s.

use std::time::Duration;
use tollgate_runtime::MAX_CLOCK_SKEW_MS;
use tollgate_schemas::{Attempt, Request, Topic, Waiting, topic};

/// A request that has made so many provider calls waits no more: it ends with its last failure. About 600 KiB of attempts.
pub(crate) const CALLS_MAX: usize = 1000;
/// The delays of `topic::PARKED`: no record of a topic waits longer in it than this, so none is held up for longer.
pub(crate) const DELAYS: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];
/// How often each delay is waited before the next.
const TIMES_EACH: u32 = 3;
/// What was called and refused together is spread over so much of its delay.
const SPREAD: f64 = 0.1;
/// Who was turned away waits for this part of its age, between the first two delays, …
const TURNED_AWAY_PART: i64 = 8;
/// … spread from this much of it to so much more.
const TURNED_AWAY_LEAST: f64 = 0.5;

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
    let random = random.clamp(0.0, 1.0);
    let own = if has_called { refused(parks, random) } else { turned_away(request.accepted_us / 1000, now_ms, random) };
    let wait = own.max(at_least);
    // Past its deadline it waits for nothing but its end.
    let last_ms = request.deadline_ms.saturating_add(MAX_CLOCK_SKEW_MS).max(now_ms);
    let not_before_ms = now_ms.saturating_add(millis(wait)).min(last_ms);
    let waiting = Waiting { not_before_ms, parks: parks + u32::from(has_called), attempts };
    Parked { topic: hop(not_before_ms, now_ms), request: Request { waiting: Some(waiting), ..request.clone() } }
}

fn refused(parks: u32, random: f64) -> Duration {
    let step = ((parks / TIMES_EACH) as usize).min(DELAYS.len() - 1);
    // The shortest delay is one hop if it is not exceeded; the others are hardly more than one if they are not fallen short of.
    let least = if step == 0 { 1.0 - SPREAD } else { 1.0 };
    DELAYS[step].mul_f64(least + SPREAD * random)
}

fn turned_away(accepted_ms: i64, now_ms: i64, random: f64) -> Duration {
    let part_ms = now_ms.saturating_sub(accepted_ms) / TURNED_AWAY_PART;
    let part = Duration::from_millis(u64::try_from(part_ms).unwrap_or(0));
    part.clamp(DELAYS[0], DELAYS[1]).mul_f64(TURNED_AWAY_LEAST + random)
}

/// Where a request that waits until `not_before_ms` waits next.
fn hop(not_before_ms: i64, now_ms: i64) -> &'static Topic<Request> {
    let left_ms = not_before_ms.saturating_sub(now_ms);
    let at = DELAYS.iter().rposition(|delay| millis(*delay) <= left_ms).unwrap_or(0);
    &topic::PARKED[at]
}

/// Where a request goes that leaves its topic: on to be tried, or ended, if its time has come, else to wait on.
pub(crate) fn next(request: &Request, is_cancelled: bool, now_ms: i64) -> &'static Topic<Request> {
    match &request.waiting {
        Some(waiting) if !is_cancelled && now_ms < waiting.not_before_ms => hop(waiting.not_before_ms, now_ms),
        _ => topic::approved(request.lane),
    }
}

/// When a request leaves the topic of this delay, into which it came at `since_ms`.
pub(crate) fn leaves_ms(delay: Duration, since_ms: i64, not_before_ms: i64) -> i64 {
    since_ms.saturating_add(millis(delay)).min(not_before_ms)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ask;
    use proptest::prelude::*;
    use std::collections::VecDeque;

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
    fn delays_grow_with_the_calls_that_were_refused_and_with_age_without() {
        let [ten, minute, long] = ["parked.10s", "parked.1m", "parked.10m"];
        assert_eq!(delays(true), [ten, ten, ten, minute, minute, minute, long, long]);
        assert_eq!(delays(false), [ten; 8]);
        let waits = |age_s: i64, random| turned_away(0, age_s * 1000, random).as_secs();
        assert_eq!([-5, 0, 80, 240, 480, 86_400].map(|age_s| waits(age_s, 0.5)), [10, 10, 10, 30, 60, 60]);
        assert_eq!((waits(0, 0.0), waits(0, 1.0)), (5, 15));
    }

    /// The hops of a wait: the topic, and how long in it.
    fn hops(wait_ms: i64) -> Vec<(&'static str, i64)> {
        let (mut now_ms, mut found) = (0, Vec::new());
        while now_ms < wait_ms || found.is_empty() {
            let name = hop(wait_ms, now_ms).spec.name;
            let until_ms = leaves_ms(DELAYS[index(name)], now_ms, wait_ms);
            found.push((name, until_ms - now_ms));
            now_ms = until_ms;
        }
        found
    }

    fn index(name: &str) -> usize {
        topic::PARKED.iter().position(|topic| topic.spec.name == name).expect("a topic")
    }

    #[test]
    fn a_long_wait_is_spent_in_hops_that_fill_their_topics_delay() {
        assert_eq!(hops(9_500), [("parked.10s", 9_500)]);
        assert_eq!(hops(75_000), [("parked.1m", 60_000), ("parked.10s", 10_000), ("parked.10s", 5_000)]);
        assert_eq!(hops(3_600_000), [("parked.10m", 600_000); 6]);
        assert_eq!(hops(0), [("parked.10s", 0)]);
    }

    /// One partition of each topic, whose reader holds `held` records at a time: when each request is tried again. `waits` are
    /// (parked at, not before), in the order of their parking.
    fn simulate(waits: &[(i64, i64)], held: usize) -> Vec<i64> {
        let mut topics: [VecDeque<(i64, usize)>; 3] = Default::default();
        let (mut tried, mut now_ms, mut parked) = (vec![None; waits.len()], 0, 0);
        while tried.iter().any(Option::is_none) {
            while parked < waits.len() && waits[parked].0 <= now_ms {
                topics[index(hop(waits[parked].1, now_ms).spec.name)].push_back((now_ms, parked));
                parked += 1;
            }
            let mut moving = Vec::new();
            for (topic, delay) in topics.iter_mut().zip(DELAYS) {
                // Whoever leaves makes room, and the next one may be due already.
                while let Some(at) = topic
                    .iter()
                    .take(held)
                    .position(|(since_ms, which)| leaves_ms(delay, *since_ms, waits[*which].1) <= now_ms)
                {
                    moving.extend(topic.remove(at));
                }
            }
            for (_, which) in moving {
                if waits[which].1 <= now_ms {
                    tried[which] = Some(now_ms);
                } else {
                    topics[index(hop(waits[which].1, now_ms).spec.name)].push_back((now_ms, which));
                }
            }
            now_ms += 500;
        }
        tried.into_iter().flatten().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_wait_is_no_shorter_than_asked_and_no_longer_than_the_deadline(
            parks in 0..20u32,
            has_called: bool,
            at_least_ms in 0..100_000_000u64,
            left_ms in -20_000..200_000_000i64,
            random in 0.0..1.0f64,
        ) {
            let now_ms = 1_750_000_000_000;
            let waiting = Waiting { parks, ..Waiting::default() };
            let request = Request { deadline_ms: now_ms + left_ms, waiting: Some(waiting), ..ask("chat") };
            let at_least = Duration::from_millis(at_least_ms);
            let parked = park(&request, Vec::new(), has_called, at_least, now_ms, random);
            let waiting = parked.request.waiting.expect("it waits");
            let wait_ms = waiting.not_before_ms - now_ms;
            prop_assert!(wait_ms >= 0);
            let last_ms = (request.deadline_ms + MAX_CLOCK_SKEW_MS).max(now_ms);
            prop_assert!(waiting.not_before_ms <= last_ms);
            let least_ms = if has_called { 9_000 } else { 5_000 };
            prop_assert!(wait_ms >= at_least_ms.max(least_ms) as i64 || waiting.not_before_ms == last_ms);
            prop_assert_eq!(waiting.parks, parks + u32::from(has_called));
            // Nobody is put among those who wait longer.
            let delay_ms = millis(DELAYS[index(parked.topic.spec.name)]);
            prop_assert!(delay_ms <= wait_ms || parked.topic.spec.name == "parked.10s");
            let spent = hops(wait_ms);
            prop_assert_eq!(spent.iter().map(|(_, ms)| ms).sum::<i64>(), wait_ms);
            prop_assert!(spent.len() <= 16 + (wait_ms / millis(DELAYS[2])) as usize);
            prop_assert!(spent.iter().rev().skip(1).all(|(name, ms)| *ms == millis(DELAYS[index(name)])));
        }

        #[test]
        fn nobody_is_held_up_by_those_who_wait_longer(
            waits in proptest::collection::vec((0..60_000i64, 0..1_300_000i64), 1..40),
            held in 1..5usize,
        ) {
            let mut waits: Vec<_> = waits.into_iter().map(|(at, wait)| (at, at + wait)).collect();
            waits.sort_unstable();
            for ((_, not_before_ms), tried_ms) in waits.iter().zip(simulate(&waits, held)) {
                prop_assert!(tried_ms >= *not_before_ms);
                // Up to 10 s in the last topic, and what each step of the simulation rounds up to.
                prop_assert!(tried_ms - not_before_ms <= 10_000 + 500 * 20, "{} late", tried_ms - not_before_ms);
            }
        }
    }
}
