//! Consuming work: records of a group, handled concurrently, committed when everything they caused is acknowledged.
//!
//! A thread polls and never stops polling, so a ten-minute call does not trip `max.poll.interval.ms`. Each record becomes
//! a task. What is in flight is bounded per partition (records, and what a commit can say), per consumer (bytes) and per
//! topic (a share of these); a full bound pauses intake and half of it resumes.

mod assignment;
mod commits;
mod effects;
mod held;

pub use effects::{Handler, Outcome};

use crate::{
    Bus, Emitter, Error, Incoming, Producer,
    commit_async::Turn,
    groups::{GroupContext, Members},
    record::FromRecord,
};
use assignment::{Unanswered, list_of};
use commits::LAST_COMMIT;
use effects::{Completed, Work, handle_one};
use held::{Bounds, Held};
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{Arc, mpsc},
    task::{Context, Waker},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How to consume.
#[derive(Debug, Clone)]
pub struct Options {
    /// Group, without the prefix.
    pub group: &'static str,
    /// Full topic names.
    pub topics: Vec<String>,
    /// Records in flight per partition.
    pub max_in_flight: usize,
    /// Bytes in flight over all partitions: values, keys and headers. A quarter of it is read ahead. Of
    /// several topics, each has an even share of half of it to itself, and beyond that as much as all leave of the other half.
    pub max_bytes: usize,
    /// How long a revoked partition, or a stop, waits for what is in flight.
    pub drain_timeout: Duration,
    /// How long an idle fetch may last. A record ends it at once, but a partition that is assigned or resumed meanwhile waits
    /// for its end; and each costs an idle gateway something.
    pub fetch_wait: Duration,
}

impl Options {
    /// The usual bounds: 1,000 records a partition, 64 MiB, 20 s to drain, 1 s a fetch.
    pub fn new(group: &'static str, topics: Vec<String>) -> Self {
        let (drain_timeout, fetch_wait) = (Duration::from_secs(20), Duration::from_secs(1));
        Self { group, topics, max_in_flight: 1000, max_bytes: 64 << 20, drain_timeout, fetch_wait }
    }
}

/// A running consumer. Dropping it does not stop it: cancel the token it was started with.
#[derive(Debug)]
pub struct Running {
    thread: std::thread::JoinHandle<Result<(), Error>>,
    members: Members,
}

impl Running {
    /// Whether the group has given this consumer its partitions at least once.
    pub fn assigned(&self) -> bool {
        self.members.assigned()
    }

    /// A cheap probe for [`Running::assigned`] that outlives it.
    pub fn probe(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let members = self.members.clone();
        move || members.assigned()
    }

    /// Waits for the consumer to end after its token was cancelled.
    pub async fn stopped(self) -> Result<(), Error> {
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        joined.map_err(|_| Error::Stopped("consumer".into()))?.map_err(|_| Error::Stopped("consumer".into()))?
    }
}

/// How long a poll waits for a record while work is in flight.
const BUSY_POLL: Duration = Duration::from_millis(20);
const POLL_BATCH: usize = 256;
/// The part of [`Options::max_bytes`] that may lie fetched and not begun.
const PREFETCHED: usize = 4;
/// The least that librdkafka takes for a fetch: what it takes for the largest record. A larger one comes nevertheless.
const FETCHED_MIN_BYTES: usize = 1_000_000;

impl Bus {
    /// Starts consuming. Records whose value does not parse are dead-lettered here. Ends, committed, after `stop`; if a
    /// record's effects cannot be produced it ends with an error, uncommitted, so that a restart repeats the record.
    pub fn consume<T, H>(
        &self,
        options: Options,
        producer: Producer,
        handler: Arc<H>,
        stop: CancellationToken,
    ) -> Result<Running, Error>
    where
        T: FromRecord,
        H: Handler<T>,
    {
        let (group, fetch_wait) = (self.full_name(options.group), options.fetch_wait.as_millis().to_string());
        let prefetched = options.max_bytes / PREFETCHED;
        let prefetch_kib = (prefetched / 1024).max(1).to_string();
        // What one fetch brings comes on top, and is a multiple of it unless that is said too.
        let fetched = prefetched.max(FETCHED_MIN_BYTES).to_string();
        let config = self.consumer_config(&[
            ("group.id", &group),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "2000"),
            ("fetch.wait.max.ms", &fetch_wait),
            ("queued.max.messages.kbytes", &prefetch_kib),
            ("fetch.max.bytes", &fetched),
        ]);
        let members = Members::default();
        let consumer: BaseConsumer<GroupContext> = config.create_with_context(GroupContext::new(members.clone()))?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics)?;
        let (done, completions) = mpsc::channel();
        let Options { max_in_flight, max_bytes, .. } = options;
        let bounds = Bounds { max_in_flight, max_bytes, topics: options.topics.len() };
        let loop_ = PollLoop {
            consumer,
            members: members.clone(),
            group,
            producer,
            handler,
            runtime: tokio::runtime::Handle::current(),
            held: Held::new(bounds),
            topics: HashMap::new(),
            unanswered: Unanswered::default(),
            commits: commits::turn(),
            done,
            completions,
            stop,
            options,
            record: PhantomData::<fn() -> T>,
        };
        let name = format!("consume-{}", loop_.options.group);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || loop_.run())
            .map_err(|_| Error::Stopped("thread".into()))?;
        Ok(Running { thread, members })
    }
}

