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

/// What the callback tells the poll loop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(Arc<State>);

#[derive(Debug, Default)]
struct State {
    changes: Mutex<Vec<Change>>,
    /// Whether the commit that was answered last was taken, until somebody looks; a refusal outlasts what comes after it.
    commit: Mutex<Option<bool>>,
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

    /// How commits were answered since the last look: `false` if any was refused.
    pub(crate) fn take_commit(&self) -> Option<bool> {
        self.0.commit.lock().ok().and_then(|mut answer| answer.take())
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
        let result = result.and_then(|()| offsets.elements().iter().try_for_each(|element| element.error()));
        if let Err(error) = &result {
            tracing::warn!(%error, "offsets were not committed; they will be with the next commit");
        }
        if let Ok(mut answer) = self.members.0.commit.lock() {
            *answer = Some(result.is_ok() && *answer != Some(false));
        }
    }
}
