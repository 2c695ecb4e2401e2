//! What a log does beside appends and reads: beginning a new segment, dropping old ones, handing out what is to be fsynced,
//! closing. A sealed segment's sidecar is written only after its data was fsynced, so that after a power loss a segment
//! with a sidecar need not be read.

use super::{Log, Settings, batch::Header, files, segment::Segment};
use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::Arc,
    time::UNIX_EPOCH,
};

impl Log {
    /// Begins a new segment if `next`, the batch to be appended, should not go to this one.
    pub(super) fn roll_if_due(&mut self, next: &Header, settings: &Settings, now_ms: i64) -> io::Result<()> {
        let active = self.active();
        let room = active.has_room(next.size() as u64, next.next_offset(), settings.segment_bytes);
        if active.size > 0 && (!room || is_aged(active, settings, now_ms)) {
            self.roll(self.end_offset())?;
        }
        Ok(())
    }

    /// Begins a new segment at `base`, which no segment has: the end, if the active one is not empty, or beyond it. If that fails, the log is as it was.
    pub(super) fn roll(&mut self, base: i64) -> io::Result<()> {
        self.write_snapshot(base)?;
        crate::fault::point("log::roll::snapshot");
        let path = files::offset_path(&self.dir, base, "log");
        File::create(&path).map_err(|error| files::named(&path, &error))?;
        crate::fault::point("log::roll::created");
        // A file that an append failed to cut stays as it is: nobody reads beyond the segment's size, and recovery cuts it.
        self.torn = false;
        self.segments.push(Segment::new(self.files.id(), base));
        self.tail.clear();
        (self.unindexed, self.dir_dirty) = (true, true);
        Ok(())
    }

    /// Writes down who has written what before `offset`, the end or where the log goes on.
    pub(super) fn write_snapshot(&mut self, offset: i64) -> io::Result<()> {
        files::write_sidecar(&files::offset_path(&self.dir, offset, "producers"), &self.producers.to_bytes())?;
        if self.snapshots.last() != Some(&offset) {
            self.snapshots.push(offset);
        }
        Ok(())
    }

    /// Drops what the topic's retention, or [`Log::delete_before`], lets go, oldest first. The files have been renamed and are
    /// to be removed elsewhere. The active segment is sealed first if it is due, so that it can go too.
    pub(crate) fn retain(&mut self, settings: &Settings, now_ms: i64) -> io::Result<Vec<PathBuf>> {
        self.producers.expire(now_ms);
        let active = self.active();
        if active.size > 0
            && (is_aged(active, settings, now_ms)
                || active.next <= self.start
                || (settings.delete && self.is_expired(active, settings, now_ms)?))
        {
            self.roll(self.end_offset())?;
        }
        let mut excess = match u64::try_from(settings.retention_bytes) {
            Ok(bytes) if settings.delete => self.size_bytes().saturating_sub(bytes),
            _ => 0,
        };
        let mut retired = Vec::new();
        while let [oldest, second, ..] = self.segments.as_slice() {
            let below = second.base <= self.start;
            let large = excess > 0 && oldest.size <= excess;
            if !(below || large || (settings.delete && self.is_expired(oldest, settings, now_ms)?)) {
                break;
            }
            let (base, next_base) = (oldest.base, second.base);
            excess -= oldest.size.min(excess);
            // The start moves first: if the rename fails half way, nobody is promised what may be gone.
            self.start = self.start.max(next_base);
            match files::retire(&self.dir, base) {
                Ok(path) => retired.push(path),
                Err(error) if retired.is_empty() => return Err(error),
                // The next call meets it again; what was renamed must be removed.
                Err(_) => break,
            }
            crate::fault::point("log::retain::renamed");
            self.files.forget(self.segments.remove(0).id);
            self.dir_dirty = true;
        }
        Ok(retired)
    }

