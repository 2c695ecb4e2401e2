//! Messages that a client could cause without end: one goes to the log every ten seconds, with a count of those like it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(10);

/// One kind of message.
#[derive(Default)]
pub(crate) struct Seldom {
    last: Cell<Option<Instant>>,
    held_back: Cell<u64>,
}

impl Seldom {
    /// Whether to log now: how many were not since the last.
    pub(crate) fn pass(&self) -> Option<u64> {
        if self.last.get().is_some_and(|last| last.elapsed() < EVERY) {
            self.held_back.set(self.held_back.get() + 1);
            return None;
        }
        self.last.set(Some(Instant::now()));
        Some(self.held_back.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_passes_and_the_next_wait() {
        let seldom = Seldom::default();
        assert_eq!(seldom.pass(), Some(0));
        assert_eq!((seldom.pass(), seldom.pass()), (None, None));
        seldom.last.set(Instant::now().checked_sub(EVERY));
        assert_eq!(seldom.pass(), Some(2));
    }
}
