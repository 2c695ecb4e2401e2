//! Fetch: records from the files, or a wait until there are some. Deliberately absent: fetch sessions (session id 0 says so)
//! and isolation, because nothing is transactional.

use super::Session;
use crate::{
    log::{ReadError, Slice},
    node::Node,
    topic::Partition,
    wire::{Answer, FetchedPartition, Refused, Reply, Request, fetch_reply},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        FetchRequest,
        fetch_request::{FetchPartition, FetchTopic},
    },
    protocol::StrBytes,
};
use std::{rc::Rc, time::Duration};
use tokio::sync::Notify;

/// The longest wait, whatever a client asks for.
const MAX_WAIT_MS: u64 = 60_000;

/// What a look at the partitions gave.
struct Look {
    topics: Vec<(StrBytes, Vec<FetchedPartition>)>,
    bytes: usize,
    /// Something the client should hear of at once.
    failed: bool,
}

/// Answers with what is there, or waits up to `max_wait_ms` for `min_bytes`.
pub(super) fn fetch(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: FetchRequest = request.decode()?;
    let min_bytes = usize::try_from(asked.min_bytes).unwrap_or(0);
    let first = look(node, session, &asked);
    if first.failed || first.bytes >= min_bytes || asked.max_wait_ms <= 0 {
        return Ok(Answer::Now(reply(request, first)?));
    }
    let wait = Duration::from_millis(u64::try_from(asked.max_wait_ms).unwrap_or(0).min(MAX_WAIT_MS));
    let (node, session, request) = (node.clone(), session.clone(), request.clone());
    let wake: Rc<Notify> = Rc::default();
    watch(&node, &wake, &asked);
    Ok(Answer::Later(Box::pin(async move {
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        let mut last = first;
        loop {
            tokio::select! {
                () = wake.notified() => {}
                // Nothing has changed since the last look.
                () = session.hurry.notified() => return reply(&request, last),
                () = &mut deadline => return reply(&request, last),
            }
            last = look(&node, &session, &asked);
            if last.failed || last.bytes >= min_bytes {
                return reply(&request, last);
            }
            watch(&node, &wake, &asked);
        }
    })))
}

fn reply(request: &Request, look: Look) -> Result<Reply, Refused> {
    fetch_reply(request, look.topics)
}

/// Asks to be woken when one of the partitions changes.
fn watch(node: &Node, wake: &Rc<Notify>, asked: &FetchRequest) {
    for topic in &asked.topics {
        let Some(known) = node.topic(&topic.topic) else { continue };
        for partition in topic.partitions.iter().filter_map(|p| known.partition(p.partition)) {
            partition.watch(wake);
        }
    }
}

fn look(node: &Node, session: &Session, asked: &FetchRequest) -> Look {
    let max = usize::try_from(asked.max_bytes).unwrap_or(0).min(node.config.limits.fetch_bytes);
    let mut look = Look { topics: Vec::with_capacity(asked.topics.len()), bytes: 0, failed: false };
    for topic in &asked.topics {
        let partitions = topic.partitions.iter().map(|p| {
            let found = one(node, session, topic, p, max.saturating_sub(look.bytes), look.bytes == 0);
            look.bytes += found.records.as_ref().map_or(0, |slice| slice.len);
            look.failed |= found.error_code != 0;
            found
        });
        let partitions = partitions.collect();
        look.topics.push((topic.topic.0.clone(), partitions));
    }
    look
}

/// What one partition has. The first batch of an answer is given whole, however large, so that a consumer never sticks
/// (KIP-74).
fn one(
    node: &Node,
    session: &Session,
    topic: &FetchTopic,
    asked: &FetchPartition,
    left: usize,
    first: bool,
) -> FetchedPartition {
    let mut found = FetchedPartition {
        index: asked.partition,
        error_code: 0,
        high_watermark: -1,
        log_start_offset: -1,
        records: None,
    };
    match partition(node, session, topic, asked) {
        Err(error) => found.error_code = error.code(),
        Ok(partition) => {
            found.high_watermark = partition.visible.get();
            found.log_start_offset = partition.log.borrow().start_offset();
            match records(&partition, asked, left, first) {
                Ok(slice) => found.records = slice,
                Err(ReadError::OutOfRange) => found.error_code = ResponseError::OffsetOutOfRange.code(),
                Err(ReadError::Io(error)) => {
                    tracing::error!(topic = partition.topic, partition = partition.index, %error, "the log cannot be read");
                    found.error_code = ResponseError::KafkaStorageError.code();
                }
            }
        }
    }
    found
}

fn records(
    partition: &Partition,
    asked: &FetchPartition,
    left: usize,
    first: bool,
) -> Result<Option<Slice>, ReadError> {
    let visible = partition.visible.get();
    if asked.fetch_offset > visible {
        return Err(ReadError::OutOfRange);
    }
    let max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(left);
    partition.log.borrow().read(asked.fetch_offset, visible, max, first)
}

fn partition(
    node: &Node,
    session: &Session,
    topic: &FetchTopic,
    asked: &FetchPartition,
) -> Result<Rc<Partition>, ResponseError> {
    if !session.access().reads(&topic.topic) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let known = node.topic(&topic.topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
    super::offsets::check_epoch(asked.current_leader_epoch)?;
    known.partition(asked.partition).ok_or(ResponseError::UnknownTopicOrPartition)
}
