//! Producing: idempotent, `acks=all`, and batched as load asks for.
//!
//! A lane's producer is a pair of librdkafka producers. The first sends at once (`linger.ms=0`) and serves while few
//! records are in flight; above that the second takes over, which lingers, so that many records share a request and its
//! CPU. Records of one stream carry a sequence number, so the two may overtake each other.

use crate::{Bus, DeadLetter, Error, Incoming, Outgoing, TopicName, record::RECORD_MAX_BYTES};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::oneshot;

/// Which trade a producer makes between latency and CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Somebody waits: send at once, batch only under load.
    Interactive,
    /// Nobody waits: linger 5 ms, compress with zstd.
    Bulk,
}

/// Above this many records in flight the lingering producer takes over.
const BATCH_ABOVE_IN_FLIGHT: usize = 24;

/// Told when a record is acknowledged, or will never be.
pub enum Ack {
    /// Nobody asks; a failure is logged and counted.
    None,
    /// One waiter.
    Once(oneshot::Sender<Result<(), Error>>),
    /// Part of what a consumed record caused.
    Work(Arc<dyn OnAck>),
}

/// Something that counts acknowledgements.
pub trait OnAck: Send + Sync {
    /// Called once per record, on librdkafka's thread: must not block.
    fn acknowledged(&self, result: Result<(), Error>);
}

/// A cheap handle on a producer pair.
#[derive(Clone)]
pub struct Producer {
    bus: Bus,
    quick: Arc<Polled>,
    batching: Option<Arc<Polled>>,
    in_flight: Arc<AtomicUsize>,
}

/// A librdkafka producer and the thread that takes its acknowledgements.
///
/// rdkafka's `ThreadedProducer` polls every 100 ms and spins for the last millisecond of each: 1 % of a core, idle.
struct Polled {
    producer: Arc<BaseProducer<Context>>,
    stop: Arc<AtomicBool>,
}

impl Polled {
    fn new(config: &ClientConfig, context: Context) -> Result<Self, Error> {
        let producer: Arc<BaseProducer<Context>> = Arc::new(config.create_with_context(context)?);
        let stop = Arc::new(AtomicBool::new(false));
        let (polled, stopped) = (producer.clone(), stop.clone());
        let poll = move || {
            while !stopped.load(Ordering::Relaxed) {
                polled.poll(Duration::from_secs(5));
            }
        };
        std::thread::Builder::new().name("producer".into()).spawn(poll).map_err(|_| Error::Stopped("thread".into()))?;
        Ok(Self { producer, stop })
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Context {
    in_flight: Arc<AtomicUsize>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        crate::client::log_error("producer", &error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ack>;

    fn delivery(&self, result: &DeliveryResult<'_>, ack: Box<Ack>) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, message)) => {
                metrics::counter!("tollgate_kafka_produce_failures_total").increment(1);
                Err(Error::NotAcknowledged { topic: message.topic().to_owned(), reason: error.to_string() })
            }
        };
        match *ack {
            Ack::None => {
                if let Err(error) = result {
                    tracing::error!(%error, "a record was lost by the producer");
                }
            }
            Ack::Once(sender) => drop(sender.send(result)),
            Ack::Work(work) => work.acknowledged(result),
        }
    }
}

impl Bus {
    /// Makes a producer. Connects in the background.
    pub fn producer(&self, profile: Profile) -> Result<Producer, Error> {
        let in_flight = Arc::new(AtomicUsize::new(0));
        let make = |linger_ms: &str, compression: &str| -> Result<_, Error> {
            let config = self.config(&[
                ("acks", "all"),
                ("enable.idempotence", "true"),
                ("partitioner", "murmur2_random"),
                ("linger.ms", linger_ms),
                ("compression.type", compression),
                ("message.max.bytes", &RECORD_MAX_BYTES.to_string()),
                // Bounds memory; a full queue pushes back in `send`.
                ("queue.buffering.max.messages", "100000"),
                ("queue.buffering.max.kbytes", "131072"),
                ("message.timeout.ms", "300000"),
            ]);
            let context = Context { in_flight: in_flight.clone() };
            Ok(Arc::new(Polled::new(&config, context)?))
        };
        let (quick, batching) = match profile {
            Profile::Interactive => (make("0", "none")?, Some(make("1", "none")?)),
            Profile::Bulk => (make("5", "zstd")?, None),
        };
        Ok(Producer { bus: self.clone(), quick, batching, in_flight })
    }
}

impl Producer {
    /// Queues a record. Waits while the queue is full; errors at once if the record can never be sent.
    pub async fn send(&self, record: Outgoing, ack: Ack) -> Result<(), Error> {
        let topic = match &record.topic {
            TopicName::Internal(name) => self.bus.full_name(name),
            TopicName::Full(name) => name.clone(),
        };
        let bytes = record.payload.len();
        // Room for key and headers below what the broker takes.
        let max = RECORD_MAX_BYTES - 64 * 1024;
        if bytes > max {
            return Err(Error::TooLarge { topic, bytes, max });
        }
        let mut native =
            BaseRecord::with_opaque_to(&topic, Box::new(ack)).payload(&record.payload).headers(record.native_headers());
        native.partition = record.partition;
        native.key = record.key.as_ref();
        loop {
            let busy = self.in_flight.fetch_add(1, Ordering::Relaxed) >= BATCH_ABOVE_IN_FLIGHT;
            let producer = self.batching.as_ref().filter(|_| busy).unwrap_or(&self.quick);
            match producer.producer.send(native) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    self.in_flight.fetch_sub(1, Ordering::Relaxed);
                    native = back;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err((error, _)) => {
                    self.in_flight.fetch_sub(1, Ordering::Relaxed);
                    return Err(Error::NotAcknowledged { topic, reason: error.to_string() });
                }
            }
        }
    }

