//! One librdkafka producer, the thread that takes its acknowledgements, and what waits for the next burst.

use super::Ack;
use crate::{Error, Outgoing};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, ProducerContext},
};
use std::{
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Records that may wait for the next burst.
const WAITING_MAX: usize = 50_000;
/// Bytes that may wait for the next burst: as many as librdkafka's queue takes.
const WAITING_MAX_BYTES: usize = 32 << 20;
/// The longest a record waits for a burst's last acknowledgement: one slow broker must not hold up the others.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// How long a thread that takes acknowledgements waits for one, and so how long it outlives its producer.
const POLL: Duration = Duration::from_secs(30);

/// A record on its way, and who wants to know.
pub(super) struct Queued {
    pub(super) topic: String,
    pub(super) record: Outgoing,
    pub(super) ack: Ack,
}

/// What became of a record that was offered.
pub(super) enum Offer {
    /// It will be sent, and its acknowledgement told.
    Taken,
    /// No room now.
    Full(Queued),
    /// It can never be sent. Its acknowledgement has not been told.
    Refused(Error, Ack),
}

/// See the module's documentation. Dropping the last handle ends the thread.
pub(super) struct Bursts {
    native: Arc<BaseProducer<Context>>,
    /// `None`: every record goes at once, and librdkafka lingers.
    waiting: Option<Arc<Waiting>>,
    stop: Arc<AtomicBool>,
}

#[derive(Default)]
struct Waiting {
    state: Mutex<State>,
    native: OnceLock<Weak<BaseProducer<Context>>>,
}

#[derive(Default)]
struct State {
    /// Sent, or about to be, and not acknowledged.
    open: usize,
    next: Vec<Queued>,
    next_bytes: usize,
    /// A burst is being handed over. The next one waits for the end of that, or it would overtake what is left of it.
    is_sending: bool,
    /// The next burst was called for meanwhile, for [`Call::Time`].
    is_due: bool,
}

struct Context {
    waiting: Option<Arc<Waiting>>,
    stop: Arc<AtomicBool>,
}

impl ClientContext for Context {
    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // Its thread outlives the last handle by a poll; a broker that goes meanwhile is nobody's trouble.
        if !self.stop.load(Ordering::Relaxed) {
            crate::client::log_error("producer", &error, reason);
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ack>;

    fn delivery(&self, result: &DeliveryResult<'_>, ack: Box<Ack>) {
        if let Some(waiting) = &self.waiting {
            waiting.acknowledged();
        }
        ack.tell(match result {
            Ok(_) => Ok(()),
            Err((error, message)) => Err(failed(message.topic().to_owned(), error)),
        });
    }
}

impl Bursts {
    pub(super) fn start(config: &ClientConfig, in_bursts: bool) -> Result<Arc<Self>, Error> {
        let waiting = in_bursts.then(Arc::<Waiting>::default);
        let stop = Arc::new(AtomicBool::new(false));
        let context = Context { waiting: waiting.clone(), stop: stop.clone() };
        let native: Arc<BaseProducer<Context>> = Arc::new(config.create_with_context(context)?);
        if let Some(waiting) = &waiting {
            let _ = waiting.native.set(Arc::downgrade(&native));
        }
        let (polled, stopped) = (native.clone(), stop.clone());
        // Not rdkafka's `ThreadedProducer`: it polls every 100 ms, and each poll spins for its last millisecond.
        let poll = move || {
            while !stopped.load(Ordering::Relaxed) {
                polled.poll(POLL);
            }
        };
        let thread = std::thread::Builder::new().name("producer".into()).spawn(poll);
        thread.map_err(|_| Error::Stopped("thread".into()))?;
        Ok(Arc::new(Self { native, waiting, stop }))
    }

    /// Takes a record, to be sent now or with the next burst.
    pub(super) fn offer(&self, queued: Queued) -> Offer {
        let Some(waiting) = &self.waiting else { return produce(&self.native, queued) };
        match waiting.join(queued) {
            Joined::Lone(queued) => {
                let offer = produce(&self.native, queued);
                if !matches!(offer, Offer::Taken) {
                    waiting.acknowledged();
                }
                offer
            }
            Joined::First => {
                let waiting = Arc::downgrade(waiting);
                #[allow(clippy::disallowed_methods, reason = "a timer of one line, which cannot fail")]
                tokio::spawn(async move {
                    tokio::time::sleep(WAIT_MAX).await;
                    if let Some(waiting) = waiting.upgrade() {
                        waiting.go(Call::Time);
                    }
                });
                Offer::Taken
            }
            Joined::Waits => Offer::Taken,
            Joined::Full(queued) => Offer::Full(queued),
        }
    }
}

impl Drop for Bursts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

enum Joined {
    /// Nothing is unacknowledged, and nothing waits: send it.
    Lone(Queued),
    /// It waits, the first to do so.
    First,
    Waits,
    Full(Queued),
}

/// Why the next burst may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// Nothing is unacknowledged, unless something has been sent meanwhile.
    Idle,
    /// Its first record has waited for [`WAIT_MAX`].
    Time,
}

impl Waiting {
    fn join(&self, queued: Queued) -> Joined {
        let Ok(mut state) = self.state.lock() else { return Joined::Full(queued) };
        // What waits while nothing is unacknowledged is about to be sent by another thread.
        if state.open == 0 && state.next.is_empty() {
            state.open = 1;
            return Joined::Lone(queued);
        }
        if state.next.len() >= WAITING_MAX || state.next_bytes >= WAITING_MAX_BYTES {
            return Joined::Full(queued);
        }
        state.next_bytes += queued.record.bytes();
        state.next.push(queued);
        if state.next.len() == 1 { Joined::First } else { Joined::Waits }
    }

    fn acknowledged(&self) {
        if self.is_last_acknowledged() {
            self.go(Call::Idle);
        }
    }

    /// Counts one off; whether it was the last.
    fn is_last_acknowledged(&self) -> bool {
        self.state.lock().is_ok_and(|mut state| {
            state.open = state.open.saturating_sub(1);
            state.open == 0
        })
    }

    fn go(&self, call: Call) {
        let Some(native) = self.native.get().and_then(Weak::upgrade) else { return };
        self.send(call, |queued| produce(&native, queued));
    }

    /// Hands over what waits, as a burst, and then what was called for meanwhile. Only one caller at a time does.
    fn send(&self, call: Call, mut hand_over: impl FnMut(Queued) -> Offer) {
        let mut burst = self.begin(call);
        while let Some(queued) = burst {
            let mut unsent = Vec::new();
            let mut rest = queued.into_iter();
            for queued in rest.by_ref() {
                match hand_over(queued) {
                    Offer::Taken => {}
                    Offer::Full(queued) => {
                        unsent.push(queued);
                        break;
                    }
                    Offer::Refused(error, ack) => {
                        ack.tell(Err(error));
                        // If it was the last one, the next burst is begun below.
                        self.is_last_acknowledged();
                    }
                }
            }
            unsent.extend(rest);
            burst = self.end(unsent);
        }
    }

    /// The next burst, if it may go now.
    fn begin(&self, call: Call) -> Option<Vec<Queued>> {
        let mut state = self.state.lock().ok()?;
        if state.is_sending {
            // Who sends looks for it at the end.
            state.is_due |= call == Call::Time;
            return None;
        }
        if call == Call::Idle && state.open > 0 { None } else { state.take() }
    }

    /// A burst has been handed over, but for what found librdkafka's queue full. Returns the one to go on with, if any.
    fn end(&self, mut unsent: Vec<Queued>) -> Option<Vec<Queued>> {
        let mut state = self.state.lock().ok()?;
        let is_full = !unsent.is_empty();
        state.is_sending = false;
        state.open = state.open.saturating_sub(unsent.len());
        state.next_bytes += unsent.iter().map(|queued| queued.record.bytes()).sum::<usize>();
        unsent.append(&mut state.next);
        state.next = unsent;
        // While the queue is full acknowledgements are on their way, and the last one starts the next burst. When all are
        // here already there is room again.
        if state.open == 0 || state.is_due && !is_full { state.take() } else { None }
    }
}

impl State {
    /// What waits, to be handed over; `None` if nothing does.
    fn take(&mut self) -> Option<Vec<Queued>> {
        self.is_due = false;
        if self.next.is_empty() {
            return None;
        }
        self.is_sending = true;
        self.next_bytes = 0;
        self.open += self.next.len();
        Some(std::mem::take(&mut self.next))
    }
}

/// Why a record for this topic will never be acknowledged. That a topic is not there librdkafka says only once it has not been
/// for `topic.metadata.propagation.max.ms` (30 s); until then it asks again.
fn failed(topic: String, error: &KafkaError) -> Error {
    let reason = error.to_string();
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::MessageSizeTooLarge,
        ) => Error::Refused { topic, reason },
        _ => Error::NotAcknowledged { topic, reason },
    }
}

/// Hands a record to librdkafka.
fn produce(native: &BaseProducer<Context>, queued: Queued) -> Offer {
    let Queued { topic, record, ack } = queued;
    let mut native_record = BaseRecord::with_opaque_to(&topic, Box::new(ack)).headers(record.native_headers());
    native_record.payload = record.value();
    native_record.partition = record.partition;
    native_record.key = record.key.as_ref();
    match native.send(native_record) {
        Ok(()) => Offer::Taken,
        Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
            let ack = *back.delivery_opaque;
            Offer::Full(Queued { topic, record, ack })
        }
        Err((error, back)) => {
            let ack = *back.delivery_opaque;
            Offer::Refused(failed(topic, &error), ack)
        }
    }
}

#[cfg(test)]
mod tests;
