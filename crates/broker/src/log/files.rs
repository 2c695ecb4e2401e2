//! Files of all logs of a broker: the names they have, a bounded cache of open ones, the one write of an append, and small
//! sidecar files that prove themselves with a checksum. Not here: fsync, which the caller does on its own thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

/// Offsets in file names, so that names sort as numbers do.
const DIGITS: usize = 20;
const CHECKSUM_BYTES: usize = 4;

/// A bounded cache of open log files, shared by all logs of a broker. The one least recently used is closed first; what was
/// handed out stays open as long as it is held.
pub(crate) struct Files {
    open: RefCell<HashMap<u64, Open>>,
    limit: usize,
    next_id: Cell<u64>,
    uses: Cell<u64>,
}

struct Open {
    file: Arc<File>,
    used: u64,
}

impl Files {
    /// At most `limit` files stay open.
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { open: RefCell::default(), limit: limit.max(1), next_id: Cell::default(), uses: Cell::default() })
    }

    /// A name for a file in this cache. Paths would not do: a compacted file takes the path of another.
    pub(super) fn id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// The file for reads at a position and appends at its end.
    pub(super) fn get(&self, id: u64, path: impl FnOnce() -> PathBuf) -> io::Result<Arc<File>> {
        let used = self.uses.get() + 1;
        self.uses.set(used);
        let mut open = self.open.borrow_mut();
        if let Some(entry) = open.get_mut(&id) {
            entry.used = used;
            return Ok(Arc::clone(&entry.file));
        }
        if open.len() >= self.limit
            && let Some(oldest) = open.iter().min_by_key(|(_, entry)| entry.used).map(|(&id, _)| id)
        {
            open.remove(&oldest);
        }
        let path = path();
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(|error| named(&path, &error))?;
        let file = Arc::new(file);
        open.insert(id, Open { file: Arc::clone(&file), used });
        Ok(file)
    }

    pub(super) fn forget(&self, id: u64) {
        self.open.borrow_mut().remove(&id);
    }
}

/// `error` with the file that it is about.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The file of kind `extension` that begins at `offset`.
pub(super) fn offset_path(dir: &Path, offset: i64, extension: &str) -> PathBuf {
    dir.join(format!("{offset:0DIGITS$}.{extension}"))
}

/// The file of kind `extension` that replaces all segments from `base` to before `upto`.
pub(super) fn range_path(dir: &Path, base: i64, upto: i64, extension: &str) -> PathBuf {
    dir.join(format!("{base:0DIGITS$}-{upto:0DIGITS$}.{extension}"))
}

/// The offsets and the kind in a file's name, if it is one of ours.
pub(super) fn parse_name(name: &str) -> Option<(i64, Option<i64>, &str)> {
    let (offsets, extension) = name.split_once('.')?;
    let offset = |digits: &str| -> Option<i64> {
        (digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    match offsets.split_once('-') {
        Some((base, upto)) => Some((offset(base)?, Some(offset(upto)?), extension)),
        None => Some((offset(offsets)?, None, extension)),
    }
}

/// Takes a log file out of use under a name that recovery removes too; the removal itself, slow for large files, is left to
/// another thread. The index goes at once.
pub(super) fn retire(dir: &Path, base: i64) -> io::Result<PathBuf> {
    let (from, to) = (offset_path(dir, base, "log"), offset_path(dir, base, "log.deleted"));
    fs::rename(&from, &to).map_err(|error| named(&from, &error))?;
    // A stale index does no harm: it does not fit another file's length or checksum.
    let _ = fs::remove_file(offset_path(dir, base, "index"));
    Ok(to)
}

/// Writes header and body at the end of `file`, as a rule in one system call and without a copy.
pub(super) fn append(file: &File, header: &[u8], body: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    faults::before_write(file, header)?;
    let mut file = file;
    let total = header.len() + body.len();
    let mut written = 0;
    while written < total {
        let slices = [
            IoSlice::new(&header[written.min(header.len())..]),
            IoSlice::new(&body[written.saturating_sub(header.len())..]),
        ];
        match file.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a small file that [`read_sidecar`] accepts only if it is whole.
pub(super) fn write_sidecar(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHECKSUM_BYTES + content.len());
    bytes.extend_from_slice(&crc32c::crc32c(content).to_be_bytes());
    bytes.extend_from_slice(content);
    fs::write(path, bytes).map_err(|error| named(path, &error))
}

/// What [`write_sidecar`] wrote; none if it is missing or broken, for then it is made anew from the log.
pub(super) fn read_sidecar(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let checksum = u32::from_be_bytes(*bytes.first_chunk()?);
    bytes.drain(..CHECKSUM_BYTES);
    (crc32c::crc32c(&bytes) == checksum).then_some(bytes)
}

/// Writes that fail half way, as on a full disk.
#[cfg(test)]
pub(super) mod faults {
    use std::{cell::Cell, fs::File, io, io::Write};

    thread_local! {
        static FAIL_NEXT: Cell<bool> = const { Cell::new(false) };
    }

    /// The next append of this thread writes part of the batch and fails.
    pub(in crate::log) fn fail_next_write() {
        FAIL_NEXT.set(true);
    }

    pub(super) fn before_write(mut file: &File, header: &[u8]) -> io::Result<()> {
        if FAIL_NEXT.replace(false) {
            file.write_all(&header[..header.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}
