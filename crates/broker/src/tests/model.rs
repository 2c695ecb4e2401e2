//! Random operations by a few clients against a simple model of what the broker must hold, with clean and unclean restarts.
//! Every answer is compared: offsets and records exactly, except that the end may have moved on after a power loss. Clients
//! take turns; what happens when they do not is for `crash`.
//!
//! `TOLLGATE_BROKER_CASES` sets how many sequences are tried; a failure prints the shortest that still fails.

mod groups;
mod op;
mod records;
mod state;

use super::{
    calls::{EARLIEST, LATEST},
    client::Client,
};
use crate::{Broker, Config, Fsync, Handle};
use op::{CLIENTS, GROUPS, Op, PRODUCERS, Restart, TOPICS};
use proptest::test_runner::{Config as Proptest, TestCaseError, TestRunner};
use state::{Model, Partition};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;

const OPERATIONS: usize = 150;
const CASES: u32 = 24;

#[test]
fn the_broker_does_what_the_model_does() {
    let cases = std::env::var("TOLLGATE_BROKER_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let config = Proptest { cases, max_shrink_iters: 400, failure_persistence: None, ..Proptest::default() };
    let strategy = (proptest::bool::ANY, proptest::num::u64::ANY, op::operations(OPERATIONS));
    let outcome = TestRunner::new(config).run(&strategy, |(always, seed, operations)| {
        let run = catch_unwind(AssertUnwindSafe(|| run(always, seed, &operations)));
        run.map_err(|_| TestCaseError::fail("the broker and the model differ; the message is above"))
    });
    outcome.unwrap();
}

fn run(always: bool, seed: u64, operations: &[(usize, Op)]) {
    let mut world = World::start(always, seed);
    for (client, operation) in operations {
        world.apply(*client, operation);
    }
    world.check();
}

/// A broker, its clients, and what it must hold.
struct World {
    /// Before the folder: it must end first.
    handle: Option<Handle>,
    root: TempDir,
    dir: PathBuf,
    always: bool,
    /// Counts the times that the machine came up.
    boots: u32,
    folders: u32,
    seed: u64,
    clients: Vec<Client>,
    /// Ids and epochs.
    producers: Vec<(i64, i16)>,
    model: Model,
    cluster: Option<String>,
    /// Records so far, to tell them apart.
    records: u64,
    /// What the records' ages count from.
    epoch_ms: i64,
}

impl World {
    fn start(always: bool, seed: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("0");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut world = Self {
            handle: None,
            root,
            dir,
            always,
            boots: 0,
            folders: 0,
            seed,
            clients: Vec::new(),
            producers: Vec::new(),
            model: Model::default(),
            cluster: None,
            records: 0,
            epoch_ms: i64::try_from(now.as_millis()).unwrap(),
        };
        world.open();
        world.producers = (0..PRODUCERS).map(|_| world.clients[0].init_producer_id().unwrap()).collect();
        world
    }

    /// Starts a broker on the current folder, and connects.
    fn open(&mut self) {
        let mut config = Config::open_to_all(&self.dir);
        config.fsync = if self.always { Fsync::Always } else { Fsync::Interval(Duration::from_millis(50)) };
        config.housekeeping = Duration::from_millis(10);
        config.boot = Some(format!("boot {}", self.boots));
        let handle = Broker::start(config).unwrap();
        let client = |index| Client::connect(handle.address()).unwrap().with_random_versions(self.seed ^ index);
        self.clients = (0..CLIENTS as u64).map(client).collect();
        self.handle = Some(handle);
    }

    fn partition(&mut self, topic: usize, partition: usize) -> Option<&mut Partition> {
        self.model.topics.get_mut(TOPICS[topic])?.partitions.get_mut(partition)
    }

    fn apply(&mut self, client: usize, operation: &Op) {
        match operation {
            Op::CreateTopic { topic, partitions, settings } => self.create_topic(client, *topic, *partitions, settings),
            Op::DeleteTopic { topic } => self.delete_topic(client, *topic),
            Op::AddPartitions { topic, count } => self.add_partitions(client, *topic, *count),
            Op::Configure { topic, setting } => self.configure(client, *topic, *setting),
            Op::Produce { writes, answered } => self.produce(client, writes, *answered),
            Op::Fetch { reads, max_bytes } => self.fetch(client, reads, *max_bytes),
            Op::ListOffset { topic, partition, time } => self.list_offset(client, *topic, *partition, *time),
            Op::DeleteRecords { topic, partition, place } => self.delete_records(client, *topic, *partition, *place),
            Op::Join { group, topic } => self.join(client, *group, *topic),
            Op::Leave { group } => self.leave(client, *group),
            Op::Commit { group, by, commits } => self.commit(client, *group, *by, commits),
            Op::Committed { group } => self.committed(client, *group),
            Op::DeleteGroup { group } => self.delete_group(client, *group),
            Op::DeleteOffset { group, topic, partition } => self.delete_offset(client, *group, *topic, *partition),
            Op::Metadata => self.check_metadata(),
            Op::Restart(how) => self.restart(*how),
        }
    }

    fn restart(&mut self, how: Restart) {
        let old = self.handle.take().unwrap();
        match how {
            Restart::Clean => old.shutdown().unwrap(),
            Restart::Killed | Restart::PowerLoss => {
                self.folders += 1;
                let copy = self.root.path().join(self.folders.to_string());
                snapshot(&self.dir, &copy);
                drop(old);
                fs::remove_dir_all(std::mem::replace(&mut self.dir, copy)).unwrap();
                self.boots += u32::from(matches!(how, Restart::PowerLoss));
            }
        }
        for group in self.model.groups.values_mut() {
            group.member = None;
        }
        self.open();
        self.observe_ends(matches!(how, Restart::PowerLoss));
        self.check();
    }

    /// After a power loss offsets may go on later than they ended, never earlier.
    fn observe_ends(&mut self, may_move: bool) {
        for (name, topic) in &mut self.model.topics {
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                let number = i32::try_from(index).unwrap();
                let (end, start) = (
                    self.clients[0].list_offset(name, number, LATEST).unwrap().0,
                    self.clients[0].list_offset(name, number, EARLIEST).unwrap().0,
                );
                let right = end == partition.end || may_move && end > partition.end;
                assert!(right, "{name}-{index} ended at {} and now at {end}", partition.end);
                // What was empty begins where it goes on.
                if partition.start == partition.end && start == end {
                    partition.start = end;
                }
                partition.end = end;
            }
        }
    }

    fn check(&mut self) {
        self.check_metadata();
        for group in 0..GROUPS.len() {
            self.committed(0, group);
        }
        self.check_records();
    }

    fn check_metadata(&mut self) {
        let metadata = self.clients[0].metadata(None).unwrap();
        let cluster = metadata.cluster_id.unwrap().to_string();
        assert_eq!(*self.cluster.get_or_insert_with(|| cluster.clone()), cluster);
        let topics = metadata.topics.iter().map(|topic| {
            let indexes: BTreeSet<i32> = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            assert!(indexes.into_iter().eq(0..i32::try_from(topic.partitions.len()).unwrap()));
            (topic.name.as_ref().unwrap().to_string(), (topic.topic_id, topic.partitions.len()))
        });
        let expected = self.model.topics.iter().map(|(name, topic)| (name.clone(), (topic.id, topic.partitions.len())));
        assert_eq!(topics.collect::<BTreeMap<_, _>>(), expected.collect());
        for (name, topic) in &self.model.topics {
            for (key, value) in &topic.configs {
                assert_eq!(self.clients[0].configured(name, key).unwrap().as_ref(), Some(value), "{name}: {key}");
            }
        }
    }
}

/// Copies a folder that a broker is using as a crash would leave it: nothing may change meanwhile.
fn snapshot(from: &Path, to: &Path) {
    loop {
        let before = listing(from);
        let copied = before.as_ref().is_ok_and(|before| copy(from, to, before).is_ok());
        if copied && before.unwrap() == listing(from).unwrap_or_default() {
            return;
        }
        let _ = fs::remove_dir_all(to);
    }
}

/// Every file below a folder, with its length and the time of its last change.
type Listing = Vec<(PathBuf, u64, SystemTime)>;

fn listing(folder: &Path) -> io::Result<Listing> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            files.push((entry.path(), metadata.len(), metadata.modified()?));
        }
    }
    files.sort();
    Ok(files)
}

fn copy(from: &Path, to: &Path, files: &Listing) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for (path, ..) in files {
        let target = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() { fs::create_dir_all(target)? } else { fs::copy(path, target).map(drop)? }
    }
    Ok(())
}
