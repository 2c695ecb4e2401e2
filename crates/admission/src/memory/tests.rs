//! The memory store against a model that keeps every event and counts anew each time.

use super::*;
use crate::plan::{Add, Fund, Hold, Unit, Watch};
use crate::verdict::Decision;
use proptest::prelude::*;

const WINDOWS: [i64; 2] = [60_000, 3_600_000];

/// One reservation of the model, with what it counts for by now.
#[derive(Debug, Clone)]
struct Event {
    reservation: Reservation,
    at_ms: i64,
    is_open: bool,
}

/// Everything that ever happened.
#[derive(Debug, Default)]
struct Model {
    events: Vec<Event>,
    /// (meter, bucket, amount); below zero if it came back.
    taken: Vec<(String, i64, i64)>,
    settled: Vec<Uuid>,
    spent: Vec<(String, u64)>,
}

impl Model {
    fn expire(&mut self, now: i64) {
        self.events.iter_mut().filter(|e| e.reservation.expires_ms <= now).for_each(|e| e.is_open = false);
    }

    fn open(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.is_open)
    }

    fn fits(&self, asked: &Reservation, now: i64) -> bool {
        let rates = asked.rates.iter().all(|take| {
            let counted = counted(now, take.window_ms);
            let taken = self.taken.iter().filter(|(meter, at, _)| *meter == take.meter && counted.contains(at));
            taken.map(|(_, _, n)| n).sum::<i64>() + take.amount as i64 <= take.limit as i64
        });
        let holds = asked.holds.iter().all(|hold| {
            let held = self.open().flat_map(|e| &e.reservation.holds).filter(|other| other.meter == hold.meter);
            (held.count() as u64) < hold.limit
        });
        let funds = asked.funds.iter().all(|fund| {
            let spent: u64 = self.spent.iter().filter(|(c, _)| *c == fund.counter).map(|(_, n)| n).sum();
            let open = self.open().filter(|e| e.reservation.dimensions.contains(&fund.dimension));
            let used = spent + open.map(|e| e.reservation.nano).sum::<u64>();
            if fund.strict { used + asked.nano <= fund.ceiling_nano } else { used < fund.ceiling_nano }
        });
        rates && holds && funds
    }

    fn admit(&mut self, asked: &Reservation, now: i64) -> Done {
        self.expire(now);
        if self.settled.contains(&asked.id) || self.open().any(|e| e.reservation.id == asked.id) {
            return Done::Repeated;
        }
        if !self.fits(asked, now) {
            return Done::Refused;
        }
        for take in &asked.rates {
            self.taken.push((take.meter.clone(), bucket(now, take.window_ms), take.amount as i64));
        }
        self.events.push(Event { reservation: asked.clone(), at_ms: now, is_open: true });
        Done::Taken
    }

    fn close(&mut self, id: Uuid) -> Option<Event> {
        let event = self.events.iter_mut().find(|e| e.is_open && e.reservation.id == id)?;
        event.is_open = false;
        Some(event.clone())
    }

    fn settle(&mut self, settlement: &Settlement, now: i64) {
        self.expire(now);
        if self.settled.contains(&settlement.id) {
            return;
        }
        self.settled.push(settlement.id);
        self.spent.extend(settlement.adds.iter().map(|add| (add.counter.clone(), settlement.nano)));
        if let Some(event) = self.close(settlement.id) {
            for take in &event.reservation.rates {
                let more = take.actual(settlement) as i64 - take.amount as i64;
                let at = if more < 0 { event.at_ms } else { now };
                self.taken.push((take.meter.clone(), bucket(at, take.window_ms), more));
            }
        }
    }

    fn release(&mut self, id: Uuid) {
        if let Some(event) = self.close(id) {
            for take in &event.reservation.rates {
                self.taken.push((take.meter.clone(), bucket(event.at_ms, take.window_ms), -(take.amount as i64)));
            }
        }
    }
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Admit { id: u128, who: usize, tokens: u64, nano: u64, lives_ms: i64 },
    Settle { id: u128, who: usize, tokens: u64, cached: u64, nano: u64 },
    Release { id: u128 },
    Wait { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0u128..40;
    prop_oneof![
        5 => (id(), 0usize..3, 0u64..400, 0u64..400, 1i64..100_000)
            .prop_map(|(id, who, tokens, nano, lives_ms)| Step::Admit { id, who, tokens, nano, lives_ms }),
        4 => (id(), 0usize..3, 0u64..500, 0u64..100, 0u64..400)
            .prop_map(|(id, who, tokens, cached, nano)| Step::Settle { id, who, tokens, cached, nano }),
        1 => id().prop_map(|id| Step::Release { id }),
        3 => (0i64..200_000).prop_map(|ms| Step::Wait { ms: ms * ms / 400_000 }),
    ]
}

