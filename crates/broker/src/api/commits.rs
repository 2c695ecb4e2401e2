//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete.

use super::Session;
use crate::{
    Fsync,
    group::{State, Subscription},
    node::{Node, now_ms},
    store::{self, Commit, METADATA_BYTES_MAX},
    wire::{Answer, Refused, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
        OffsetFetchResponse, TopicName,
        offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic},
        offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic},
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
    protocol::StrBytes,
};
use std::rc::Rc;

fn allowed(node: &Node, session: &Session, group: &str) -> Result<(), ResponseError> {
    let may = session.access().joins(group, &node.config.reserved_groups);
    if may { Ok(()) } else { Err(ResponseError::GroupAuthorizationFailed) }
}

/// OffsetCommit: all of a request's offsets that may be committed are, in one line of the journal.
pub(super) fn commit(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: OffsetCommitRequest = request.decode()?;
    let group = asked.group_id.as_str();
    let room = || if node.has_room_for_group(group) { Ok(()) } else { Err(ResponseError::GroupMaxSizeReached) };
    let may = allowed(node, session, group).and_then(|()| room()).and_then(|()| {
        let (generation, instance) = (asked.generation_id_or_member_epoch, asked.group_instance_id.as_deref());
        node.groups.borrow_mut().may_commit(node.uptime_ms(), group, &asked.member_id, generation, instance)
    });
    let mut commits = Vec::new();
    let mut codes: Vec<Vec<i16>> = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let checked = topic.partitions.iter().map(|p| {
            let commit = may.and_then(|()| check(node, session, topic, p));
            commit.map_or_else(
                |error| error.code(),
                |commit| {
                    commits.push(commit);
                    0
                },
            )
        });
        codes.push(checked.collect());
    }
    if !commits.is_empty() {
        let written = node.store.borrow_mut().commit_offsets(group, &commits);
        if let Err(error) = written {
            let failed = match error {
                store::Error::TooManyOffsets | store::Error::LineTooLong { .. } => {
                    ResponseError::InvalidCommitOffsetSize
                }
                other => node.cannot_write(&other),
            };
            codes.iter_mut().flatten().filter(|code| **code == 0).for_each(|code| *code = failed.code());
        }
        node.durability.journaled();
    }
    let reply = request.reply(&committed(&asked.topics, &codes))?;
    if node.config.fsync != Fsync::Always {
        return Ok(Answer::Now(reply));
    }
    let kept = node.durability.clone().journal_kept(node.config.fsync);
    Ok(Answer::Later(Box::pin(async move {
        kept.await;
        Ok(reply)
    })))
}

fn check<'a>(
    node: &Node,
    session: &Session,
    topic: &'a OffsetCommitRequestTopic,
    asked: &'a OffsetCommitRequestPartition,
) -> Result<Commit<'a>, ResponseError> {
    if !session.access().sees(&topic.name) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    let known = node.topic(&topic.name).and_then(|t| t.partition(asked.partition_index));
    known.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let metadata = asked.committed_metadata.as_deref().unwrap_or_default();
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(Commit {
        topic: topic.name.as_str().into(),
        partition: asked.partition_index,
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: metadata.into(),
        committed_ms: now_ms(),
    })
}

