//! Compaction: of all records with one key only the last stays. A [`Job`] reads sealed segments and writes their successors
//! on any thread; [`Log::install`] swaps them in. Records are copied as they are, batches keep their offsets and producer
//! fields, so gaps appear but nothing moves. A tombstone stays until its delete horizon (KIP-534).
//!
//! Not here: a choice of when (the caller's), and the removal of an idempotent producer's traces: those are in snapshots.

use super::{
    Log, Settings,
    batch::Header,
    files,
    records::{Broken, Record, Records},
    segment::{Scan, Segment, read_body},
};
use std::{
    collections::HashMap,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// Keys that one job can hold, about 20 MiB; what does not fit is for the next one.
const KEYS: usize = 7 << 16;
const WRITE_BYTES: usize = 256 * 1024;

/// A compaction that is due.
#[derive(Debug)]
pub(crate) struct Job {
    dir: PathBuf,
    sources: Vec<Source>,
    /// Below, each key occurs once.
    cleaned_upto: i64,
    now_ms: i64,
    delete_retention_ms: i64,
    segment_bytes: u64,
    pub(super) keys: usize,
}

#[derive(Debug, Clone)]
struct Source {
    base: i64,
    /// Where the next segment begins.
    upto: i64,
    size: u64,
}

/// What a job has written, to be swapped in.
#[derive(Debug)]
pub(crate) struct Done {
    cleaned_upto: i64,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Output {
    upto: i64,
    sources: usize,
    segment: Segment,
}

impl Log {
    /// The compaction that is worth its while now: when enough of what can be compacted is new.
    /// At most one job of a log may be under way.
    pub(crate) fn compaction(&self, settings: &Settings, now_ms: i64) -> Option<Job> {
        if !settings.compact {
            return None;
        }
        let lag_ms = settings.min_compaction_lag_ms;
        let ready = |pair: &&[Segment]| {
            lag_ms <= 0 || pair[0].cleaned || now_ms.saturating_sub(pair[0].max_timestamp) >= lag_ms
        };
        let sources: Vec<Source> = (self.segments.windows(2).take_while(ready))
            .map(|pair| Source { base: pair[0].base, upto: pair[1].base, size: pair[0].size })
            .collect();
        let cleaned = self.segments.iter().take_while(|segment| segment.cleaned).count();
        let cleaned_upto = self.cleaned_upto.max(self.segments.get(cleaned)?.base);
        let (clean, dirty): (Vec<&Source>, _) = sources.iter().partition(|source| source.upto <= cleaned_upto);
        let bytes = |sources: &[&Source]| sources.iter().map(|source| source.size).sum::<u64>();
        let (new, old) = (bytes(&dirty), bytes(&clean));
        let worthwhile = new.saturating_mul(1_000) >= settings.min_dirty_permille.saturating_mul(new + old);
        (!dirty.is_empty() && worthwhile).then(|| Job {
            dir: self.dir.clone(),
            sources,
            cleaned_upto,
            now_ms,
            delete_retention_ms: settings.delete_retention_ms,
            segment_bytes: settings.segment_bytes.min(u64::from(u32::MAX)),
            keys: KEYS,
        })
    }

    /// Swaps in what a job has written. Recovery finishes the swap of a file that has been renamed to `.swap`, and undoes
    /// what comes before. Gives the files to be removed elsewhere.
    pub(crate) fn install(&mut self, done: Done) -> io::Result<Vec<PathBuf>> {
        let mut retired = Vec::new();
        for Output { upto, sources, mut segment } in done.outputs {
            let base = segment.base;
            let [cleaned, swap] = ["cleaned", "swap"].map(|kind| files::range_path(&self.dir, base, upto, kind));
            let from = self.segments.partition_point(|old| old.base < base);
            let to = self.segments.partition_point(|old| old.base < upto);
            if to - from != sources || self.segments[from].base != base {
                // Retention was quicker.
                fs::remove_file(cleaned)?;
                continue;
            }
            crate::fault::point("log::install::begun");
            fs::rename(cleaned, &swap)?;
            crate::fault::point("log::install::swap");
            for old in &self.segments[from..to] {
                retired.push(files::retire(&self.dir, old.base)?);
                self.files.forget(old.id);
                crate::fault::point("log::install::retired");
            }
            fs::rename(swap, files::offset_path(&self.dir, base, "log"))?;
            crate::fault::point("log::install::swapped");
            segment.id = self.files.id();
            // A missing sidecar costs the next start a scan, no more.
            self.unindexed |= segment.write_index(&self.dir).is_err();
            self.segments.splice(from..to, [segment]);
            self.dir_dirty = true;
        }
        self.cleaned_upto = self.cleaned_upto.max(done.cleaned_upto);
        Ok(retired)
    }
}

impl Job {
    /// Reads, and writes the successors to files of their own, fsynced. Touches nothing that the log uses.
    pub(crate) fn run(self) -> io::Result<Done> {
        let keys = Keys::read(&self)?;
        let cleaned_upto = keys.upto;
        let groups = self.groups(cleaned_upto);
        let outputs: io::Result<Vec<Output>> = groups.iter().map(|group| self.clean(group, &keys)).collect();
        if outputs.is_err() {
            for group in groups {
                // What is left is removed at the next start.
                let _ = fs::remove_file(self.output_path(group));
            }
        }
        Ok(Done { cleaned_upto, outputs: outputs? })
    }

    /// Neighbours that fit one segment become one; those beyond `upto` stay as they are.
    fn groups(&self, upto: i64) -> Vec<&[Source]> {
        let mut groups = Vec::new();
        let mut rest = &self.sources[..self.sources.partition_point(|source| source.base < upto)];
        while let [first, ..] = rest {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|source| {
                bytes += source.size;
                // A segment that was read in part is not yet clean and must not be taken for it.
                let whole = source.upto <= upto || source.base == first.base;
                whole && bytes <= self.segment_bytes && source.upto - first.base <= i64::from(u32::MAX)
            });
            let (group, after) = rest.split_at(fits.count().max(1));
            groups.push(group);
            rest = after;
        }
        groups
    }

    fn output_path(&self, group: &[Source]) -> PathBuf {
        files::range_path(&self.dir, group[0].base, group[group.len() - 1].upto, "cleaned")
    }

    fn clean(&self, group: &[Source], keys: &Keys) -> io::Result<Output> {
        let upto = group[group.len() - 1].upto;
        let path = self.output_path(group);
        let mut segment = Segment::new(0, group[0].base);
        let file = File::create(&path).map_err(|error| files::named(&path, &error))?;
        let mut writer = BufWriter::with_capacity(WRITE_BYTES, file);
        for source in group {
            each_batch(&self.dir, source, i64::MIN, |header, body| {
                let (header, body) = match self.filter(header, &body, keys)? {
                    Filtered::Same => (*header, body),
                    Filtered::Changed(header, body) => (header, body),
                    // A consumer that reads to the end must find one.
                    Filtered::Empty if header.next_offset() == upto => {
                        (Header::empty(header.base_offset, upto), Vec::new())
                    }
                    Filtered::Empty => return Ok(true),
                };
                writer.write_all(&header.to_bytes())?;
                writer.write_all(&body)?;
                segment.note(&header, header.max_timestamp);
                Ok(true)
            })?;
        }
        writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        crate::fault::point("log::compact::written");
        segment.cleaned = upto <= keys.upto;
        Ok(Output { upto, sources: group.len(), segment })
    }

    /// What stays of a batch.
    fn filter(&self, header: &Header, body: &[u8], keys: &Keys) -> io::Result<Filtered> {
        let Some((codec, records)) = header.codec().and_then(|codec| Some((codec, codec.decompress(body).ok()?)))
        else {
            return Ok(Filtered::Same);
        };
        let Ok(survey) = self.survey(header, &records, keys) else { return Ok(Filtered::Same) };
        let starts_horizon =
            survey.tombstones && header.delete_horizon_ms().is_none() && header.next_offset() <= keys.upto;
        if survey.kept == 0 {
            return Ok(Filtered::Empty);
        }
        if survey.kept == header.count && !starts_horizon {
            return Ok(Filtered::Same);
        }
        let mut changed = *header;
        if !header.is_append_time() {
            changed.set_timestamps(false, survey.max_timestamp);
        }
        if starts_horizon {
            changed.set_delete_horizon_ms(self.now_ms.saturating_add(self.delete_retention_ms));
        }
        let mut plain = Vec::with_capacity(records.len());
        for record in Records::new(&records, header.count).map_while(Result::ok) {
            if !self.keeps(header, &record, keys) {
                continue;
            }
            match starts_horizon {
                true => {
                    let delta = header.timestamp_of(&record).wrapping_sub(changed.base_timestamp);
                    record.write_with_delta(delta, &mut plain);
                }
                false => plain.extend_from_slice(record.raw),
            }
        }
        let body = codec.compress(plain)?;
        changed.set_body(survey.kept, body.len());
        changed.seal(&body);
        Ok(Filtered::Changed(changed, body))
    }

    fn keeps(&self, header: &Header, record: &Record<'_>, keys: &Keys) -> bool {
        let expired = header.delete_horizon_ms().is_some_and(|horizon_ms| horizon_ms <= self.now_ms);
        !(keys.supersede(header, record) || (expired && is_tombstone(record)))
    }

    fn survey(&self, header: &Header, records: &[u8], keys: &Keys) -> Result<Survey, Broken> {
        let mut survey = Survey { kept: 0, tombstones: false, max_timestamp: -1 };
        for record in Records::new(records, header.count) {
            let record = record?;
            if self.keeps(header, &record, keys) {
                survey.kept += 1;
                survey.tombstones |= is_tombstone(&record);
                survey.max_timestamp = survey.max_timestamp.max(header.timestamp_of(&record));
            }
        }
        Ok(survey)
    }
}

/// What stays of a batch, in numbers.
struct Survey {
    kept: i32,
    tombstones: bool,
    max_timestamp: i64,
}

fn is_tombstone(record: &Record<'_>) -> bool {
    record.tombstone && record.key.is_some()
}

enum Filtered {
    Same,
    Changed(Header, Vec<u8>),
    Empty,
}

/// Calls `visit` with every batch of a segment that reaches beyond `from`, checksum verified, until it says no.
fn each_batch(
    dir: &Path,
    source: &Source,
    from: i64,
    mut visit: impl FnMut(&Header, Vec<u8>) -> io::Result<bool>,
) -> io::Result<bool> {
    let path = files::offset_path(dir, source.base, "log");
    let file = File::open(&path).map_err(|error| files::named(&path, &error))?;
    let mut scan = Scan::new(&file, 0, source.size);
    while let Some((position, header)) = scan.next()? {
        if header.next_offset() <= from {
            continue;
        }
        let body = read_body(&file, position, &header)?;
        if !header.matches(&body) {
            let why = format!("{}: the batch at byte {position} is damaged", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if !visit(&header, body)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The last offset of each key in what is new. Keys are held as digests of 128 bits with secret seeds, so that nobody can
/// make two collide.
struct Keys {
    seeds: [RandomState; 2],
    last: HashMap<[u64; 2], i64>,
    /// Everything below has been read.
    upto: i64,
}

impl Keys {
    fn read(job: &Job) -> io::Result<Self> {
        let seeds = [RandomState::new(), RandomState::new()];
        let mut keys = Self { seeds, last: HashMap::new(), upto: job.cleaned_upto };
        for source in job.sources.iter().filter(|source| source.upto > job.cleaned_upto) {
            let whole = each_batch(&job.dir, source, job.cleaned_upto, |header, body| {
                let fits = keys.note(header, &body, job.keys);
                // The first batch counts as read even if it holds more keys than fit, or it would stop every job.
                if fits || keys.upto == job.cleaned_upto {
                    keys.upto = header.next_offset();
                }
                Ok(fits)
            })?;
            if !whole {
                return Ok(keys);
            }
            keys.upto = source.upto;
        }
        Ok(keys)
    }

    /// Whether the batch's keys fitted. Those that did stay even if not all did: they are true.
    fn note(&mut self, header: &Header, body: &[u8], limit: usize) -> bool {
        let Ok(records) = header.records(body) else { return true };
        for record in Records::new(&records, header.count).map_while(Result::ok) {
            let Some(key) = record.key else { continue };
            let digest = self.digest(key);
            if self.last.len() >= limit && !self.last.contains_key(&digest) {
                return false;
            }
            self.last.insert(digest, header.offset_of(&record));
        }
        true
    }

    fn supersede(&self, header: &Header, record: &Record<'_>) -> bool {
        let last = record.key.and_then(|key| self.last.get(&self.digest(key)));
        last.is_some_and(|&last| last > header.offset_of(record))
    }

    fn digest(&self, key: &[u8]) -> [u64; 2] {
        self.seeds.each_ref().map(|seed| seed.hash_one(key))
    }
}
