//! What must be known after a restart besides the records: the cluster's id, topics, their configs and marks, committed
//! offsets, producer ids given away, and whether the last end was clean. One journal, folded into one [`State`].
//!
//! ```text
//! change ─► journal.log (a line, one write) ─► State          start: journal.log ─► State ─► a fresh snapshot
//! ```
//!
//! A change that returned outlives the end of the process; it outlives a power loss once [`Store::files`] were synced,
//! and a change that outlives it brings all changes before it. A change that failed changed nothing.
//! Deliberately absent: records (`log`), members of groups (`group`), who may do what, clocks, and other threads.

pub(crate) mod catalog;
mod entry;
mod journal;
pub(crate) mod names;
mod offsets;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use entry::Commit;
pub(crate) use journal::{Rewrite, Rewritten};
pub(crate) use offsets::METADATA_BYTES_MAX;
pub(crate) use state::State;
use state::Topic;

use crate::fault;
use entry::{Entry, LINE_BYTES_MAX};
use journal::Journal;
use offsets::{GROUP_OFFSETS_MAX, OFFSETS_BYTES_MAX, OFFSETS_MAX};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions, TryLockError},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Producer ids that are reserved at a time: one fsync for so many producers. What a restart finds unused is lost.
pub(crate) const PRODUCER_ID_BLOCK: i64 = 1_000;

const LOCK_FILE: &str = "lock";
const LOCK_TRIES: u32 = 25;
const LOCK_PAUSE: Duration = Duration::from_millis(40);
const DAMAGED_FILE: &str = "journal.damaged";

/// Why a store cannot be opened or a change cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: another tollgate uses this folder; stop it or choose another folder", .0.display())]
    InUse(PathBuf),
    #[error(
        "{}: there are topics but no journal.log, so their ids and offsets are unknown; put journal.log back, or move \
         the folder `topics` away to start with nothing",
        .0.display()
    )]
    Missing(PathBuf),
    #[error(
        "{}: the first line is damaged, so nothing of it can be trusted; put a sound copy back, or move this file and \
         the folder `topics` away to start with nothing",
        .0.display()
    )]
    Damaged(PathBuf),
    #[error("{}: line {line} was written by a newer version; run that version or a later one", path.display())]
    Newer { path: PathBuf, line: u64 },
    #[error(
        "an entry of {bytes} bytes does not fit a line of the journal (at most {LINE_BYTES_MAX}); send less at once"
    )]
    LineTooLong { bytes: usize },
    #[error(
        "too many committed offsets: at most {GROUP_OFFSETS_MAX} in a group, {OFFSETS_MAX} and {OFFSETS_BYTES_MAX} \
         bytes in all; delete groups that nobody uses"
    )]
    TooManyOffsets,
    #[error("topic {0} exists already")]
    TopicExists(String),
    #[error("there is no topic {0}")]
    NoSuchTopic(String),
    #[error("all producer ids are given away")]
    NoProducerIds,
    #[error("the broker is closed")]
    Closed,
}

impl Error {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// What was found at the start; all but `clean` is for a log line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Nothing was there.
    pub(crate) created: bool,
    /// The last end was in order, or there was none: logs may go on at their ends. Else at their marks.
    pub(crate) clean: bool,
    /// What was cut from the journal's end, because its first line was torn or damaged.
    pub(crate) cut_bytes: u64,
    pub(crate) cut_lines: u64,
    /// The journal as it was, kept if more was cut than the one line that a crash may tear.
    pub(crate) kept: Option<PathBuf>,
}

/// The durable small state of a broker. Every change needs `&mut`, checks little (see each) and is one line.
pub(crate) struct Store {
    journal: Journal,
    state: State,
    /// When a group was last seen with members, as far as this process knows.
    busy_ms: HashMap<String, i64>,
}