fn committed(topics: &[OffsetCommitRequestTopic], codes: &[Vec<i16>]) -> OffsetCommitResponse {
    let topics = topics.iter().zip(codes).map(|(topic, codes)| {
        let partitions = topic.partitions.iter().zip(codes).map(|(p, code)| {
            OffsetCommitResponsePartition::default().with_partition_index(p.partition_index).with_error_code(*code)
        });
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// What was committed for one partition: offset, leader epoch, metadata; -1 and nothing else.
struct Found {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    error_code: i16,
}

/// A topic and what was found in it.
type Topic = (TopicName, Vec<Found>);

/// OffsetFetch: one group before version 8, several since.
pub(super) fn fetch(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: OffsetFetchRequest = request.decode()?;
    if request.version >= 8 {
        let groups = asked.groups.into_iter().map(|group| {
            let wanted = group.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
            let answer = OffsetFetchResponseGroup::default();
            match find(node, session, &group.group_id, wanted) {
                Ok(topics) => answer.with_topics(topics.into_iter().map(batched).collect()),
                Err(error) => answer.with_error_code(error.code()),
            }
            .with_group_id(group.group_id)
        });
        let response = OffsetFetchResponse::default().with_groups(groups.collect());
        return Ok(Answer::Now(request.reply(&response)?));
    }
    let wanted = asked.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
    let answer = OffsetFetchResponse::default();
    let response = match find(node, session, &asked.group_id, wanted) {
        Ok(topics) => answer.with_topics(topics.into_iter().map(single).collect()),
        Err(error) => answer.with_error_code(error.code()),
    };
    Ok(Answer::Now(request.reply(&response)?))
}

fn batched((name, found): Topic) -> OffsetFetchResponseTopics {
    let partitions = found.into_iter().map(|f| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(f.partition)
            .with_committed_offset(f.offset)
            .with_committed_leader_epoch(f.leader_epoch)
            .with_metadata(Some(f.metadata))
            .with_error_code(f.error_code)
    });
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
}

fn single((name, found): Topic) -> OffsetFetchResponseTopic {
    let partitions = found.into_iter().map(|f| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(f.partition)
            .with_committed_offset(f.offset)
            .with_committed_leader_epoch(f.leader_epoch)
            .with_metadata(Some(f.metadata))
            .with_error_code(f.error_code)
    });
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
}

/// Of the wanted partitions, or of all that the group has committed.
fn find(
    node: &Node,
    session: &Session,
    group: &str,
    wanted: Option<Vec<(TopicName, Vec<i32>)>>,
) -> Result<Vec<Topic>, ResponseError> {
    allowed(node, session, group)?;
    let (store, access) = (node.store.borrow(), session.access());
    let offsets = &store.state().offsets;
    let wanted = wanted.unwrap_or_else(|| {
        let topics = offsets.groups().get(group).into_iter().flatten().filter(|(topic, _)| access.sees(topic));
        let name = |topic: &String| TopicName(StrBytes::from_string(topic.clone()));
        topics.map(|(topic, partitions)| (name(topic), partitions.keys().copied().collect())).collect()
    });
    let topic = |(name, partitions): (TopicName, Vec<i32>)| {
        let seen = access.sees(&name);
        let one = |partition: i32| {
            let found = offsets.get(group, &name, partition).filter(|_| seen);
            Found {
                partition,
                offset: found.map_or(-1, |f| f.offset),
                leader_epoch: found.map_or(-1, |f| f.leader_epoch),
                metadata: found.map_or_else(StrBytes::default, |f| StrBytes::from_string(f.metadata.clone())),
                error_code: if seen { 0 } else { ResponseError::TopicAuthorizationFailed.code() },
            }
        };
        let found = partitions.into_iter().map(one).collect();
        (name, found)
    };
    Ok(wanted.into_iter().map(topic).collect())
}

/// OffsetDelete: not of topics that the group reads (KIP-496).
pub(super) fn delete(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: OffsetDeleteRequest = request.decode()?;
    let group = asked.group_id.as_str();
    let subscription = node.groups.borrow().subscribed_topics(group);
    let whole = allowed(node, session, group).and_then(|()| {
        let known = node.groups.borrow().describe(group).state != State::Dead
            || node.store.borrow().state().offsets.groups().contains_key(group);
        match subscription {
            _ if !known => Err(ResponseError::GroupIdNotFound),
            Subscription::NotConsumers => Err(ResponseError::NonEmptyGroup),
            _ => Ok(()),
        }
    });
    if let Err(error) = whole {
        return Ok(Answer::Now(request.reply(&OffsetDeleteResponse::default().with_error_code(error.code()))?));
    }
    let topics = asked.topics.into_iter().map(|topic| {
        let read = match &subscription {
            Subscription::Topics(topics) => topics.contains(topic.name.as_str()),
            Subscription::Unknown => true,
            Subscription::Nothing | Subscription::NotConsumers => false,
        };
        let partitions = topic.partitions.iter().map(|p| {
            let deleted = may_delete(node, session, &topic.name, p.partition_index, read).and_then(|()| {
                let deleted = node.store.borrow_mut().delete_offsets(group, &topic.name, p.partition_index);
                deleted.map_err(|error| node.cannot_write(&error))
            });
            OffsetDeleteResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(super::code(deleted))
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    let response = OffsetDeleteResponse::default().with_topics(topics.collect());
    node.durability.journaled();
    Ok(Answer::Now(request.reply(&response)?))
}

fn may_delete(node: &Node, session: &Session, topic: &str, partition: i32, read: bool) -> Result<(), ResponseError> {
    if !session.access().sees(topic) {
        return Err(ResponseError::TopicAuthorizationFailed);
    }
    node.topic(topic).and_then(|t| t.partition(partition)).ok_or(ResponseError::UnknownTopicOrPartition)?;
    if read { Err(ResponseError::GroupSubscribedToTopic) } else { Ok(()) }
}
