//! The operations of the model-based test, as values: numbers are taken modulo what exists, so a sequence stays meaningful when
//! proptest shrinks it. Not here: what an operation does (`records`, `groups`) and what it must give (`state`).

use proptest::{collection::vec, prelude::*};

pub(super) const TOPICS: [&str; 4] = ["apples", "pears", "figs", "plums"];
pub(super) const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
pub(super) const CLIENTS: usize = 3;
pub(super) const PRODUCERS: usize = 3;

/// What a topic's configuration may be changed to. Segments are as small as they can be, so that many are rolled.
pub(super) const SETTINGS: [(&str, &str); 8] = [
    ("max.message.bytes", "1048588"),
    ("max.message.bytes", "700"),
    ("message.timestamp.type", "LogAppendTime"),
    ("message.timestamp.type", "CreateTime"),
    ("segment.bytes", "16384"),
    ("segment.bytes", "30000"),
    ("cleanup.policy", "compact"),
    ("retention.bytes", "20000"),
];

#[derive(Debug, Clone)]
pub(super) enum Op {
    CreateTopic { topic: usize, partitions: i32, settings: Vec<usize> },
    DeleteTopic { topic: usize },
    AddPartitions { topic: usize, count: i32 },
    Configure { topic: usize, setting: usize },
    Produce { writes: Vec<Write>, answered: bool },
    Fetch { reads: Vec<Read>, max_bytes: i32 },
    ListOffset { topic: usize, partition: usize, time: Time },
    DeleteRecords { topic: usize, partition: usize, place: Place },
    Join { group: usize, topic: usize },
    Leave { group: usize },
    Commit { group: usize, by: By, commits: Vec<Commit> },
    Committed { group: usize },
    DeleteGroup { group: usize },
    DeleteOffset { group: usize, topic: usize, partition: usize },
    Metadata,
    Restart(Restart),
}

/// One batch.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) topic: usize,
    pub(super) partition: usize,
    pub(super) records: Vec<Record>,
    pub(super) codec: usize,
    pub(super) who: Who,
    /// A bit of its body is turned.
    pub(super) damaged: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    /// None in one of eight.
    pub(super) key: u8,
    /// Bytes; none (a tombstone) if 0.
    pub(super) value: usize,
    pub(super) age_ms: i64,
}

/// Who sends a batch, and where its sequence goes on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Who {
    Plain,
    Next(usize),
    /// The batch so many before, once more.
    Again(usize, usize),
    Skip(usize),
    OldEpoch(usize),
    NewEpoch(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) topic: usize,
    pub(super) partition: usize,
    pub(super) place: Place,
    pub(super) max_bytes: i32,
}

/// A place in a log.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// So many hundredths between its start and its end.
    Within(i64),
    BeforeStart,
    End,
    BeyondEnd,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Time {
    Latest,
    Earliest,
    Max,
    Ago(i64),
}

/// Who commits.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Nobody,
    Member,
    OldGeneration,
    Stranger,
}

#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) topic: usize,
    pub(super) partition: usize,
    pub(super) offset: i64,
    pub(super) metadata_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Restart {
    Clean,
    /// The process is killed: what it wrote is there.
    Killed,
    /// The same, but the broker must believe that the machine went down.
    PowerLoss,
}

const AGE_MS: i64 = 100_000;

fn topic() -> impl Strategy<Value = usize> {
    0..TOPICS.len()
}

fn group() -> impl Strategy<Value = usize> {
    0..GROUPS.len()
}

