//! Random histories against a simple model: changes, rewrites at every stage, syncs, and ends of all kinds. After each
//! start the state is the model's after some change, none that was synced is missing, and no id is given twice.

use super::config;
use crate::store::{
    journal::{FILE, Rewrite, Rewritten},
    *,
};
use proptest::prelude::*;

/// Id, time, config, starts and marks.
type Told = (Uuid, i64, BTreeMap<String, String>, Vec<(i64, i64)>);
type Offset = (i64, i32, String, i64);

/// The state, told as plainly as possible.
#[derive(Debug, Clone, PartialEq, Default)]
struct Model {
    cluster_id: String,
    topics: BTreeMap<String, Told>,
    offsets: BTreeMap<(String, String, i32), Offset>,
    deleted: Vec<(String, Uuid)>,
    producer_ids: i64,
}

impl Model {
    fn of(state: &State) -> Self {
        let mut model =
            Self { cluster_id: state.cluster_id.clone(), deleted: state.deleted.clone(), ..Self::default() };
        model.producer_ids = state.next_producer_id;
        for (name, topic) in &state.topics {
            let partitions = topic.partitions.iter().map(|partition| (partition.start, partition.mark)).collect();
            model.topics.insert(name.clone(), (topic.id, topic.created_ms, topic.config.clone(), partitions));
        }
        for (group, topics) in state.offsets.groups() {
            assert!(!topics.is_empty() && topics.values().all(|partitions| !partitions.is_empty()));
            for (topic, partition, at) in
                topics.iter().flat_map(|(topic, all)| all.iter().map(move |(partition, at)| (topic, *partition, at)))
            {
                let offset = (at.offset, at.leader_epoch, at.metadata.clone(), at.committed_ms);
                model.offsets.insert((group.clone(), topic.clone(), partition), offset);
            }
        }
        model
    }
}

#[derive(Debug, Clone)]
enum Op {
    Create {
        topic: u8,
        partitions: i32,
    },
    Delete {
        topic: u8,
    },
    FolderRemoved,
    AddPartitions {
        topic: u8,
        partitions: i32,
    },
    SetConfig {
        topic: u8,
        value: u8,
    },
    SetMarks(Vec<(u8, i32, i64, i64)>),
    Commit {
        group: u8,
        offsets: Vec<(u8, i32, i64, String)>,
    },
    DeleteOffsets {
        group: u8,
        topic: u8,
        partition: i32,
    },
    DeleteGroup {
        group: u8,
    },
    Expire {
        now_ms: i64,
        busy: u8,
    },
    ReserveIds,
    Fails {
        room: usize,
    },
    Sync,
    StartRewrite,
    RunRewrite,
    FinishRewrite,
    Close,
    /// The process ends; nothing of the page cache is lost.
    Kill,
    /// The power fails: what was not synced is cut somewhere, and a byte behind the cut may be damaged instead.
    PowerLoss {
        keep: prop::sample::Index,
        damage: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let (topic, group, partition) = (0..4u8, 0..3u8, 0..3i32);
    let mark = (topic.clone(), partition.clone(), 0..100i64, 0..100i64);
    let offset = (topic.clone(), partition.clone(), 0..1_000i64, "\\PC{0,8}");
    prop_oneof![
        4 => (topic.clone(), 1..4i32).prop_map(|(topic, partitions)| Op::Create { topic, partitions }),
        2 => topic.clone().prop_map(|topic| Op::Delete { topic }),
        1 => Just(Op::FolderRemoved),
        1 => (topic.clone(), 1..6i32).prop_map(|(topic, partitions)| Op::AddPartitions { topic, partitions }),
        1 => (topic.clone(), any::<u8>()).prop_map(|(topic, value)| Op::SetConfig { topic, value }),
        3 => prop::collection::vec(mark, 0..4).prop_map(Op::SetMarks),
        8 => (group.clone(), prop::collection::vec(offset, 0..4)).prop_map(|(group, offsets)| Op::Commit { group, offsets }),
        1 => (group.clone(), topic, partition).prop_map(|(group, topic, partition)| Op::DeleteOffsets { group, topic, partition }),
        1 => group.clone().prop_map(|group| Op::DeleteGroup { group }),
        1 => (0..2_000i64, group).prop_map(|(now_ms, busy)| Op::Expire { now_ms, busy }),
        2 => Just(Op::ReserveIds),
        1 => (0..60usize).prop_map(|room| Op::Fails { room }),
        3 => Just(Op::Sync),
        2 => Just(Op::StartRewrite),
        2 => Just(Op::RunRewrite),
        2 => Just(Op::FinishRewrite),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        3 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(keep, damage)| Op::PowerLoss { keep, damage }),
    ]
}

