//! Finished requests, kept for `GET /v1/requests/{id}` whoever died meanwhile.
//!
//! The `results` group reads every terminal of `replies` and writes them to object storage in segments,
//! `results/date=YYYY-MM-DD/HHMMSS/<partition>-<first>-<next>.jsonl`, one line a terminal. Date and time are those of the requests'
//! ids, by ten seconds, so that whoever looks for one reads the few segments of its time and no others, however much has ended since. The
//! name says which records it covers: those of its time among them. The offset is committed after the writes. A name says all of its
//! content, so a writer that lost its partition and does not know it overwrites nothing; segments may overlap. Of several
//! terminals of a request the first in the log counts, of the lowest partition that has some: where two executions ended one, everybody
//! sees the same end. Any replica answers from any segment: what it did not write itself it reads once. Beside them stands what is noted
//! of requests whose answers are fetched later (`<id>.json`, [`crate::background`]); all of it goes with the window. Bounded: [`INDEX_MAX`] ids in memory,
//! [`SEGMENT_MAX_BYTES`] of terminals that are not written yet, a partition, [`AT_ONCE`] lookups of as many segments at a time, no
//! segment before the window.

use crate::{Error, config::IngressConfig};
use axum::body::Bytes;
use chrono::{DateTime, NaiveDateTime};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
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
const GROUP: &str = "results";
/// How long [`Reader::find_surely`] waits for results that are not stored yet.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// How long after the segments of a slot were looked for they are not looked for again.
const LEARN_EVERY: Duration = Duration::from_millis(250);
/// Slots of which that is known.
const LEARNED_MAX: usize = 10_000;
/// How long a write may take once the service stops. What is not written is not committed: the next reader writes it.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Segments that are written at the same time, or read for one lookup; and lookups at the same time.
const AT_ONCE: usize = 8;

type Line = std::ops::Range<u64>;

/// When requests were made whose terminals stand together: the beginning of ten seconds, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Slot(NaiveDateTime);

impl Slot {
    const SECONDS: i64 = 10;

    /// That of an id, which may be anybody's invention: far in the past or future there is none.
    fn of(id: RequestId) -> Option<Self> {
        let seconds = id.unix_ms().div_euclid(1000 * Self::SECONDS) * Self::SECONDS;
        Some(Self(DateTime::from_timestamp(seconds, 0)?.naive_utc()))
    }

    fn path(self) -> String {
        self.0.format("results/date=%Y-%m-%d/%H%M%S").to_string()
    }

    /// That of what stands there.
    fn parse(path: &Path) -> Option<Self> {
        let mut parts = path.parts().skip(1);
        let (date, time) = (parts.next()?, parts.next()?);
        let at = format!("{}{}", date.as_ref().strip_prefix("date=")?, time.as_ref());
        Some(Self(NaiveDateTime::parse_from_str(&at, "%Y-%m-%d%H%M%S").ok()?))
    }
}

/// Where stands what is noted of a request.
fn note_path(slot: Slot, id: RequestId) -> Path {
    Path::from(format!("{}/{id}.json", slot.path()))
}

/// A file of terminals.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SegmentName {
    slot: Slot,
    partition: i32,
    first: i64,
    next: i64,
}

impl SegmentName {
    fn path(&self) -> Path {
        let Self { slot, partition, first, next } = self;
        Path::from(format!("{}/{partition:05}-{first:020}-{next:020}.jsonl", slot.path()))
    }

    fn parse(path: &Path) -> Option<Self> {
        let slot = Slot::parse(path)?;
        let mut numbers = path.filename()?.strip_suffix(".jsonl")?.split('-');
        let mut number = || numbers.next()?.parse::<i64>().ok();
        Some(Self { slot, partition: number()?.try_into().ok()?, first: number()?, next: number()? })
    }
}

/// The writer's task.
pub(crate) struct Results {
    task: tokio::task::JoinHandle<Option<Result<(), Error>>>,
    reader: Reader,
}