struct PollLoop<T, H> {
    consumer: BaseConsumer<GroupContext>,
    members: Members,
    group: String,
    producer: Producer,
    handler: Arc<H>,
    runtime: tokio::runtime::Handle,
    held: Held,
    topics: HashMap<String, Arc<str>>,
    unanswered: Unanswered,
    commits: Turn,
    done: mpsc::Sender<Completed>,
    completions: mpsc::Receiver<Completed>,
    stop: CancellationToken,
    options: Options,
    record: PhantomData<fn() -> T>,
}

impl<T: FromRecord, H: Handler<T>> PollLoop<T, H> {
    fn run(mut self) -> Result<(), Error> {
        let ended = self.work();
        // However it ended: the consumer's drop waits for an answer to its last revocation.
        self.members.close();
        ended
    }

    fn work(&mut self) -> Result<(), Error> {
        let mut stop_by: Option<Instant> = None;
        loop {
            self.poll_batch()?;
            self.take_rebalances()?;
            self.take_completions()?;
            self.apply_bounds()?;
            self.commit_progress()?;
            if self.stop.is_cancelled() {
                let deadline = *stop_by.get_or_insert_with(|| Instant::now() + self.options.drain_timeout);
                let (is_over, is_late) = (Instant::now() >= deadline, Instant::now() >= deadline + LAST_COMMIT);
                // What is in flight after the deadline stays uncommitted, and whoever has the partition next repeats it.
                if (is_over || self.held.in_flight() == 0) && (self.held.is_all_committed() || is_late) {
                    return Ok(());
                }
            }
        }
    }

    fn poll_batch(&mut self) -> Result<(), Error> {
        // While work is in flight its completions must be seen soon, for commits and for resuming. Else only a stop must be.
        let is_busy = self.held.in_flight() > 0 || self.unanswered.any() || self.stop.is_cancelled();
        let mut timeout = if is_busy { BUSY_POLL } else { self.until_commit().unwrap_or(crate::IDLE_POLL) };
        for _ in 0..POLL_BATCH {
            match self.consumer.poll(timeout) {
                None => break,
                Some(Ok(message)) => {
                    let incoming = Incoming::of(&message);
                    drop(message);
                    let topic = self.topic(&incoming.topic);
                    self.begin(topic.clone(), incoming)?;
                    if self.held.is_full(&topic) {
                        // The rest of the batch waits until intake has paused: the bound is exact but for this record.
                        break;
                    }
                }
                Some(Err(error)) => {
                    if let rdkafka::error::KafkaError::MessageConsumptionFatal(_) = error {
                        return Err(error.into());
                    }
                    crate::client::log_error("consumer", &error, &error.to_string());
                }
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    fn topic(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.topics.get(name) {
            return known.clone();
        }
        self.topics.entry(name.to_owned()).or_insert_with(|| Arc::from(name)).clone()
    }

    fn begin(&mut self, topic: Arc<str>, record: Incoming<Vec<u8>>) -> Result<(), Error> {
        // A stopping consumer leaves the record to its successor.
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let key = (topic, record.partition);
        let Some(begun) = self.held.begin(&key, record.offset, record.bytes())? else { return Ok(()) };
        if begun.must_pause {
            // At once, not after the batch: the bound is exact.
            self.consumer.pause(&list_of(&[key]))?;
        }
        let work = Arc::new(Work::new(begun.place, begun.share, self.done.clone()));
        let emitter = Emitter::new(self.producer.clone(), work.clone(), begun.leaving);
        let (handler, group) = (self.handler.clone(), self.group.clone());
        let mut task = Box::pin(handle_one(handler, record, group, emitter, work));
        // A lone record is begun right here, which saves a wake-up of another thread; most are done with that. Under load
        // records are handled side by side, and this thread only polls.
        if self.held.in_flight() == 1 {
            let _context = self.runtime.enter();
            if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return Ok(());
            }
        }
        self.runtime.spawn(task);
        Ok(())
    }

    fn take_completions(&mut self) -> Result<(), Error> {
        while let Ok(completed) = self.completions.try_recv() {
            self.held.finish(&completed.place, completed.result?);
        }
        Ok(())
    }

    fn apply_bounds(&mut self) -> Result<(), Error> {
        let intake = self.held.intake();
        if !intake.pause.is_empty() {
            self.consumer.pause(&list_of(&intake.pause))?;
        }
        if !intake.resume.is_empty() {
            self.consumer.resume(&list_of(&intake.resume))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