    /// Queues a record and waits for its acknowledgement.
    pub async fn send_acked(&self, record: Outgoing) -> Result<(), Error> {
        let (sender, receiver) = oneshot::channel();
        self.send(record, Ack::Once(sender)).await?;
        receiver.await.map_err(|_| Error::Stopped("producer".to_owned()))?
    }

    /// Moves a record nobody can process to `dead-letters`; done when acknowledged.
    pub async fn dead_letter(&self, dead: &Incoming<Vec<u8>>, reason: &DeadLetter) -> Result<(), Error> {
        self.send_acked(reason.record(dead, &dead.trace)).await
    }

    /// Waits until everything queued is acknowledged, at most `timeout`. Blocks: run it off the async threads.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.quick.producer.flush(timeout)?;
        if let Some(batching) = &self.batching {
            batching.producer.flush(timeout)?;
        }
        Ok(())
    }
}

/// Sends records on behalf of one consumed record, whose offset is committed only after all of them are acknowledged.
#[derive(Clone)]
pub struct Emitter {
    producer: Producer,
    work: Arc<dyn CountedAck>,
}

/// An [`OnAck`] that is told of each record before it is sent.
pub(crate) trait CountedAck: OnAck {
    fn expect_one(&self);
    fn as_on_ack(self: Arc<Self>) -> Arc<dyn OnAck>;
}

impl Emitter {
    pub(crate) fn new(producer: Producer, work: Arc<dyn CountedAck>) -> Self {
        Self { producer, work }
    }

    /// Queues a record; see [`Producer::send`].
    pub async fn send(&self, record: Outgoing) -> Result<(), Error> {
        self.work.expect_one();
        let sent = self.producer.send(record, Ack::Work(self.work.clone().as_on_ack())).await;
        if let Err(error) = &sent {
            // `send` dropped the acknowledgement; count it here, or the offset would wait for ever.
            let reason = error.to_string();
            self.work.acknowledged(Err(Error::NotAcknowledged { topic: String::new(), reason }));
        }
        sent
    }
}
