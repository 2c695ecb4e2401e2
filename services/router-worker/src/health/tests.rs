//! Examples and properties of the circuit.

use super::*;
use proptest::prelude::*;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Calls once and tells; whether the call was let through.
fn call(circuit: &mut Circuit, now: Instant, sign: Sign) -> bool {
    let pass = circuit.admit(now, false);
    if let Ok(pass) = pass {
        circuit.tell(pass, sign, now);
    }
    pass.is_ok()
}

fn reopens_in(circuit: &Circuit, now: Instant) -> Option<Duration> {
    circuit.cooling(now).map(|cooling| cooling.reopens_in)
}

#[test]
fn five_failures_in_a_row_open_it_and_its_time_doubles_until_a_success() {
    let (mut circuit, mut now) = (Circuit::default(), Instant::now());
    for _ in 0..4 {
        assert!(call(&mut circuit, now, Sign::Ill));
    }
    assert!(call(&mut circuit, now, Sign::Well));
    for _ in 0..5 {
        assert!(call(&mut circuit, now, Sign::Ill));
    }
    for expected in [5, 10, 20, 40, 60, 60] {
        assert_eq!(
            circuit.cooling(now),
            Some(Cooling { reopens_in: seconds(expected), is_asked: false, is_rate_limit: false })
        );
        assert!(!call(&mut circuit, now, Sign::Well));
        now += seconds(expected);
        assert!(call(&mut circuit, now, Sign::Ill), "one probe");
    }
    now += seconds(60);
    assert!(call(&mut circuit, now, Sign::Well) && call(&mut circuit, now, Sign::Ill));
    assert_eq!(circuit.cooling(now), None);
}

#[test]
fn what_one_replica_finds_out_the_others_hear() {
    let now = Instant::now();
    let (mut first, mut second) = (Circuit::default(), Circuit::default());
    let learn = |circuit: &mut Circuit, sign, now| {
        let pass = circuit.admit(now, false).expect("let through");
        circuit.learn(pass, sign, now)
    };
    assert_eq!(learn(&mut first, Sign::Throttled(None), now), None, "a second is not worth a word");
    let mut first = Circuit::default();
    let news = learn(&mut first, Sign::Throttled(Some(seconds(30))), now).expect("news");
    second.hear(news, now);
    assert_eq!((second.cooling(now), second.admit(now, false).is_err()), (first.cooling(now), true));
    // A shorter time, or one that is over, changes nothing.
    for left in [3, 0] {
        second.hear(News::Opened(Cooling { reopens_in: seconds(left), is_asked: false, is_rate_limit: false }), now);
    }
    assert_eq!(second.cooling(now), first.cooling(now));
    assert_eq!(reopens_in(&second, now + seconds(30)), None);
    // Who probes with success tells all the others.
    let later = now + seconds(30);
    let closed = learn(&mut second, Sign::Well, later).expect("news");
    assert_eq!(closed, News::Closed);
    first.hear(closed, later);
    assert!(matches!(first.state, State::Closed) && matches!(second.state, State::Closed));
    assert_eq!(learn(&mut second, Sign::Well, later), None, "nothing has changed");
}

#[test]
fn a_429_opens_it_for_as_long_as_it_says() {
    let now = Instant::now();
    for (asked, expected, is_asked) in
        [(Some(17), 17, true), (Some(9000), 9000, true), (None, 1, false), (Some(0), 1, false)]
    {
        let mut circuit = Circuit::default();
        assert!(call(&mut circuit, now, Sign::Throttled(asked.map(seconds))));
        assert_eq!(
            circuit.cooling(now),
            Some(Cooling { reopens_in: seconds(expected), is_asked, is_rate_limit: true })
        );
    }
    let mut circuit = Circuit::default();
    let (first, second) = (circuit.admit(now, false).expect("closed"), circuit.admit(now, false).expect("closed"));
    circuit.tell(first, Sign::Throttled(Some(seconds(9))), now);
    circuit.tell(second, Sign::Throttled(Some(seconds(3))), now);
    assert_eq!(reopens_in(&circuit, now), Some(seconds(9)), "the longer one holds");
}

#[test]
fn a_503_that_names_a_time_opens_it_for_so_long_and_one_that_does_not_is_a_failure() {
    let (now, mut circuit) = (Instant::now(), Circuit::default());
    let failure = |status, after: Option<u64>| {
        Sign::of(&Failure { retry_after: after.map(seconds), ..Failure::of_status(status, "busy") })
    };
    for status in [503, 529] {
        assert_eq!(failure(status, None), Sign::Ill);
        assert_eq!(failure(status, Some(9)), Sign::Overloaded(seconds(9)));
    }
    assert_eq!(failure(500, Some(9)), Sign::Ill);
    assert_eq!(Sign::of(&Failure::malformed("nonsense")), Sign::Ill);
    assert_eq!(Sign::of(&Failure::too_large("too much")), Sign::Nothing, "the next one may be small");
    assert!(call(&mut circuit, now, failure(503, None)));
    assert!(call(&mut circuit, now, failure(503, Some(0))), "a time that is over is none");
    assert!(call(&mut circuit, now, failure(503, Some(9))));
    let expected = Cooling { reopens_in: seconds(9), is_asked: true, is_rate_limit: false };
    assert_eq!(circuit.cooling(now), Some(expected));
}

