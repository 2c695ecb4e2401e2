//! The journal's file: whole lines at its end or none, read back up to the first broken line, replaced by a shorter one
//! without a gap. Deliberately absent: what a line means.
//!
//! A rewrite must not hold up the broker for an fsync. So the snapshot is written to `journal.new` at once, its fsync and
//! rename run elsewhere ([`Rewrite::run`]), and meanwhile every line goes to both files: whichever a crash leaves
//! under the name is complete.

use super::{
    Error,
    entry::{Entry, LINE_BYTES_MAX, Line, decode},
    state::State,
};
use crate::fault;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Shorter than this, a journal is never rewritten.
pub(crate) const REWRITE_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// And only once it is this many times as long as its last snapshot.
const REWRITE_GROWTH: u64 = 2;
/// Bytes of a snapshot that are written at once.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) const FILE: &str = "journal.log";
pub(super) const NEW_FILE: &str = "journal.new";

/// A file that is only appended to.
pub(super) struct Tail {
    pub(super) file: Arc<File>,
    pub(super) len: u64,
    /// Whether there may be bytes behind `len` that could not be cut.
    torn: bool,
    /// Tests: so many bytes go through, then the disk is full.
    #[cfg(test)]
    pub(super) room: Option<usize>,
}

impl Tail {
    fn create(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = Arc::new(OpenOptions::new().append(true).create_new(true).open(path)?);
        Ok(Self {
            file,
            len: 0,
            torn: false,
            #[cfg(test)]
            room: None,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.torn = false;
        }
        if let Err(error) = self.write(bytes) {
            self.cut(self.len);
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(room) = self.room.filter(|room| *room < bytes.len()) {
            (&*self.file).write_all(&bytes[..room])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        (&*self.file).write_all(bytes)
    }

    fn cut(&mut self, len: u64) {
        self.len = len;
        self.torn = self.file.set_len(len).is_err();
    }
}

/// The journal, open.
pub(super) struct Journal {
    dir: PathBuf,
    folder: Arc<File>,
    /// Shared with a rewrite under way, so that nobody else opens the folder before its rename is over.
    lock: Arc<File>,
    pub(super) current: Tail,
    /// While it is being rewritten.
    pub(super) next: Option<Tail>,
    /// How long the last snapshot was.
    snapshot_len: u64,
    line: Vec<u8>,
}

impl Journal {
    /// Begins a journal in `dir` with a snapshot, on the disk when it returns. One that was there is replaced at once.
    pub(super) fn create(dir: &Path, lock: File, state: &State) -> Result<Self, Error> {
        let io = |error| Error::io(dir, error);
        let folder = Arc::new(File::open(dir).map_err(io)?);
        let current = snapshot(dir, state)?;
        let (dir, snapshot_len, lock) = (dir.to_owned(), current.len, Arc::new(lock));
        let journal = Self { dir, folder, lock, current, next: None, snapshot_len, line: Vec::new() };
        let Rewritten { result, .. } = journal.rewrite(&journal.current).run();
        result.map_err(|error| Error::io(&journal.dir, error))?;
        Ok(journal)
    }

    /// Adds one line, or fails and adds nothing.
    pub(super) fn append(&mut self, entry: &Entry<'_>) -> Result<(), Error> {
        self.line.clear();
        entry.encode(&mut self.line)?;
        let before = self.current.len;
        let mut result = self.current.append(&self.line);
        if let (Ok(()), Some(next)) = (&result, &mut self.next) {
            result = next.append(&self.line);
            if result.is_err() {
                self.current.cut(before);
            }
        }
        fault::point("store.appended");
        result.map_err(|error| Error::io(&self.dir.join(FILE), error))
    }

    /// What must be synced for all lines so far to outlive a power loss.
    pub(super) fn files(&self) -> Vec<Arc<File>> {
        [Some(&self.current), self.next.as_ref()].into_iter().flatten().map(|tail| tail.file.clone()).collect()
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        let mut files = self.files().into_iter();
        files.try_for_each(|file| file.sync_data()).map_err(|error| Error::io(&self.dir.join(FILE), error))
    }

    pub(super) fn rewrite_due(&self) -> bool {
        let due = REWRITE_BYTES_MIN.max(self.snapshot_len.saturating_mul(REWRITE_GROWTH));
        self.next.is_none() && self.current.len > due
    }

    /// `None` if a rewrite is under way already.
    pub(super) fn start_rewrite(&mut self, state: &State) -> Result<Option<Rewrite>, Error> {
        if self.next.is_some() {
            return Ok(None);
        }
        let next = snapshot(&self.dir, state)?;
        // Counted even if the rewrite fails later, so that the next try is not at once.
        self.snapshot_len = next.len;
        let rewrite = self.rewrite(&next);
        self.next = Some(next);
        Ok(Some(rewrite))
    }

    fn rewrite(&self, tail: &Tail) -> Rewrite {
        let (file, folder, lock) = (tail.file.clone(), self.folder.clone(), self.lock.clone());
        Rewrite { file, folder, from: self.dir.join(NEW_FILE), to: self.dir.join(FILE), _lock: lock }
    }

    /// Whether the new one is in use: without its name it is forgotten, and all is as before.
    pub(super) fn finish_rewrite(&mut self, done: Rewritten) -> Result<bool, Error> {
        if let (true, Some(next)) = (done.renamed, self.next.take()) {
            self.current = next;
        }
        match done.result {
            Err(error) if done.renamed => Err(Error::io(&self.dir.join(NEW_FILE), error)),
            _ => Ok(done.renamed),
        }
    }
}

/// Writes a snapshot to [`NEW_FILE`], not synced; leaves nothing behind if it fails.
fn snapshot(dir: &Path, state: &State) -> Result<Tail, Error> {
    let path = dir.join(NEW_FILE);
    let io = |error| Error::io(&path, error);
    let mut tail = Tail::create(&path).map_err(io)?;
    let mut lines = Vec::new();
    let written = state.snapshot(|entry| {
        entry.encode(&mut lines)?;
        if lines.len() >= CHUNK_BYTES {
            tail.append(&lines).map_err(io)?;
            lines.clear();
        }
        Ok(())
    });
    if let Err(error) = written.and_then(|()| tail.append(&lines).map_err(io)) {
        // What remains is overwritten by the next try.
        let _ = fs::remove_file(&path);
        return Err(error);
    }
    fault::point("store.rewrite.written");
    Ok(tail)
}

/// The slow part of a rewrite, to be run away from the broker's thread. It may be dropped; the old journal stays then.
pub(crate) struct Rewrite {
    file: Arc<File>,
    folder: Arc<File>,
    from: PathBuf,
    to: PathBuf,
    _lock: Arc<File>,
}

/// How a [`Rewrite`] ended; for [`super::Store::finish_rewrite`].
pub(crate) struct Rewritten {
    renamed: bool,
    result: io::Result<()>,
}

impl Rewrite {
    /// Syncs the new journal and gives it its name.
    pub(crate) fn run(self) -> Rewritten {
        let result = self.file.sync_all().and_then(|()| {
            fault::point("store.rewrite.synced");
            fs::rename(&self.from, &self.to)
        });
        if result.is_err() {
            // What remains is overwritten by the next try.
            let _ = fs::remove_file(&self.from);
            return Rewritten { renamed: false, result };
        }
        fault::point("store.rewrite.renamed");
        Rewritten { renamed: true, result: self.folder.sync_all() }
    }
}

/// What [`read`] found.
pub(super) struct Found {
    pub(super) state: State,
    pub(super) cut_bytes: u64,
    pub(super) cut_lines: u64,
}

/// Reads a journal up to its first broken line; `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Found>, Error> {
    let io = |error| Error::io(path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(io)?,
    };
    let len = file.metadata().map_err(io)?.len();
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, file);
    let (mut sound, mut number, mut line) = (0, 0, Vec::new());
    let mut state: Option<State> = None;
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line).map_err(io)?;
        number += 1;
        if read == 0 {
            break;
        }
        match (decode(&line), &mut state) {
            (Line::Broken, _) => break,
            (Line::Entry(Entry::Head { format: super::entry::FORMAT, cluster_id, next_producer_id }), None) => {
                state = Some(State::new(cluster_id.into_owned(), next_producer_id));
            }
            (Line::Unknown | Line::Entry(Entry::Head { .. }), _) => {
                return Err(Error::Newer { path: path.to_owned(), line: number });
            }
            (Line::Entry(_), None) => break,
            (Line::Entry(entry), Some(state)) => state.apply(entry),
        }
        sound += read as u64;
    }
    let Some(state) = state else { return Err(Error::Damaged(path.to_owned())) };
    let cut_lines = match len - sound {
        0 => 0,
        _ => count_lines(reader).map_err(io)? + 1,
    };
    Ok(Some(Found { state, cut_bytes: len - sound, cut_lines }))
}

/// How many lines follow, a torn one included.
fn count_lines(mut reader: impl BufRead) -> io::Result<u64> {
    let (mut lines, mut last) = (0, b'\n');
    loop {
        let bytes = reader.fill_buf()?;
        let Some(end) = bytes.last() else { break };
        (lines, last) = (lines + bytes.iter().filter(|byte| **byte == b'\n').count() as u64, *end);
        let read = bytes.len();
        reader.consume(read);
    }
    Ok(lines + u64::from(last != b'\n'))
}
