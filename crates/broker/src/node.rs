//! What the broker holds while it runs: topics, groups, the store; and how a topic comes and goes. All on one thread.
//! Not here: the protocol (`api`), the disk's pace (`durability`).

use crate::{
    Config, Error,
    access::Grants,
    api::Attempts,
    durability::{self, Durability},
    fault,
    group::{self, Groups, Output, Token},
    log::{Files, Log, Settings, Start},
    seldom::Seldom,
    store::{self, Store, catalog, names},
    topic::{Partition, Topic},
};
use kafka_protocol::ResponseError;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, mpsc},
    time::{Instant, SystemTime},
};
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

/// The only broker of its cluster.
pub(crate) const NODE_ID: i32 = 1;
/// Bounds of a member's session; the upper one is Kafka's.
const SESSION_TIMEOUT_MIN_MS: i32 = 1_000;
const SESSION_TIMEOUT_MAX_MS: i32 = 30 * 60 * 1_000;
/// Subscriptions and assignments of all groups together.
const GROUP_METADATA_BYTES: usize = 32 * 1024 * 1024;
/// Where the run of the operating system is kept; see [`Config::boot`].
const BOOT_FILE: &str = "boot";

/// Everything.
pub(crate) struct Node {
    pub(crate) config: Config,
    /// Who may do what.
    pub(crate) grants: watch::Receiver<Arc<Grants>>,
    pub(crate) store: RefCell<Store>,
    pub(crate) topics: RefCell<BTreeMap<String, Rc<Topic>>>,
    pub(crate) groups: RefCell<Groups>,
    /// Notified when a group's next deadline may have changed.
    pub(crate) group_clock: Notify,
    pub(crate) durability: Rc<Durability>,
    files: Rc<Files>,
    /// Members that wait for the others of their group.
    waiting: RefCell<HashMap<Token, oneshot::Sender<Output>>>,
    next_token: Cell<Token>,
    producer_ids: RefCell<Range<i64>>,
    started: Instant,
    cannot_write: Seldom,
    /// Clients that could not log in.
    pub(crate) wrong_passwords: Seldom,
    pub(crate) attempts: RefCell<Attempts>,
    /// Connections that were closed for what came over them.
    pub(crate) closed: Seldom,
    /// Deleted topics whose folders are gone.
    removed: mpsc::Sender<Uuid>,
    gone: mpsc::Receiver<Uuid>,
}

