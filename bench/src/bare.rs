//! The same hops with nothing but `rdkafka`: produce → consume and produce → … → consume.
//!
//! Client settings, partition counts and the choice between a prompt and a lingering producer are those of `crates/bus`, so
//! that what is left as the difference is Tollgate's own work. Records have the same key and size of value, but no headers.

use crate::pipeline::PARTITIONS;
use crate::topics;
use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// As in `crates/bus`: above this many records in flight the lingering producer takes over.
const BATCH_ABOVE_IN_FLIGHT: usize = 24;
/// Answers of one replica all come back on one partition.
const LAST_PARTITION: i32 = 3;

/// Running hops. Dropping it stops them.
pub(crate) struct Bare {
    producer: Pair,
    first: String,
    last: bool,
    bytes: usize,
    next: AtomicU64,
    waiting: Arc<Waiting>,
    stop: Arc<AtomicBool>,
}

type Waiting = Mutex<HashMap<u64, oneshot::Sender<()>>>;

impl Bare {
    /// Makes the topics and starts a thread per hop.
    pub(crate) async fn start(brokers: &str, prefix: &str, hops: usize, bytes: usize) -> anyhow::Result<Arc<Self>> {
        let names = (0..hops).map(|i| format!("{prefix}bare.{i}")).collect::<Vec<_>>();
        topics::create(brokers, &names, PARTITIONS).await?;
        let (waiting, stop) = (Arc::<Waiting>::default(), Arc::new(AtomicBool::new(false)));
        for (i, pair) in names.windows(2).enumerate() {
            let consumer = consumer(brokers, &format!("{prefix}bare.{i}"))?;
            consumer.subscribe(&[&pair[0]])?;
            let (next, last) = (pair[1].clone(), i + 2 == hops);
            let (producer, stop) = (Pair::new(brokers)?, stop.clone());
            thread("bare-forward", move || forward(&consumer, &producer, &next, last, &stop))?;
        }
        let consumer = consumer(brokers, &format!("{prefix}bare.last"))?;
        let mut end = TopicPartitionList::new();
        end.add_partition_offset(&names[hops - 1], LAST_PARTITION, Offset::Offset(0))?;
        consumer.assign(&end)?;
        let (answers, until) = (waiting.clone(), stop.clone());
        thread("bare-last", move || answer(&consumer, &answers, &until))?;
        let (producer, first) = (Pair::new(brokers)?, names[0].clone());
        let bare = Self { producer, first, last: hops == 1, bytes, next: AtomicU64::new(1), waiting, stop };
        Ok(Arc::new(bare))
    }

    /// One record through all hops.
    pub(crate) async fn send(self: Arc<Self>) -> anyhow::Result<()> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.insert(id, sender);
        }
        let mut payload = vec![b'x'; self.bytes];
        payload[..8].copy_from_slice(&id.to_be_bytes());
        let key = uuid::Uuid::now_v7().to_string();
        self.producer.send(&self.first, self.last.then_some(LAST_PARTITION), key.as_bytes(), &payload)?;
        tokio::time::timeout(TIMEOUT, receiver).await.context("a bare record did not come through")??;
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(())
}

/// As in `crates/bus`.
fn consumer(brokers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("group.id", group),
        ("socket.nagle.disable", "true"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("queued.max.messages.kbytes", "16384"),
        ("queued.min.messages", "10000"),
        ("fetch.queue.backoff.ms", "5"),
        ("fetch.wait.max.ms", "500"),
        ("fetch.min.bytes", "1"),
        ("fetch.error.backoff.ms", "50"),
        ("isolation.level", "read_committed"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "2000"),
    ] {
        config.set(name, value);
    }
    Ok(config.create()?)
}

fn forward(consumer: &BaseConsumer, producer: &Pair, next: &str, last: bool, stop: &AtomicBool) {
    let mut committed = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if let Some(Ok(message)) = consumer.poll(POLL) {
            let (key, payload) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
            if let Err(error) = producer.send(next, last.then_some(LAST_PARTITION), key, payload) {
                eprintln!("a bare record was not forwarded: {error}");
            }
        }
        if committed.elapsed() >= COMMIT_EVERY {
            // fails when there is nothing to commit
            let _ = consumer.commit_consumer_state(CommitMode::Async);
            committed = Instant::now();
        }
    }
}

fn answer(consumer: &BaseConsumer, waiting: &Waiting, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let Some(Ok(message)) = consumer.poll(POLL) else { continue };
        let id = message.payload().and_then(|p| p.first_chunk::<8>()).map(|b| u64::from_be_bytes(*b));
        let sender = id.and_then(|id| waiting.lock().ok()?.remove(&id));
        if let Some(sender) = sender {
            // fails when the caller has given up
            let _ = sender.send(());
        }
    }
}

/// A prompt and a lingering producer, as in `crates/bus`.
struct Pair {
    quick: ThreadedProducer<Counting>,
    batching: ThreadedProducer<Counting>,
    in_flight: Arc<AtomicUsize>,
}

struct Counting(Arc<AtomicUsize>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pair {
    fn new(brokers: &str) -> anyhow::Result<Self> {
        let in_flight = Arc::new(AtomicUsize::new(0));
        let make = |linger_ms: &str| -> anyhow::Result<_> {
            let mut config = ClientConfig::new();
            for (name, value) in [
                ("bootstrap.servers", brokers),
                ("socket.nagle.disable", "true"),
                ("acks", "all"),
                ("enable.idempotence", "true"),
                ("partitioner", "murmur2_random"),
                ("linger.ms", linger_ms),
                ("compression.type", "none"),
                ("queue.buffering.max.messages", "100000"),
                ("queue.buffering.max.kbytes", "131072"),
            ] {
                config.set(name, value);
            }
            Ok(config.create_with_context(Counting(in_flight.clone()))?)
        };
        Ok(Self { quick: make("0")?, batching: make("1")?, in_flight })
    }

    fn send(&self, topic: &str, partition: Option<i32>, key: &[u8], payload: &[u8]) -> anyhow::Result<()> {
        let busy = self.in_flight.fetch_add(1, Ordering::Relaxed) >= BATCH_ABOVE_IN_FLIGHT;
        let producer = if busy { &self.batching } else { &self.quick };
        let mut record = BaseRecord::to(topic).key(key).payload(payload);
        record.partition = partition;
        producer.send(record).map_err(|(error, _)| {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            error.into()
        })
    }
}
