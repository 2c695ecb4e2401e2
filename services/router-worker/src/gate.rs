//! A bound on concurrent calls, and on the bytes of their requests, that is fair between lanes.
//!
//! Waiting calls queue per lane; a free place goes to the lanes in turn, by weight, so that a flood on one lane does not
//! hold up the others. The batch lane never takes the last eighth of the places, so a waiting caller seldom finds all of
//! them taken by bulk work that runs for minutes. Each queue is bounded, and so are each lane's bytes, under way and in the
//! queue: behind a provider that answers nothing there would else be room for every request of a lane, and none for those
//! that somebody else would answer.

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
/// Bytes of requests that a lane's consumer takes in before it pauses; it goes on when half of them are left. They are
/// counted as the consumer counts a record: of a body that is stored beside the log, its claim check.
pub(crate) const LANE_BYTES_MAX: usize = 64 << 20;
/// Those of a lane's calls under way at one gate, which is full for that lane then. Its only call may have more.
pub(crate) const CALLED_BYTES_MAX: usize = LANE_BYTES_MAX / 8 * 3;
/// Those and the bytes of the calls that queue for a place. Less than half, so intake goes on although a provider and
/// its queue are full.
const HELD_BYTES_MAX: usize = LANE_BYTES_MAX / 32 * 15;

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
    /// Bytes of the requests with a call under way, by lane.
    called: [usize; 3],
    credit: [i64; 3],
    waiting: [VecDeque<Waiting>; 3],
}

/// A call that queues.
#[derive(Debug)]
struct Waiting {
    sender: oneshot::Sender<()>,
    bytes: usize,
}

/// As many calls queue at the gate as may, or as many of their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Gate,
    lane: Lane,
    bytes: usize,
}

impl Gate {
    /// A gate with this many places, at least one.
    pub(crate) fn new(places: usize) -> Self {
        let places = places.max(1);
        let batch_left = (places - places / 8).max(1);
        let state = State { free: places, batch_left, called: [0; 3], credit: [0; 3], waiting: Default::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A place for a request of so many bytes that is free now and that nobody queues for.
    pub(crate) fn try_enter(&self, lane: Lane, bytes: usize) -> Option<Permit> {
        let mut state = self.state();
        let is_free = state.first(lane).is_none() && state.has_place(lane, bytes);
        is_free.then(|| {
            state.take(lane, bytes);
            Permit { gate: self.clone(), lane, bytes }
        })
    }

    /// Waits for a place for a request of so many bytes, unless too many calls do, or too large ones. A call that is
    /// dropped while waiting takes none.
    pub(crate) async fn enter(&self, lane: Lane, bytes: usize) -> Result<Permit, Full> {
        if let Some(permit) = self.try_enter(lane, bytes) {
            return Ok(permit);
        }
        let mut waiter = {
            let mut state = self.state();
            if !state.may_queue(lane, bytes) {
                return Err(Full);
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting[lane as usize].push_back(Waiting { sender, bytes });
            // A place may have become free since it was asked for.
            state.admit();
            Waiter { gate: self, lane, bytes, receiver }
        };
        // The sender is dropped only together with the gate, which this call borrows. Once the place is received, the
        // waiter's own drop finds nothing to give back.
        let _ = (&mut waiter.receiver).await;
        Ok(Permit { gate: self.clone(), lane, bytes })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, lane: Lane, bytes: usize) {
        let mut state = self.state();
        state.free += 1;
        state.called[lane as usize] -= bytes;
        if lane == Lane::Batch {
            state.batch_left += 1;
        }
        state.admit();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(self.lane, self.bytes);
    }
}

struct Waiter<'a> {
    gate: &'a Gate,
    lane: Lane,
    bytes: usize,
    receiver: oneshot::Receiver<()>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if self.receiver.try_recv().is_ok() {
            // A place that was given in the moment of giving up goes back.
            self.gate.leave(self.lane, self.bytes);
        } else {
            // There may be bytes enough for who stood behind it.
            self.gate.state().admit();
        }
    }
}

impl State {
    /// The bytes of the first call of the lane that waits. Those before it that gave up leave the queue.
    fn first(&mut self, lane: Lane) -> Option<usize> {
        let queue = &mut self.waiting[lane as usize];
        while queue.pop_front_if(|call| call.sender.is_closed()).is_some() {}
        queue.front().map(|call| call.bytes)
    }

    /// Whether a request of so many bytes may queue. All that gave up leave the queue, for behind a gate that nobody
    /// leaves they would pile up.
    fn may_queue(&mut self, lane: Lane, bytes: usize) -> bool {
        let queue = &mut self.waiting[lane as usize];
        queue.retain(|call| !call.sender.is_closed());
        let queued: usize = queue.iter().map(|call| call.bytes).sum();
        queue.len() < queued_max(lane) && self.called[lane as usize] + queued + bytes <= HELD_BYTES_MAX
    }

    fn has_place(&self, lane: Lane, bytes: usize) -> bool {
        let called = self.called[lane as usize];
        let is_small = called == 0 || called + bytes <= CALLED_BYTES_MAX;
        self.free > 0 && is_small && (lane != Lane::Batch || self.batch_left > 0)
    }

    fn take(&mut self, lane: Lane, bytes: usize) {
        self.free -= 1;
        self.called[lane as usize] += bytes;
        if lane == Lane::Batch {
            self.batch_left -= 1;
        }
    }

    /// Gives free places to those who wait.
    fn admit(&mut self) {
        while let Some(lane) = self.turn() {
            // One that gives up in this moment has had its turn.
            if let Some(call) = self.waiting[lane as usize].pop_front()
                && call.sender.send(()).is_ok()
            {
                self.take(lane, call.bytes);
            }
        }
    }

    /// Whose turn it is: smooth weighted round robin over the lanes that wait and may enter.
    fn turn(&mut self) -> Option<Lane> {
        let ready = Lane::ALL.map(|lane| self.first(lane).is_some_and(|bytes| self.has_place(lane, bytes)));
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
mod tests;
