//! One record: what a service does with it, what that causes, and when all of it is acknowledged.

use crate::{
    DeadLetter, Emitter, Error, Incoming, Outgoing,
    producer::{CountedAck, OnAck},
    record::FromRecord,
    trace,
};
use futures::FutureExt;
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};
use tracing::Instrument;

/// What handling a record led to. Everything in it is acknowledged before the record's offset is committed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records to produce.
    pub emit: Vec<Outgoing>,
    /// The record cannot be processed, now or ever: it goes to `dead-letters` with its original bytes.
    pub dead_letter: Option<DeadLetter>,
    is_handed_back: bool,
    held: Option<Box<dyn Any + Send>>,
}

impl Outcome {
    /// These records, nothing else.
    pub fn emit(emit: Vec<Outgoing>) -> Self {
        Self { emit, ..Self::default() }
    }

    /// The record is poison.
    pub fn dead(reason: DeadLetter) -> Self {
        Self { dead_letter: Some(reason), ..Self::default() }
    }

    /// Keeps something until everything is acknowledged, and drops it then: a guard that says who is at work.
    pub fn holding(self, guard: impl Send + 'static) -> Self {
        Self { held: Some(Box::new(guard)), ..self }
    }

    /// Nothing was done: the partition is leaving ([`Emitter::leaving`]), and whoever reads it next gets the record again.
    pub fn hand_back() -> Self {
        Self { is_handed_back: true, ..Self::default() }
    }
}

/// What a service does with a record.
pub trait Handler<T>: Send + Sync + 'static {
    /// Handles one record. `emitter` sends what must not wait for the outcome (chunks of a stream).
    fn handle(&self, record: Incoming<T>, emitter: Emitter) -> impl Future<Output = Outcome> + Send;

    /// What else a record that goes to `dead-letters` causes, because it does not parse, its handler panicked, or the outcome
    /// says so: the end of the request that it stood for, so that nobody waits for it. Must not panic.
    fn poisoned(&self, record: &Incoming<Vec<u8>>, reason: &DeadLetter) -> Vec<Outgoing> {
        let (_, _) = (record, reason);
        Vec::new()
    }
}

/// Topic and partition, the assignment's epoch, offset.
pub(super) type Place = ((Arc<str>, i32), u64, i64);

/// How a record's handling ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Everything that it caused is acknowledged.
    Done,
    /// It is left to the partition's next reader.
    HandedBack,
}

/// A record whose handling ended and whose effects are acknowledged, or failed.
pub(super) struct Completed {
    pub(super) place: Place,
    pub(super) result: Result<End, Error>,
}

/// Handles a record, sends what it led to, and tells its [`Work`].
pub(super) async fn handle_one<T: FromRecord, H: Handler<T>>(
    handler: Arc<H>,
    record: Incoming<Vec<u8>>,
    group: String,
    emitter: Emitter,
    work: Arc<Work>,
) {
    let (span, here) = trace::process_span(&record, &group);
    async {
        let poison = |reason: DeadLetter| reason.record(&record, &group, &here);
        let outcome = match T::from_record(&record.value) {
            Ok(value) => {
                let mut typed = record.clone_without_value().with(value);
                typed.trace = here.clone();
                let handled = AssertUnwindSafe(handler.handle(typed, emitter.clone())).catch_unwind().await;
                handled.unwrap_or_else(|_| Outcome::dead(DeadLetter::new("panic", "the handler panicked on this record; see the log")))
            }
            Err(error) => Outcome::dead(DeadLetter::new("parse", error)),
        };
        if outcome.is_handed_back {
            work.is_handed_back.store(true, Ordering::Release);
        }
        if let Ok(mut held) = work.held.lock() {
            *held = outcome.held;
        }
        let mut dead_letter = outcome.dead_letter;
        for out in outcome.emit {
            if let Err(error) = emitter.send(out).await {
                tracing::error!(%error, topic = record.topic, partition = record.partition, offset = record.offset, "an effect of this record could not be produced");
                if let Error::TooLarge { .. } = error {
                    dead_letter.get_or_insert_with(|| DeadLetter::new("produce", error.to_string()));
                }
            }
        }
        if let Some(reason) = dead_letter {
            tracing::error!(topic = record.topic, partition = record.partition, offset = record.offset, reason = %reason, "record moved to dead-letters");
            metrics::counter!("tollgate_dead_letters_total", "group" => group.clone()).increment(1);
            let ends = handler.poisoned(&record, &reason);
            for out in ends.into_iter().chain([poison(reason)]) {
                // What could not be acknowledged is counted by the emitter, and stops the consumer.
                let _ = emitter.send(out).await;
            }
        }
    }
    .instrument(span)
    .await;
    work.acknowledged(Ok(()));
}

/// Counts what one record still waits for: its handler and each record it caused.
pub(super) struct Work {
    open: AtomicUsize,
    failure: Mutex<Option<Error>>,
    is_handed_back: AtomicBool,
    held: Mutex<Option<Box<dyn Any + Send>>>,
    done: mpsc::Sender<Completed>,
    place: Place,
    bytes: usize,
    /// Of all records in flight.
    total: Arc<AtomicUsize>,
}

impl Work {
    /// The work of a record of so many bytes.
    pub(super) fn new(place: Place, bytes: usize, total: Arc<AtomicUsize>, done: mpsc::Sender<Completed>) -> Self {
        let (open, is_handed_back) = (AtomicUsize::new(1), AtomicBool::new(false));
        Self { open, failure: Mutex::new(None), is_handed_back, held: Mutex::new(None), done, place, bytes, total }
    }
}

impl OnAck for Work {
    fn acknowledged(&self, result: Result<(), Error>) {
        if let (Err(error), Ok(mut failure)) = (result, self.failure.lock()) {
            failure.get_or_insert(error);
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.total.fetch_sub(self.bytes, Ordering::Relaxed);
            let failure = self.failure.lock().ok().and_then(|mut f| f.take());
            let end = if self.is_handed_back.load(Ordering::Acquire) { End::HandedBack } else { End::Done };
            drop(self.held.lock().ok().and_then(|mut held| held.take()));
            // Fails only when the poll loop has ended, and then nobody commits any more.
            let _ = self.done.send(Completed { place: self.place.clone(), result: failure.map_or(Ok(end), Err) });
        }
    }
}

impl CountedAck for Work {
    fn expect_one(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    fn as_on_ack(self: Arc<Self>) -> Arc<dyn OnAck> {
        self
    }
}
