//! Who is let in, who queues, and who is turned away.

use super::*;
use proptest::prelude::*;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

const MIB: usize = 1 << 20;

type Entering = Pin<Box<dyn Future<Output = Result<Permit, Full>>>>;

fn poll_whole(entering: &mut Entering) -> Poll<Result<Permit, Full>> {
    entering.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn poll(entering: &mut Entering) -> Option<Permit> {
    match poll_whole(entering) {
        Poll::Ready(permit) => Some(permit.expect("the queue is short")),
        Poll::Pending => None,
    }
}

fn entering(gate: &Gate, lane: Lane) -> Entering {
    entering_with(gate, lane, 1)
}

fn entering_with(gate: &Gate, lane: Lane, bytes: usize) -> Entering {
    let gate = gate.clone();
    Box::pin(async move { gate.enter(lane, bytes).await })
}

#[test]
fn a_flood_on_one_lane_does_not_hold_up_another() {
    let gate = Gate::new(1);
    let held = poll(&mut entering(&gate, Lane::Interactive)).expect("free");
    let mut batch: Vec<Entering> = (0..100).map(|_| entering(&gate, Lane::Batch)).collect();
    assert!(batch.iter_mut().all(|call| poll(call).is_none()));
    let mut late = entering(&gate, Lane::Interactive);
    assert!(poll(&mut late).is_none());
    drop(held);
    assert!(poll(&mut late).is_some(), "the interactive call came last and goes first");
}

#[test]
fn every_lane_gets_its_share_and_nothing_is_lost() {
    let gate = Gate::new(1);
    let mut held = poll(&mut entering(&gate, Lane::Interactive));
    let mut waiting: Vec<(Lane, Entering)> =
        (0..39).map(|i| Lane::ALL[i % 3]).map(|lane| (lane, entering(&gate, lane))).collect();
    waiting.iter_mut().for_each(|(_, call)| assert!(poll(call).is_none()));
    let mut served = Vec::new();
    while !waiting.is_empty() {
        drop(held.take());
        let at = waiting.iter_mut().position(|(_, call)| {
            held = poll(call);
            held.is_some()
        });
        served.push(waiting.swap_remove(at.expect("someone is let in")).0);
    }
    let first: Vec<_> = served.iter().take(13).collect();
    assert_eq!(
        [Lane::Interactive, Lane::Batch, Lane::Judge].map(|l| first.iter().filter(|s| ***s == l).count()),
        [8, 1, 4]
    );
}

#[test]
fn giving_up_while_waiting_leaves_no_hole() {
    let gate = Gate::new(1);
    let held = poll(&mut entering(&gate, Lane::Batch)).expect("free");
    let (mut first, mut second) = (entering(&gate, Lane::Batch), entering(&gate, Lane::Batch));
    assert!(poll(&mut first).is_none() && poll(&mut second).is_none());
    drop(held);
    drop(first);
    assert!(poll(&mut second).is_some());
    assert!(poll(&mut entering(&gate, Lane::Judge)).is_some());
}

#[test]
fn a_queue_is_bounded_and_those_who_gave_up_take_no_room_in_it() {
    let gate = Gate::new(1);
    let held = poll(&mut entering(&gate, Lane::Interactive)).expect("free");
    let mut queue: Vec<Entering> = (0..QUEUED_MAX).map(|_| entering(&gate, Lane::Interactive)).collect();
    assert!(queue.iter_mut().all(|call| poll(call).is_none()));
    let is_full = |call: &mut Entering| matches!(poll_whole(call), Poll::Ready(Err(Full)));
    assert!(is_full(&mut entering(&gate, Lane::Interactive)));
    assert!(poll(&mut entering(&gate, Lane::Judge)).is_none(), "each lane has its own queue");
    // From the middle, where nothing else would look.
    drop(queue.remove(QUEUED_MAX / 2));
    let mut late = entering(&gate, Lane::Interactive);
    assert!(poll(&mut late).is_none());
    queue.push(late);
    assert!(is_full(&mut entering(&gate, Lane::Interactive)));
    assert!(gate.try_enter(Lane::Interactive, 1).is_none());
    drop(held);
    assert!(gate.try_enter(Lane::Interactive, 1).is_none(), "whoever queues goes first");
    for mut call in queue {
        drop(poll(&mut call).expect("in order"));
    }
    assert!(gate.try_enter(Lane::Interactive, 1).is_some());
    assert!(gate.state().waiting.iter().all(|queue| queue.len() <= QUEUED_MAX));
}

#[test]
fn bulk_work_leaves_an_eighth_of_the_places() {
    let gate = Gate::new(8);
    let mut batch: Vec<Option<Permit>> = (0..8).map(|_| poll(&mut entering(&gate, Lane::Batch))).collect();
    assert_eq!(batch.iter().flatten().count(), 7);
    let interactive = poll(&mut entering(&gate, Lane::Interactive));
    assert!(interactive.is_some());
    batch.clear();
}

#[test]
fn a_lane_has_a_part_of_its_bytes_under_way_and_another_lane_its_own() {
    let gate = Gate::new(256);
    let enter = |lane, bytes| poll(&mut entering_with(&gate, lane, bytes));
    let called: Vec<Permit> = (0..256).map_while(|_| gate.try_enter(Lane::Batch, MIB)).collect();
    assert_eq!(called.len() * MIB, CALLED_BYTES_MAX);
    assert!(enter(Lane::Interactive, 2 * CALLED_BYTES_MAX).is_some(), "its lane's only one, however large");
    let mut queue: Vec<Entering> = (0..7).map(|_| entering_with(&gate, Lane::Batch, MIB)).collect();
    let turned_away = queue.iter_mut().filter_map(|call| match poll_whole(call) {
        Poll::Ready(entered) => Some(entered.err()),
        Poll::Pending => None,
    });
    assert_eq!(turned_away.collect::<Vec<_>>(), [Some(Full)]);
    drop(called);
    assert!(queue[..6].iter_mut().all(|call| poll(call).is_some()));
}

#[test]
fn a_large_call_that_gives_up_lets_in_those_behind_it() {
    let gate = Gate::new(256);
    let held = poll(&mut entering_with(&gate, Lane::Batch, CALLED_BYTES_MAX - MIB)).expect("free");
    let (mut large, mut small) = (entering_with(&gate, Lane::Batch, 3 * MIB), entering_with(&gate, Lane::Batch, MIB));
    assert!(poll(&mut large).is_none() && poll(&mut small).is_none(), "in order");
    drop(large);
    assert!(poll(&mut small).is_some());
    drop(held);
}

/// What may happen at a gate; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Enter(Lane, usize),
    Leave(usize),
    GiveUp(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop::sample::select(Lane::ALL.to_vec());
    let bytes = prop_oneof![1..1000usize, MIB..9 * MIB, Just(2 * LANE_BYTES_MAX)];
    prop_oneof![
        3 => (lane, bytes).prop_map(|(lane, bytes)| Step::Enter(lane, bytes)),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::GiveUp),
    ]
}

