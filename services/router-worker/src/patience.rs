//! How long one request waits in place, and whether it may.
//!
//! A request of the batch lane that waits in place takes a slot of its partition's tracker, through which those for every other
//! provider pass. So few of them may at the same time: whoever waits for more than a moment, for whatever, takes one of the
//! process's places or is parked. Somebody who waits for the answer cannot be parked, and needs no place.

use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// So many requests of the batch lane wait in place at the same time; the others are parked at once, so that those who wait for
/// one provider never fill the trackers that those for another pass through. Together with a provider's calls under way
/// (`concurrency`, 256) it is less than half of what a lane's consumer takes in of one partition, so intake goes on.
pub(crate) const WAITING_IN_PLACE_MAX: usize = 500;
/// A place is for so many bytes of a request's body; a larger one takes several, for the consumer's bytes are bounded too.
const PLACE_BYTES: usize = 32 << 10;
/// Longest wait of a request for circuits and throttles, in place and all in all. Whoever must wait longer and can is parked.
const IN_PLACE_MAX: Duration = Duration::from_secs(5);
/// Pauses that add up to no more than this need no place.
const SHORT_MAX: Duration = Duration::from_millis(500);

/// The patience of one execution.
pub(crate) struct Patience<'a> {
    /// `None`: it cannot be parked.
    places: Option<&'a Semaphore>,
    /// How many it takes.
    size: u32,
    place: Option<SemaphorePermit<'a>>,
    left: Duration,
    short_left: Duration,
}

impl<'a> Patience<'a> {
    /// Of a request that may be parked, if `is_patient`, and whose body has so many bytes.
    pub(crate) fn new(places: &'a Semaphore, is_patient: bool, bytes: usize) -> Self {
        let size = bytes.div_ceil(PLACE_BYTES).clamp(1, WAITING_IN_PLACE_MAX);
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        Self { places: is_patient.then_some(places), size, place: None, left: IN_PLACE_MAX, short_left: SHORT_MAX }
    }

    /// How long it may still pause in place.
    pub(crate) fn left(&self) -> Duration {
        self.left
    }

    /// Whether it may pause for so long, which counts as done.
    pub(crate) fn may_pause(&mut self, wait: Duration) -> bool {
        let is_short = wait <= self.short_left;
        if !is_short && !self.may_wait() {
            return false;
        }
        self.short_left = self.short_left.saturating_sub(wait);
        self.left = self.left.saturating_sub(wait);
        true
    }

    /// Whether it may wait for an unknown time: it has a place, gets one, or needs none.
    pub(crate) fn may_wait(&mut self) -> bool {
        if let (Some(places), None) = (self.places, &self.place) {
            self.place = places.try_acquire_many(self.size).ok();
        }
        self.places.is_none() || self.place.is_some()
    }

    /// It does not wait at present: it works.
    pub(crate) fn rests(&mut self) {
        self.place = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pauses_need_no_place_until_they_add_up() {
        let places = Semaphore::new(1);
        let (mut first, mut second) = (Patience::new(&places, true, 0), Patience::new(&places, true, 0));
        for _ in 0..5 {
            assert!(first.may_pause(SHORT_MAX / 5) && second.may_pause(SHORT_MAX / 5));
        }
        assert_eq!(places.available_permits(), 1);
        assert!(first.may_pause(SHORT_MAX / 5));
        assert!(!second.may_pause(SHORT_MAX / 5) && !second.may_wait());
        assert!(first.may_wait() && first.may_pause(SHORT_MAX));
        first.rests();
        assert!(second.may_wait());
        assert_eq!(first.left(), IN_PLACE_MAX - SHORT_MAX * 2 - SHORT_MAX / 5);
        let mut caller = Patience::new(&places, false, 0);
        assert!(caller.may_wait() && caller.may_pause(SHORT_MAX * 4));
    }

    #[test]
    fn a_large_request_takes_several_places() {
        let places = Semaphore::new(WAITING_IN_PLACE_MAX);
        let mut large = Patience::new(&places, true, 3 * PLACE_BYTES + 1);
        assert!(large.may_wait() && large.may_wait());
        assert_eq!(places.available_permits(), WAITING_IN_PLACE_MAX - 4);
        let mut huge = Patience::new(&places, true, usize::MAX);
        assert!(!huge.may_wait());
        large.rests();
        assert!(huge.may_wait() && places.available_permits() == 0);
    }
}
