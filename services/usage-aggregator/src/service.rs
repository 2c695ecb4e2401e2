//! Starting and stopping: topics, the log's identity, the ledger, then a reader and a writer until the end.

use crate::{
    Error,
    config::Settings,
    epoch::{Source, Starts},
    keep::{Health, OnError, keep},
    ledger::Ledger,
    log::Log,
    metric, staging,
    writer::{End, Writer},
};
use object_store::{ObjectStore, path::Path};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus, DeadLetter, Incoming, Producer, Profile,
    ordered::{Control, Event, OnMissing, Ordered},
};
use tollgate_runtime::{Config, Readiness, store};
use tollgate_schemas::topic;

/// The consumer group, without prefix.
pub const GROUP: &str = "usage-aggregator";
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);
/// A session that lasts for this long beyond a file's age works, though nothing was written.
const PROOF: Duration = Duration::from_secs(60);

/// Runs until `stop`, on topics that exist; then what was read is written and committed. Storage that is down at that moment is waited for ten
/// seconds; rows that are not in the table then are read again by the next start.
pub async fn run(
    config: &Config,
    bus: Bus,
    readiness: Readiness,
    stop: CancellationToken,
    on_error: OnError,
) -> Result<(), Error> {
    metric::describe();
    let store = store::open(config).map_err(|e| Error::Config(e.to_string()))?;
    let health = Health::default();
    health.tell(&readiness);
    let settings = Settings::of(config);
    let session = || session(&bus, &store, settings, &health, &stop);
    tokio::select! {
        ended = keep(&health, on_error, settings.limits.after + PROOF, &stop, session) => ended,
        never = staging::keep_clean(store::local_folder(config)) => match never {},
    }
}

/// One membership of the group, from joining to leaving.
async fn session(
    bus: &Bus,
    store: &Arc<dyn ObjectStore>,
    settings: Settings,
    health: &Health,
    stop: &CancellationToken,
) -> Result<End, Error> {
    let name = bus.full_name(topic::USAGE.spec.name);
    let begin = async {
        let source = identify(bus, &name).await?;
        Ledger::open(store.clone(), Path::default(), source.clone(), || starts(bus, &name)).await.map(|l| (source, l))
    };
    let (source, ledger) = tokio::select! {
        begun = begin => begun?,
        () = stop.cancelled() => return Ok(End::Stopped),
    };
    let reader_stop = CancellationToken::new();
    let reader = bus.ordered(GROUP, &name, OnMissing::Fail, reader_stop.clone())?;
    health.watch(reader.probe());
    let (bus, health, control) = (bus.clone(), health.clone(), reader.control());
    let log = KafkaLog { producer: bus.producer(Profile::Bulk)?, bus, source, health, control, reader };
    let (end, log) = Writer::new(ledger, settings, log, stop.clone()).run().await;
    reader_stop.cancel();
    let KafkaLog { control, reader, .. } = log;
    drop(control);
    reader.stopped().await?;
    end
}

/// Asks Kafka off the async threads.
async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, tollgate_bus::Error> + Send + 'static,
) -> Result<T, Error> {
    Ok(tokio::task::spawn_blocking(question).await.map_err(|_| Error::Panicked)??)
}

/// Which log this is. A topic created again has another id.
async fn identify(bus: &Bus, topic: &str) -> Result<Source, Error> {
    let (bus, topic) = (bus.clone(), topic.to_owned());
    ask(move || {
        let cluster_id = bus.cluster_id(ADMIN_TIMEOUT)?;
        let topic_id = Some(bus.topic_id(&topic, ADMIN_TIMEOUT)?);
        Ok(Source { cluster_id, topic, topic_id })
    })
    .await
}

/// Where the topic's partitions begin now.
async fn starts(bus: &Bus, topic: &str) -> Result<Starts, Error> {
    let (bus, topic) = (bus.clone(), topic.to_owned());
    ask(move || {
        let partitions = 0..bus.settings().partitions_usage;
        partitions.map(|p| Ok((p, bus.watermarks(&topic, p, ADMIN_TIMEOUT)?.0))).collect()
    })
    .await
}

struct KafkaLog {
    bus: Bus,
    source: Source,
    health: Health,
    reader: Ordered,
    control: Control,
    producer: Producer,
}

impl Log for KafkaLog {
    async fn next(&mut self) -> Option<Event> {
        let event = self.reader.next().await;
        if let Some(Event::Record(record)) = &event {
            // Rows are written many at a time; each gets a span of its own only where spans are exported.
            drop(tollgate_bus::row_span(record, GROUP));
        }
        event
    }

    /// Asks for the topic's id alone: no two clusters have topics of one id.
    async fn source(&self) -> Result<Source, Error> {
        let (bus, topic) = (self.bus.clone(), self.source.topic.clone());
        let topic_id = ask(move || bus.topic_id(&topic, ADMIN_TIMEOUT)).await?;
        Ok(Source { topic_id: Some(topic_id), ..self.source.clone() })
    }

    async fn ends(&self, partition: i32) -> Result<Option<(i64, i64)>, tollgate_bus::Error> {
        let (bus, topic) = (self.bus.clone(), self.source.topic.clone());
        let asked = tokio::task::spawn_blocking(move || bus.watermarks(&topic, partition, ADMIN_TIMEOUT)).await;
        asked.map_err(|_| tollgate_bus::Error::Stopped("watermarks".to_owned()))?.map(Some)
    }

    fn start(&self, partition: i32, offset: Option<i64>) {
        self.control.start(partition, offset);
    }

    fn commit(&self, partition: i32, next_offset: i64) {
        self.health.works();
        self.control.commit(partition, next_offset);
    }

    fn release(&self, partition: i32) {
        self.control.release(partition);
    }

    async fn dead_letter(&self, record: Incoming<Vec<u8>>, reason: String) -> Result<(), tollgate_bus::Error> {
        self.producer.dead_letter(&record, &DeadLetter::new("parse", reason)).await
    }
}
