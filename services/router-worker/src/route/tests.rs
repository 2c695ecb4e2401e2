//! Examples and properties of the planner.

use super::*;
use proptest::prelude::*;
use tollgate_runtime::config::Millis;

const LONG: Duration = Duration::from_secs(60);
/// Every destination stands in for any failure.
const ANY: &[Vec<Trigger>] = &[const { Vec::new() }; 6];

fn policy(attempts: u32, max_attempts: u32) -> Retry {
    Retry { attempts, max_attempts, ..Retry::default() }
}

fn outcome(destination: usize, class: Class, status: Option<u16>) -> Outcome {
    let is_throttle = matches!(class, Class::RateLimited | Class::Busy | Class::Open);
    Outcome { destination, class, status, retry_after: None, is_throttle, other_credential: false }
}

/// With every circuit closed.
fn then(order: &[usize], policy: &Retry, history: &[Outcome]) -> Step {
    let plan = Plan { order, on: ANY, policy, is_patient: false };
    next(&plan, history, &Now { cooling: &[None; 3], patience: RETRY_AFTER_MAX, left: LONG }, 0.0)
}

fn attempt(destination: usize, action: AttemptAction, after_ms: u64) -> Step {
    Step::Try { destination, action, after: Duration::from_millis(after_ms), is_forced: false }
}

fn cooling(seconds: u64, is_asked: bool) -> Option<Cooling> {
    Some(Cooling { reopens_in: Duration::from_secs(seconds), is_asked, is_rate_limit: false })
}

#[test]
fn retries_then_fallbacks_then_the_end() {
    let policy = policy(2, 3);
    let first = outcome(0, Class::Server, Some(500));
    assert_eq!(then(&[0, 1, 2], &policy, &[first]), attempt(0, AttemptAction::Retry, 100));
    let fallback = attempt(1, AttemptAction::Fallback, 0);
    assert_eq!(then(&[0, 1, 2], &policy, &[first, first]), fallback);
    assert_eq!(then(&[0, 1, 2], &policy, &[first, first, outcome(1, Class::Timeout, None)]), Step::GiveUp);
    assert_eq!(then(&[0], &policy, &[first, first]), Step::GiveUp);
}

#[test]
fn a_credential_that_is_refused_uses_up_no_attempt_while_there_is_another() {
    let policy = policy(1, 1);
    let refused = |class, status| Outcome { other_credential: true, ..outcome(0, class, Some(status)) };
    for history in
        [vec![refused(Class::Refused, 401)], vec![refused(Class::RateLimited, 429), refused(Class::Refused, 403)]]
    {
        assert_eq!(then(&[0, 1], &policy, &history), attempt(0, AttemptAction::Retry, 0));
    }
    let last = [refused(Class::Refused, 401), outcome(0, Class::Refused, Some(401))];
    assert_eq!(then(&[0, 1], &policy, &last), Step::GiveUp, "the last one's refusal is an attempt");
    let (many, more) = ([refused(Class::Refused, 401); REFUSALS_MAX], [refused(Class::Refused, 401); REFUSALS_MAX + 1]);
    assert_eq!(then(&[0, 1], &policy, &many), attempt(0, AttemptAction::Retry, 0));
    assert_eq!(then(&[0, 1], &policy, &more), Step::GiveUp, "it goes on for no longer than that");
}

#[test]
fn who_broke_an_answer_off_goes_on_with_it_first_then_who_has_not_been_called() {
    let policy = policy(1, 3);
    let first = outcome(1, Class::Connect, None);
    let heirs = |history: &[Outcome], cooling: [Option<Cooling>; 4], left, same| {
        let on = [Vec::new(), Vec::new(), vec![Trigger::Timeout], vec![Trigger::ContextWindow]];
        let plan = Plan { order: &[0, 1, 2, 3], on: &on, policy: &policy, is_patient: false };
        super::heirs(&plan, history, &Now { cooling: &cooling, patience: Duration::ZERO, left }, same)
    };
    assert_eq!(heirs(&[first], [None; 4], LONG, Some(1)), [1, 0, 2]);
    assert_eq!(heirs(&[first], [None; 4], LONG, None), [0, 2], "it has been asked");
    assert_eq!(heirs(&[first], [None, cooling(1, false), None, None], LONG, Some(1)), [0, 2]);
    assert_eq!(heirs(&[outcome(0, Class::Server, Some(500)), first], [None; 4], LONG, Some(1)), [1, 2]);
    assert_eq!(heirs(&[first, first, first], [None; 4], LONG, Some(1)), [0; 0], "no attempt is left");
    assert_eq!(heirs(&[first], [None; 4], Duration::ZERO, Some(1)), [0; 0], "no time is left");
}