fn reservation(id: u128, who: usize, tokens: u64, nano: u64, expires_ms: i64) -> Reservation {
    let take = |meter: String, unit, window_ms, limit, amount| Take { meter, unit, window_ms, limit, amount };
    let fund = |dimension: &str, ceiling_nano, strict| Fund {
        dimension: dimension.to_owned(),
        counter: format!("{dimension}@total"),
        ceiling_nano,
        strict,
        budget: None,
        end_ms: None,
    };
    Reservation {
        id: Uuid::from_u128(id),
        expires_ms,
        rates: vec![
            take("all".into(), Unit::Requests, WINDOWS[0], 12, 1),
            take(format!("requests:{who}"), Unit::Requests, WINDOWS[1], 9, 1),
            take(format!("tokens:{who}"), Unit::Tokens, WINDOWS[0], 1_000, tokens),
            take(format!("uncached:{who}"), Unit::UncachedTokens, WINDOWS[1], 2_000, tokens),
        ],
        holds: vec![Hold { meter: "all".into(), limit: 6 }, Hold { meter: format!("one:{who}"), limit: 3 }],
        funds: vec![fund("all", 5_000, who != 0), fund(&format!("own:{who}"), 2_000, true)],
        dimensions: vec!["all".into(), format!("own:{who}")],
        nano,
    }
}

fn settlement(id: u128, who: usize, tokens: u64, cached_tokens: u64, nano: u64) -> Settlement {
    let add = |counter: String| Add { counter, drop_ms: i64::MAX };
    let adds = vec![add("all@total".into()), add(format!("own:{who}@total"))];
    Settlement { nano, adds, ..Settlement::of_attempt(Uuid::from_u128(id), tokens, cached_tokens) }
}

fn ready() -> Memory {
    let mut memory = Memory::default();
    memory.set_ready();
    memory
}

/// Every reading of a history.
fn run(memory: &mut Memory, steps: &[Step], now: &mut i64) -> Vec<Reading> {
    let mut readings = Vec::new();
    for step in steps {
        match step.clone() {
            Step::Wait { ms } => *now += ms,
            Step::Admit { id, who, tokens, nano, lives_ms } => {
                let asked = reservation(id, who, tokens, nano, *now + lives_ms);
                readings.push(memory.admit(&asked, *now).expect("ready"));
            }
            Step::Settle { id, who, tokens, cached, nano } => {
                memory.settle(&settlement(id, who, tokens, cached, nano), *now);
            }
            Step::Release { id } => memory.release(Uuid::from_u128(id), *now),
        }
    }
    readings
}