fn who() -> impl Strategy<Value = Who> {
    let producer = || 0..PRODUCERS;
    prop_oneof![
        6 => Just(Who::Plain),
        8 => producer().prop_map(Who::Next),
        4 => (producer(), 0..7_usize).prop_map(|(producer, back)| Who::Again(producer, back)),
        1 => producer().prop_map(Who::Skip),
        1 => producer().prop_map(Who::OldEpoch),
        1 => producer().prop_map(Who::NewEpoch),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let value = prop_oneof![1 => Just(0), 8 => 1..300_usize, 1 => 1_000..6_000_usize];
    let record = (any::<u8>(), value, 0..AGE_MS).prop_map(|(key, value, age_ms)| Record { key, value, age_ms });
    (topic(), 0..4_usize, vec(record, 1..12), 0..5_usize, who(), prop::bool::weighted(0.03)).prop_map(
        |(topic, partition, records, codec, who, damaged)| Write { topic, partition, records, codec, who, damaged },
    )
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        8 => (0..100_i64).prop_map(Place::Within),
        1 => Just(Place::BeforeStart),
        2 => Just(Place::End),
        1 => Just(Place::BeyondEnd),
    ]
}

fn read() -> impl Strategy<Value = Read> {
    let max_bytes = prop_oneof![Just(1), 60..3_000_i32, Just(1 << 20)];
    (topic(), 0..4_usize, place(), max_bytes).prop_map(|(topic, partition, place, max_bytes)| Read {
        topic,
        partition,
        place,
        max_bytes,
    })
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![Just(Time::Latest), Just(Time::Earliest), Just(Time::Max), (-1..=AGE_MS + 1).prop_map(Time::Ago)]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![6 => Just(By::Nobody), 6 => Just(By::Member), 1 => Just(By::OldGeneration), 1 => Just(By::Stranger)]
}

fn commit() -> impl Strategy<Value = Commit> {
    let metadata_bytes = prop_oneof![4 => 0..40_usize, 1 => Just(4_096), 1 => Just(4_097)];
    (topic(), 0..4_usize, 0..10_000_i64, metadata_bytes).prop_map(|(topic, partition, offset, metadata_bytes)| Commit {
        topic,
        partition,
        offset,
        metadata_bytes,
    })
}

fn operation() -> impl Strategy<Value = Op> {
    let restart = prop_oneof![Just(Restart::Clean), Just(Restart::Killed), Just(Restart::PowerLoss)];
    prop_oneof![
        6 => (topic(), 0..4_i32, vec(0..SETTINGS.len(), 0..3))
            .prop_map(|(topic, partitions, settings)| Op::CreateTopic { topic, partitions, settings }),
        1 => topic().prop_map(|topic| Op::DeleteTopic { topic }),
        1 => (topic(), 1..5_i32).prop_map(|(topic, count)| Op::AddPartitions { topic, count }),
        2 => (topic(), 0..SETTINGS.len()).prop_map(|(topic, setting)| Op::Configure { topic, setting }),
        40 => (vec(write(), 1..4), prop::bool::weighted(0.9))
            .prop_map(|(writes, answered)| Op::Produce { writes, answered }),
        20 => (vec(read(), 1..4), prop_oneof![Just(1), Just(2_000), Just(1 << 20)])
            .prop_map(|(reads, max_bytes)| Op::Fetch { reads, max_bytes }),
        6 => (topic(), 0..4_usize, time())
            .prop_map(|(topic, partition, time)| Op::ListOffset { topic, partition, time }),
        2 => (topic(), 0..4_usize, place())
            .prop_map(|(topic, partition, place)| Op::DeleteRecords { topic, partition, place }),
        2 => (group(), topic()).prop_map(|(group, topic)| Op::Join { group, topic }),
        2 => group().prop_map(|group| Op::Leave { group }),
        6 => (group(), by(), vec(commit(), 1..4)).prop_map(|(group, by, commits)| Op::Commit { group, by, commits }),
        3 => group().prop_map(|group| Op::Committed { group }),
        1 => group().prop_map(|group| Op::DeleteGroup { group }),
        1 => (group(), topic(), 0..4_usize)
            .prop_map(|(group, topic, partition)| Op::DeleteOffset { group, topic, partition }),
        1 => Just(Op::Metadata),
        3 => restart.prop_map(Op::Restart),
    ]
}

/// Operations, each with the client that sends it.
pub(super) fn operations(count: usize) -> impl Strategy<Value = Vec<(usize, Op)>> {
    vec((0..CLIENTS, operation()), 1..count)
}
