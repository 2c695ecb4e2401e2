//! Offsets of partitions: first, last, by time, by leader epoch; and DeleteRecords.

use super::{Session, code};
use crate::{
    durability,
    node::Node,
    topic::Partition,
    wire::{Answer, Refused, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
        OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
        delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult},
        list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse},
        offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult},
    },
};
use std::rc::Rc;

/// The leader epoch of every partition: there is one broker, and it never hands over.
pub(super) const LEADER_EPOCH: i32 = 0;

/// What `timestamp` means in ListOffsets besides a time, as `ListOffsetsRequest.json` of Apache Kafka has it.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;

/// Refuses a client that knows of another epoch; -1 is one that does not say.
pub(super) fn check_epoch(epoch: i32) -> Result<(), ResponseError> {
    if epoch > LEADER_EPOCH { Err(ResponseError::UnknownLeaderEpoch) } else { Ok(()) }
}

fn readable(node: &Node, session: &Session, topic: &str, index: i32) -> Result<Rc<Partition>, ResponseError> {
    // Producers ask for offsets too.
    if !session.access().sees(topic) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    node.topic(topic).and_then(|t| t.partition(index)).ok_or(ResponseError::UnknownTopicOrPartition)
}

/// (offset, timestamp), -1 where there is none.
fn find(partition: &Partition, timestamp: i64) -> Result<(i64, i64), ResponseError> {
    let log = partition.log.borrow();
    let found = match timestamp {
        LATEST => return Ok((partition.visible.get(), -1)),
        EARLIEST | EARLIEST_LOCAL => return Ok((log.start_offset(), -1)),
        MAX_TIMESTAMP => log.max_timestamp(),
        time if time < 0 => return Err(ResponseError::InvalidRequest),
        time => log.offset_for_time(time),
    };
    let found = found.map_err(|error| {
        tracing::error!(topic = partition.topic, partition = partition.index, %error, "the log cannot be read");
        ResponseError::KafkaStorageError
    })?;
    Ok(found.filter(|(offset, _)| *offset < partition.visible.get()).unwrap_or((-1, -1)))
}

/// ListOffsets.
pub(super) fn list(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: ListOffsetsRequest = request.decode()?;
    // Before version 4 there is no field for it.
    let epoch = if request.version >= 4 { LEADER_EPOCH } else { -1 };
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let partitions = topic.partitions.iter().map(|p| {
            let answer = ListOffsetsPartitionResponse::default().with_partition_index(p.partition_index);
            let found = readable(node, session, &topic.name, p.partition_index)
                .and_then(|partition| check_epoch(p.current_leader_epoch).map(|()| partition))
                .and_then(|partition| find(&partition, p.timestamp));
            match found {
                Ok((offset, time)) => answer.with_offset(offset).with_timestamp(time).with_leader_epoch(epoch),
                Err(error) => answer.with_offset(-1).with_timestamp(-1).with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        topics.push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
    }
    Ok(Answer::Now(request.reply(&ListOffsetsResponse::default().with_topics(topics))?))
}

/// OffsetForLeaderEpoch: the one epoch ends where the log does.
pub(super) fn for_leader_epoch(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: OffsetForLeaderEpochRequest = request.decode()?;
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let partitions = topic.partitions.iter().map(|p| {
            let answer = EpochEndOffset::default().with_partition(p.partition);
            let found = readable(node, session, &topic.topic, p.partition)
                .and_then(|partition| check_epoch(p.current_leader_epoch).map(|()| partition));
            match found {
                Ok(partition) if p.leader_epoch == LEADER_EPOCH => {
                    answer.with_leader_epoch(LEADER_EPOCH).with_end_offset(partition.visible.get())
                }
                Ok(_) => answer,
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        topics.push(OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions));
    }
    Ok(Answer::Now(request.reply(&OffsetForLeaderEpochResponse::default().with_topics(topics))?))
}

/// DeleteRecords: everything below an offset goes; -1 means all there is.
pub(super) fn delete_records(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: DeleteRecordsRequest = request.decode()?;
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let partitions = topic.partitions.iter().map(|p| {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(p.partition_index);
            match delete(node, session, &topic.name, p.partition_index, p.offset) {
                Ok(start) => answer.with_low_watermark(start),
                Err(error) => answer.with_low_watermark(-1).with_error_code(code(Err(error))),
            }
        });
        let partitions = partitions.collect();
        topics.push(DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions));
    }
    Ok(Answer::Now(request.reply(&DeleteRecordsResponse::default().with_topics(topics))?))
}

fn delete(node: &Node, session: &Session, topic: &str, index: i32, offset: i64) -> Result<i64, ResponseError> {
    if !session.access().administers() {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let partition = readable(node, session, topic, index)?;
    let visible = partition.visible.get();
    let offset = if offset == LATEST { visible } else { offset };
    if offset < 0 || offset > visible {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let deleted = partition.log.borrow_mut().delete_before(offset);
    let start = deleted.map_err(|_| ResponseError::OffsetOutOfRange)?;
    // Files go with the next housekeeping.
    durability::keep_start(node, &partition).map_err(|error| node.cannot_write(&error))?;
    partition.changed();
    Ok(start)
}
