//! One record: what a service does with it, what that causes, and when all of it is acknowledged.

use super::held::{Place, Share};
use crate::{
    DeadLetter, Emitter, Error, Incoming, Outgoing,
    dead_letter::Hop,
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
use tokio::sync::oneshot;
use tollgate_schemas::TraceContext;
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
    /// says so: the end of the request that it stood for, so that nobody waits for it. Must not panic. The value is empty if
    /// the handler had let go of it ([`Emitter::release_bytes`]).
    fn poisoned(&self, record: &Incoming<Vec<u8>>, reason: &DeadLetter) -> Vec<Outgoing> {
        let (_, _) = (record, reason);
        Vec::new()
    }
}

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
    let one = One { handler: &*handler, group: &group, here: &here, emitter: &emitter, work: &work };
    one.handle(record).instrument(span).await;
    work.acknowledged(Ok(()));
}

/// One record's handler and what is around it.
struct One<'a, H> {
    handler: &'a H,
    group: &'a str,
    /// This hop.
    here: &'a TraceContext,
    emitter: &'a Emitter,
    work: &'a Work,
}

impl<H> One<'_, H> {
    async fn handle<T: FromRecord>(self, mut record: Incoming<Vec<u8>>)
    where
        H: Handler<T>,
    {
        let value_bytes = record.value.len();
        let outcome = match T::from_record(&record.value) {
            Ok(value) => {
                let mut typed = record.clone_without_value().with(value);
                typed.trace = self.here.clone();
                // For a dead letter, unless the handler lets go of it.
                self.work.keep(std::mem::take(&mut record.value));
                let handled = AssertUnwindSafe(self.handler.handle(typed, self.emitter.clone())).catch_unwind().await;
                handled.unwrap_or_else(|_| {
                    Outcome::dead(DeadLetter::new("panic", "the handler panicked on this record; see the log"))
                })
            }
            Err(error) => {
                self.work.keep(std::mem::take(&mut record.value));
                Outcome::dead(DeadLetter::new("parse", error))
            }
        };
        if outcome.is_handed_back {
            self.work.is_handed_back.store(true, Ordering::Release);
        }
        if let Ok(mut held) = self.work.held.lock() {
            *held = outcome.held;
        }
        let mut dead_letter = outcome.dead_letter;
        let mut asked = Vec::new();
        for out in outcome.emit {
            match self.send(out, &record).await {
                Err(error @ Error::TooLarge { .. }) => {
                    dead_letter.get_or_insert_with(|| DeadLetter::new("produce", error.to_string()));
                }
                sent => asked.extend(sent.ok().flatten()),
            }
        }
        if let Some(reason) = dead_letter {
            for end in self.handler.poisoned(self.whole(&mut record), &reason) {
                // What is not acknowledged is counted by the emitter and stops the consumer; what is too large is in the log.
                let _ = self.send(end, &record).await;
            }
            self.bury(record, value_bytes, reason).await;
            return;
        }
        for asked in asked {
            if let Ok(error) = asked.await {
                // What the record stood for has ended: its other effects are there, but for this line.
                self.whole(&mut record);
                self.bury(record, value_bytes, DeadLetter::new("produce", error.to_string())).await;
                return;
            }
        }
    }

    /// The record with its value, unless the handler has let go of it.
    fn whole<'r>(&self, record: &'r mut Incoming<Vec<u8>>) -> &'r Incoming<Vec<u8>> {
        record.value = self.work.take_value().unwrap_or_default();
        record
    }

    /// Moves a record with what is left of its value to `dead-letters`.
    async fn bury(&self, record: Incoming<Vec<u8>>, value_bytes: usize, reason: DeadLetter) {
        let is_whole = record.value.len() == value_bytes;
        tracing::error!(topic = record.topic, partition = record.partition, offset = record.offset, reason = %reason, "record moved to dead-letters");
        metrics::counter!("tollgate_dead_letters_total", "group" => self.group.to_owned()).increment(1);
        let hop = Hop { reader: self.group, trace: self.here };
        let dead = match is_whole {
            true => reason.record(&record, hop),
            false => reason.without_value(&record, value_bytes, hop),
        };
        let _ = self.send(dead, &record).await;
    }

    async fn send(&self, out: Outgoing, record: &Incoming<Vec<u8>>) -> Result<Option<oneshot::Receiver<Error>>, Error> {
        let sent = self.emitter.send_effect(out).await;
        if let Err(error) = &sent {
            tracing::error!(%error, topic = record.topic, partition = record.partition, offset = record.offset, "an effect of this record could not be produced");
        }
        sent
    }
}

/// Counts what one record still waits for: its handler and each record it caused.
pub(super) struct Work {
    open: AtomicUsize,
    failure: Mutex<Option<Error>>,
    is_handed_back: AtomicBool,
    held: Mutex<Option<Box<dyn Any + Send>>>,
    /// The record's value, for as long as it may become a dead letter and its handler has not let go of it.
    value: Mutex<Option<Vec<u8>>>,
    done: mpsc::Sender<Completed>,
    place: Place,
    share: Share,
}

impl Work {
    /// The work of a record with this share of the bytes in flight.
    pub(super) fn new(place: Place, share: Share, done: mpsc::Sender<Completed>) -> Self {
        Self {
            open: AtomicUsize::new(1),
            failure: Mutex::default(),
            is_handed_back: AtomicBool::new(false),
            held: Mutex::default(),
            value: Mutex::default(),
            done,
            place,
            share,
        }
    }

    fn keep(&self, value: Vec<u8>) {
        if let Ok(mut kept) = self.value.lock() {
            *kept = Some(value);
        }
    }

    fn take_value(&self) -> Option<Vec<u8>> {
        self.value.lock().ok().and_then(|mut kept| kept.take())
    }
}

impl OnAck for Work {
    fn acknowledged(&self, result: Result<(), Error>) {
        if let (Err(error), Ok(mut failure)) = (result, self.failure.lock()) {
            failure.get_or_insert(error);
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.release_bytes();
            let failure = self.failure.lock().ok().and_then(|mut f| f.take());
            let end = if self.is_handed_back.load(Ordering::Acquire) { End::HandedBack } else { End::Done };
            // Fails only when the poll loop has ended, and then nobody commits any more.
            let _ = self.done.send(Completed { place: self.place.clone(), result: failure.map_or(Ok(end), Err) });
            // Last: whoever waits for this guard completes the same record again, and must not be committed if this has failed.
            drop(self.held.lock().ok().and_then(|mut held| held.take()));
        }
    }
}

impl CountedAck for Work {
    fn expect_one(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    fn bytes(&self) -> usize {
        self.share.bytes()
    }

    fn release_bytes(&self) {
        drop(self.take_value());
        self.share.release();
    }

    fn as_on_ack(self: Arc<Self>) -> Arc<dyn OnAck> {
        self
    }
}

#[cfg(test)]
mod tests;