    fn is_expired(&self, segment: &Segment, settings: &Settings, now_ms: i64) -> io::Result<bool> {
        if settings.retention_ms < 0 {
            return Ok(false);
        }
        let latest_ms = match segment.max_timestamp {
            // As Apache Kafka does for records without timestamps.
            -1 => modified_ms(self.file(segment)?.as_ref())?,
            latest_ms => latest_ms,
        };
        Ok(now_ms.saturating_sub(latest_ms) > settings.retention_ms)
    }

    /// The files to fsync since the last call. Call again only when that has succeeded: the sidecars written then vouch for it.
    /// (After a failed fsync nothing is known of what is on the disk; the broker must be restarted.)
    pub(crate) fn dirty(&mut self) -> io::Result<Vec<Arc<File>>> {
        if self.unindexed {
            self.write_indexes();
        }
        if !(self.unindexed || self.dir_dirty || self.active().dirty) {
            return Ok(Vec::new());
        }
        let mut dirty = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.dirty) {
            dirty.push(self.file(segment)?);
        }
        if self.dir_dirty {
            dirty.push(Arc::new(File::open(&self.dir)?));
        }
        self.segments.iter_mut().for_each(|segment| segment.dirty = false);
        self.dir_dirty = false;
        Ok(dirty)
    }

    /// Writes the sidecars of sealed segments whose data is on the disk.
    fn write_indexes(&mut self) {
        let dir = &self.dir;
        let (_, sealed) = self.segments.split_last_mut().expect("a log has at least one segment");
        for segment in sealed.iter_mut().filter(|segment| !segment.indexed && !segment.dirty) {
            // Left for the next time if it fails: until then a restart reads the segment instead.
            let _ = segment.write_index(dir);
        }
        let first_unindexed = sealed.iter().find(|segment| !segment.indexed).map(|segment| segment.base);
        self.unindexed = first_unindexed.is_some();
        self.drop_snapshots(first_unindexed.unwrap_or(self.active().base));
    }

    /// Keeps the newest snapshot, and of those at a segment's base what a restart that begins to read at `needed_from` can
    /// use: the last one, and the one before in case that one is damaged.
    fn drop_snapshots(&mut self, needed_from: i64) {
        let newest = self.snapshots.last().copied();
        let is_base = |offset: &i64| self.segments.binary_search_by_key(offset, |segment| segment.base).is_ok();
        let bases: Vec<i64> = self.snapshots.iter().copied().filter(is_base).collect();
        let usable = bases.partition_point(|&offset| offset <= needed_from);
        let kept = &bases[usable.saturating_sub(2)..];
        self.snapshots.retain(|offset| {
            let keep = kept.contains(offset) || Some(*offset) == newest;
            keep || fs::remove_file(files::offset_path(&self.dir, *offset, "producers")).is_err()
        });
    }

    /// Fsyncs everything and writes it down, so that the next start need not read the log. Nothing may be appended after.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        for segment in self.segments.iter_mut().filter(|segment| !segment.indexed) {
            let path = files::offset_path(&self.dir, segment.base, "log");
            self.files.get(segment.id, || path)?.sync_data()?;
            segment.dirty = false;
        }
        crate::fault::point("log::close::synced");
        for segment in self.segments.iter_mut().filter(|segment| !segment.indexed) {
            segment.write_index(&self.dir)?;
        }
        crate::fault::point("log::close::indexed");
        self.write_snapshot(self.end_offset())?;
        self.drop_snapshots(self.active().base);
        File::open(&self.dir)?.sync_all()?;
        (self.unindexed, self.dir_dirty) = (false, false);
        Ok(())
    }
}

fn is_aged(segment: &Segment, settings: &Settings, now_ms: i64) -> bool {
    segment.first_ms.is_some_and(|first_ms| now_ms.saturating_sub(first_ms) >= settings.segment_ms)
}

/// When the file was last written.
pub(super) fn modified_ms(file: &File) -> io::Result<i64> {
    let modified = file.metadata()?.modified()?;
    Ok(modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}