impl Store {
    /// Opens the store of `dir`, making the folder if there is none, and takes its lock until the store (and a rewrite
    /// that it started) is dropped. What is there is on the disk when it returns, marked as in use.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Opened), Error> {
        make_folder(dir).map_err(|error| Error::io(dir, error))?;
        let lock = lock(dir)?;
        let path = dir.join(journal::FILE);
        let (state, opened) = match journal::read(&path)? {
            None if has_topics(dir)? => return Err(Error::Missing(dir.to_owned())),
            None => (State::first(), Opened { created: true, clean: true, cut_bytes: 0, cut_lines: 0, kept: None }),
            Some(mut found) => {
                let kept = (found.cut_lines > 1).then(|| dir.join(DAMAGED_FILE));
                if let Some(kept) = &kept {
                    fs::copy(&path, kept).map_err(|error| Error::io(kept, error))?;
                }
                let clean = std::mem::take(&mut found.state.clean) && found.cut_bytes == 0;
                let (cut_bytes, cut_lines) = (found.cut_bytes, found.cut_lines);
                (found.state, Opened { created: false, clean, cut_bytes, cut_lines, kept })
            }
        };
        let journal = Journal::create(dir, lock, &state)?;
        Ok((Self { journal, state, busy_ms: HashMap::new() }, opened))
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    fn change(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        // Were it lost to a power loss, the mark before it would say that nothing is missing.
        if self.state.clean {
            return Err(Error::Closed);
        }
        self.journal.append(&entry)?;
        self.state.apply(entry);
        Ok(())
    }

