//! Opening a log: finishing or undoing what was under way, reading what no sidecar vouches for, and never handing out an
//! offset twice. A segment with a fitting sidecar was on the disk when that was written and is not read. Any other is read
//! with its checksums and cut at the first batch that is not whole; what later segments hold is kept, at its offsets.

use super::{
    Log, Producers, Start,
    batch::Header,
    files::{self, Files},
    index::Tail,
    segment::{Scan, Segment},
    upkeep::modified_ms,
};
use std::{
    fs::{self, File},
    io,
    path::Path,
    rc::Rc,
};

/// What opening a log found and did, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Recovery {
    /// Bytes of segments that were read.
    pub(crate) scanned_bytes: u64,
    /// Bytes of broken batches that were cut off.
    pub(crate) cut_bytes: u64,
    /// The offset of the first of them.
    pub(crate) cut_at: Option<i64>,
    /// The offset at which the log goes on, if it left some out.
    pub(crate) skipped_to: Option<i64>,
}

impl Log {
    /// Opens the log in `dir`, or begins one there.
    pub(crate) fn open(dir: &Path, files: Rc<Files>, start: Start) -> io::Result<(Self, Recovery)> {
        fs::create_dir_all(dir).map_err(|error| files::named(dir, &error))?;
        let Listing { mut bases, snapshots } = list(dir)?;
        if bases.is_empty() {
            let base = start.start_offset.max(0);
            File::create(files::offset_path(dir, base, "log"))?;
            bases.push(base);
        }
        let mut recovery = Recovery::default();
        let segments = open_segments(dir, &files, &bases, &mut recovery)?;
        let mut log = Self {
            dir: dir.to_owned(),
            files,
            start: start.start_offset.max(bases[0]),
            tail: Tail::default(),
            producers: Producers::default(),
            snapshots,
            append_ms: segments.iter().map(|segment| segment.append_ms).max().unwrap_or(-1),
            cleaned_upto: 0,
            unindexed: true,
            dir_dirty: true,
            torn: false,
            segments,
        };
        log.restore_producers()?;
        let resume = if start.clean { start.start_offset } else { start.start_offset.max(start.mark) };
        if resume > log.end_offset() {
            log.skip_to(resume)?;
            recovery.skipped_to = Some(resume);
        }
        Ok((log, recovery))
    }

    /// From the newest snapshot that can be trusted and the batches since.
    fn restore_producers(&mut self) -> io::Result<()> {
        // What was written down later could vouch for batches that are lost.
        let unsure = self.segments.iter().find(|segment| !segment.indexed);
        let trusted_upto = unsure.map_or(self.end_offset(), |segment| segment.base);
        let mut from = 0;
        while let Some(&offset) = self.snapshots.last() {
            let path = files::offset_path(&self.dir, offset, "producers");
            let bytes = if offset <= trusted_upto { files::read_sidecar(&path) } else { None };
            if let Some(producers) = bytes.and_then(|bytes| Producers::read(&bytes)) {
                (self.producers, from) = (producers, offset);
                break;
            }
            fs::remove_file(&path).map_err(|error| files::named(&path, &error))?;
            self.snapshots.pop();
        }
        let last = self.active().base;
        for index in 0..self.segments.len() {
            let base = self.segments[index].base;
            if base > from && (base > trusted_upto || base == last) {
                // Made anew, so that what is known does not depend on segments that retention may drop.
                let _ = self.write_snapshot(base);
            }
            let segment = &self.segments[index];
            if segment.next <= from || segment.size == 0 {
                continue;
            }
            let file = self.file(segment)?;
            let seen_ms = modified_ms(&file)?;
            let mut scan = Scan::new(&file, segment.locate(&file, from)?, segment.size);
            while let Some((_, batch)) = scan.next()? {
                self.producers.record(&batch, seen_ms);
            }
        }
        Ok(())
    }

    /// Goes on at `offset`, beyond the end. A batch without records takes up what is left out, as compaction leaves them, so that
    /// consumers get over it and reach the end: one that waited in a gap would wait until the next record.
    fn skip_to(&mut self, offset: i64) -> io::Result<()> {
        if self.end_offset() < self.start {
            self.roll(self.start)?;
        }
        crate::fault::point("log::open::skipped");
        while self.end_offset() < offset {
            let end = self.end_offset();
            let empty = Header::empty(end, offset.min(end + i64::from(i32::MAX)));
            if !self.active().has_room(empty.size() as u64, empty.next_offset(), u64::MAX) {
                self.roll(end)?;
            }
            self.write(&empty, &[])?;
            let now_ms = modified_ms(self.file(self.active())?.as_ref())?;
            self.active_mut().note(&empty, now_ms);
            self.active_mut().dirty = true;
            let (end, size) = (self.active().next, self.active().size);
            self.tail.note(end, size);
        }
        Ok(())
    }
}