#[test]
fn one_probe_at_a_time_and_a_lost_one_makes_room() {
    let (mut circuit, start) = (Circuit::default(), Instant::now());
    call(&mut circuit, start, Sign::Throttled(Some(seconds(2))));
    let now = start + seconds(2);
    let probe = circuit.admit(now, false).expect("the probe");
    assert_eq!(circuit.admit(now, false).expect_err("one is out").reopens_in, LOOK_AGAIN);
    circuit.tell(probe, Sign::Nothing, now);
    let _lost = circuit.admit(now, false).expect("the next probe");
    assert!(circuit.admit(now + PROBE_EVERY, false).is_ok());
}

#[test]
fn calls_from_before_it_opened_do_not_open_it_again() {
    let (mut circuit, now) = (Circuit::default(), Instant::now());
    let passes: Vec<Pass> = (0..50).map(|_| circuit.admit(now, false).expect("closed")).collect();
    passes.iter().for_each(|pass| circuit.tell(*pass, Sign::Ill, now));
    assert_eq!(reopens_in(&circuit, now), Some(seconds(5)));
    let forced = circuit.admit(now, true).expect("forced");
    circuit.tell(forced, Sign::Ill, now);
    assert_eq!(reopens_in(&circuit, now), Some(seconds(5)));
    circuit.tell(passes[0], Sign::Well, now);
    assert_eq!(circuit.cooling(now), None);
}

fn sign() -> impl Strategy<Value = Sign> {
    prop_oneof![
        3 => Just(Sign::Ill),
        2 => Just(Sign::Well),
        1 => Just(Sign::Nothing),
        2 => proptest::option::of(0..200_000u64).prop_map(|asked| Sign::Throttled(asked.map(seconds))),
        1 => (0..200_000u64).prop_map(|asked| Sign::Overloaded(seconds(asked))),
    ]
}

#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    Call { is_forced: bool },
    End { which: usize, sign: Sign },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..70_000u64).prop_map(Event::Wait),
        (0..10u8).prop_map(|n| Event::Call { is_forced: n == 0 }),
        (0..8usize, sign()).prop_map(|(which, sign)| Event::End { which, sign }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_it_opens_for_a_reason_and_not_for_ever(events in proptest::collection::vec(event(), 0..200)) {
        let (mut circuit, mut now, mut out) = (Circuit::default(), Instant::now(), Vec::new());
        // The model: how many failures there were since anything good was heard, and whether a throttle was.
        let (mut ill, mut is_throttled) = (0u32, false);
        for event in events {
            match event {
                Event::Wait(ms) => now += Duration::from_millis(ms),
                Event::Call { is_forced } => {
                    let cooling = circuit.cooling(now);
                    let pass = circuit.admit(now, is_forced);
                    prop_assert_eq!(pass.is_ok(), is_forced || cooling.is_none());
                    out.extend(pass);
                }
                Event::End { which, sign } if !out.is_empty() => {
                    let pass = out.swap_remove(which % out.len());
                    let before = circuit.cooling(now);
                    circuit.tell(pass, sign, now);
                    match sign {
                        Sign::Well => {
                            (ill, is_throttled) = (0, false);
                            prop_assert_eq!(circuit.cooling(now), None);
                        }
                        Sign::Ill => ill += 1,
                        Sign::Overloaded(asked) if asked.is_zero() => ill += 1,
                        Sign::Overloaded(asked) => {
                            is_throttled = true;
                            prop_assert!(reopens_in(&circuit, now).is_some_and(|left| left >= asked.min(ASKED_MAX)));
                        }
                        Sign::Throttled(asked) => {
                            is_throttled = true;
                            if let Some(asked) = asked.filter(|asked| !asked.is_zero()) {
                                let least = asked.min(ASKED_MAX);
                                prop_assert!(reopens_in(&circuit, now).is_some_and(|left| left >= least));
                            }
                        }
                        // It never keeps a call away that was not kept away before.
                        Sign::Nothing => prop_assert!(reopens_in(&circuit, now) <= before.map(|c| c.reopens_in)),
                    }
                }
                Event::End { .. } => {}
            }
            if let Some(cooling) = circuit.cooling(now) {
                prop_assert!(ill >= FAILURES_MAX || is_throttled);
                let most = if cooling.is_asked { ASKED_MAX } else { FAILED_MAX };
                prop_assert!(cooling.reopens_in <= most);
                prop_assert!(!cooling.is_asked || is_throttled);
            }
            // Nobody is locked out: after the longest time it lets a call through.
            prop_assert_eq!(circuit.cooling(now + ASKED_MAX), None);
        }
    }
}
