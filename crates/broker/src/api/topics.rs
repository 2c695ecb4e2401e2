//! CreateTopics, DeleteTopics, CreatePartitions: for those who administer, within the limits.

use super::{Refusal, Session, words};
use crate::{
    Error,
    node::Node,
    store::{catalog, names},
    topic::Topic,
    wire::{Answer, Refused, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        DeleteTopicsRequest, DeleteTopicsResponse,
        create_partitions_request::CreatePartitionsTopic,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic,
        create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
        delete_topics_request::DeleteTopicState,
        delete_topics_response::DeletableTopicResult,
    },
    protocol::StrBytes,
};
use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};
use uuid::Uuid;

/// What CreateTopics gives for a number of partitions or replicas that the broker is to choose.
const CHOOSE: i32 = -1;
/// The broker's choice.
const DEFAULT_PARTITIONS: i32 = 1;

fn administers(session: &Session) -> Result<(), Refusal> {
    let reason = "this client may not create, change or delete topics";
    let may = session.access().administers();
    if may { Ok(()) } else { Err((ResponseError::TopicAuthorizationFailed, reason.to_owned())) }
}

/// What the disk did not take, or what went wrong inside.
fn failed(node: &Node, error: &Error) -> Refusal {
    (node.cannot_write(error), "the broker could not write it; see its log".to_owned())
}

fn room(node: &Node, more: usize) -> Result<(), Refusal> {
    let (have, limit) = (node.partition_count(), node.config.limits.partitions);
    if have + more <= limit {
        return Ok(());
    }
    let reason = format!("the broker holds {have} partitions of at most {limit}; {more} more do not fit");
    Err((ResponseError::InvalidPartitions, reason))
}

/// CreateTopics.
pub(super) fn create(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: CreateTopicsRequest = request.decode()?;
    let mut named = HashMap::new();
    for topic in &asked.topics {
        *named.entry(topic.name.clone()).or_insert(0) += 1;
    }
    let mut results = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let answer = CreatableTopicResult::default().with_name(topic.name.clone());
        let created = administers(session)
            .and_then(|()| match named.get(&topic.name) {
                Some(1) => Ok(()),
                _ => Err((ResponseError::InvalidRequest, "the request names it twice".to_owned())),
            })
            .and_then(|()| create_one(node, &topic, asked.validate_only));
        results.push(match created {
            Ok(Created { id, partitions, config }) => answer
                .with_topic_id(id)
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(Some(config)),
            Err((error, reason)) => answer
                .with_error_code(error.code())
                .with_error_message(words(reason))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    Ok(Answer::Now(request.reply(&CreateTopicsResponse::default().with_topics(results))?))
}

struct Created {
    id: Uuid,
    partitions: i32,
    config: Vec<CreatableTopicConfigs>,
}

fn create_one(node: &Node, topic: &CreatableTopic, validate_only: bool) -> Result<Created, Refusal> {
    names::check_topic_name(&topic.name).map_err(|reason| (ResponseError::InvalidTopicException, reason))?;
    if node.topic(&topic.name).is_some() {
        return Err((ResponseError::TopicAlreadyExists, format!("topic {} exists already", topic.name.as_str())));
    }
    let partitions = partitions_of(topic)?;
    let count = usize::try_from(partitions).unwrap_or(0);
    let overrides: BTreeMap<String, String> =
        topic.configs.iter().filter_map(|c| Some((c.name.to_string(), c.value.as_ref()?.to_string()))).collect();
    let config = catalog::parse(&overrides).map_err(|reason| (ResponseError::InvalidConfig, reason))?;
    room(node, count)?;
    let shown = catalog::describe(&overrides).map(|c| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(c.name))
            .with_value(words(c.value))
            .with_config_source(c.source as i8)
    });
    let shown = shown.collect();
    if validate_only {
        return Ok(Created { id: Uuid::nil(), partitions, config: shown });
    }
    let created = node.create_topic(&topic.name, &overrides, config, partitions).map_err(|e| failed(node, &e))?;
    Ok(Created { id: created.id, partitions, config: shown })
}

