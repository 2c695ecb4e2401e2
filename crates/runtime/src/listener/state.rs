//! What is known of one connection, shared by those who read from it and those who answer.

use super::framing::Refusal;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

pub(super) struct Connection {
    /// Requests whose heads were read on.
    passed: AtomicUsize,
    /// Requests that were begun to be answered.
    called: AtomicUsize,
    /// Requests that are being answered.
    answering: AtomicUsize,
    /// The connection ends with the next answer.
    closing: AtomicBool,
    refused: Mutex<Option<(usize, Refusal)>>,
    idle_since: Mutex<Instant>,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            passed: AtomicUsize::new(0),
            called: AtomicUsize::new(0),
            answering: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
            refused: Mutex::new(None),
            idle_since: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn passed(&self, heads: usize) {
        self.passed.fetch_add(heads, Ordering::AcqRel);
    }

    /// The next request is refused, and is the last.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let next = self.passed.load(Ordering::Acquire);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((next, refusal));
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Acquire) > 0
    }

    /// A request begins; the refusal if it only stands for one that was not taken.
    pub(super) fn begin(&self) -> Option<Refusal> {
        self.answering.fetch_add(1, Ordering::AcqRel);
        let index = self.called.fetch_add(1, Ordering::AcqRel);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.filter(|(at, _)| *at == index).map(|(_, refusal)| refusal)
    }

    pub(super) fn end(&self) {
        self.answering.fetch_sub(1, Ordering::AcqRel);
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long nothing has been answered.
    pub(super) fn idle(&self) -> Duration {
        if self.is_answering() {
            return Duration::ZERO;
        }
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