proptest! {
    #[test]
    fn it_does_what_a_simple_model_does(steps in prop::collection::vec(step(), 1..250)) {
        let (mut memory, mut model, mut now) = (ready(), Model::default(), 1_700_000_000_000i64);
        for step in steps {
            match step {
                Step::Wait { ms } => now += ms,
                Step::Admit { id, who, tokens, nano, lives_ms } => {
                    let asked = reservation(id, who, tokens, nano, now + lives_ms);
                    let reading = memory.admit(&asked, now).expect("ready");
                    prop_assert_eq!(reading.done, model.admit(&asked, now), "{:?}", reading);
                    if let Decision::Refused(refused) = reading.decision(&asked) {
                        prop_assert!(!refused.message().is_empty());
                    }
                }
                Step::Settle { id, who, tokens, cached, nano } => {
                    let settlement = settlement(id, who, tokens, cached, nano);
                    memory.settle(&settlement, now);
                    model.settle(&settlement, now);
                }
                Step::Release { id } => {
                    model.expire(now);
                    memory.release(Uuid::from_u128(id), now);
                    model.release(Uuid::from_u128(id));
                }
            }
        }
    }

    #[test]
    fn nothing_leaks_and_no_strict_budget_is_passed_whatever_the_clock_does(
        steps in prop::collection::vec((step(), -100_000i64..100_000), 1..250),
    ) {
        let (mut memory, mut now) = (ready(), 1_700_000_000_000i64);
        let mut estimates = HashMap::new();
        for (step, stepped) in steps {
            now += stepped;
            match step {
                Step::Wait { ms } => now += ms,
                Step::Admit { id, who, tokens, nano, lives_ms } => {
                    // Whose estimates are true, and who settle in time.
                    let asked = reservation(id, 1 + who % 2, tokens, nano, now + lives_ms + 100_000_000);
                    if memory.admit(&asked, now).expect("ready").done == Done::Taken {
                        estimates.insert(id, (1 + who % 2, nano));
                    }
                }
                Step::Settle { id, tokens, cached, nano, .. } => {
                    if let Some((who, estimate)) = estimates.remove(&id) {
                        memory.settle(&settlement(id, who, tokens, cached, nano.min(estimate)), now);
                    }
                }
                Step::Release { id } => {
                    // What was not published costs nothing.
                    estimates.remove(&id);
                    memory.release(Uuid::from_u128(id), now);
                }
            }
            for (dimension, ceiling) in [("all", 5_000), ("own:1", 2_000), ("own:2", 2_000)] {
                let spent = memory.ledger.spent(&format!("{dimension}@total"));
                prop_assert!(spent + memory.reserved.get(dimension).copied().unwrap_or(0) <= ceiling);
            }
        }
        memory.expire(i64::MAX);
        prop_assert!(memory.held.is_empty() && memory.reserved.is_empty() && memory.open.is_empty());
        memory.sweep(usize::MAX, now + 1_000 * 86_400_000);
        prop_assert!(memory.meters.is_empty() && memory.meter_order.is_empty());
    }

    #[test]
    fn a_store_restored_from_a_snapshot_decides_as_the_one_it_was_taken_of(
        steps in prop::collection::vec(step(), 1..120), then in prop::collection::vec(step(), 1..60),
    ) {
        let (mut memory, mut now) = (ready(), 1_700_000_000_000i64);
        run(&mut memory, &steps, &mut now);
        // The windows of a minute are not kept: let them pass.
        now += 130_000;
        let json = serde_json::to_string(&memory.snapshot(now)).expect("JSON");
        let mut restored = Memory::default();
        restored.restore(&serde_json::from_str(&json).expect("the same"), now);
        prop_assert!(restored.admit(&reservation(99, 0, 1, 1, now + 1), now).is_err(), "not ready");
        restored.set_ready();
        let (mut one, mut other) = (now, now);
        prop_assert_eq!(run(&mut memory, &then, &mut one), run(&mut restored, &then, &mut other));
    }
}

#[test]
fn thresholds_are_told_once() {
    let mut memory = ready();
    let watch = |part: u64| Watch {
        counter: "own:0@total".into(),
        at_nano: part,
        mark: format!("b@{part}"),
        drop_ms: i64::MAX,
        alert: None,
    };
    for (id, told) in [(1, 0), (2, 1), (3, 1), (4, 0)] {
        let mut settlement = settlement(id, 0, 0, 0, 400);
        settlement.watches = vec![watch(800), watch(1_000)];
        let before = memory.ledger.marks.len();
        memory.settle(&settlement, 0);
        assert_eq!(memory.ledger.marks.len() - before, told, "settlement {id}");
    }
}
