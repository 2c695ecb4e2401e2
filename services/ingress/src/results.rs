//! Finished requests, kept for `GET /v1/requests/{id}` whoever died meanwhile.
//!
//! The `results` group reads every terminal of `replies` and writes them to object storage in segments,
//! `results/date=YYYY-MM-DD/<partition>-<first>-<next>.jsonl`, one line a terminal, named by the records it covers; the offset
//! is committed after the write. A name says all of its content, so a writer that lost its partition and does not know it
//! overwrites nothing; segments may overlap. Of several terminals of a request the first in the log counts: where two
//! executions ended one, everybody sees the same end. Any replica answers from any segment: what it did not write itself it
//! reads once. Bounded: [`INDEX_MAX`] ids in memory, [`SEGMENT_MAX_BYTES`] a segment, one reader of segments at a time, no
//! segment before the window.

use crate::{Error, config::IngressConfig};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_map::Entry},
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
const GROUP: &str = "results";
/// How long [`Reader::find_surely`] waits for results that are not stored yet.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// How long after segments were looked for they are not looked for again.
const LEARN_EVERY: Duration = Duration::from_millis(250);
/// How long a write may take once the service stops. What is not written is not committed: the next reader writes it.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

type Line = std::ops::Range<u64>;

/// A file of terminals.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct SegmentName {
    date: chrono::NaiveDate,
    partition: i32,
    first: i64,
    next: i64,
}

impl SegmentName {
    fn path(&self) -> Path {
        Path::from(format!(
            "results/date={}/{:05}-{:020}-{:020}.jsonl",
            self.date, self.partition, self.first, self.next
        ))
    }

