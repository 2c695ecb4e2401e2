//! How busy a destination is and how fast it answered lately, as this process has seen it.
//!
//! A pure state over the times it is told, behind a lock. Deliberately absent: what other replicas have seen (each measures by
//! itself; what must be shared, that a destination is down, is `health`'s).

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// The share of the newest call in the moving average: about the last ten count.
const SHARE: f64 = 0.2;
/// A measure older than this says nothing any more, so that a destination that was slow once gets another chance.
const FRESH: Duration = Duration::from_secs(120);

/// What is measured: a stream is as fast as its first content, another call as its whole answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Until the first content of a stream.
    FirstContent,
    /// Until the whole answer.
    Whole,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    mean_ms: f64,
    at: Instant,
}

/// The calls of a destination.
#[derive(Debug, Default)]
pub(crate) struct Load {
    under_way: AtomicUsize,
    measured: Mutex<[Option<Measured>; 2]>,
}

/// A call under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a Load);

impl Load {
    /// Counts a call.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// How many calls are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Takes how long a call took.
    pub(crate) fn took(&self, pace: Pace, time: Duration, now: Instant) {
        let ms = time.as_secs_f64() * 1000.0;
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut measured[pace as usize];
        let before = slot.filter(|measured| now.saturating_duration_since(measured.at) < FRESH);
        let mean_ms = before.map_or(ms, |before| before.mean_ms + SHARE * (ms - before.mean_ms));
        *slot = Some(Measured { mean_ms, at: now });
    }

    /// The moving average in milliseconds. `None`: nothing is known.
    pub(crate) fn mean_ms(&self, pace: Pace, now: Instant) -> Option<f64> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner)[pace as usize];
        measured.filter(|measured| now.saturating_duration_since(measured.at) < FRESH).map(|measured| measured.mean_ms)
    }

    /// What `routing: fastest` goes by. Nothing known: the first one to ask finds out, and everybody else goes elsewhere until then.
    pub(crate) fn slowness(&self, pace: Pace, now: Instant) -> f64 {
        match self.mean_ms(pace, now) {
            Some(mean_ms) => mean_ms,
            None if self.under_way() == 0 => 0.0,
            None => f64::INFINITY,
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_moves_with_the_calls_and_is_forgotten() {
        let (load, now) = (Load::default(), Instant::now());
        let ms = Duration::from_millis;
        assert_eq!(load.mean_ms(Pace::Whole, now), None);
        load.took(Pace::Whole, ms(100), now);
        load.took(Pace::Whole, ms(200), now);
        assert_eq!(load.mean_ms(Pace::Whole, now), Some(120.0));
        assert_eq!(load.mean_ms(Pace::FirstContent, now), None);
        assert_eq!(load.mean_ms(Pace::Whole, now + FRESH), None);
        load.took(Pace::Whole, ms(300), now + FRESH);
        assert_eq!(load.mean_ms(Pace::Whole, now + FRESH), Some(300.0), "what is forgotten does not count");
    }

    #[test]
    fn one_call_finds_out_about_an_unknown_destination() {
        let (load, now) = (Load::default(), Instant::now());
        assert_eq!(load.slowness(Pace::Whole, now), 0.0);
        let call = load.begin();
        assert_eq!((load.under_way(), load.slowness(Pace::Whole, now)), (1, f64::INFINITY));
        drop(call);
        assert_eq!(load.slowness(Pace::Whole, now), 0.0);
    }
}
