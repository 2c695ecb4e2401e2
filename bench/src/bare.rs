//! Hops with nothing but `rdkafka`: produce → consume and produce → … → consume, one thread a hop, nothing parsed.
//!
//! Two shapes. [`PLAIN`] is what brokers are compared by: librdkafka as it comes but for `acks=all` and `linger.ms=0`.
//! [`AS_THE_PIPELINE`] has the pipeline's partitions, keys and client settings, and a prompt and a lingering producer, so
//! that what is left as the pipeline's difference is Tollgate's own work. Neither sends headers.

use crate::topics;
use anyhow::Context;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What tells one kind of hops from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Part of its topics' names.
    name: &'static str,
    pub(crate) hops: usize,
    pub(crate) partitions: i32,
    /// Where every record of the last hop goes; `None`: where its key says.
    last: Option<i32>,
    producer: &'static [(&'static str, &'static str)],
    consumer: &'static [(&'static str, &'static str)],
    /// A second producer with `linger.ms=1` takes over above this many records in flight.
    batch_above_in_flight: Option<usize>,
}

/// By which brokers are compared.
pub(crate) const PLAIN: Shape = Shape {
    name: "plain",
    hops: 3,
    partitions: 4,
    last: None,
    producer: &[("acks", "all"), ("socket.nagle.disable", "true")],
    consumer: &[
        ("socket.nagle.disable", "true"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "earliest"),
        ("fetch.error.backoff.ms", "50"),
    ],
    batch_above_in_flight: None,
};

/// The way of a request and its answer: ingress → router-worker → ingress. Without checks the guardrail is not on the way.
pub(crate) const AS_THE_PIPELINE: Shape = Shape {
    name: "bare",
    hops: 2,
    // the product's default
    partitions: 12,
    // answers of one replica all come back on one partition
    last: Some(3),
    producer: &[
        ("socket.nagle.disable", "true"),
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("partitioner", "murmur2_random"),
        ("compression.type", "none"),
        ("queue.buffering.max.messages", "100000"),
        ("queue.buffering.max.kbytes", "131072"),
    ],
    consumer: &[
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
    ],
    batch_above_in_flight: Some(24),
};

/// The same with a hop more: ingress → guardrail → router-worker → ingress.
pub(crate) const AS_WITH_A_CHECK: Shape = Shape { name: "checked", hops: 3, ..AS_THE_PIPELINE };

const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Running hops. Dropping it stops them.
pub(crate) struct Bare {
    shape: Shape,
    producer: Pair,
    first: String,
    bytes: usize,
    next: AtomicU64,
    waiting: Arc<Waiting>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

type Waiting = Mutex<HashMap<u64, oneshot::Sender<()>>>;

impl Bare {
    /// Makes the topics and starts a thread per hop.
    pub(crate) async fn start(brokers: &str, prefix: &str, shape: Shape, bytes: usize) -> anyhow::Result<Arc<Self>> {
        let names = (0..shape.hops).map(|i| format!("{prefix}{}.{i}", shape.name)).collect::<Vec<_>>();
        topics::create(brokers, &names, shape.partitions).await?;
        topics::settled(brokers, prefix).await?;
        let mut bare = Self {
            shape,
            producer: Pair::new(brokers, &shape)?,
            first: names[0].clone(),
            bytes,
            next: AtomicU64::new(1),
            waiting: Arc::default(),
            stop: Arc::default(),
            threads: Vec::new(),
        };
        for (i, pair) in names.windows(2).enumerate() {
            let consumer = consumer(brokers, &names[i], &shape)?;
            consumer.subscribe(&[&pair[0]])?;
            let (next, last) = (pair[1].clone(), shape.last.filter(|_| i + 2 == shape.hops));
            let (producer, stop) = (Pair::new(brokers, &shape)?, bare.stop.clone());
            bare.thread("bare-forward", move || forward(&consumer, &producer, &next, last, &stop))?;
        }
        let consumer = consumer(brokers, &format!("{prefix}{}.last", shape.name), &shape)?;
        let mut end = TopicPartitionList::new();
        for partition in (0..shape.partitions).filter(|p| shape.last.is_none_or(|last| last == *p)) {
            end.add_partition_offset(&names[shape.hops - 1], partition, Offset::Offset(0))?;
        }
        consumer.assign(&end)?;
        let (answers, until) = (bare.waiting.clone(), bare.stop.clone());
        bare.thread("bare-last", move || answer(&consumer, &answers, &until))?;
        Ok(Arc::new(bare))
    }

    fn thread(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(())
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
        let last = self.shape.last.filter(|_| self.shape.hops == 1);
        self.producer.send(&self.first, last, key.as_bytes(), &payload)?;
        tokio::time::timeout(TIMEOUT, receiver).await.context("a bare record did not come through")??;
        Ok(())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // a panic has been logged
            let _ = thread.join();
        }
    }
}

fn consumer(brokers: &str, group: &str, shape: &Shape) -> anyhow::Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", group);
    for (name, value) in shape.consumer {
        config.set(*name, *value);
    }
    Ok(config.create()?)
}

fn forward(consumer: &BaseConsumer, producer: &Pair, next: &str, last: Option<i32>, stop: &AtomicBool) {
    let mut committed = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if let Some(Ok(message)) = consumer.poll(POLL) {
            let (key, payload) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
            if let Err(error) = producer.send(next, last, key, payload) {
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

/// A prompt producer and, where the shape wants it, a lingering one.
struct Pair {
    quick: ThreadedProducer<Counting>,
    batching: Option<(ThreadedProducer<Counting>, usize)>,
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
    fn new(brokers: &str, shape: &Shape) -> anyhow::Result<Self> {
        let in_flight = Arc::new(AtomicUsize::new(0));
        let make = |linger_ms: &str| -> anyhow::Result<ThreadedProducer<Counting>> {
            let mut config = ClientConfig::new();
            config.set("bootstrap.servers", brokers).set("linger.ms", linger_ms);
            for (name, value) in shape.producer {
                config.set(*name, *value);
            }
            Ok(config.create_with_context(Counting(in_flight.clone()))?)
        };
        let batching = shape.batch_above_in_flight.map(|above| Ok::<_, anyhow::Error>((make("1")?, above)));
        Ok(Self { quick: make("0")?, batching: batching.transpose()?, in_flight })
    }

    fn send(&self, topic: &str, partition: Option<i32>, key: &[u8], payload: &[u8]) -> anyhow::Result<()> {
        let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let producer = match &self.batching {
            Some((batching, above)) if in_flight >= *above => batching,
            _ => &self.quick,
        };
        let mut record = BaseRecord::to(topic).key(key).payload(payload);
        record.partition = partition;
        producer.send(record).map_err(|(error, _)| {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            error.into()
        })
    }
}
