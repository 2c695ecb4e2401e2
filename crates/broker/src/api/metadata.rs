//! Who the broker is and what topics there are: Metadata, DescribeCluster, FindCoordinator.

use super::{Session, offsets::LEADER_EPOCH, words};
use crate::{
    node::{NODE_ID, Node},
    store::names,
    topic::Topic,
    wire::{Answer, Refused, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{
        BrokerId, DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest, FindCoordinatorResponse,
        MetadataRequest, MetadataResponse, TopicName,
        describe_cluster_response::DescribeClusterBroker,
        find_coordinator_response::Coordinator,
        metadata_request::MetadataRequestTopic,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
    },
    protocol::StrBytes,
};
use std::rc::Rc;

/// FindCoordinator's `key_type` of a consumer group.
const GROUP: i8 = 0;

/// Metadata. Topics a client may not touch are left out when it asks for all, refused when it names them.
pub(super) fn metadata(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: MetadataRequest = request.decode()?;
    let all = match &asked.topics {
        None => true,
        // Version 0 had no null.
        Some(topics) => topics.is_empty() && request.version == 0,
    };
    let topics = if all {
        let access = session.access();
        node.topics.borrow().values().filter(|topic| access.sees(&topic.name)).map(|topic| describe(topic)).collect()
    } else {
        asked.topics.into_iter().flatten().map(|wanted| named(node, session, wanted)).collect()
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(NODE_ID))
        .with_host(session.told.0.clone())
        .with_port(session.told.1);
    let response = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(words(node.store.borrow().state().cluster_id.clone()))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics);
    Ok(Answer::Now(request.reply(&response)?))
}

fn named(node: &Node, session: &Session, wanted: MetadataRequestTopic) -> MetadataResponseTopic {
    let refused = |error: ResponseError| {
        let answer = MetadataResponseTopic::default().with_error_code(error.code()).with_topic_id(wanted.topic_id);
        answer.with_name(wanted.name.clone())
    };
    let (found, missing) = match &wanted.name {
        Some(name) if !session.access().sees(name) => return refused(ResponseError::TopicAuthorizationFailed),
        Some(name) if names::check_topic_name(name).is_err() => return refused(ResponseError::InvalidTopicException),
        Some(name) => (node.topic(name), ResponseError::UnknownTopicOrPartition),
        None => {
            let visible = |topic: &Rc<Topic>| session.access().sees(&topic.name);
            (node.topic_by_id(wanted.topic_id).filter(visible), ResponseError::UnknownTopicId)
        }
    };
    found.map_or_else(|| refused(missing), |topic| describe(&topic))
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(NODE_ID))
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![BrokerId(NODE_ID)])
            .with_isr_nodes(vec![BrokerId(NODE_ID)])
    };
    let count = i32::try_from(topic.partitions.borrow().len()).unwrap_or(i32::MAX);
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_partitions((0..count).map(partition).collect())
}

/// DescribeCluster.
pub(super) fn describe_cluster(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let _: DescribeClusterRequest = request.decode()?;
    let broker = DescribeClusterBroker::default()
        .with_broker_id(BrokerId(NODE_ID))
        .with_host(session.told.0.clone())
        .with_port(session.told.1);
    let response = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(node.store.borrow().state().cluster_id.clone()))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![broker]);
    Ok(Answer::Now(request.reply(&response)?))
}

/// FindCoordinator: this broker, for groups. There are no transactions to coordinate.
pub(super) fn find_coordinator(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: FindCoordinatorRequest = request.decode()?;
    let look = |key: &StrBytes| -> Result<(), super::Refusal> {
        if asked.key_type != GROUP {
            let reason = "this broker coordinates consumer groups only: it has no transactions and no share groups";
            return Err((ResponseError::InvalidRequest, reason.to_owned()));
        }
        if !session.access().joins(key, &node.config.reserved_groups) {
            return Err((ResponseError::GroupAuthorizationFailed, format!("this client may not use the group {key}")));
        }
        Ok(())
    };
    let response = if request.version >= 4 {
        let coordinators = asked.coordinator_keys.iter().map(|key| {
            let answer = Coordinator::default().with_key(key.clone());
            match look(key) {
                Ok(()) => {
                    answer.with_node_id(BrokerId(NODE_ID)).with_host(session.told.0.clone()).with_port(session.told.1)
                }
                Err((error, reason)) => {
                    let answer = answer.with_node_id(BrokerId(-1)).with_port(-1);
                    answer.with_error_code(error.code()).with_error_message(words(reason))
                }
            }
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    } else {
        let answer = FindCoordinatorResponse::default();
        match look(&asked.key) {
            Ok(()) => {
                answer.with_node_id(BrokerId(NODE_ID)).with_host(session.told.0.clone()).with_port(session.told.1)
            }
            Err((error, reason)) => {
                let answer = answer.with_node_id(BrokerId(-1)).with_port(-1);
                answer.with_error_code(error.code()).with_error_message(words(reason))
            }
        }
    };
    Ok(Answer::Now(request.reply(&response)?))
}
