//! Produce and InitProducerId. Deliberately absent: transactions.

use super::{Session, code, words};
use crate::{
    Fsync, durability,
    log::AppendError,
    node::{Node, now_ms},
    topic::Partition,
    wire::{Answer, Refused, Request},
};
use bytes::Bytes;
use kafka_protocol::{
    ResponseError,
    messages::{
        InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
        produce_request::PartitionProduceData,
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
};
use std::rc::Rc;
use tokio::sync::Notify;

/// A partition and the offset that must be visible before its producer is told.
type Kept = (Rc<Partition>, i64);

/// Appends each partition's batch. With `fsync: always` the answer waits for the disk.
pub(super) fn produce(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: ProduceRequest = request.decode()?;
    let (mut kept, mut failed) = (Vec::new(), None);
    let mut topics = Vec::with_capacity(asked.topic_data.len());
    for topic in asked.topic_data {
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let mut answer = PartitionProduceResponse::default().with_index(data.index).with_base_offset(-1);
            match check(asked.acks, asked.transactional_id.is_some())
                .and_then(|()| append(node, session, &topic.name, data, &mut answer))
            {
                Ok(appended) => kept.push(appended),
                Err((error, reason)) => {
                    failed = Some(format!("it produced with acks=0 what cannot be taken: {reason}"));
                    answer = answer.with_error_code(error.code()).with_error_message(words(reason));
                }
            }
            partitions.push(answer);
        }
        topics.push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions));
    }
    if asked.acks == 0 {
        // The end of the connection is all that such a producer can be told, as Apache Kafka tells it.
        return Ok(failed.map_or(Answer::Nothing, Answer::Close));
    }
    let reply = request.reply(&ProduceResponse::default().with_responses(topics))?;
    if node.config.fsync != Fsync::Always || kept.is_empty() {
        return Ok(Answer::Now(reply));
    }
    Ok(Answer::Later(Box::pin(async move {
        until_visible(&kept).await;
        Ok(reply)
    })))
}

/// Waits until consumers see all of it, which is when it is on the disk.
async fn until_visible(kept: &[Kept]) {
    let wake: Rc<Notify> = Rc::default();
    for (partition, end) in kept {
        while partition.visible.get() < *end && !partition.is_gone() {
            partition.watch(&wake);
            wake.notified().await;
        }
    }
}

fn check(acks: i16, transactional: bool) -> Result<(), super::Refusal> {
    if !matches!(acks, -1..=1) {
        return Err((ResponseError::InvalidRequiredAcks, format!("acks is {acks}: use 0, 1 or all")));
    }
    if transactional {
        return Err((ResponseError::InvalidRequest, "this broker has no transactions".to_owned()));
    }
    Ok(())
}

fn append(
    node: &Node,
    session: &Session,
    topic: &str,
    data: PartitionProduceData,
    answer: &mut PartitionProduceResponse,
) -> Result<Kept, super::Refusal> {
    let access = session.access();
    if !access.writes(topic) {
        return Err((ResponseError::TopicAuthorizationFailed, format!("this client may not write to {topic}")));
    }
    let unknown = || (ResponseError::UnknownTopicOrPartition, format!("there is no {topic}-{}", data.index));
    let known = node.topic(topic).ok_or_else(unknown)?;
    let partition = known.partition(data.index).ok_or_else(unknown)?;
    let batch = data.records.unwrap_or_default();
    // Before anything is handed out: see `durability`.
    durability::reserve(node, &partition, claimed_records(&batch))
        .map_err(|error| (node.cannot_write(&error), "the broker's disk takes no writes".to_owned()))?;
    let appended = partition.log.borrow_mut().append(&batch, &known.settings.borrow(), now_ms(), access.administers());
    let appended = appended.map_err(|error| match error {
        AppendError::Storage(reason) => (node.cannot_write(&reason), "the broker's disk takes no writes".to_owned()),
        other => (other.code(), other.to_string()),
    })?;
    answer.base_offset = appended.base_offset;
    answer.log_append_time_ms = appended.append_time_ms;
    answer.log_start_offset = partition.log.borrow().start_offset();
    if !appended.duplicate {
        node.durability.appended(&partition);
        if node.config.fsync != Fsync::Always {
            partition.show(appended.last_offset + 1);
        }
    }
    Ok((partition, appended.last_offset + 1))
}

/// How many offsets a batch says it needs (bytes 23 to 26: last offset delta), within what its size allows.
fn claimed_records(batch: &Bytes) -> i64 {
    let delta = batch.get(23..27).and_then(|bytes| bytes.try_into().ok()).map_or(0, i32::from_be_bytes);
    (i64::from(delta.max(0)) + 1).min(i64::try_from(batch.len()).unwrap_or(i64::MAX))
}

/// A fresh id for idempotence.
pub(super) fn init_producer_id(node: &Rc<Node>, request: &Request) -> Result<Answer, Refused> {
    let asked: InitProducerIdRequest = request.decode()?;
    let nobody = InitProducerIdResponse::default().with_producer_id((-1).into()).with_producer_epoch(-1);
    let response = if asked.transactional_id.is_some() {
        nobody.with_error_code(code(Err(ResponseError::InvalidRequest)))
    } else {
        match node.producer_id() {
            Ok(id) => InitProducerIdResponse::default().with_producer_id(id.into()),
            Err(error) => nobody.with_error_code(code(Err(node.cannot_write(&error)))),
        }
    };
    Ok(Answer::Now(request.reply(&response)?))
}