    /// Makes a topic and its id. The name, the number of partitions and the config are the caller's to check.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        config: &BTreeMap<String, String>,
        now_ms: i64,
    ) -> Result<Uuid, Error> {
        if self.state.topics.contains_key(name) {
            return Err(Error::TopicExists(name.to_owned()));
        }
        let id = names::new_id();
        let config = Cow::Borrowed(config);
        self.change(Entry::Topic { name: name.into(), id, created_ms: now_ms, config, partitions })?;
        Ok(id)
    }

    /// Deletes a topic and all offsets committed for it. Its folder is among [`State::deleted`] until
    /// [`Store::folder_removed`].
    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<Uuid, Error> {
        let id = self.topic(name)?.id;
        self.change(Entry::Deleted { name: name.into(), id })?;
        Ok(id)
    }

    /// The folder of a deleted topic is gone.
    pub(crate) fn folder_removed(&mut self, id: Uuid) -> Result<(), Error> {
        self.change(Entry::Removed { id })
    }

    /// Gives a topic `partitions` in all; fewer than it has changes nothing.
    pub(crate) fn add_partitions(&mut self, topic: &str, partitions: i32) -> Result<(), Error> {
        self.topic(topic)?;
        self.change(Entry::Partitions { topic: topic.into(), partitions })
    }

    /// Replaces the whole config of a topic; see [`catalog`] for what may be in it.
    pub(crate) fn set_config(&mut self, topic: &str, config: &BTreeMap<String, String>) -> Result<(), Error> {
        self.topic(topic)?;
        self.change(Entry::Config { topic: topic.into(), config: Cow::Borrowed(config) })
    }

    fn topic(&self, name: &str) -> Result<&Topic, Error> {
        self.state.topics.get(name).ok_or_else(|| Error::NoSuchTopic(name.to_owned()))
    }

    /// Raises first offsets and marks: topic, partition, start, mark. Lower ones than those known, and partitions that
    /// do not exist, change nothing. If it fails, the first ones may have been set, which does no harm.
    pub(crate) fn set_marks(&mut self, marks: &[(&str, i32, i64, i64)]) -> Result<(), Error> {
        for marks in marks.chunks(state::MARKS_PER_LINE) {
            let marks =
                marks.iter().map(|(topic, partition, start, mark)| (Cow::from(*topic), *partition, *start, *mark));
            self.change(Entry::Marks(marks.collect()))?;
        }
        Ok(())
    }

    /// Commits all of `offsets` or none. Whether the partitions exist and the metadata is short enough
    /// ([`METADATA_BYTES_MAX`]) is the caller's to check.
    pub(crate) fn commit_offsets(&mut self, group: &str, offsets: &[Commit<'_>]) -> Result<(), Error> {
        if !self.state.offsets.fit(group, offsets) {
            return Err(Error::TooManyOffsets);
        }
        if offsets.is_empty() {
            return Ok(());
        }
        self.change(Entry::Commit { group: group.into(), offsets: offsets.to_vec() })
    }

    /// Deletes one offset; none there changes nothing.
    pub(crate) fn delete_offsets(&mut self, group: &str, topic: &str, partition: i32) -> Result<(), Error> {
        if self.state.offsets.get(group, topic, partition).is_none() {
            return Ok(());
        }
        self.change(Entry::OffsetDeleted { group: group.into(), topic: topic.into(), partition })
    }

    /// Deletes all offsets of a group; none there changes nothing.
    pub(crate) fn delete_group(&mut self, group: &str) -> Result<(), Error> {
        if !self.state.offsets.groups().contains_key(group) {
            return Ok(());
        }
        self.change(Entry::GroupDeleted { group: group.into() })
    }

    /// Deletes the offsets of groups that had no members and committed nothing for `retention_ms`, all of a group at
    /// once (KIP-211), and names those groups. To be called now and then: only so it is known when a group had members.
    pub(crate) fn expire_offsets(
        &mut self,
        now_ms: i64,
        retention_ms: i64,
        group_is_empty: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, Error> {
        let groups = self.state.offsets.groups();
        self.busy_ms.retain(|group, _| groups.contains_key(group));
        let mut expired = Vec::new();
        for (group, offsets) in groups {
            if !group_is_empty(group) {
                self.busy_ms.insert(group.clone(), now_ms);
                continue;
            }
            let used_ms = offsets::latest_ms(offsets).max(self.busy_ms.get(group).copied().unwrap_or(i64::MIN));
            if now_ms.saturating_sub(used_ms) >= retention_ms {
                expired.push(group.clone());
            }
        }
        for group in &expired {
            self.delete_group(group)?;
        }
        Ok(expired)
    }

    /// Takes [`PRODUCER_ID_BLOCK`] producer ids that nobody was ever given, and syncs: after a power loss they are still
    /// taken. After an error they may be taken and unused.
    pub(crate) fn reserve_producer_ids(&mut self) -> Result<Range<i64>, Error> {
        let first = self.state.next_producer_id;
        let next = first.checked_add(PRODUCER_ID_BLOCK).ok_or(Error::NoProducerIds)?;
        self.change(Entry::ProducerIds { next })?;
        self.sync()?;
        Ok(first..next)
    }

    /// The files that, once synced, keep all changes so far over a power loss: one, or two during a rewrite.
    pub(crate) fn files(&self) -> Vec<Arc<File>> {
        self.journal.files()
    }

    /// Syncs all changes now; it blocks.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.journal.sync()
    }

    /// Whether the journal is so long that [`Store::start_rewrite`] is worth it; to be asked now and then.
    pub(crate) fn rewrite_due(&self) -> bool {
        self.journal.rewrite_due()
    }

    /// Begins to replace the journal by a snapshot: the answer is to be run elsewhere, its result handed to
    /// [`Store::finish_rewrite`]. Changes go on meanwhile. `None` if one is under way or the store is closed. A failure
    /// changes nothing.
    pub(crate) fn start_rewrite(&mut self) -> Result<Option<Rewrite>, Error> {
        if self.state.clean {
            return Ok(None);
        }
        self.journal.start_rewrite(&self.state)
    }

    /// Ends a rewrite: whether the journal was replaced; if not, the old one goes on. An error means that a restart might find
    /// either of the two: stop.
    pub(crate) fn finish_rewrite(&mut self, done: Rewritten) -> Result<bool, Error> {
        self.journal.finish_rewrite(done)
    }

    /// Marks the end as clean and syncs; to be called when all logs are closed and synced. No change can follow.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        fault::point("store.closing");
        self.change(Entry::Closed)?;
        fault::point("store.closed");
        self.sync()
    }
}

fn make_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| Error::io(&path, error))?;
    // A process that has just ended may hold it for a moment yet, through a child that it was about to start.
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(Error::io(&path, error)),
        }
    }
    Err(Error::InUse(dir.to_owned()))
}

/// Whether there are files of topics, which cannot be read without the journal.
fn has_topics(dir: &Path) -> Result<bool, Error> {
    let path = dir.join(names::TOPICS_FOLDER);
    match fs::read_dir(&path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(&path, error)),
    }
}
