//! Starting and stopping: topics, the log's identity, the ledger, then a reader and a writer until the end.

use crate::{
    Error,
    config::Settings,
    epoch::Source,
    ledger::Ledger,
    log::Log,
    metric, retry,
    writer::{End, Writer},
};
use object_store::{ObjectStore, path::Path};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
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

/// Runs until `stop`, on topics that exist; then what was read is written and committed. Storage that is down at that moment is waited for ten
/// seconds; rows that are not in the table then are read again by the next start.
pub async fn run(config: &Config, bus: Bus, readiness: Readiness, stop: CancellationToken) -> Result<(), Error> {
    metric::describe();
    let store = store::open(config).map_err(|e| Error::Config(e.to_string()))?;
    let probe = Probe::default();
    let asked = probe.clone();
    readiness.require("the usage topic's partitions", move || asked.holds());
    readiness.note("the usage-aggregator waits for storage; usage rows wait on their topic", retry::is_waiting);
    let settings = Settings::of(config);
    loop {
        match session(&bus, &store, settings, &probe, &stop).await {
            Ok(End::Raced) => tracing::info!("reading again from where the table is"),
            Ok(End::Stopped) => return Ok(()),
            Err(error @ Error::StorageDown(_)) if stop.is_cancelled() => {
                tracing::warn!("stopped with rows unwritten: {error}");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

/// One membership of the group, from joining to leaving.
async fn session(
    bus: &Bus,
    store: &Arc<dyn ObjectStore>,
    settings: Settings,
    probe: &Probe,
    stop: &CancellationToken,
) -> Result<End, Error> {
    let name = bus.full_name(topic::USAGE.spec.name);
    let source = identify(bus, &name).await?;
    let ledger = Ledger::open(store.clone(), Path::default(), source, None);
    let ledger = tokio::select! {
        ledger = ledger => ledger?,
        () = stop.cancelled() => return Ok(End::Stopped),
    };
    let reader_stop = CancellationToken::new();
    let reader = bus.ordered(GROUP, &name, OnMissing::Fail, reader_stop.clone())?;
    probe.watch(reader.probe());
    let log = KafkaLog { bus: bus.clone(), control: reader.control(), reader, producer: bus.producer(Profile::Bulk)? };
    let (end, log) = Writer::new(ledger, settings, log, stop.clone()).run().await;
    reader_stop.cancel();
    let KafkaLog { bus: _, control, reader, producer: _ } = log;
    drop(control);
    reader.stopped().await?;
    end
}

/// Which log this is. A topic created again has another id.
async fn identify(bus: &Bus, topic: &str) -> Result<Source, Error> {
    let (bus, topic) = (bus.clone(), topic.to_owned());
    let ask = move || -> Result<Source, tollgate_bus::Error> {
        let cluster_id = bus.cluster_id(ADMIN_TIMEOUT)?;
        let topic_id = Some(bus.topic_id(&topic, ADMIN_TIMEOUT)?);
        Ok(Source { cluster_id, topic, topic_id })
    };
    Ok(tokio::task::spawn_blocking(ask).await.map_err(|_| Error::Panicked)??)
}

type IsAssigned = Box<dyn Fn() -> bool + Send + Sync>;

/// Whether the present session has its partitions.
#[derive(Clone, Default)]
struct Probe(Arc<Mutex<Option<IsAssigned>>>);

impl Probe {
    fn watch(&self, probe: impl Fn() -> bool + Send + Sync + 'static) {
        if let Ok(mut slot) = self.0.lock() {
            *slot = Some(Box::new(probe));
        }
    }

    fn holds(&self) -> bool {
        self.0.lock().is_ok_and(|slot| slot.as_ref().is_some_and(|probe| probe()))
    }
}

struct KafkaLog {
    bus: Bus,
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

    async fn source(&self) -> Result<Source, Error> {
        identify(&self.bus, &self.bus.full_name(topic::USAGE.spec.name)).await
    }

    async fn ends(&self, partition: i32) -> Result<Option<(i64, i64)>, tollgate_bus::Error> {
        let (bus, topic) = (self.bus.clone(), self.bus.full_name(topic::USAGE.spec.name));
        let asked = tokio::task::spawn_blocking(move || bus.watermarks(&topic, partition, ADMIN_TIMEOUT)).await;
        asked.map_err(|_| tollgate_bus::Error::Stopped("watermarks".to_owned()))?.map(Some)
    }

    fn start(&self, partition: i32, offset: Option<i64>) {
        self.control.start(partition, offset);
    }

    fn commit(&self, partition: i32, next_offset: i64) {
        self.control.commit(partition, next_offset);
    }

    fn release(&self, partition: i32) {
        self.control.release(partition);
    }

    async fn dead_letter(&self, record: Incoming<Vec<u8>>, reason: String) -> Result<(), tollgate_bus::Error> {
        self.producer.dead_letter(&record, &DeadLetter::new("parse", reason)).await
    }
}
