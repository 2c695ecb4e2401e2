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
    /// Sent and not acknowledged.
    open: usize,
    next: Vec<Queued>,
    next_bytes: usize,
}

struct Context {
    waiting: Option<Arc<Waiting>>,
    stop: Arc<AtomicBool>,
}

impl ClientContext for Context {
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
            Err((error, message)) => {
                Err(Error::NotAcknowledged { topic: message.topic().to_owned(), reason: error.to_string() })
            }
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
                        waiting.go(false);
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
    /// Nothing is unacknowledged: send it.
    Lone(Queued),
    /// It waits, the first to do so.
    First,
    Waits,
    Full(Queued),
}

impl Waiting {
    fn join(&self, queued: Queued) -> Joined {
        let Ok(mut state) = self.state.lock() else { return Joined::Full(queued) };
        if state.open == 0 {
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
        let last = self.state.lock().is_ok_and(|mut state| {
            state.open = state.open.saturating_sub(1);
            state.open == 0
        });
        if last {
            self.go(true);
        }
    }

    /// Sends what waits as a burst. `idle`: only if nothing has been sent meanwhile.
    fn go(&self, idle: bool) {
        let Some(native) = self.native.get().and_then(Weak::upgrade) else { return };
        self.send(idle, |queued| produce(&native, queued));
    }

    fn send(&self, idle: bool, mut produce: impl FnMut(Queued) -> Offer) {
        let mut goes_on = self.send_once(idle, &mut produce);
        while goes_on {
            goes_on = self.send_once(true, &mut produce);
        }
    }

    /// Whether something was left although all that was sent is acknowledged by now: nobody else would go on with it.
    fn send_once(&self, idle: bool, produce: &mut impl FnMut(Queued) -> Offer) -> bool {
        let burst = {
            let Ok(mut state) = self.state.lock() else { return false };
            if idle && state.open > 0 {
                return false;
            }
            state.next_bytes = 0;
            state.open += state.next.len();
            std::mem::take(&mut state.next)
        };
        let mut unsent = Vec::new();
        for queued in burst {
            match produce(queued) {
                Offer::Taken => {}
                Offer::Full(queued) => unsent.push(queued),
                Offer::Refused(error, ack) => {
                    ack.tell(Err(error));
                    self.acknowledged();
                }
            }
        }
        if unsent.is_empty() {
            return false;
        }
        let Ok(mut state) = self.state.lock() else { return false };
        // librdkafka's queue is full, so acknowledgements are on their way, and the last one starts the next burst.
        state.open = state.open.saturating_sub(unsent.len());
        state.next_bytes += unsent.iter().map(|q| q.record.bytes()).sum::<usize>();
        unsent.append(&mut state.next);
        state.next = unsent;
        state.open == 0
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
            Offer::Refused(Error::NotAcknowledged { topic, reason: error.to_string() }, ack)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Headers, TopicName};

    fn queued() -> Queued {
        let record = Outgoing {
            topic: TopicName::Full("t.work".to_owned()),
            partition: None,
            key: None,
            headers: Headers::default(),
            payload: b"work".to_vec(),
            is_tombstone: false,
            relaxed: false,
        };
        Queued { topic: "t.work".to_owned(), record, ack: Ack::None }
    }

    /// Found by reading: where the queue had no room for a record and was empty a moment later, the record waited for another
    /// one to come.
    #[test]
    fn what_finds_no_room_is_sent_although_no_acknowledgement_is_to_come() {
        let (waiting, mut offered) = (Waiting::default(), 0);
        assert!(matches!(waiting.join(queued()), Joined::Lone(_)));
        assert!(matches!(waiting.join(queued()), Joined::First));
        waiting.send(false, |queued| {
            offered += 1;
            if offered > 1 {
                return Offer::Taken;
            }
            // The one that is under way is acknowledged just now.
            waiting.acknowledged();
            Offer::Full(queued)
        });
        let state = waiting.state.lock().expect("no panic");
        assert_eq!((offered, state.open, state.next.len(), state.next_bytes), (2, 1, 0, 0));
    }
}