/// How many partitions are wanted: by number, or by an assignment of each to brokers, of which there is one.
fn partitions_of(topic: &CreatableTopic) -> Result<i32, Refusal> {
    if !matches!(i32::from(topic.replication_factor), CHOOSE | 1) {
        let reason = format!("replication factor {} on a single broker; use 1", topic.replication_factor);
        return Err((ResponseError::InvalidReplicationFactor, reason));
    }
    if topic.assignments.is_empty() {
        return match topic.num_partitions {
            CHOOSE => Ok(DEFAULT_PARTITIONS),
            count if count > 0 => Ok(count),
            count => Err((ResponseError::InvalidPartitions, format!("{count} partitions; use 1 or more"))),
        };
    }
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|a| a.partition_index).collect();
    indexes.sort_unstable();
    let whole = indexes.iter().zip(0..).all(|(index, expected)| *index == expected);
    let here = topic.assignments.iter().all(|a| assigned_here(&a.broker_ids));
    if !whole || !here {
        let reason = "assign partitions 0, 1, … each to broker 1 alone, the only one".to_owned();
        return Err((ResponseError::InvalidReplicaAssignment, reason));
    }
    i32::try_from(indexes.len()).map_err(|_| (ResponseError::InvalidPartitions, "too many partitions".to_owned()))
}

fn assigned_here(brokers: &[kafka_protocol::messages::BrokerId]) -> bool {
    matches!(brokers, [only] if only.0 == crate::node::NODE_ID)
}

/// DeleteTopics, by name or id.
pub(super) fn delete(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: DeleteTopicsRequest = request.decode()?;
    let by_name = asked.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name)));
    let wanted: Vec<DeleteTopicState> = if request.version >= 6 { asked.topics } else { by_name.collect() };
    let mut results = Vec::with_capacity(wanted.len());
    for topic in wanted {
        let answer = DeletableTopicResult::default().with_name(topic.name.clone()).with_topic_id(topic.topic_id);
        let deleted = administers(session).and_then(|()| delete_one(node, &topic));
        results.push(match deleted {
            Ok(gone) => answer.with_name(Some(StrBytes::from_string(gone.name.clone()).into())).with_topic_id(gone.id),
            Err((error, reason)) => answer.with_error_code(error.code()).with_error_message(words(reason)),
        });
    }
    Ok(Answer::Now(request.reply(&DeleteTopicsResponse::default().with_responses(results))?))
}

fn delete_one(node: &Node, wanted: &DeleteTopicState) -> Result<Rc<Topic>, Refusal> {
    let (found, missing) = match &wanted.name {
        Some(name) => (node.topic(name), ResponseError::UnknownTopicOrPartition),
        None => (node.topic_by_id(wanted.topic_id), ResponseError::UnknownTopicId),
    };
    let topic = found.ok_or_else(|| (missing, "there is no such topic".to_owned()))?;
    node.delete_topic(&topic).map_err(|error| failed(node, &error))?;
    Ok(topic)
}

/// CreatePartitions: more, never fewer.
pub(super) fn add_partitions(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: CreatePartitionsRequest = request.decode()?;
    let mut results = Vec::with_capacity(asked.topics.len());
    for topic in asked.topics {
        let added = administers(session).and_then(|()| add_to_one(node, &topic, asked.validate_only));
        let answer = CreatePartitionsTopicResult::default().with_name(topic.name);
        results.push(match added {
            Ok(()) => answer,
            Err((error, reason)) => answer.with_error_code(error.code()).with_error_message(words(reason)),
        });
    }
    Ok(Answer::Now(request.reply(&CreatePartitionsResponse::default().with_results(results))?))
}

fn add_to_one(node: &Node, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let unknown = || (ResponseError::UnknownTopicOrPartition, format!("there is no topic {}", asked.name.as_str()));
    let topic = node.topic(&asked.name).ok_or_else(unknown)?;
    let have = topic.partitions.borrow().len();
    let want = usize::try_from(asked.count).unwrap_or(0);
    if want <= have {
        let reason = format!("it has {have} partitions; ask for more than that, not {}", asked.count);
        return Err((ResponseError::InvalidPartitions, reason));
    }
    let assigned = |a: &Vec<kafka_protocol::messages::create_partitions_request::CreatePartitionsAssignment>| {
        a.len() == want - have && a.iter().all(|one| assigned_here(&one.broker_ids))
    };
    if !asked.assignments.as_ref().is_none_or(assigned) {
        let reason = "assign each new partition to broker 1 alone, the only one".to_owned();
        return Err((ResponseError::InvalidReplicaAssignment, reason));
    }
    room(node, want - have)?;
    if validate_only {
        return Ok(());
    }
    node.add_partitions(&topic, asked.count).map_err(|error| failed(node, &error))
}