/// A store, its model after each line since the last start, and what must outlive a power loss.
struct World {
    dir: tempfile::TempDir,
    store: Option<Store>,
    history: Vec<Model>,
    synced: usize,
    /// Synced bytes of the journal in use, and of the next one.
    synced_len: (u64, u64),
    rewrite: Option<Rewrite>,
    rewritten: Option<Rewritten>,
    ids_given: i64,
    closed: bool,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self {
            dir,
            store: None,
            history: vec![],
            synced: 0,
            synced_len: (0, 0),
            rewrite: None,
            rewritten: None,
            ids_given: 0,
            closed: false,
        };
        let store = world.open();
        world.history = vec![Model::of(store.state())];
        world.begin(store);
        world
    }

    fn open(&self) -> Store {
        Store::open(self.dir.path()).unwrap().0
    }

    fn begin(&mut self, store: Store) {
        self.synced = self.history.len() - 1;
        self.synced_len = (store.journal.current.len, 0);
        (self.store, self.closed) = (Some(store), false);
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn now(&self) -> Model {
        self.history.last().unwrap().clone()
    }

    /// A line was written, after which the model is this.
    fn push(&mut self, model: Model) {
        self.history.push(model);
    }

    fn note_sync(&mut self) {
        self.synced = self.history.len() - 1;
        let journal = &self.store.as_ref().unwrap().journal;
        self.synced_len = (journal.current.len, journal.next.as_ref().map_or(0, |next| next.len));
    }

    fn topics(&mut self, op: &Op) {
        let mut model = self.now();
        match op {
            Op::Create { topic, partitions } => {
                let (name, set) = (format!("t{topic}"), config(&[("retention.ms", "1")]));
                match self.store().create_topic(&name, *partitions, &set, 9) {
                    Ok(id) => {
                        assert!(model.topics.values().all(|topic| topic.0 != id));
                        let partitions = vec![(0, 0); *partitions as usize];
                        assert!(model.topics.insert(name, (id, 9, set, partitions)).is_none());
                    }
                    Err(_) => return assert!(model.topics.contains_key(&name)),
                }
            }
            Op::Delete { topic } => {
                let name = format!("t{topic}");
                let Some((id, ..)) = model.topics.remove(&name) else { return };
                assert_eq!(self.store().delete_topic(&name).unwrap(), id);
                model.offsets.retain(|(_, topic, _), _| *topic != name);
                model.deleted.push((name, id));
            }
            Op::FolderRemoved => {
                let Some((_, id)) = model.deleted.pop() else { return };
                self.store().folder_removed(id).unwrap();
            }
            Op::AddPartitions { topic, partitions } => {
                let name = format!("t{topic}");
                let Some((.., all)) = model.topics.get_mut(&name) else { return };
                all.resize(all.len().max(*partitions as usize), (0, 0));
                self.store().add_partitions(&name, *partitions).unwrap();
            }
            Op::SetConfig { topic, value } => {
                let (name, set) = (format!("t{topic}"), config(&[("segment.ms", &value.to_string())]));
                let Some((_, _, old, _)) = model.topics.get_mut(&name) else { return };
                *old = set.clone();
                self.store().set_config(&name, &set).unwrap();
            }
            Op::SetMarks(marks) => {
                let names: Vec<_> = marks.iter().map(|mark| format!("t{}", mark.0)).collect();
                let marks: Vec<_> =
                    names.iter().zip(marks).map(|(name, mark)| (name.as_str(), mark.1, mark.2, mark.3)).collect();
                self.store().set_marks(&marks).unwrap();
                for (name, partition, start, mark) in marks {
                    let Some((.., all)) = model.topics.get_mut(name) else { continue };
                    let Some(old) = all.get_mut(partition as usize) else { continue };
                    *old = (old.0.max(start), old.1.max(mark));
                }
            }
            _ => return,
        }
        self.push(model);
    }

    fn groups(&mut self, op: &Op) {
        let mut model = self.now();
        match op {
            Op::Commit { group, offsets } => {
                let group = format!("g{group}");
                let names: Vec<_> = offsets.iter().map(|offset| format!("t{}", offset.0)).collect();
                let commit =
                    |(name, (_, partition, offset, metadata)): (&'_ String, &'_ (u8, i32, i64, String))| Commit {
                        topic: name.clone().into(),
                        partition: *partition,
                        offset: *offset,
                        leader_epoch: *partition - 1,
                        metadata: metadata.clone().into(),
                        committed_ms: *offset,
                    };
                let commits: Vec<_> = names.iter().zip(offsets).map(commit).collect();
                self.store().commit_offsets(&group, &commits).unwrap();
                for (name, (_, partition, offset, metadata)) in names.iter().zip(offsets) {
                    let value = (*offset, *partition - 1, metadata.clone(), *offset);
                    model.offsets.insert((group.clone(), name.clone(), *partition), value);
                }
            }
            Op::DeleteOffsets { group, topic, partition } => {
                let key = (format!("g{group}"), format!("t{topic}"), *partition);
                self.store().delete_offsets(&key.0, &key.1, key.2).unwrap();
                model.offsets.remove(&key);
            }
            Op::DeleteGroup { group } => {
                let group = format!("g{group}");
                self.store().delete_group(&group).unwrap();
                model.offsets.retain(|key, _| key.0 != group);
            }
            Op::Expire { now_ms, busy } => {
                // Groups are never seen busy long enough to matter, for time goes back and forth here.
                self.store().busy_ms.clear();
                let busy = format!("g{busy}");
                for group in self.store().expire_offsets(*now_ms, 500, |group| group != busy).unwrap() {
                    let last = model.offsets.iter().filter(|(key, _)| key.0 == group).map(|(_, value)| value.3).max();
                    assert!(group != busy && now_ms - last.unwrap() >= 500);
                    model.offsets.retain(|key, _| key.0 != group);
                    self.push(model.clone());
                }
            }
            _ => return,
        }
        self.push(model);
    }

    fn files(&mut self, op: &Op) {
        let mut model = self.now();
        match op {
            Op::ReserveIds => {
                let ids = self.store().reserve_producer_ids().unwrap();
                assert!(ids.start >= self.ids_given, "given before");
                (self.ids_given, model.producer_ids) = (ids.end, ids.end);
                self.push(model);
                self.note_sync();
            }
            Op::Fails { room } => {
                let next = self.store().journal.next.as_mut();
                if let Some(next) = next.filter(|_| room % 2 == 0) {
                    next.room = Some(*room);
                } else {
                    self.store().journal.current.room = Some(*room);
                }
                assert!(self.store().create_topic("a-topic-that-never-comes-to-be", 1, &config(&[]), 0).is_err());
                let journal = &mut self.store().journal;
                journal.current.room = None;
                journal.next.iter_mut().for_each(|next| next.room = None);
            }
            Op::Sync => {
                self.store().sync().unwrap();
                self.note_sync();
            }
            Op::StartRewrite => {
                self.rewrite = self.store().start_rewrite().unwrap().or(self.rewrite.take());
            }
            Op::RunRewrite => {
                let Some(rewrite) = self.rewrite.take() else { return };
                self.rewritten = Some(rewrite.run());
                self.synced_len.1 = self.store().journal.next.as_ref().unwrap().len;
            }
            Op::FinishRewrite => {
                let Some(done) = self.rewritten.take() else { return };
                self.store().finish_rewrite(done).unwrap();
                self.synced_len = (self.synced_len.1, 0);
            }
            Op::Close => {
                self.store().close().unwrap();
                self.note_sync();
                self.closed = true;
            }
            _ => {}
        }
    }

    /// Ends and starts; whether and how much may be missing then is the caller's to say.
    fn restart(&mut self, power_loss: Option<(&prop::sample::Index, bool)>) {
        self.store = None;
        let renamed = self.rewritten.take().is_some();
        // A rewrite that was not run is never run.
        self.rewrite = None;
        let synced_len = if renamed { self.synced_len.1 } else { self.synced_len.0 };
        if let Some((keep, damage)) = power_loss {
            let path = self.dir.path().join(FILE);
            let mut bytes = fs::read(&path).unwrap();
            let unsynced = bytes.len() - synced_len as usize;
            let at = synced_len as usize + keep.index(unsynced + 1);
            match bytes.get_mut(at).filter(|_| damage) {
                Some(byte) => *byte ^= 0x21,
                None => bytes.truncate(at),
            }
            fs::write(&path, bytes).unwrap();
        }
        let (store, opened) = Store::open(self.dir.path()).unwrap();
        let found = Model::of(store.state());
        if power_loss.is_none() {
            assert_eq!(found, self.now(), "the end of the process alone loses nothing");
            assert_eq!((opened.clean, opened.cut_bytes), (self.closed, 0));
        } else {
            let since = &self.history[self.synced..];
            assert!(since.contains(&found), "{found:#?}\nis none of\n{since:#?}");
            assert!(!opened.clean || self.closed);
            assert!(found.producer_ids >= self.ids_given);
        }
        self.history = vec![found];
        self.begin(store);
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Kill => self.restart(None),
            Op::PowerLoss { keep, damage } => self.restart(Some((keep, *damage))),
            Op::RunRewrite | Op::FinishRewrite => self.files(op),
            _ if self.closed => assert!(self.store().reserve_producer_ids().is_err()),
            _ => {
                self.topics(op);
                self.groups(op);
                self.files(op);
            }
        }
        let (state, model) = (Model::of(self.store().state()), self.now());
        assert_eq!(state, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_state_is_the_models_whatever_happens(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.step(op));
        world.restart(None);
    }

    #[test]
    fn lines_are_read_back_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>()) {
        let _ = entry::decode(&bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut line = Vec::new();
        let written = Entry::GroupDeleted { group: text.as_str().into() };
        written.encode(&mut line).unwrap();
        prop_assert!(line.iter().filter(|byte| **byte == b'\n').count() == 1);
        match entry::decode(&line) {
            entry::Line::Entry(Entry::GroupDeleted { group }) => prop_assert_eq!(group, text),
            _ => prop_assert!(false, "not read back"),
        }
        let at = at.index(line.len());
        line[at] ^= 4;
        prop_assert!(matches!(entry::decode(&line), entry::Line::Broken));
    }
}