/// Milliseconds since 1970, as record timestamps have them.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Node {
    /// Opens the folder and recovers every partition.
    pub(crate) fn open(config: Config, grants: watch::Receiver<Arc<Grants>>) -> Result<Self, Error> {
        let (store, opened) = Store::open(&config.dir)?;
        if opened.cut_bytes > 0 {
            let (lines, kept) = (opened.cut_lines, opened.kept.as_ref().map(|path| path.display().to_string()));
            tracing::warn!(dir = %config.dir.display(), bytes = opened.cut_bytes, lines, kept, "a crash tore the journal's end; it was cut");
        }
        let same_boot = config.boot.is_some()
            && std::fs::read_to_string(config.dir.join(BOOT_FILE)).ok().as_deref() == config.boot.as_deref();
        let (removed, gone) = mpsc::channel();
        let node = Self {
            removed,
            gone,
            topics: RefCell::default(),
            groups: RefCell::new(Groups::new(group_limits(&config), Uuid::new_v4)),
            group_clock: Notify::new(),
            durability: Rc::default(),
            files: Files::new(config.limits.open_files),
            waiting: RefCell::default(),
            next_token: Cell::new(0),
            producer_ids: RefCell::new(0..0),
            started: Instant::now(),
            cannot_write: Seldom::default(),
            wrong_passwords: Seldom::default(),
            attempts: RefCell::default(),
            grants,
            closed: Seldom::default(),
            store: RefCell::new(store),
            config,
        };
        node.recover(opened.clean, same_boot)?;
        node.remember_boot().map_err(Error::Disk)?;
        Ok(node)
    }

    fn recover(&self, clean: bool, same_boot: bool) -> Result<(), Error> {
        let store = self.store.borrow();
        for (name, known) in &store.state().topics {
            let settings =
                catalog::parse(&known.config).map_err(|reason| Error::Config { topic: name.clone(), reason })?;
            let topic = Rc::new(Topic::new(name, known.id, settings));
            for (partition, index) in known.partitions.iter().zip(0..) {
                let mark = if clean || same_boot { 0 } else { partition.mark };
                let start = Start { start_offset: partition.start, mark, clean };
                let partition = self.open_partition(&topic, index, start, partition.mark)?;
                topic.partitions.borrow_mut().push(Rc::new(partition));
            }
            self.topics.borrow_mut().insert(name.clone(), topic);
        }
        let deleted = store.state().deleted.clone();
        drop(store);
        for (name, id) in deleted {
            self.remove_topic_folder(&name, id);
        }
        Ok(())
    }

    /// Kept only once recovery is through: a start that fails half way must recover again.
    fn remember_boot(&self) -> io::Result<()> {
        let next = self.config.dir.join("boot.next");
        let mut file = File::create(&next)?;
        file.write_all(self.config.boot.as_deref().unwrap_or_default().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, self.config.dir.join(BOOT_FILE))
    }

    fn open_partition(&self, topic: &Topic, index: i32, start: Start, mark: i64) -> Result<Partition, Error> {
        let folder = names::partition_dir(&self.config.dir, &topic.name, topic.id, index);
        let (log, recovery) = Log::open(&folder, self.files.clone(), start).map_err(|reason| Error::Log {
            topic: topic.name.clone(),
            partition: index,
            folder: folder.clone(),
            reason,
        })?;
        if recovery.cut_bytes > 0 {
            tracing::warn!(folder = %folder.display(), bytes = recovery.cut_bytes, "a crash tore the log's end; it was cut");
        }
        Ok(Partition::new(&topic.name, index, log, mark))
    }

    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Option<Rc<Topic>> {
        self.topics.borrow().get(name).cloned()
    }

    /// The topic of that id.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Rc<Topic>> {
        self.topics.borrow().values().find(|topic| topic.id == id).cloned()
    }

    /// Partitions of all topics.
    pub(crate) fn partition_count(&self) -> usize {
        self.topics.borrow().values().map(|topic| topic.partitions.borrow().len()).sum()
    }

    /// What was set for a topic; all else has its default.
    pub(crate) fn overrides(&self, topic: &str) -> BTreeMap<String, String> {
        self.store.borrow().state().topics.get(topic).map(|known| known.config.clone()).unwrap_or_default()
    }

    /// Creates a topic whose name and configuration have been checked. It is on the disk when this returns.
    pub(crate) fn create_topic(
        &self,
        name: &str,
        overrides: &BTreeMap<String, String>,
        settings: Settings,
        partitions: i32,
    ) -> Result<Rc<Topic>, Error> {
        let id = {
            let mut store = self.store.borrow_mut();
            let id = store.create_topic(name, partitions, overrides, now_ms())?;
            store.sync()?;
            id
        };
        fault::point("node.topic.journaled");
        let topic = Rc::new(Topic::new(name, id, settings));
        if let Err(error) = self.open_fresh(&topic, partitions) {
            self.store.borrow_mut().delete_topic(name)?;
            self.remove_topic_folder(name, id);
            return Err(error);
        }
        self.topics.borrow_mut().insert(name.to_owned(), topic.clone());
        Ok(topic)
    }

    fn open_fresh(&self, topic: &Topic, count: i32) -> Result<(), Error> {
        let have = i32::try_from(topic.partitions.borrow().len()).unwrap_or(i32::MAX);
        let start = || Start { start_offset: 0, mark: 0, clean: true };
        let fresh: Result<Vec<_>, Error> =
            (have..count).map(|index| self.open_partition(topic, index, start(), 0).map(Rc::new)).collect();
        topic.partitions.borrow_mut().append(&mut fresh?);
        // So that the folders outlive a power loss too.
        let folder = names::topic_dir(&self.config.dir, &topic.name, topic.id);
        let sync = |folder: &Path| File::open(folder)?.sync_all();
        sync(&folder).and_then(|()| folder.parent().map_or(Ok(()), sync)).map_err(Error::Disk)
    }

    /// Gives a topic `count` partitions in all.
    pub(crate) fn add_partitions(&self, topic: &Topic, count: i32) -> Result<(), Error> {
        {
            let mut store = self.store.borrow_mut();
            store.add_partitions(&topic.name, count)?;
            store.sync()?;
        }
        self.open_fresh(topic, count)
    }

    /// Replaces what was set for a topic.
    pub(crate) fn set_config(
        &self,
        topic: &Topic,
        overrides: &BTreeMap<String, String>,
        settings: Settings,
    ) -> Result<(), Error> {
        let mut store = self.store.borrow_mut();
        store.set_config(&topic.name, overrides)?;
        store.sync()?;
        *topic.settings.borrow_mut() = settings;
        Ok(())
    }

    /// Deletes a topic and its committed offsets. Its files go in the background.
    pub(crate) fn delete_topic(&self, topic: &Topic) -> Result<(), Error> {
        {
            let mut store = self.store.borrow_mut();
            store.delete_topic(&topic.name)?;
            store.sync()?;
        }
        fault::point("node.topic.deleted");
        self.topics.borrow_mut().remove(&topic.name);
        topic.partitions.borrow().iter().for_each(|partition| partition.go());
        self.remove_topic_folder(&topic.name, topic.id);
        Ok(())
    }

    /// In the background. What a crash leaves is removed at the next start, because the store knows of it.
    fn remove_topic_folder(&self, name: &str, id: Uuid) {
        let (folder, done) = (names::topic_dir(&self.config.dir, name, id), self.removed.clone());
        drop(tokio::task::spawn_blocking(move || {
            if remove(&folder) {
                let _ = done.send(id);
            }
        }));
    }

    /// Removes files in the background.
    pub(crate) fn remove(&self, paths: Vec<PathBuf>) {
        if !paths.is_empty() {
            drop(tokio::task::spawn_blocking(move || paths.iter().for_each(|path| _ = remove(path))));
        }
    }

    /// Has the store forget deleted topics whose folders are gone.
    pub(crate) fn forget_removed(&self) -> Result<(), store::Error> {
        while let Ok(id) = self.gone.try_recv() {
            self.store.borrow_mut().folder_removed(id)?;
            self.durability.journaled();
        }
        Ok(())
    }

    /// An id no producer has had, for idempotence.
    pub(crate) fn producer_id(&self) -> Result<i64, store::Error> {
        let mut ids = self.producer_ids.borrow_mut();
        if ids.is_empty() {
            *ids = self.store.borrow_mut().reserve_producer_ids()?;
        }
        ids.next().ok_or(store::Error::NoProducerIds)
    }

    /// Milliseconds since the broker started: group deadlines must not jump with the wall clock.
    pub(crate) fn uptime_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Whether one more group fits, or this one is known.
    pub(crate) fn has_room_for_group(&self, group: &str) -> bool {
        let (groups, store) = (self.groups.borrow(), self.store.borrow());
        let resting = store.state().offsets.groups();
        if resting.contains_key(group) || groups.describe(group).state != group::State::Dead {
            return true;
        }
        let joined = groups.list().iter().filter(|known| !resting.contains_key(&known.group)).count();
        joined + resting.len() < self.config.limits.groups
    }

    /// A token whose answer comes through the receiver.
    pub(crate) fn wait(&self) -> (Token, oneshot::Receiver<Output>) {
        let token = self.next_token.get();
        self.next_token.set(token + 1);
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(token, sender);
        (token, receiver)
    }

    /// Hands out what the groups have decided. After every change of a group.
    pub(crate) fn groups_changed(&self) {
        let outputs = self.groups.borrow_mut().take_outputs();
        for output in outputs {
            if let Some(waiting) = self.waiting.borrow_mut().remove(&output.token()) {
                // A connection that has gone does not wait any more.
                let _ = waiting.send(output);
            }
        }
        self.group_clock.notify_one();
    }

    /// Gives up what a connection waited for.
    pub(crate) fn abandon(&self, tokens: &[Token]) {
        let mut any = false;
        for token in tokens {
            if self.waiting.borrow_mut().remove(token).is_some() {
                self.groups.borrow_mut().abandon(self.uptime_ms(), *token);
                any = true;
            }
        }
        if any {
            self.groups_changed();
        }
    }

    /// Says that the disk does not take writes, and gives the code that has clients try again.
    pub(crate) fn cannot_write(&self, error: &dyn std::fmt::Display) -> ResponseError {
        if let Some(more) = self.cannot_write.pass() {
            let dir = self.config.dir.display();
            tracing::error!(%dir, %error, more, "the broker cannot write; producers are told to try again: free space on that disk");
        }
        ResponseError::KafkaStorageError
    }

    /// Writes everything to the disk, for the last time.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        durability::close(self).await
    }
}

fn group_limits(config: &Config) -> group::Limits {
    group::Limits {
        groups: config.limits.groups,
        members_per_group: config.limits.group_members,
        session_timeout_min_ms: SESSION_TIMEOUT_MIN_MS,
        session_timeout_max_ms: SESSION_TIMEOUT_MAX_MS,
        initial_delay_ms: 0,
        metadata_bytes: GROUP_METADATA_BYTES,
    }
}

/// Whether it is gone.
fn remove(path: &Path) -> bool {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot be removed; it is tried again at the next start");
            false
        }
        _ => true,
    }
}

/// Moves groups on in time: sessions that expire, rebalances that run out.
pub(crate) async fn run_groups(node: Rc<Node>) {
    loop {
        let next = node.groups.borrow().next_deadline_ms();
        let due = async {
            match next {
                Some(at) => {
                    let wait_ms = u64::try_from(at - node.uptime_ms()).unwrap_or(0);
                    tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                node.groups.borrow_mut().poll(node.uptime_ms());
                node.groups_changed();
            }
            () = node.group_clock.notified() => {}
        }
    }
}
