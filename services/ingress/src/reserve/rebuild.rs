//! Keeping the store up to date: from a snapshot in storage, the usage rows since, and the requests that are still open; then row by
//! row. A store that was lost meanwhile is brought up to date again.

use super::{
    Desk,
    settle::{Again, Row, Settling},
    webhook,
};
use crate::Error;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tollgate_admission::{Snapshot, store::Restored};
use tollgate_bus::{Bus, broadcast::Start};
use tollgate_runtime::{Control, Readiness, store, supervised};
use tollgate_schemas::{Body, Lane, Request, UsageRow, now_us, topic};

/// How often the snapshot is written; what has happened since is read from the log.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(60);
/// How often the store is asked whether it has its counters.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long to wait before something is tried again that did not work.
const AGAIN: Duration = Duration::from_secs(1);
/// Rows read and not yet settled.
const ROWS_MAX: usize = 1_024;
/// A larger snapshot is not read: something else stands there.
const SNAPSHOT_MAX_BYTES: u64 = 1 << 30;
/// How long the broker may take to say which topic it is.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests are looked for from this much before the snapshot, because clocks differ.
const OVERLAP_MS: i64 = 60_000;

/// What the reader of `usage` tells.
enum Read {
    Row(Row),
    /// Everything that was there has been told.
    CaughtUp,
}

/// What stands in storage.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The log that the offsets are of.
    topic_id: String,
    snapshot: Snapshot,
}

/// Keeps the store of a [`Desk`] up to date.
pub(crate) struct Keeper {
    desk: Arc<Desk>,
    control: Control,
    bus: Bus,
    storage: Arc<dyn ObjectStore>,
    path: Path,
    notices: mpsc::Sender<webhook::Notice>,
    stop: CancellationToken,
}

impl Keeper {
    /// Begins. The replica is ready once its store is.
    pub(crate) fn start(
        desk: Arc<Desk>,
        control: &Control,
        bus: Bus,
        storage: Arc<dyn ObjectStore>,
        readiness: &Readiness,
        stop: CancellationToken,
    ) -> JoinHandle<Option<()>> {
        let (notices, waiting) = mpsc::channel(webhook::WAITING_MAX);
        supervised("webhooks", webhook::send(desk.clone(), waiting, stop.clone()));
        let ready = Arc::new(AtomicBool::new(false));
        let seen = ready.clone();
        readiness.require("limits and budgets", move || seen.load(Ordering::Relaxed));
        let path = Path::from(format!("admission/{}.json", control.base().gateway));
        let keeper = Self { desk, control: control.clone(), bus, storage, path, notices, stop };
        supervised("admission", async move { keeper.keep(&ready).await })
    }