#[test]
fn what_each_class_leads_to() {
    let policy = policy(2, 3);
    let after = |class, status| match then(&[0, 1], &policy, &[outcome(0, class, status)]) {
        Step::Try { action, .. } => format!("{action:?}"),
        other => format!("{other:?}"),
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
        (Class::Busy, None, "InitialAttempt"),
        (Class::Open, None, "InitialAttempt"),
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
    assert_eq!(wait(5), attempt(0, AttemptAction::Retry, 5000));
    assert_eq!(wait(6), attempt(1, AttemptAction::Fallback, 0));
}

#[test]
fn only_what_the_policy_names_is_retried_but_fallbacks_come_anyway() {
    let policy = Retry { on: vec![Trigger::Status(503)], ..policy(3, 5) };
    let action = |status| match then(&[0, 1], &policy, &[outcome(0, Class::Server, Some(status))]) {
        Step::Try { action, .. } => action,
        other => panic!("{other:?}: more can be done"),
    };
    assert_eq!((action(503), action(500)), (AttemptAction::Retry, AttemptAction::Fallback));
}

#[test]
fn a_fallback_that_names_failures_is_for_those_only() {
    let policy = policy(1, 5);
    let on = [vec![], vec![Trigger::ContextWindow], vec![Trigger::Status(429), Trigger::Connect], vec![]];
    let plan = Plan { order: &[0, 1, 2, 3], on: &on, policy: &policy, is_patient: false };
    let next = |history: &[Outcome], cooling: &[Option<Cooling>]| match next(
        &plan,
        history,
        &Now { cooling, patience: RETRY_AFTER_MAX, left: LONG },
        0.0,
    ) {
        Step::Try { destination, .. } => Some(destination),
        Step::Skip { destination, .. } => panic!("{destination} is passed over"),
        Step::GiveUp => None,
    };
    let failed = |class, status| next(&[outcome(0, class, status)], &[None; 4]);
    assert_eq!(failed(Class::Server, Some(500)), Some(3));
    assert_eq!(failed(Class::RateLimited, Some(429)), Some(2));
    assert_eq!(failed(Class::Busy, None), Some(2));
    assert_eq!(failed(Class::Connect, None), Some(2));
    assert_eq!(failed(Class::ContextWindow, Some(400)), Some(1));
    assert_eq!(failed(Class::ContentPolicy, Some(400)), None);
    assert_eq!(failed(Class::Rejected, Some(400)), None);
    // Whatever comes later, the request is still too long for all the others.
    let then_server = [outcome(0, Class::ContextWindow, Some(400)), outcome(1, Class::Server, Some(500))];
    assert_eq!(next(&then_server, &[None; 4]), None);
    // A circuit that nobody has asked to open says that the provider is down.
    let open = outcome(0, Class::Open, None);
    assert_eq!(next(&[open], &[cooling(9, true), None, None, None]), Some(2));
}

#[test]
fn open_circuits_are_passed_over_and_waited_for_or_tried_all_the_same() {
    let policy = policy(1, 3);
    let open = |destination| outcome(destination, Class::Open, None);
    let decide = |history: &[Outcome], circuits: [Option<Cooling>; 2], is_patient| {
        let plan = Plan { order: &[0, 1], on: ANY, policy: &policy, is_patient };
        next(&plan, history, &Now { cooling: &circuits, patience: RETRY_AFTER_MAX, left: LONG }, 0.0)
    };
    let guess = cooling(60, false);
    for is_patient in [true, false] {
        let skip = Step::Skip { destination: 0, cooling: guess.expect("open") };
        assert_eq!(decide(&[], [guess, None], is_patient), skip);
        assert_eq!(decide(&[open(0)], [guess, None], is_patient), attempt(1, AttemptAction::InitialAttempt, 0));
        // Soon over: it is waited for.
        let circuits = [cooling(60, true), cooling(3, true)];
        assert_eq!(decide(&[open(0), open(1)], circuits, is_patient), attempt(1, AttemptAction::InitialAttempt, 3000));
        assert_eq!(decide(&[open(0), open(1)], [cooling(60, true); 2], is_patient), Step::GiveUp);
    }
    let forced =
        Step::Try { destination: 1, action: AttemptAction::InitialAttempt, after: Duration::ZERO, is_forced: true };
    assert_eq!(decide(&[open(0), open(1)], [cooling(60, true), guess], false), forced);
    assert_eq!(decide(&[open(0), open(1)], [cooling(60, true), guess], true), Step::GiveUp);
    let failed = [open(0), open(1), outcome(1, Class::Server, Some(500))];
    assert_eq!(decide(&failed, [cooling(60, true), guess], false), Step::GiveUp);
}

#[test]
fn waiting_makes_sense_as_long_as_anybody_merely_throttles() {
    let policy = policy(1, 3);
    let waits = |history: &[Outcome], circuits: [Option<Cooling>; 2]| {
        let plan = Plan { order: &[0, 1], on: ANY, policy: &policy, is_patient: true };
        let wait = waits(&plan, history, &Now { cooling: &circuits, patience: Duration::ZERO, left: LONG });
        wait.map(|wait| wait.as_secs())
    };
    let throttled = Outcome { retry_after: Some(Duration::from_secs(7)), ..outcome(0, Class::RateLimited, Some(429)) };
    let (server, refused) = (outcome(1, Class::Server, Some(500)), outcome(1, Class::Refused, Some(401)));
    assert_eq!(waits(&[throttled, server], [None; 2]), Some(7));
    assert_eq!(waits(&[throttled, refused], [cooling(9, true), None]), Some(9));
    assert_eq!(waits(&[throttled, outcome(1, Class::Busy, None)], [None; 2]), Some(0));
    assert_eq!(waits(&[server], [None; 2]), None);
    // Its own failures opened the circuit.
    assert_eq!(waits(&[server], [None, cooling(5, false)]), Some(5));
    assert_eq!(waits(&[throttled, outcome(1, Class::Rejected, Some(400))], [None; 2]), None);
    assert_eq!(waits(&[outcome(0, Class::Inexpressible, None)], [cooling(5, true), None]), None);
}

fn class() -> impl Strategy<Value = (Class, Option<u16>)> {
    prop_oneof![
        Just((Class::RateLimited, Some(429))),
        Just((Class::Server, Some(500))),
        Just((Class::Timeout, None)),
        Just((Class::Connect, None)),
        Just((Class::Refused, Some(401))),
        Just((Class::Rejected, Some(400))),
        Just((Class::ContextWindow, Some(400))),
        Just((Class::ContentPolicy, None)),
        Just((Class::Inexpressible, None)),
        Just((Class::Deadline, None)),
        Just((Class::Busy, None)),
        Just((Class::Open, None)),
    ]
}

fn trigger() -> impl Strategy<Value = Trigger> {
    proptest::sample::select(vec![
        Trigger::Status(429),
        Trigger::ServerError,
        Trigger::Timeout,
        Trigger::Connect,
        Trigger::Refused,
        Trigger::ContextWindow,
        Trigger::ContentPolicy,
    ])
}

fn circuit() -> impl Strategy<Value = Option<Cooling>> {
    proptest::option::of((0..8000u64, any::<bool>()).prop_map(|(ms, is_asked)| Cooling {
        reopens_in: Duration::from_millis(ms),
        is_asked,
        is_rate_limit: false,
    }))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_run_of_failures_ends_within_its_bounds(
        destinations in 1..6usize,
        on in proptest::collection::vec(proptest::collection::vec(trigger(), 0..3), 6),
        (attempts, max_attempts, is_patient) in (1..4u32, 1..6u32, any::<bool>()),
        backoff in 0..4000u64,
        failures in proptest::collection::vec((class(), proptest::option::of(0..10u64)), 80),
        circuits in proptest::collection::vec(proptest::collection::vec(circuit(), 6), 80),
        random in 0.0..1.0f64,
        left in 0..20_000u64,
    ) {
        let policy = Retry { backoff: Millis(backoff), ..policy(attempts, max_attempts) };
        let order: Vec<usize> = (0..destinations).collect();
        let plan = Plan { order: &order, on: &on, policy: &policy, is_patient };
        let (mut history, mut left, mut patience) = (Vec::<Outcome>::new(), Duration::from_millis(left), RETRY_AFTER_MAX);
        for (((class, status), retry_after), cooling) in failures.into_iter().zip(&circuits) {
            let now = Now { cooling, patience, left };
            let (destination, action, after, is_forced) = match next(&plan, &history, &now, random) {
                Step::GiveUp => break,
                Step::Skip { destination, cooling: why } => {
                    prop_assert_eq!(cooling[destination], Some(why));
                    history.push(outcome(destination, Class::Open, None));
                    continue;
                }
                Step::Try { destination, action, after, is_forced } => (destination, action, after, is_forced),
            };
            // The deadline is respected before each attempt, no pause is long, and only those who cannot wait insist.
            prop_assert!(after < left && after <= RETRY_AFTER_MAX);
            prop_assert!(!is_forced || !is_patient && cooling[destination].is_none_or(|cooling| !cooling.is_asked));
            // Nobody is called before the time that its provider named.
            let reopens_in = cooling[destination].map_or(Duration::ZERO, |cooling| cooling.reopens_in);
            prop_assert!(is_forced || after >= reopens_in);
            left -= after;
            patience = patience.saturating_sub(after);
            let calls: Vec<&Outcome> = history.iter().filter(|outcome| outcome.class.is_call()).collect();
            prop_assert_eq!(action == AttemptAction::InitialAttempt, calls.is_empty());
            prop_assert!(calls.len() < max_attempts as usize);
            prop_assert!(calls.iter().filter(|outcome| outcome.destination == destination).count() < attempts.max(1) as usize);
            prop_assert!(history.iter().all(|outcome| !matches!(outcome.class, Class::Rejected | Class::Deadline)));
            // What lies in the request is for those only who say that they take it.
            let of_request = calls.iter().filter_map(|outcome| outcome.class.of_request());
            prop_assert!(of_request.into_iter().all(|trigger| on[destination].contains(&trigger)));
            if let Some(last) = calls.last() {
                prop_assert!(last.class != Class::Refused || last.destination != destination);
                prop_assert!(action != AttemptAction::Retry || last.destination == destination);
            }
            let retry_after = retry_after.map(Duration::from_secs);
            history.push(Outcome { retry_after, ..outcome(destination, class, status) });
        }
        prop_assert!(history.len() < 80);
    }
}