    fn parse(path: &Path) -> Option<Self> {
        let date = path.parts().nth(1)?.as_ref().strip_prefix("date=")?.parse().ok()?;
        let mut numbers = path.filename()?.strip_suffix(".jsonl")?.split('-');
        let mut number = || numbers.next()?.parse::<i64>().ok();
        Some(Self { date, partition: number()?.try_into().ok()?, first: number()?, next: number()? })
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
    index: Arc<Mutex<Index>>,
    /// Held while segments are looked for: when that was done last, and from which date on.
    learning: Arc<tokio::sync::Mutex<Option<(tokio::time::Instant, chrono::NaiveDate)>>>,
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
            // partitions have no order; the one that was known first stays.
            Entry::Occupied(mut known) => {
                let (at, from) = known.get();
                if at.partition == segment.partition && (segment.first, line.start) < (at.first, from.start) {
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
        let (store, window) = (config.store.clone(), config.results_window);
        let reader = Reader { bus: bus.clone(), store, window, index: Arc::default(), learning: Arc::default() };
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
    open: BTreeMap<i32, Segment>,
    stop: CancellationToken,
}

struct Segment {
    first: i64,
    next: i64,
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
            index.open.entry(id).or_insert_with(|| record.value.into());
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
        let keep = self.reader.oldest();
        let mut segments = self.reader.store.list(Some(&Path::from("results")));
        while let Ok(Some(segment)) = segments.try_next().await {
            if SegmentName::parse(&segment.location).is_some_and(|name| name.date < keep)
                && let Err(error) = self.reader.store.delete(&segment.location).await
            {
                tracing::warn!(%error, path = %segment.location, "an expired result could not be deleted; tried again in an hour");
            }
        }
        if let Ok(mut index) = self.reader.index.lock() {
            index.seen.retain(|name| name.date >= keep);
        }
    }

    /// Writes a partition's open segment and commits. While storage is down it tries again; the bus then pauses intake.
    async fn flush(&mut self, partition: i32) {
        let Some(segment) = self.open.remove(&partition) else { return };
        if !segment.lines.is_empty() {
            let date = chrono::Utc::now().date_naive();
            let name = Arc::new(SegmentName { date, partition, first: segment.first, next: segment.next });
            if !self.write(&name.path(), segment.bytes).await {
                return;
            }
            if let Ok(mut index) = self.reader.index.lock() {
                index.seen.insert(name.clone());
                for (id, line) in segment.lines {
                    index.open.remove(&id);
                    index.note(id, name.clone(), line);
                }
            }
        }
        self.control.commit(partition, segment.next);
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

impl Reader {
    /// The first date that results are kept of.
    fn oldest(&self) -> chrono::NaiveDate {
        (chrono::Utc::now() - self.window).date_naive()
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
        let until = tokio::time::Instant::now() + BEHIND_MAX;
        loop {
            let asked = progress.clone();
            let is_done = tokio::task::spawn_blocking(move || asked.is_done()).await.map_err(|_| Error::Thread)??;
            // Segments may have been looked for just before.
            tokio::time::sleep(LEARN_EVERY).await;
            let found = self.find(id).await.map_err(Error::Results)?;
            if found.is_some() || is_done {
                return Ok(found);
            }
            if tokio::time::Instant::now() >= until {
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

    /// Reads the segments of the id's date and later ones that this replica has not seen.
    async fn learn(&self, id: RequestId) -> object_store::Result<()> {
        let Some(begun) = chrono::DateTime::from_timestamp_millis(id.unix_ms()) else { return Ok(()) };
        let (first, today) = (begun.date_naive().max(self.oldest()), chrono::Utc::now().date_naive());
        let mut learned = self.learning.lock().await;
        if learned.is_some_and(|(at, from)| at.elapsed() < LEARN_EVERY && from <= first) {
            return Ok(());
        }
        for day in first.iter_days().take_while(|day| *day <= today) {
            let prefix = Path::from(format!("results/date={day}"));
            let segments: Vec<Path> = self.store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect().await?;
            for name in segments.iter().filter_map(SegmentName::parse) {
                if self.index.lock().is_ok_and(|index| index.seen.contains(&name)) {
                    continue;
                }
                let bytes = self.store.get(&name.path()).await?.bytes().await?;
                self.note_segment(name, &bytes);
            }
        }
        *learned = Some((tokio::time::Instant::now(), first));
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_says_what_it_covers() {
        let date = chrono::NaiveDate::from_ymd_opt(2026, 3, 1).expect("a date");
        let name = SegmentName { date, partition: 3, first: 41, next: 97 };
        assert_eq!(SegmentName::parse(&name.path()), Some(name));
        assert_eq!(SegmentName::parse(&Path::from("results/date=2026-03-01/other.jsonl")), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However a log is cut into segments, overlapping ones too, and in whatever order they are learned: the first terminal
        /// of each request counts.
        #[test]
        fn the_first_terminal_in_the_log_counts(
            log in prop::collection::vec(0..6u8, 1..40),
            cuts in prop::collection::vec((0..40usize, 1..40usize), 0..12),
        ) {
            let ids: Vec<RequestId> = (0..6).map(|_| RequestId::new()).collect();
            let whole = [(0, log.len())];
            let date = chrono::NaiveDate::from_ymd_opt(2026, 3, 1).expect("a date");
            let mut index = Index::default();
            // A line is one byte here, so its place in the log is `first` plus its start.
            for (first, length) in cuts.iter().chain(&whole) {
                let end = (first + length).min(log.len());
                let Ok(covered) = i64::try_from(*first).and_then(|f| i64::try_from(end).map(|e| (f, e))) else { continue };
                let name = Arc::new(SegmentName { date, partition: 0, first: covered.0, next: covered.1 });
                for (at, n) in log.iter().enumerate().take(end).skip(*first) {
                    let start = (at - first) as u64;
                    index.note(ids[usize::from(*n)], name.clone(), start..start + 1);
                }
            }
            for (n, id) in ids.iter().enumerate() {
                let expected = log.iter().position(|m| usize::from(*m) == n).map(|at| at as u64);
                let known = index.written.get(id).map(|(name, line)| u64::try_from(name.first).expect("positive") + line.start);
                prop_assert_eq!(known, expected);
            }
        }
    }
}
