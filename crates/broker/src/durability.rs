//! When what was written is on the disk: one loop that syncs what has become dirty, and marks ahead of each log's end.
//!
//! With `fsync: interval` a round runs at most once an interval; with `always` at once, and one round serves all that wait.
//! A failed fsync ends the broker: the system may have dropped the pages, so a later success would prove nothing.

use crate::{Error, Fsync, fault, node::Node, store, topic::Partition};
use std::{
    cell::{Cell, RefCell},
    fs::File,
    io,
    rc::Rc,
    sync::Arc,
};
use tokio::sync::Notify;

/// How far a mark is set beyond a log's end, in offsets. A power loss leaves a gap of at most this in a partition.
const MARK_AHEAD: i64 = 1 << 20;

/// What waits for the disk.
#[derive(Default)]
pub(crate) struct Durability {
    dirty: RefCell<Vec<Rc<Partition>>>,
    /// Changes of the journal so far, and those on the disk.
    journal_written: Cell<u64>,
    journal_synced: Cell<u64>,
    wake: Notify,
    synced: Notify,
}

impl Durability {
    /// Notes that `partition` was appended to.
    pub(crate) fn appended(&self, partition: &Rc<Partition>) {
        if !partition.dirty.replace(true) {
            self.dirty.borrow_mut().push(partition.clone());
            self.wake.notify_one();
        }
    }

    /// Notes that the journal was written to.
    pub(crate) fn journaled(&self) {
        self.journal_written.set(self.journal_written.get() + 1);
        self.wake.notify_one();
    }

    /// Returns once all changes of the journal so far are on the disk, if that is what was promised.
    pub(crate) async fn journal_kept(self: Rc<Self>, fsync: Fsync) {
        let written = self.journal_written.get();
        while fsync == Fsync::Always && self.journal_synced.get() < written {
            self.synced.notified().await;
        }
    }
}

/// Syncs what becomes dirty until the disk refuses.
pub(crate) async fn run(node: Rc<Node>) -> Error {
    loop {
        node.durability.wake.notified().await;
        if let Fsync::Interval(pause) = node.config.fsync {
            tokio::time::sleep(pause).await;
        }
        if let Err(error) = round(&node).await {
            return Error::Disk(error);
        }
    }
}

/// Syncs everything that is dirty now.
pub(crate) async fn round(node: &Node) -> io::Result<()> {
    let durability = &node.durability;
    let mut partitions = durability.dirty.take();
    partitions.retain(|partition| !partition.is_gone());
    let mut files: Vec<Arc<File>> = Vec::new();
    let mut ends = Vec::with_capacity(partitions.len());
    for partition in &partitions {
        partition.dirty.set(false);
        let mut log = partition.log.borrow_mut();
        files.append(&mut log.dirty()?);
        ends.push(log.end_offset());
    }
    let marks: Vec<(Rc<Partition>, i64)> =
        partitions.iter().filter_map(|p| Some((p.clone(), wanted_mark(p)?))).collect();
    // A journal that takes no write (disk full) is no reason to stop: marks are tried again, at the latest when one is reached.
    let marked = write_marks(node, &marks).is_ok();
    let written = durability.journal_written.get();
    if written > durability.journal_synced.get() {
        files.append(&mut node.store.borrow().files());
    }
    sync(files).await?;
    fault::point("durability.synced");
    durability.journal_synced.set(written);
    durability.synced.notify_waiters();
    for (partition, mark) in marks.iter().filter(|_| marked) {
        partition.mark.set(*mark);
    }
    if node.config.fsync == Fsync::Always {
        for (partition, end) in partitions.iter().zip(ends) {
            partition.show(end);
        }
    }
    Ok(())
}

async fn sync(files: Vec<Arc<File>>) -> io::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let work = move || {
        fault::point("durability.syncing");
        files.iter().try_for_each(|file| file.sync_data())
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Where the mark of a partition should be, if it is due.
fn wanted_mark(partition: &Partition) -> Option<i64> {
    let end = partition.log.borrow().end_offset();
    (partition.mark.get() - end < MARK_AHEAD / 2).then_some(end + MARK_AHEAD)
}

fn write_marks(node: &Node, marks: &[(Rc<Partition>, i64)]) -> Result<(), store::Error> {
    if marks.is_empty() {
        return Ok(());
    }
    let entries: Vec<_> =
        marks.iter().map(|(p, mark)| (p.topic.as_str(), p.index, p.log.borrow().start_offset(), *mark)).collect();
    node.store.borrow_mut().set_marks(&entries)?;
    node.durability.journaled();
    Ok(())
}

/// Sees to it that `records` more offsets of `partition` are below a mark that is on the disk. The first append of a topic
/// marks all its partitions, so that it costs one fsync and not one each.
pub(crate) fn reserve(node: &Node, partition: &Partition, records: i64) -> Result<(), store::Error> {
    if partition.log.borrow().end_offset() + records <= partition.mark.get() {
        return Ok(());
    }
    let Some(topic) = node.topic(&partition.topic) else { return Ok(()) };
    let partitions = topic.partitions.borrow();
    let due = |p: &Rc<Partition>| {
        let extra = if p.index == partition.index { records } else { 0 };
        Some((p.clone(), wanted_mark(p)? + extra))
    };
    let mut marks: Vec<_> = partitions.iter().filter_map(due).collect();
    if !marks.iter().any(|(p, _)| p.index == partition.index) {
        let mark = partition.log.borrow().end_offset() + MARK_AHEAD + records;
        marks.extend(partitions.iter().find(|p| p.index == partition.index).map(|p| (p.clone(), mark)));
    }
    write_marks(node, &marks)?;
    node.store.borrow().sync()?;
    for (partition, mark) in marks {
        partition.mark.set(mark);
    }
    Ok(())
}

/// Keeps where a log now begins.
pub(crate) fn keep_start(node: &Node, partition: &Partition) -> Result<(), store::Error> {
    let start = partition.log.borrow().start_offset();
    node.store.borrow_mut().set_marks(&[(partition.topic.as_str(), partition.index, start, partition.mark.get())])?;
    node.durability.journaled();
    Ok(())
}

/// Closes all logs and writes everything to the disk, so that the next start needs no recovery.
pub(crate) async fn close(node: &Node) -> Result<(), Error> {
    round(node).await.map_err(Error::Disk)?;
    for topic in node.topics.borrow().values() {
        for partition in topic.partitions.borrow().iter() {
            partition.log.borrow_mut().close().map_err(Error::Disk)?;
        }
    }
    node.store.borrow_mut().close()?;
    Ok(())
}
