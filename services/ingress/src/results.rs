//! Finished requests, kept for `GET /v1/requests/{id}` whoever died meanwhile.
//!
//! The `results` group reads every terminal of `replies` and writes them to object storage in segments,
//! `results/date=YYYY-MM-DD/<partition>-<offset>.jsonl`, one line a terminal, named by the first record it covers; the
//! offset is committed after the write, and a repeated write has the same name. Any replica answers from any segment: what
//! it did not write itself it reads once. Bounded: [`INDEX_MAX`] ids in memory, [`SEGMENT_MAX_BYTES`] a segment.

use crate::{Error, config::IngressConfig};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus, Incoming,
    ordered::{Control, Event, OnMissing, Ordered},
};
use tollgate_runtime::{Readiness, supervised};
use tollgate_schemas::{Reply, RequestId, headers, topic};

const FLUSH_EVERY: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
const SEGMENT_MAX_BYTES: usize = 8 << 20;
const INDEX_MAX: usize = 1_000_000;
const RETRY_EVERY: Duration = Duration::from_secs(2);

type Line = std::ops::Range<u64>;

/// The writer's task.
pub(crate) struct Results {
    task: tokio::task::JoinHandle<Option<Result<(), Error>>>,
    reader: Reader,
}

/// Finds finished requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    store: Arc<dyn ObjectStore>,
    index: Arc<Mutex<Index>>,
}

#[derive(Default)]
struct Index {
    /// Not yet written.
    open: HashMap<RequestId, Arc<[u8]>>,
    written: HashMap<RequestId, (Arc<Path>, Line)>,
    order: VecDeque<RequestId>,
    seen: HashSet<Path>,
}

impl Index {
    fn note(&mut self, id: RequestId, segment: Arc<Path>, line: Line) {
        if self.written.insert(id, (segment, line)).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > INDEX_MAX {
            if let Some((segment, _)) = self.order.pop_front().and_then(|oldest| self.written.remove(&oldest)) {
                // What is forgotten can be found again by reading its segment.
                self.seen.remove(segment.as_ref());
            }
        }
    }
}

impl Results {
    pub(crate) fn start(
        bus: &Bus,
        config: &IngressConfig,
        readiness: &Readiness,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let ordered =
            bus.ordered("results", &bus.full_name(topic::REPLIES.spec.name), OnMissing::Oldest, stop.clone())?;
        readiness.require("results group", ordered.probe());
        let reader = Reader { store: config.store.clone(), index: Arc::default() };
        let writer = Writer {
            reader: reader.clone(),
            control: ordered.control(),
            open: BTreeMap::new(),
            window: config.results_window,
        };
        let task = supervised("results", writer.run(ordered, stop));
        Ok(Self { task, reader })
    }

    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    pub(crate) async fn stopped(self) -> Result<(), Error> {
        self.task.await.ok().flatten().unwrap_or(Err(Error::Thread))
    }
}

struct Writer {
    reader: Reader,
    control: Control,
    open: BTreeMap<i32, Segment>,
    window: Duration,
}

struct Segment {
    first: i64,
    next: i64,
    bytes: Vec<u8>,
    lines: Vec<(RequestId, Line)>,
}

impl Writer {
    async fn run(mut self, mut ordered: Ordered, stop: CancellationToken) -> Result<(), Error> {
        let (mut tick, mut sweep) = (tokio::time::interval(FLUSH_EVERY), tokio::time::interval(SWEEP_EVERY));
        loop {
            tokio::select! {
                event = ordered.next() => match event {
                    None => break,
                    Some(Event::Assigned(partition)) => self.control.start(partition, None),
                    Some(Event::Record(record)) => self.take(record).await,
                    Some(Event::Revoked(partition)) => {
                        self.flush(partition).await;
                        self.control.release(partition);
                    }
                    Some(Event::Lost(partition)) => self.forget(partition),
                },
                _ = tick.tick() => self.flush_all().await,
                _ = sweep.tick() => self.expire().await,
                () = stop.cancelled() => break,
            }
        }
        self.flush_all().await;
        drop(self.control);
        ordered.stopped().await?;
        Ok(())
    }

