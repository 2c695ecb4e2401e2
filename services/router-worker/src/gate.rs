//! A bound on concurrent calls that is fair between lanes.
//!
//! Waiting calls queue per lane; a free place goes to the lanes in turn, by weight, so that a flood on one lane does not
//! hold up the others. The batch lane never takes the last eighth of the places, so a waiting caller seldom finds all of
//! them taken by bulk work that runs for minutes. Each queue is bounded: behind a provider that answers nothing there would
//! else be room for every request of a lane, and none for those that somebody else would answer.

use crate::patience::WAITING_IN_PLACE_MAX;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;
use tollgate_schemas::Lane;

/// Turns per round, by lane in the order of [`Lane::ALL`]: interactive, batch, judge. A judge's request is a part of a
/// request that somebody waits for, so it comes close to that.
const WEIGHTS: [i64; 3] = [8, 1, 4];
/// Calls that queue at one gate, of a lane in which somebody waits; more are turned away at once. Together with as many calls under
/// way (`concurrency`, 256) it is about half of what a lane's consumer takes in of one partition before it pauses.
pub(crate) const QUEUED_MAX: usize = 256;

/// Those of the batch lane need places to wait, of which there are no more.
fn queued_max(lane: Lane) -> usize {
    if lane == Lane::Batch { WAITING_IN_PLACE_MAX } else { QUEUED_MAX }
}

/// The bound. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    batch_left: usize,
    credit: [i64; 3],
    waiting: [VecDeque<oneshot::Sender<()>>; 3],
}

/// As many calls queue at the gate as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Gate,
    lane: Lane,
}

impl Gate {
    /// A gate with this many places, at least one.
    pub(crate) fn new(places: usize) -> Self {
        let places = places.max(1);
        let batch_left = (places - places / 8).max(1);
        Self(Arc::new(Mutex::new(State { free: places, batch_left, credit: [0; 3], waiting: Default::default() })))
    }

    /// A place that is free now and that nobody queues for.
    pub(crate) fn try_enter(&self, lane: Lane) -> Option<Permit> {
        let mut state = self.state();
        let is_free = state.queued(lane) == 0 && state.has_place(lane);
        is_free.then(|| {
            state.take(lane);
            Permit { gate: self.clone(), lane }
        })
    }

    /// Waits for a place, unless too many do. A call that is dropped while waiting takes none.
    pub(crate) async fn enter(&self, lane: Lane) -> Result<Permit, Full> {
        if let Some(permit) = self.try_enter(lane) {
            return Ok(permit);
        }
        let mut waiter = {
            let mut state = self.state();
            if state.queued(lane) >= queued_max(lane) {
                return Err(Full);
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting[lane as usize].push_back(sender);
            // A place may have become free since it was asked for.
            state.admit();
            Waiter { gate: self, lane, receiver }
        };
        // The sender is dropped only together with the gate, which this call borrows. Once the place is received, the
        // waiter's own drop finds nothing to give back.
        let _ = (&mut waiter.receiver).await;
        Ok(Permit { gate: self.clone(), lane })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, lane: Lane) {
        let mut state = self.state();
        state.free += 1;
        if lane == Lane::Batch {
            state.batch_left += 1;
        }
        state.admit();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(self.lane);
    }
}

struct Waiter<'a> {
    gate: &'a Gate,
    lane: Lane,
    receiver: oneshot::Receiver<()>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        // A place that was given in the moment of giving up goes back.
        if self.receiver.try_recv().is_ok() {
            self.gate.leave(self.lane);
        }
    }
}

impl State {
    /// How many calls of the lane wait. Those that gave up leave the queue here at the latest, for behind a gate that nobody
    /// leaves they would pile up.
    fn queued(&mut self, lane: Lane) -> usize {
        let queue = &mut self.waiting[lane as usize];
        while queue.front().is_some_and(oneshot::Sender::is_closed) {
            queue.pop_front();
        }
        if queue.len() >= queued_max(lane) {
            queue.retain(|sender| !sender.is_closed());
        }
        queue.len()
    }

    fn has_place(&self, lane: Lane) -> bool {
        self.free > 0 && (lane != Lane::Batch || self.batch_left > 0)
    }

    fn take(&mut self, lane: Lane) {
        self.free -= 1;
        if lane == Lane::Batch {
            self.batch_left -= 1;
        }
    }

    /// Gives free places to those who wait.
    fn admit(&mut self) {
        while let Some(lane) = self.turn() {
            while let Some(sender) = self.waiting[lane as usize].pop_front() {
                if sender.send(()).is_ok() {
                    self.take(lane);
                    break;
                }
            }
        }
    }

    /// Whose turn it is: smooth weighted round robin over the lanes that wait and may enter.
    fn turn(&mut self) -> Option<Lane> {
        let ready = Lane::ALL.map(|lane| !self.waiting[lane as usize].is_empty() && self.has_place(lane));
        let total: i64 = WEIGHTS.iter().zip(ready).filter(|(_, ready)| *ready).map(|(weight, _)| weight).sum();
        let mut best: Option<Lane> = None;
        for lane in Lane::ALL.into_iter().filter(|lane| ready[*lane as usize]) {
            self.credit[lane as usize] += WEIGHTS[lane as usize];
            if best.is_none_or(|best| self.credit[lane as usize] > self.credit[best as usize]) {
                best = Some(lane);
            }
        }
        if let Some(best) = best {
            self.credit[best as usize] -= total;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

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
        let gate = gate.clone();
        Box::pin(async move { gate.enter(lane).await })
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
        assert!(gate.try_enter(Lane::Interactive).is_none());
        drop(held);
        assert!(gate.try_enter(Lane::Interactive).is_none(), "whoever queues goes first");
        for mut call in queue {
            drop(poll(&mut call).expect("in order"));
        }
        assert!(gate.try_enter(Lane::Interactive).is_some());
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
}