    async fn keep(self, ready: &AtomicBool) {
        let mut snapshot = self.load().await;
        while !self.stop.is_cancelled() {
            match self.session(&mut snapshot, ready).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::error!(%error, "limits and budgets are not up to date; trying again");
                    let _ = self.stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
                }
            }
        }
        self.save().await;
    }

    /// From a snapshot to the end, or until the store is lost: then `snapshot` is what to begin with again.
    async fn session(&self, snapshot: &mut Snapshot, ready: &AtomicBool) -> Result<(), Error> {
        let restored = self.desk.store.restore(snapshot, now_us() / 1000).await?;
        // A store that is down is a matter of `on_store_failure`, not of being ready; one that nobody asks need not be waited for.
        ready.store(restored != Restored::Mine || self.desk.rules.get().idle, Ordering::Relaxed);
        if restored == Restored::Elsewhere {
            return Err(Error::Rebuilding);
        }
        let (reading, mut rows) = self.read(snapshot.offsets.clone()).await?;
        let mut settling = Settling::new(self.desk.clone(), self.notices.clone(), snapshot.offsets.clone());
        let mut is_behind = restored == Restored::Mine;
        let (mut save, mut probe) = (tokio::time::interval(SNAPSHOT_EVERY), tokio::time::interval(PROBE_EVERY));
        save.reset();
        loop {
            let again = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                read = rows.recv() => match read {
                    Some(Read::Row(row)) => settling.settle(row).await.err(),
                    Some(Read::CaughtUp) if is_behind => {
                        self.catch_up(snapshot).await?;
                        is_behind = false;
                        ready.store(true, Ordering::Relaxed);
                        None
                    }
                    Some(Read::CaughtUp) => None,
                    None => return Err(Error::Thread),
                },
                _ = probe.tick(), if !is_behind => match self.desk.store.is_ready().await {
                    Ok(false) => Some(Again::Rebuild),
                    _ => None,
                },
                _ = save.tick() => { self.save().await; None }
            };
            match again {
                None => {}
                Some(Again::Rebuild) => {
                    drop(reading);
                    *snapshot = self.desk.store.snapshot(now_us() / 1000);
                    return Err(Error::Rebuilding);
                }
                Some(Again::From(offsets)) => {
                    drop(reading);
                    *snapshot = Snapshot { offsets, ..self.desk.store.snapshot(now_us() / 1000) };
                    return Err(Error::Rebuilding);
                }
            }
        }
    }

    /// What is left of a rebuild once the rows have been read: the requests that are still open.
    async fn catch_up(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.reopen(snapshot).await?;
        if !self.desk.store.caught_up(now_us() / 1000).await? {
            return Err(Error::Rebuilding);
        }
        tracing::info!("limits and budgets are up to date");
        Ok(())
    }

    /// Rows behind the offsets, until the guard is dropped.
    async fn read(
        &self,
        after: BTreeMap<i32, i64>,
    ) -> Result<(tokio_util::sync::DropGuard, mpsc::Receiver<Read>), Error> {
        let (sender, rows) = mpsc::channel(ROWS_MAX);
        let at_end = sender.clone();
        let (bus, reading) = (self.bus.clone(), self.stop.child_token());
        let stop = reading.clone();
        let each = move |record: tollgate_bus::broadcast::Raw<'_>| {
            let (partition, offset) = record.place();
            let row = serde_json::from_slice::<UsageRow>(record.value()).map(Box::new).ok();
            // Whoever takes them is slower for a while, or gone.
            let _ = sender.blocking_send(Read::Row(Row { partition, offset, row }));
        };
        // The reader's own word: a log may end in offsets that no record has.
        let caught_up = move || {
            let _ = at_end.blocking_send(Read::CaughtUp);
        };
        let name = self.bus.full_name(topic::USAGE.spec.name);
        tokio::task::spawn_blocking(move || bus.replay(&name, Start::After(after), stop, each, caught_up))
            .await
            .map_err(|_| Error::Thread)??;
        Ok((reading.drop_guard(), rows))
    }

    /// Takes again what requests have reserved that were published since the snapshot and have not ended.
    async fn reopen(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let rules = self.desk.rules.get();
        if rules.idle {
            // Nothing has been reserved.
            return Ok(());
        }
        let now_ms = now_us() / 1000;
        let longest_ms = i64::try_from(self.control.config().longest_deadline().as_millis()).unwrap_or(i64::MAX);
        // Without the open ones of the snapshot (a shared store keeps them), all that can still be open are looked for.
        let since = if snapshot.open.is_empty() { now_ms - longest_ms } else { snapshot.at_ms };
        let topics = Lane::ALL.into_iter().flat_map(|lane| [topic::requests(lane), topic::approved(lane)]);
        let topics = topics.map(|topic| self.bus.full_name(topic.spec.name)).collect();
        let found = self.requests(topics, since - OVERLAP_MS).await?;
        for request in found.iter().filter(|request| !request.expired(now_ms, 0)) {
            let Some(reserved) = request.reserved else { continue };
            let ask = super::ask(request, reserved.input_tokens, reserved.output_tokens);
            if let Ok(plan) = rules.policy.plan(&ask, now_ms) {
                self.desk.store.reopen(&plan.reservation, request.accepted_us / 1000, now_ms).await?;
            }
        }
        Ok(())
    }

    /// The requests with a reservation in some topics since some time, up to their present ends. Without their bodies.
    async fn requests(&self, topics: Vec<String>, since_ms: i64) -> Result<Vec<Request>, Error> {
        let (bus, stop) = (self.bus.clone(), self.stop.clone());
        let scan = move || {
            let mut found = Vec::new();
            for topic in topics {
                bus.scan(&topic, &Start::Since(since_ms), &stop, |record| {
                    let request = serde_json::from_slice::<Request>(record.value()).ok();
                    if let Some(request) = request.filter(|request| request.reserved.is_some()) {
                        found.push(Request { body: Body::Inline(RawValue::NULL.to_owned()), ..request });
                    }
                })?;
            }
            Ok::<_, tollgate_bus::Error>(found)
        };
        Ok(tokio::task::spawn_blocking(scan).await.map_err(|_| Error::Thread)??)
    }

    async fn load(&self) -> Snapshot {
        let read = store::read(self.storage.as_ref(), &self.path, SNAPSHOT_MAX_BYTES).await;
        let stored: Option<Stored> = match read {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).ok(),
            Ok(None) => None,
            Err(object_store::Error::NotFound { .. }) => return Snapshot::default(),
            Err(error) => {
                tracing::error!(%error, "the snapshot of limits and budgets cannot be read; counting from what the usage topic still has");
                None
            }
        };
        let Some(Stored { topic_id, mut snapshot }) =
            stored.filter(|stored| stored.snapshot.version == tollgate_admission::SNAPSHOT_VERSION)
        else {
            return Snapshot::default();
        };
        if self.topic_id().await.is_some_and(|now| now != topic_id) {
            // Another log: its rows are all new, what was spent before stays spent.
            snapshot.offsets.clear();
        }
        snapshot
    }

    async fn save(&self) {
        let Some(topic_id) = self.topic_id().await else { return };
        let stored = Stored { topic_id, snapshot: self.desk.store.snapshot(now_us() / 1000) };
        let Ok(bytes) = serde_json::to_vec(&stored) else { return };
        if let Err(error) = self.storage.put(&self.path, bytes.into()).await {
            tracing::warn!(%error, "the snapshot of limits and budgets cannot be written; a restart will read more of the usage topic");
        }
    }

    async fn topic_id(&self) -> Option<String> {
        let (bus, name) = (self.bus.clone(), self.bus.full_name(topic::USAGE.spec.name));
        tokio::task::spawn_blocking(move || bus.topic_id(&name, TOPIC_TIMEOUT)).await.ok()?.ok()
    }
}