struct Listing {
    bases: Vec<i64>,
    snapshots: Vec<i64>,
}

/// The files of a log, after what was under way has been finished or undone.
fn list(dir: &Path) -> io::Result<Listing> {
    let (mut bases, mut snapshots, mut indexes, mut swaps) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        match name.to_str().and_then(files::parse_name) {
            Some((base, None, "log")) => bases.push(base),
            Some((base, None, "index")) => indexes.push(base),
            Some((offset, None, "producers")) => snapshots.push(offset),
            Some((base, Some(upto), "swap")) => swaps.push((base, upto)),
            Some((_, None, "log.deleted") | (_, Some(_), "cleaned")) => fs::remove_file(entry.path())?,
            _ => {}
        }
    }
    for (base, upto) in swaps {
        // The compacted file is whole; the segments that it stands for may be there still, all or some.
        for &old in bases.iter().filter(|old| (base..upto).contains(old)) {
            fs::remove_file(files::offset_path(dir, old, "log"))?;
        }
        // They describe the old files.
        for &old in indexes.iter().filter(|old| (base..upto).contains(old)) {
            fs::remove_file(files::offset_path(dir, old, "index"))?;
        }
        indexes.retain(|old| !(base..upto).contains(old));
        crate::fault::point("log::open::swapping");
        fs::rename(files::range_path(dir, base, upto, "swap"), files::offset_path(dir, base, "log"))?;
        bases.retain(|old| !(base..upto).contains(old));
        bases.push(base);
    }
    for &orphan in indexes.iter().filter(|base| !bases.contains(base)) {
        fs::remove_file(files::offset_path(dir, orphan, "index"))?;
    }
    bases.sort_unstable();
    snapshots.sort_unstable();
    Ok(Listing { bases, snapshots })
}

fn open_segments(dir: &Path, files: &Files, bases: &[i64], recovery: &mut Recovery) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::with_capacity(bases.len());
    for &base in bases {
        let path = files::offset_path(dir, base, "log");
        if let Some(before) = segments.last().filter(|before| before.next > base) {
            let why =
                format!("{}: begins before offset {}, where the file before it ends", path.display(), before.next);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let size = fs::metadata(&path).map_err(|error| files::named(&path, &error))?.len();
        let id = files.id();
        let segment = match Segment::read_index(dir, id, base, size) {
            Some(segment) => segment,
            None => {
                // Only compaction leaves gaps, and never in the last segment. A checksum does not cover the offset.
                let gaps = bases.last() != Some(&base);
                let file = files.get(id, || path.clone())?;
                scan(Segment::new(id, base), gaps, size, &file, recovery)?
            }
        };
        segments.push(segment);
    }
    Ok(segments)
}

/// Reads a whole segment, and cuts it where the batches end.
fn scan(mut segment: Segment, gaps: bool, size: u64, file: &File, recovery: &mut Recovery) -> io::Result<Segment> {
    let seen_ms = modified_ms(file)?;
    let mut scan = Scan::new(file, 0, size);
    while let Some((position, batch)) = next_or_end(&mut scan)? {
        let in_place = batch.base_offset == segment.next || (gaps && batch.base_offset > segment.next);
        if !in_place || !scan.verify(position, &batch)? {
            break;
        }
        segment.note(&batch, if batch.max_timestamp < 0 { seen_ms } else { seen_ms.min(batch.max_timestamp) });
    }
    if segment.size < size {
        file.set_len(segment.size)?;
        recovery.cut_bytes += size - segment.size;
        recovery.cut_at.get_or_insert(segment.next);
    }
    recovery.scanned_bytes += segment.size;
    segment.dirty = size > 0;
    Ok(segment)
}

/// A batch that is not whole ends a segment; an error of the disk does not.
fn next_or_end(scan: &mut Scan<'_>) -> io::Result<Option<(u64, Header)>> {
    match scan.next() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        other => other,
    }
}