/// Finds finished requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    bus: Bus,
    store: Arc<dyn ObjectStore>,
    window: Duration,
    /// The longest that a request may live.
    longest: Duration,
    index: Arc<Mutex<Index>>,
    /// When the segments of a slot were looked for.
    learned: Arc<Mutex<HashMap<Slot, Instant>>>,
    /// For lookups.
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Index {
    /// Not yet written: the first of each request.
    open: HashMap<RequestId, Arc<[u8]>>,
    written: HashMap<RequestId, (Arc<SegmentName>, Line)>,
    order: VecDeque<RequestId>,
    seen: HashSet<Arc<SegmentName>>,
}

impl Index {
    fn note(&mut self, id: RequestId, segment: Arc<SegmentName>, line: Line) {
        match self.written.entry(id) {
            Entry::Vacant(new) => {
                new.insert((segment, line));
                self.order.push_back(id);
            }
            // A segment that has the first terminal begins before any that has only a later one. Terminals of different
            // partitions have no order in time that every replica sees; the lowest partition's counts, whoever learns of it when.
            Entry::Occupied(mut known) => {
                let (at, from) = known.get();
                let (new, old) = ((segment.partition, segment.first, line.start), (at.partition, at.first, from.start));
                if new < old {
                    known.insert((segment, line));
                }
            }
        }
        while self.order.len() > INDEX_MAX {
            if let Some((segment, _)) = self.order.pop_front().and_then(|oldest| self.written.remove(&oldest)) {
                // What is forgotten can be found again by reading its segment.
                self.seen.remove(&segment);
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
        let ordered = bus.ordered(GROUP, &bus.full_name(topic::REPLIES.spec.name), OnMissing::Oldest, stop.clone())?;
        readiness.require("results group", ordered.probe());
        let (store, window, longest) = (config.store.clone(), config.results_window, config.longest_deadline);
        let (index, learned, places) = (Arc::default(), Arc::default(), Arc::new(Semaphore::new(AT_ONCE)));
        let reader = Reader { bus: bus.clone(), store, window, longest, index, learned, places };
        let writer = Writer { reader: reader.clone(), control: ordered.control(), open: BTreeMap::new(), stop };
        let task = supervised("results", writer.run(ordered));
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
    open: BTreeMap<i32, Open>,
    stop: CancellationToken,
}

/// The terminals of a partition that are not written yet.
struct Open {
    first: i64,
    next: i64,
    bytes: usize,
    parts: BTreeMap<Slot, Part>,
}

/// Those that stand in one segment.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    lines: Vec<(RequestId, Line)>,
}

impl Writer {
    async fn run(mut self, mut ordered: Ordered) -> Result<(), Error> {
        let stop = self.stop.clone();
        let (mut tick, mut sweep) = (tokio::time::interval(FLUSH_EVERY), tokio::time::interval(SWEEP_EVERY));
        loop {
            tokio::select! {
                event = ordered.next() => match event {
                    None => break,
                    Some(Event::Assigned(partition)) => self.control.start(partition, None),
                    Some(Event::Record(record)) => self.take(record).await,
                    Some(Event::Missing { partition, count }) => missed(partition, count),
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
        let fresh = || Open { first: record.offset, next: record.offset, bytes: 0, parts: BTreeMap::new() };
        let open = self.open.entry(record.partition).or_insert_with(fresh);
        open.next = record.offset + 1;
        let id = record.headers.get(headers::ID).and_then(|id| id.parse::<RequestId>().ok());
        let (Some("terminal"), Some(id)) = (record.headers.get(headers::REPLY_KIND), id) else { return };
        let Some(slot) = Slot::of(id) else { return };
        let part = open.parts.entry(slot).or_default();
        let start = part.bytes.len() as u64;
        // A raw line break can only stand between JSON tokens, where a space means the same.
        part.bytes.extend(record.value.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
        part.lines.push((id, start..part.bytes.len() as u64));
        part.bytes.push(b'\n');
        open.bytes += record.value.len() + 1;
        if let Ok(mut index) = self.reader.index.lock() {
            index.open.entry(id).or_insert_with(|| record.value.into());
        }
        if self.open.get(&record.partition).is_some_and(|open| open.bytes >= SEGMENT_MAX_BYTES) {
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
        let Some(open) = self.open.remove(&partition) else { return };
        if let Ok(mut index) = self.reader.index.lock() {
            for (id, _) in open.parts.into_values().flat_map(|part| part.lines) {
                index.open.remove(&id);
            }
        }
    }

    /// Deletes what lies before the window. Several replicas may do it at once.
    async fn expire(&self) {
        let keep = self.reader.oldest();
        let mut stored = self.reader.store.list(Some(&Path::from("results")));
        while let Ok(Some(file)) = stored.try_next().await {
            if Slot::parse(&file.location).is_some_and(|slot| slot < keep)
                && let Err(error) = self.reader.store.delete(&file.location).await
            {
                tracing::warn!(%error, path = %file.location, "an expired result could not be deleted; tried again in an hour");
            }
        }
        if let Ok(mut index) = self.reader.index.lock() {
            index.seen.retain(|name| name.slot >= keep);
        }
        if let Ok(mut learned) = self.reader.learned.lock() {
            learned.clear();
        }
    }

    /// Writes what a partition has open and commits. While storage is down it tries again; the bus then pauses intake.
    async fn flush(&mut self, partition: i32) {
        let Some(Open { first, next, parts, .. }) = self.open.remove(&partition) else { return };
        let writer = &*self;
        let write = |(slot, part): (Slot, Part)| async move {
            let name = Arc::new(SegmentName { slot, partition, first, next });
            let is_written = writer.write(&name.path(), part.bytes).await;
            if is_written && let Ok(mut index) = writer.reader.index.lock() {
                index.seen.insert(name.clone());
                for (id, line) in part.lines {
                    index.open.remove(&id);
                    index.note(id, name.clone(), line);
                }
            }
            is_written
        };
        let written = futures::stream::iter(parts).map(write).buffer_unordered(AT_ONCE);
        if written.all(|is_written| async move { is_written }).await {
            self.control.commit(partition, next);
        }
    }

    /// False if the service stops before it could be written.
    async fn write(&self, path: &Path, bytes: Vec<u8>) -> bool {
        let payload = object_store::PutPayload::from(bytes);
        let put = async {
            while let Err(error) = self.reader.store.put(path, payload.clone()).await {
                tracing::error!(%error, "results cannot be stored; trying again");
                metrics::counter!("tollgate_results_store_failures_total").increment(1);
                tokio::time::sleep(RETRY_EVERY).await;
            }
        };
        let too_late = async {
            self.stop.cancelled().await;
            tokio::time::sleep(LAST_WRITE_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            () = put => true,
            () = too_late => {
                tracing::warn!("results could not be stored before the stop; the next reader of the log stores them");
                false
            }
        }
    }
}

/// Replies that are gone from their topic and were never stored: nobody could store them for as long as it keeps them.
fn missed(partition: i32, count: u64) {
    tracing::warn!(
        partition,
        count,
        "replies were deleted from their topic before they were stored; requests that ended by them cannot be fetched by id, and \
         repeats of their keys get `still_running`; make `retention.replies` longer than ingress or its storage may be away"
    );
    metrics::counter!("tollgate_results_missed_total").increment(count);
}

impl Reader {
    /// The first slot that results are kept of: that of the requests which may have ended within the window.
    fn oldest(&self) -> Slot {
        Slot((chrono::Utc::now() - self.window - self.longest).naive_utc())
    }

    /// Keeps what is to be known of a request before it has ended, for as long as its result. Again does no harm.
    pub(crate) async fn note(&self, id: RequestId, noted: Vec<u8>) -> object_store::Result<()> {
        let Some(path) = Slot::of(id).map(|slot| note_path(slot, id)) else { return Ok(()) };
        self.store.put(&path, noted.into()).await.map(|_| ())
    }

    /// What was noted of a request.
    pub(crate) async fn noted(&self, id: RequestId) -> object_store::Result<Option<Bytes>> {
        let Some(slot) = Slot::of(id).filter(|slot| *slot >= self.oldest()) else { return Ok(None) };
        match self.store.get(&note_path(slot, id)).await {
            Ok(noted) => noted.bytes().await.map(Some),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The terminal of a finished request; `None` if there is none within the window.
    pub(crate) async fn find(&self, id: RequestId) -> object_store::Result<Option<Reply>> {
        if let Some(reply) = self.written(id).await? {
            return Ok(Some(reply));
        }
        self.learn(id).await?;
        if let Some(reply) = self.written(id).await? {
            return Ok(Some(reply));
        }
        let open = self.index.lock().ok().and_then(|index| index.open.get(&id).cloned());
        Ok(open.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// As [`Reader::find`], and sure that there is none: waits until everything is stored that stood on the log when this began. A
    /// replica that has just started would else take a request that ended while it was away for one that never ran.
    pub(crate) async fn find_surely(&self, id: RequestId) -> Result<Option<Reply>, Error> {
        if let Some(reply) = self.find(id).await.map_err(Error::Results)? {
            return Ok(Some(reply));
        }
        let bus = self.bus.clone();
        let noted = tokio::task::spawn_blocking(move || bus.progress(GROUP, topic::REPLIES.spec.name)).await;
        let progress = Arc::new(noted.map_err(|_| Error::Thread)??);
        let until = Instant::now() + BEHIND_MAX;
        loop {
            let asked = progress.clone();
            let is_done = tokio::task::spawn_blocking(move || asked.is_done()).await.map_err(|_| Error::Thread)??;
            // Segments may have been looked for just before.
            tokio::time::sleep(LEARN_EVERY).await;
            let found = self.find(id).await.map_err(Error::Results)?;
            if found.is_some() || is_done {
                return Ok(found);
            }
            if Instant::now() >= until {
                return Err(Error::ResultsBehind);
            }
        }
    }

    async fn written(&self, id: RequestId) -> object_store::Result<Option<Reply>> {
        let Some((name, line)) = self.index.lock().ok().and_then(|index| index.written.get(&id).cloned()) else {
            return Ok(None);
        };
        let bytes = self.store.get_range(&name.path(), line).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Reads the segments of the id's slot that this replica has not seen.
    async fn learn(&self, id: RequestId) -> object_store::Result<()> {
        let Some(slot) = Slot::of(id).filter(|slot| *slot >= self.oldest()) else { return Ok(()) };
        let is_fresh = |at: &Instant| at.elapsed() < LEARN_EVERY;
        if self.learned.lock().is_ok_and(|learned| learned.get(&slot).is_some_and(is_fresh)) {
            return Ok(());
        }
        // Closed only by the end of the process.
        let _place = self.places.acquire().await;
        let begun = Instant::now();
        let prefix = Path::from(slot.path());
        let segments: Vec<Path> = self.store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect().await?;
        let is_new = |name: &SegmentName| self.index.lock().is_ok_and(|index| !index.seen.contains(name));
        let new: Vec<SegmentName> = segments.iter().filter_map(SegmentName::parse).filter(is_new).collect();
        let read = |name: SegmentName| async move {
            let bytes = self.store.get(&name.path()).await?.bytes().await?;
            self.note_segment(name, &bytes);
            Ok::<_, object_store::Error>(())
        };
        futures::stream::iter(new).map(read).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        if let Ok(mut learned) = self.learned.lock() {
            if learned.len() >= LEARNED_MAX {
                learned.retain(|_, at| is_fresh(at));
            }
            learned.insert(slot, begun);
        }
        Ok(())
    }

    fn note_segment(&self, name: SegmentName, bytes: &[u8]) {
        #[derive(serde::Deserialize)]
        struct Id {
            request_id: RequestId,
        }
        let Ok(mut index) = self.index.lock() else { return };
        let (name, mut start) = (Arc::new(name), 0u64);
        index.seen.insert(name.clone());
        for line in bytes.split(|byte| *byte == b'\n') {
            let end = start + line.len() as u64;
            if let Ok(Id { request_id }) = serde_json::from_slice(line) {
                index.note(request_id, name.clone(), start..end);
            }
            start = end + 1;
        }
    }
}

#[cfg(test)]
mod tests;
