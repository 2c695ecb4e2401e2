//! Examples and properties of the planner.

use super::*;
use proptest::prelude::*;
use tollgate_runtime::config::Millis;

const LONG: Duration = Duration::from_secs(60);

fn policy(attempts: u32, max_attempts: u32) -> Retry {
    Retry { attempts, max_attempts, ..Retry::default() }
}

fn outcome(destination: usize, class: Class, status: Option<u16>) -> Outcome {
    Outcome { destination, class, status, retry_after: None }
}

fn then(order: &[usize], policy: &Retry, history: &[Outcome]) -> Step {
    next(order, policy, history, LONG, 0.0)
}

#[test]
fn traffic_is_split_by_weight_and_fallbacks_follow_in_order() {
    let share = |weights: &[u32], index: usize| {
        (0..1000).filter(|i| order(weights, 0, f64::from(*i) / 1000.0)[0] == index).count()
    };
    assert_eq!((share(&[90, 10], 0), share(&[90, 10], 1)), (900, 100));
    assert_eq!((share(&[0, 5, 0], 1), share(&[0, 0], 0)), (1000, 1000));
    assert_eq!(order(&[1, 1], 2, 0.99), [1, 2, 3]);
    assert_eq!(order(&[], 0, 0.5), [] as [usize; 0]);
}

#[test]
fn retries_then_fallbacks_then_the_end() {
    let policy = policy(2, 3);
    let first = outcome(0, Class::Server, Some(500));
    let Step::Try { destination: 0, action: AttemptAction::Retry, after } = then(&[0, 1, 2], &policy, &[first]) else {
        panic!("a retry");
    };
    assert_eq!(after, Duration::from_millis(100));
    let fallback = Step::Try { destination: 1, action: AttemptAction::Fallback, after: Duration::ZERO };
    assert_eq!(then(&[0, 1, 2], &policy, &[first, first]), fallback);
    assert_eq!(then(&[0, 1, 2], &policy, &[first, first, outcome(1, Class::Timeout, None)]), Step::GiveUp);
    assert_eq!(then(&[0], &policy, &[first, first]), Step::GiveUp);
}

#[test]
fn what_each_class_leads_to() {
    let policy = policy(2, 3);
    let after = |class, status| match then(&[0, 1], &policy, &[outcome(0, class, status)]) {
        Step::Try { action, .. } => format!("{action:?}"),
        Step::GiveUp => "GiveUp".to_owned(),
    };
    for (class, status, expected) in [
        (Class::RateLimited, Some(429), "Retry"),
        (Class::Server, Some(529), "Retry"),
        (Class::Server, None, "Retry"),
        (Class::Timeout, None, "Retry"),
        (Class::Connect, None, "Retry"),
        (Class::Refused, Some(401), "Fallback"),
        (Class::Rejected, Some(400), "GiveUp"),
        (Class::Deadline, None, "GiveUp"),
        (Class::Inexpressible, None, "InitialAttempt"),
    ] {
        assert_eq!(after(class, status), expected, "{class:?}");
    }
}

#[test]
fn retry_after_is_honoured_up_to_five_seconds() {
    let wait = |seconds| {
        let history =
            [Outcome { retry_after: Some(Duration::from_secs(seconds)), ..outcome(0, Class::RateLimited, Some(429)) }];
        then(&[0, 1], &policy(2, 3), &history)
    };
    assert_eq!(wait(5), Step::Try { destination: 0, action: AttemptAction::Retry, after: Duration::from_secs(5) });
    assert_eq!(wait(6), Step::Try { destination: 1, action: AttemptAction::Fallback, after: Duration::ZERO });
}

#[test]
fn only_what_the_policy_names_is_retried_but_fallbacks_come_anyway() {
    let policy = Retry { on: vec![RetryOn::Status(503)], ..policy(3, 5) };
    let action = |status| match then(&[0, 1], &policy, &[outcome(0, Class::Server, Some(status))]) {
        Step::Try { action, .. } => action,
        Step::GiveUp => panic!("more can be done"),
    };
    assert_eq!((action(503), action(500)), (AttemptAction::Retry, AttemptAction::Fallback));
}

fn class() -> impl Strategy<Value = (Class, Option<u16>)> {
    prop_oneof![
        Just((Class::RateLimited, Some(429))),
        Just((Class::Server, Some(500))),
        Just((Class::Timeout, None)),
        Just((Class::Connect, None)),
        Just((Class::Refused, Some(401))),
        Just((Class::Rejected, Some(400))),
        Just((Class::Inexpressible, None)),
        Just((Class::Deadline, None)),
    ]
}

proptest! {
    #[test]
    fn any_run_of_failures_ends_within_its_bounds(
        weights in proptest::collection::vec(0..10u32, 1..4),
        fallbacks in 0..3usize,
        attempts in 1..4u32,
        max_attempts in 1..6u32,
        backoff in 0..4000u64,
        failures in proptest::collection::vec((class(), proptest::option::of(0..10u64)), 40),
        random in 0.0..1.0f64,
        left in 0..20_000u64,
    ) {
        let policy = Retry { backoff: Millis(backoff), ..policy(attempts, max_attempts) };
        let plan = order(&weights, fallbacks, random);
        let (mut history, mut left) = (Vec::new(), Duration::from_millis(left));
        for ((class, status), retry_after) in failures {
            let Step::Try { destination, action, after } = next(&plan, &policy, &history, left, random) else { break };
            // The deadline is respected before each attempt, and no pause is long.
            prop_assert!(after < left && after <= RETRY_AFTER_MAX);
            left -= after;
            let calls: Vec<&Outcome> = history.iter().filter(|o: &&Outcome| o.class != Class::Inexpressible).collect();
            prop_assert_eq!(action == AttemptAction::InitialAttempt, calls.is_empty());
            prop_assert!(calls.len() < max_attempts as usize);
            prop_assert!(history.iter().filter(|o| o.destination == destination).count() < attempts.max(1) as usize);
            prop_assert!(history.iter().all(|o| !matches!(o.class, Class::Rejected | Class::Deadline)));
            if let Some(last) = history.last() {
                let position = |d| plan.iter().position(|p| *p == d);
                prop_assert_eq!(action == AttemptAction::Retry, last.destination == destination);
                prop_assert!(position(last.destination) <= position(destination));
                prop_assert!(last.class != Class::Refused || last.destination != destination);
            }
            history.push(Outcome { destination, class, status, retry_after: retry_after.map(Duration::from_secs) });
        }
        prop_assert!(history.len() < 40);
    }
}
