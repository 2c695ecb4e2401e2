//! Group membership as the poll loops need it: rebalances are noted in librdkafka's callback and acted on outside it.
//!
//! The default callback would unassign inside `poll`, before what is in flight has drained.

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

/// A change of the assignment.
#[derive(Debug)]
pub(crate) enum Change {
    /// New partitions; librdkafka has them already.
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
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.members.push(Change::Assigned(names()));
                let result = consumer.incremental_assign(list);
                self.members.set_assigned();
                result
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

    fn commit_callback(&self, result: rdkafka::error::KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "an offset commit failed; the next one covers it");
        }
    }
}
