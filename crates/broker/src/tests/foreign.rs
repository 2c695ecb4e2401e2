//! Every request that is served, made by a team's user against what is not its own. A request that is served and not tried here fails.

use super::{
    Running,
    batch::{Entry, PLAIN, encode},
    calls::{LATEST, refusal, text, topic_name},
    client::Client,
    group_calls::{Member, group_id},
};
use crate::{Access, Pattern, User};
use kafka_protocol::{
    ResponseError::{self, GroupAuthorizationFailed, TopicAuthorizationFailed},
    messages::{
        ApiKey, ApiVersionsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeGroupsRequest,
        ListGroupsRequest, MetadataRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, SyncGroupRequest,
        delete_topics_request::DeleteTopicState,
        metadata_request::MetadataRequestTopic,
        offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    records::Compression,
};
use uuid::Uuid;

/// Not the team's: another team's, the services', and one that does not exist, which must look the same.
const TOPICS: [&str; 4] = ["in.ads", "out.ads", "usage", "missing"];
const GROUPS: [&str; 4] = ["ads.app", "tollgate.ledger", "missing", "search"];

fn of_team(team: &str) -> Access {
    Access::Only {
        read: vec![Pattern::Exact(format!("out.{team}"))],
        write: vec![Pattern::Exact(format!("in.{team}"))],
        groups: vec![Pattern::Prefix(format!("{team}."))],
    }
}

/// A broker with two teams, where each has a topic and groups of its own; and clients of one team, and of the operator.
fn two_teams() -> (Running, Client, Client) {
    let user = |name: &str, access| User { name: name.into(), password: name.into(), access };
    let broker = Running::with(|config| {
        config.anonymous = Access::Nothing;
        config.reserved_groups = vec![Pattern::Prefix("tollgate.".into())];
        config.users =
            vec![user("operator", Access::All), user("search", of_team("search")), user("ads", of_team("ads"))];
    });
    let [mut operator, mut search, mut ads] = ["operator", "search", "ads"].map(|name| {
        let mut client = broker.client();
        client.log_in(name, name).unwrap();
        client
    });
    let batch = encode(&[Entry::new("k", "v")], PLAIN, Compression::None);
    for topic in ["in.search", "out.search", "in.ads", "out.ads", "usage"] {
        operator.create_topic(topic, 1, &[]).unwrap();
        operator.produce(topic, 0, batch.clone()).unwrap();
    }
    for (client, group, topic) in [
        (&mut operator, "tollgate.ledger", "usage"),
        (&mut ads, "ads.app", "out.ads"),
        (&mut search, "search.app", "out.search"),
    ] {
        client.commit(group, &Member::none(), &[(topic, 0, 1, "mine".to_owned())]).unwrap().remove(0).unwrap();
        client.join(group, topic).unwrap();
    }
    (broker, search, operator)
}

/// What a request about a foreign topic is answered with; none if the request names no topic.
fn about_topic(client: &mut Client, api: ApiKey, topic: &str) -> Option<ResponseError> {
    let batch = encode(&[Entry::new("k", "v")], PLAIN, Compression::None);
    match api {
        ApiKey::Produce => refusal(client.produce(topic, 0, batch)),
        ApiKey::Fetch => refusal(client.fetch(topic, 0, 0, 1_000)),
        ApiKey::ListOffsets => refusal(client.list_offset(topic, 0, LATEST)),
        ApiKey::Metadata => ResponseError::try_from_code(client.metadata(Some(&[topic])).unwrap().topics[0].error_code),
        ApiKey::OffsetForLeaderEpoch => {
            let topic = OffsetForLeaderTopic::default()
                .with_topic(topic_name(topic))
                .with_partitions(vec![OffsetForLeaderPartition::default()]);
            let answer = client.call(4, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic])).unwrap();
            ResponseError::try_from_code(answer.topics[0].partitions[0].error_code)
        }
        ApiKey::DeleteRecords => refusal(client.delete_records(topic, 0, -1)),
        ApiKey::CreateTopics => refusal(client.create_topic(topic, 1, &[])),
        ApiKey::DeleteTopics => refusal(client.delete_topic(topic)),
        ApiKey::CreatePartitions => refusal(client.add_partitions(topic, 2)),
        ApiKey::IncrementalAlterConfigs => refusal(client.configure(topic, "retention.ms", Some("1"))),
        ApiKey::DescribeConfigs => refusal(client.configured(topic, "retention.ms")),
        ApiKey::OffsetCommit => {
            refusal(client.commit("search.app2", &Member::none(), &[(topic, 0, 1, String::new())]).unwrap().remove(0))
        }
        ApiKey::OffsetDelete => refusal(client.delete_offset("search.app", topic, 0)),
        ApiKey::OffsetFetch => {
            let topic =
                OffsetFetchRequestTopics::default().with_name(topic_name(topic)).with_partition_indexes(vec![0]);
            let group =
                OffsetFetchRequestGroup::default().with_group_id(group_id("search.app")).with_topics(Some(vec![topic]));
            let answer = client.call(8, &OffsetFetchRequest::default().with_groups(vec![group])).unwrap();
            ResponseError::try_from_code(answer.groups[0].topics[0].partitions[0].error_code)
        }
        _ => None,
    }
}