    async fn take(&mut self, record: Incoming<Vec<u8>>) {
        let fresh = || Segment { first: record.offset, next: record.offset, bytes: Vec::new(), lines: Vec::new() };
        let segment = self.open.entry(record.partition).or_insert_with(fresh);
        segment.next = record.offset + 1;
        let id = record.headers.get(headers::ID).and_then(|id| id.parse::<RequestId>().ok());
        let (Some("terminal"), Some(id)) = (record.headers.get(headers::REPLY_KIND), id) else { return };
        let start = segment.bytes.len() as u64;
        // A raw line break can only stand between JSON tokens, where a space means the same.
        segment.bytes.extend(record.value.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        segment.lines.push((id, start..segment.bytes.len() as u64));
        segment.bytes.push(b'\n');
        if let Ok(mut index) = self.reader.index.lock() {
            index.open.insert(id, record.value.into());
        }
        if self.open.get(&record.partition).is_some_and(|s| s.bytes.len() >= SEGMENT_MAX_BYTES) {
            self.flush(record.partition).await;
        }
    }

    async fn flush_all(&mut self) {
        for partition in self.open.keys().copied().collect::<Vec<_>>() {
            self.flush(partition).await;
        }
    }

    /// The partition is somebody else's, who will write these records too.
    fn forget(&mut self, partition: i32) {
        let Some(segment) = self.open.remove(&partition) else { return };
        if let Ok(mut index) = self.reader.index.lock() {
            for (id, _) in segment.lines {
                index.open.remove(&id);
            }
        }
    }

    /// Deletes the dates that lie wholly before the window. Several replicas may do it at once.
    async fn expire(&self) {
        let keep = (chrono::Utc::now() - self.window).date_naive();
        let mut segments = self.reader.store.list(Some(&Path::from("results")));
        while let Ok(Some(segment)) = segments.try_next().await {
            let date = segment
                .location
                .parts()
                .nth(1)
                .and_then(|part| part.as_ref().strip_prefix("date=").and_then(|d| d.parse().ok()));
            if date.is_some_and(|date: chrono::NaiveDate| date < keep)
                && let Err(error) = self.reader.store.delete(&segment.location).await
            {
                tracing::warn!(%error, path = %segment.location, "an expired result could not be deleted; tried again in an hour");
            }
        }
    }

    /// Writes a partition's open segment and commits. While storage is down it tries again; the bus then pauses intake.
    async fn flush(&mut self, partition: i32) {
        let Some(segment) = self.open.remove(&partition) else { return };
        if !segment.lines.is_empty() {
            let today = chrono::Utc::now().format("%Y-%m-%d");
            let path = Arc::new(Path::from(format!("results/date={today}/{partition:05}-{:020}.jsonl", segment.first)));
            while let Err(error) = self.reader.store.put(&path, segment.bytes.clone().into()).await {
                tracing::error!(%error, "results cannot be stored; trying again");
                metrics::counter!("tollgate_results_store_failures_total").increment(1);
                tokio::time::sleep(RETRY_EVERY).await;
            }
            if let Ok(mut index) = self.reader.index.lock() {
                index.seen.insert(path.as_ref().clone());
                for (id, line) in segment.lines {
                    index.open.remove(&id);
                    index.note(id, path.clone(), line);
                }
            }
        }
        self.control.commit(partition, segment.next);
    }
}

impl Reader {
    /// The terminal of a finished request; `None` if there is none within the window.
    pub(crate) async fn find(&self, id: RequestId) -> object_store::Result<Option<Reply>> {
        if let Some(reply) = self.known(id).await? {
            return Ok(Some(reply));
        }
        self.learn(id).await?;
        self.known(id).await
    }

    async fn known(&self, id: RequestId) -> object_store::Result<Option<Reply>> {
        let place = {
            let Ok(index) = self.index.lock() else { return Ok(None) };
            if let Some(bytes) = index.open.get(&id) {
                return Ok(serde_json::from_slice(bytes).ok());
            }
            index.written.get(&id).cloned()
        };
        let Some((path, line)) = place else { return Ok(None) };
        let bytes = self.store.get_range(&path, line).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Reads the segments of the id's date and later ones that this replica has not seen.
    async fn learn(&self, id: RequestId) -> object_store::Result<()> {
        let Some(begun) = chrono::DateTime::from_timestamp_millis(id.unix_ms()) else { return Ok(()) };
        let (mut day, today) = (begun.date_naive(), chrono::Utc::now().date_naive());
        while day <= today {
            let prefix = Path::from(format!("results/date={day}"));
            let segments: Vec<Path> = self.store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect().await?;
            for path in segments {
                if self.index.lock().is_ok_and(|index| index.seen.contains(&path)) {
                    continue;
                }
                let bytes = self.store.get(&path).await?.bytes().await?;
                self.note_segment(path, &bytes);
            }
            day = day.succ_opt().unwrap_or(chrono::NaiveDate::MAX);
        }
        Ok(())
    }

    fn note_segment(&self, path: Path, bytes: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Id {
            request_id: RequestId,
        }
        let Ok(mut index) = self.index.lock() else { return };
        index.seen.insert(path.clone());
        let (path, mut start) = (Arc::new(path), 0u64);
        for line in bytes.split(|byte| *byte == b'\n') {
            let end = start + line.len() as u64;
            if let Ok(Id { request_id }) = serde_json::from_slice(line) {
                index.note(request_id, path.clone(), start..end);
            }
            start = end + 1;
        }
    }
}