/// A gate, its calls under way and those that queue, in order.
struct World {
    gate: Gate,
    places: usize,
    called: Vec<(Lane, usize, Permit)>,
    queued: Vec<(Lane, usize, Entering)>,
}

impl World {
    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Enter(lane, bytes) => {
                let mut call = entering_with(&self.gate, lane, bytes);
                match poll_whole(&mut call) {
                    Poll::Ready(Ok(permit)) => self.called.push((lane, bytes, permit)),
                    Poll::Pending => self.queued.push((lane, bytes, call)),
                    Poll::Ready(Err(Full)) => {
                        let (_, called) = self.called_of(lane);
                        let queued: usize = self.queued_of(lane).iter().sum();
                        prop_assert!(!self.has_room(lane, bytes) || !self.queued_of(lane).is_empty());
                        prop_assert!(called + queued + bytes > HELD_BYTES_MAX, "the queues are never that long here");
                    }
                }
            }
            Step::Leave(at) if !self.called.is_empty() => drop(self.called.remove(at % self.called.len())),
            Step::GiveUp(at) if !self.queued.is_empty() => drop(self.queued.remove(at % self.queued.len())),
            Step::Leave(_) | Step::GiveUp(_) => {}
        }
        for (lane, bytes, mut call) in std::mem::take(&mut self.queued) {
            match poll(&mut call) {
                Some(permit) => {
                    prop_assert!(self.queued_of(lane).is_empty(), "nobody overtakes within a lane");
                    self.called.push((lane, bytes, permit));
                }
                None => self.queued.push((lane, bytes, call)),
            }
        }
        Ok(())
    }

    /// Calls of a lane under way, and their bytes.
    fn called_of(&self, lane: Lane) -> (usize, usize) {
        let of_lane = || self.called.iter().filter(|call| call.0 == lane);
        (of_lane().count(), of_lane().map(|call| call.1).sum())
    }

    /// The bytes of each call of a lane that queues.
    fn queued_of(&self, lane: Lane) -> Vec<usize> {
        self.queued.iter().filter(|call| call.0 == lane).map(|call| call.1).collect()
    }

    fn has_room(&self, lane: Lane, bytes: usize) -> bool {
        let (calls, called) = self.called_of(lane);
        let batch_max = (self.places - self.places / 8).max(1);
        self.called.len() < self.places
            && (lane != Lane::Batch || calls < batch_max)
            && (calls == 0 || called + bytes <= CALLED_BYTES_MAX)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.called.len() <= self.places);
        for lane in Lane::ALL {
            let ((calls, called), queued) = (self.called_of(lane), self.queued_of(lane));
            prop_assert!(called <= CALLED_BYTES_MAX || calls == 1, "{calls} calls with {called} bytes");
            let Some(first) = queued.first() else { continue };
            prop_assert!(!self.has_room(lane, *first), "it waits for nothing");
            prop_assert!(called + queued.iter().sum::<usize>() <= HELD_BYTES_MAX);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn places_and_bytes_keep_to_their_bounds_and_nobody_waits_for_nothing(
        places in 1..24usize,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World { gate: Gate::new(places), places, called: Vec::new(), queued: Vec::new() };
        for step in steps {
            world.take(step)?;
            world.check()?;
        }
        world.queued.clear();
        world.called.clear();
        let state = world.gate.state();
        prop_assert_eq!((state.free, state.batch_left), (places, (places - places / 8).max(1)));
        prop_assert_eq!(state.called, [0; 3]);
    }
}