/// What a request about a foreign group is answered with; none if the request names no group.
fn about_group(client: &mut Client, api: ApiKey, group: &str) -> Option<ResponseError> {
    let nobody = Member { id: text("x"), generation: 1 };
    match api {
        ApiKey::FindCoordinator => refusal(client.find_coordinator(group)),
        ApiKey::JoinGroup => refusal(client.join(group, "out.search")),
        ApiKey::SyncGroup => {
            let request = SyncGroupRequest::default()
                .with_group_id(group_id(group))
                .with_protocol_type(Some(text("consumer")))
                .with_protocol_name(Some(text("range")));
            ResponseError::try_from_code(client.call(5, &request).unwrap().error_code)
        }
        ApiKey::Heartbeat => refusal(client.heartbeat(group, &nobody)),
        ApiKey::LeaveGroup => refusal(client.leave(group, &nobody)),
        ApiKey::DescribeGroups => {
            let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
            let described = client.call(5, &request).unwrap().groups.remove(0);
            assert!(described.members.is_empty() && described.group_state.is_empty(), "{described:?}");
            ResponseError::try_from_code(described.error_code)
        }
        ApiKey::DeleteGroups => refusal(client.delete_group(group)),
        ApiKey::OffsetCommit => {
            let told = client.commit(group, &Member::none(), &[("out.search", 0, 1, String::new())]).unwrap().remove(0);
            refusal(told)
        }
        ApiKey::OffsetFetch => refusal(client.committed(group)),
        ApiKey::OffsetDelete => refusal(client.delete_offset(group, "out.search", 0)),
        _ => None,
    }
}

#[test]
fn every_request_is_refused_what_is_not_the_teams() {
    let (_broker, mut team, mut operator) = two_teams();
    let before = operator.metadata(None).unwrap();
    let served = team.call(3, &ApiVersionsRequest::default()).unwrap().api_keys;
    for served in served {
        let api = ApiKey::try_from(served.api_key).unwrap();
        let topics = TOPICS.map(|topic| about_topic(&mut team, api, topic));
        let groups = GROUPS.map(|group| about_group(&mut team, api, group));
        match api {
            // Looks that name nothing, and what concerns the connection alone.
            ApiKey::ListGroups | ApiKey::DescribeCluster | ApiKey::InitProducerId => {}
            ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {}
            _ => {
                let named = topics.iter().flatten().chain(groups.iter().flatten()).count();
                assert!(named >= 4, "{api:?}: nothing tries it, or it was allowed: {topics:?} {groups:?}");
            }
        }
        let fine =
            |told: &[Option<ResponseError>], wanted| told.iter().all(|told| told.is_none_or(|told| told == wanted));
        assert!(fine(&topics, TopicAuthorizationFailed), "{api:?}: {topics:?}");
        assert!(fine(&groups, GroupAuthorizationFailed), "{api:?}: {groups:?}");
        assert_eq!(topics.iter().flatten().count() % TOPICS.len(), 0, "{api:?}: {topics:?}");
        assert_eq!(groups.iter().flatten().count() % GROUPS.len(), 0, "{api:?}: {groups:?}");
    }
    assert_eq!(operator.metadata(None).unwrap().topics, before.topics);
    for topic in ["in.ads", "out.ads", "usage"] {
        assert_eq!(operator.list_offset(topic, 0, LATEST).unwrap().0, 1, "{topic}");
    }
    assert_eq!(operator.committed("ads.app").unwrap().len(), 1);
}

#[test]
fn lists_show_what_is_the_teams_alone() {
    let (_broker, mut team, mut operator) = two_teams();
    let groups = |client: &mut Client| {
        let groups = client.call(5, &ListGroupsRequest::default()).unwrap().groups;
        let mut names: Vec<_> = groups.into_iter().map(|group| group.group_id.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(groups(&mut operator), ["ads.app", "search.app", "tollgate.ledger"]);
    assert_eq!(groups(&mut team), ["search.app"]);
    let topics = team.metadata(None).unwrap().topics;
    assert_eq!(
        topics.iter().map(|t| t.name.as_ref().unwrap().as_str()).collect::<Vec<_>>(),
        ["in.search", "out.search"]
    );
    let cluster = team.call(1, &DescribeClusterRequest::default()).unwrap();
    assert!(cluster.cluster_authorized_operations == i32::MIN && cluster.brokers.len() == 1);
    team.init_producer_id().unwrap();
}

#[test]
fn an_id_is_no_way_around_a_name() {
    let (_broker, mut team, mut operator) = two_teams();
    let foreign = operator.metadata(Some(&["usage"])).unwrap().topics[0].topic_id;
    for (id, code) in [(foreign, ResponseError::UnknownTopicId), (Uuid::from_u128(1), ResponseError::UnknownTopicId)] {
        let asked = MetadataRequestTopic::default().with_topic_id(id).with_name(None);
        let told = team.call(12, &MetadataRequest::default().with_topics(Some(vec![asked]))).unwrap().topics.remove(0);
        assert_eq!((told.error_code, told.name, told.partitions.len()), (code.code(), None, 0));
        let wanted = DeleteTopicState::default().with_topic_id(id).with_name(None);
        let told = team.call(6, &DeleteTopicsRequest::default().with_topics(vec![wanted])).unwrap().responses.remove(0);
        assert_eq!((told.error_code, told.name), (TopicAuthorizationFailed.code(), None));
    }
    assert_eq!(operator.metadata(None).unwrap().topics.len(), 5);
}
