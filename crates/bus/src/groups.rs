//! Group membership as the poll loops need it: rebalances are noted in librdkafka's callback and acted on outside it.
//!
//! The default callback would assign inside `poll`, before what the last reader committed is known, and unassign there,
//! before what is in flight has drained.

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

/// A change of the assignment.
#[derive(Debug)]
pub(crate) enum Change {
    /// New partitions, to be taken with `incremental_assign`, all at once.
    Assigned(Vec<(String, i32)>),
    /// Partitions to drain and give back with `incremental_unassign`, all at once.
    Revoked(Vec<(String, i32)>),
    /// The whole assignment is gone; somebody else may have it already. Nothing of it may be committed.
    Lost,
}

/// What a broker did not take of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    all: bool,
    some: Vec<(String, i32)>,
}

impl Refused {
    /// All of it.
    pub(crate) fn all() -> Self {
        Self { all: true, some: Vec::new() }
    }

    pub(crate) fn partition(topic: &str, partition: i32) -> Self {
        Self { all: false, some: vec![(topic.to_owned(), partition)] }
    }

    pub(crate) fn is_none(&self) -> bool {
        !self.all && self.some.is_empty()
    }

    pub(crate) fn contains(&self, topic: &str, partition: i32) -> bool {
        self.all || self.some.iter().any(|(name, number)| name == topic && *number == partition)
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.all |= other.all;
        self.some.extend(other.some);
        self
    }
}

/// What the callback tells the poll loop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(Arc<State>);

#[derive(Debug, Default)]
struct State {
    changes: Mutex<Vec<Change>>,
    /// What was refused of the commits that were answered, until somebody looks.
    commit: Mutex<Option<Refused>>,
    assigned: AtomicBool,
    closing: AtomicBool,
}

impl Members {
    pub(crate) fn assigned(&self) -> bool {
        self.0.assigned.load(Ordering::Acquire)
    }

    pub(crate) fn set_assigned(&self) {
        self.0.assigned.store(true, Ordering::Release);
    }

    pub(crate) fn closing(&self) -> bool {
        self.0.closing.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> Vec<Change> {
        self.0.changes.lock().map(|mut all| std::mem::take(&mut *all)).unwrap_or_default()
    }

    /// What was refused of the commits that were answered since the last look; `None` if none was answered.
    pub(crate) fn take_commit(&self) -> Option<Refused> {
        self.0.commit.lock().ok().and_then(|mut answer| answer.take())
    }

    /// Notes the answer to a commit.
    pub(crate) fn note_commit(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let refused = if let Err(error) = result {
            tracing::warn!(%error, "offsets were not committed; they will be with the next commit");
            Refused::all()
        } else {
            let failed = offsets.elements().into_iter().filter_map(|element| Some((element.error().err()?, element)));
            failed.fold(Refused::default(), |refused, (error, element)| {
                let (topic, partition) = (element.topic(), element.partition());
                tracing::warn!(%error, topic, partition, "an offset was not committed; it will be with the next commit");
                refused.and(Refused::partition(topic, partition))
            })
        };
        if let Ok(mut answer) = self.0.commit.lock() {
            *answer = Some(answer.take().unwrap_or_default().and(refused));
        }
    }

    /// From now on a revocation is answered in the callback: the consumer is about to be dropped.
    pub(crate) fn close(&self) {
        self.0.closing.store(true, Ordering::Release);
    }

    pub(crate) fn push(&self, change: Change) {
        if let Ok(mut all) = self.0.changes.lock() {
            all.push(change);
        }
    }
}

pub(crate) struct GroupContext {
    members: Members,
}

impl GroupContext {
    pub(crate) fn new(members: Members) -> Self {
        Self { members }
    }
}

impl ClientContext for GroupContext {
    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        crate::client::log_error("consumer", &error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let names = || list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        let result = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS if self.members.closing() => {
                consumer.incremental_assign(&TopicPartitionList::new())
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.members.push(Change::Assigned(names()));
                Ok(())
            }
            _ if consumer.assignment_lost() => {
                self.members.push(Change::Lost);
                consumer.incremental_unassign(list)
            }
            _ if self.members.closing() => consumer.incremental_unassign(list),
            _ => {
                self.members.push(Change::Revoked(names()));
                Ok(())
            }
        };
        if let Err(error) = result {
            tracing::error!(%error, "the group's assignment could not be applied; the group will rebalance again");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.members.note_commit(result, offsets);
    }
}
