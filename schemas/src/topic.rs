//! The topic table: every internal topic, bound to its record type.

use crate::{Cancellation, Change, Cooldown, IdempotencyRecord, Lane, Produced, Reply, Request, UsageRow};
use std::marker::PhantomData;

/// How many partitions a topic has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// `kafka.partitions.default`.
    Default,
    /// `kafka.partitions.usage`.
    Usage,
    /// Exactly one, because the order of all records matters.
    One,
}

/// Which configured retention applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// `retention.requests`.
    Requests,
    /// `retention.replies`.
    Replies,
    /// `retention.results`: the idempotency window.
    Results,
    /// `retention.dead_letters`.
    DeadLetters,
    /// Days, not configurable.
    Days(u32),
    /// For ever.
    Forever,
    /// The newest record of each key (compacted), and that for so many days.
    Newest(u32),
}

/// What a topic is created with.
#[derive(Debug, Clone, Copy)]
pub struct TopicSpec {
    /// Name without `kafka.topic_prefix`.
    pub name: &'static str,
    /// Partition count.
    pub partitions: Partitions,
    /// Retention.
    pub retention: Retention,
    /// Stamp records with the broker's append time rather than the producer's.
    pub append_time: bool,
}

/// A topic and the type of its values.
#[derive(Debug)]
pub struct Topic<T> {
    /// What it is created with.
    pub spec: TopicSpec,
    /// `ce_type` of its records.
    pub event_type: &'static str,
    record: PhantomData<fn() -> T>,
}

const fn topic<T>(
    name: &'static str,
    event_type: &'static str,
    partitions: Partitions,
    retention: Retention,
    append_time: bool,
) -> Topic<T> {
    Topic { spec: TopicSpec { name, partitions, retention, append_time }, event_type, record: PhantomData }
}

const fn work<T>(name: &'static str, event_type: &'static str) -> Topic<T> {
    topic(name, event_type, Partitions::Default, Retention::Requests, false)
}

static REQUESTS: [Topic<Request>; 3] = [
    work("requests.interactive", "tollgate.request"),
    work("requests.batch", "tollgate.request"),
    work("requests.judge", "tollgate.request"),
];
static APPROVED: [Topic<Request>; 3] = [
    work("approved.interactive", "tollgate.request"),
    work("approved.batch", "tollgate.request"),
    work("approved.judge", "tollgate.request"),
];
/// Finished calls whose answers must be checked, and before them the chunks of those that are streams.
pub static COMPLETIONS: Topic<Produced> = work("completions", "tollgate.completion");
/// Requests that wait, one topic per delay.
pub static PARKED: [Topic<Request>; 3] = [
    work("parked.10s", "tollgate.request"),
    work("parked.1m", "tollgate.request"),
    work("parked.10m", "tollgate.request"),
];
/// Chunks and terminals on their way to whoever waits.
pub static REPLIES: Topic<Reply> = topic("replies", "tollgate.reply", Partitions::Default, Retention::Replies, false);
/// One row per ended request.
pub static USAGE: Topic<UsageRow> = topic("usage", "tollgate.usage", Partitions::Usage, Retention::Days(30), true);
/// Requests to end a request early.
pub static CANCELLATIONS: Topic<Cancellation> =
    topic("cancellations", "tollgate.cancellation", Partitions::Default, Retention::Days(2), true);
/// Destinations that are not to be called for a while, as router-workers tell each other.
pub static COOLDOWNS: Topic<Cooldown> =
    topic("cooldowns", "tollgate.cooldown", Partitions::One, Retention::Newest(2), true);
/// Claims of idempotency keys. Never compacted: a lost claim that outlived the one it lost to would look like the winner. Append
/// time, so that every reader sees the same window.
pub static IDEMPOTENCY: Topic<IdempotencyRecord> =
    topic("idempotency", "tollgate.idempotency", Partitions::Default, Retention::Results, true);

/// Versions of everything administrators change at run time.
pub static CONTROL: Topic<Change> = topic("control", "tollgate.change", Partitions::One, Retention::Forever, true);

/// Records nobody could process, with their original bytes.
pub const DEAD_LETTERS: TopicSpec = TopicSpec {
    name: "dead-letters",
    partitions: Partitions::Default,
    retention: Retention::DeadLetters,
    append_time: false,
};

/// `requests.<lane>`: admitted, not yet checked.
pub fn requests(lane: Lane) -> &'static Topic<Request> {
    &REQUESTS[lane as usize]
}

/// `approved.<lane>`: ready for a provider.
pub fn approved(lane: Lane) -> &'static Topic<Request> {
    &APPROVED[lane as usize]
}

/// Every internal topic, in the order they are created. Team topics (`in.*`, `out.*`) come from the configuration.
pub fn all() -> Vec<TopicSpec> {
    let work = REQUESTS.iter().chain(&APPROVED).chain(&PARKED).map(|t| t.spec);
    work.chain([
        COMPLETIONS.spec,
        REPLIES.spec,
        USAGE.spec,
        CONTROL.spec,
        CANCELLATIONS.spec,
        COOLDOWNS.spec,
        IDEMPOTENCY.spec,
        DEAD_LETTERS,
    ])
    .collect()
}

/// What a team's `in.` topic is created with, whatever its name. Append time makes job ids stable.
pub const TEAM_IN: TopicSpec =
    TopicSpec { name: "in.*", partitions: Partitions::Default, retention: Retention::Days(7), append_time: true };
/// What a team's `out.` topic is created with, whatever its name.
pub const TEAM_OUT: TopicSpec = TopicSpec { name: "out.*", append_time: false, ..TEAM_IN };
