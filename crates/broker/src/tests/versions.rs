//! Every advertised version of every question, with something to tell and with something to refuse: each answer must fit its
//! version. Not here: what the answers mean in detail; the model's clients speak all versions too.

use super::{
    Running,
    batch::{Entry, PLAIN, encode},
    calls::{From, LATEST, NO_WAIT, fetch, produce, text, topic_name},
    client::Client,
    group_calls::group_id,
};
use kafka_protocol::{
    ResponseError,
    messages::{
        AddPartitionsToTxnRequest, ApiVersionsRequest, CreateTopicsRequest, DescribeClusterRequest,
        DescribeConfigsRequest, DescribeGroupsRequest, FetchRequest, FindCoordinatorRequest, InitProducerIdRequest,
        ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest,
        TransactionalId,
        create_topics_request::CreatableTopic,
        describe_configs_request::DescribeConfigsResource,
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    protocol::Request,
    records::Compression,
};
use std::{collections::BTreeMap, ops::RangeInclusive};

/// A connection, and the versions that were advertised on it.
struct Asker {
    client: Client,
    versions: BTreeMap<i16, RangeInclusive<i16>>,
}

impl Asker {
    fn new(broker: &Running) -> Self {
        let mut client = broker.client();
        let word = text("tests");
        let hello =
            ApiVersionsRequest::default().with_client_software_name(word.clone()).with_client_software_version(word);
        let listed = client.call(3, &hello).unwrap();
        let row = |api: &kafka_protocol::messages::api_versions_response::ApiVersion| {
            (api.api_key, api.min_version..=api.max_version)
        };
        Self { client, versions: listed.api_keys.iter().map(row).collect() }
    }

    /// Asks in every version that is served, and hands each answer on.
    fn ask<R: Request>(&mut self, request: impl Fn(i16) -> R, check: impl Fn(i16, R::Response)) {
        for version in self.versions[&R::KEY].clone() {
            check(version, self.client.call(version, &request(version)).unwrap());
        }
    }
}

/// A broker with a topic of one record, and a group of one member that has committed.
fn broker() -> (Running, Asker) {
    let broker = Running::start();
    let mut asker = Asker::new(&broker);
    let client = &mut asker.client;
    client.create_topic("t", 1, &[]).unwrap();
    client.produce("t", 0, encode(&[Entry::new("k", "v")], PLAIN, Compression::None)).unwrap();
    let member = client.join("g", "t").unwrap();
    client.commit("g", &member, &[("t", 0, 1, "m".into())]).unwrap().remove(0).unwrap();
    (broker, asker)
}

#[test]
fn it_advertises_what_the_documents_say() {
    let (_broker, asker) = broker();
    assert_eq!(asker.versions[&ProduceRequest::KEY], 0..=9);
    assert_eq!(asker.versions[&FetchRequest::KEY], 4..=12);
    assert!(!asker.versions.contains_key(&AddPartitionsToTxnRequest::KEY), "no transactions");
}

#[test]
fn empty_questions_are_answered() {
    let (_broker, mut asker) = broker();
    macro_rules! ask {
        ($($request:ty),*) => {$(asker.ask(|_| <$request>::default(), |_, _| {});)*};
    }
    ask!(CreateTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, FetchRequest);
    ask!(FindCoordinatorRequest, ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest);
}

#[test]
fn metadata_of_topics_there_and_not() {
    let (broker, mut asker) = broker();
    let port = i32::from(broker.handle.address().port());
    let topic = |name| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let request = |_| MetadataRequest::default().with_topics(Some(vec![topic("t"), topic("u")]));
    asker.ask(request, |version, answer| {
        assert_eq!(answer.brokers[0].port, port);
        let [known, unknown] = &answer.topics[..] else { panic!("two topics were asked for") };
        assert_eq!((known.error_code, known.partitions.len()), (0, 1));
        assert_eq!(known.partitions[0].leader_id, answer.brokers[0].node_id);
        assert_eq!(known.topic_id.is_nil(), version < 10);
        assert_eq!(unknown.error_code, ResponseError::UnknownTopicOrPartition.code());
    });
    asker.ask(|_| DescribeClusterRequest::default(), |_, answer| assert_eq!(answer.brokers[0].port, port));
}

#[test]
fn records_and_offsets() {
    let (_broker, mut asker) = broker();
    let batch = encode(&[Entry::new("k", "v")], PLAIN, Compression::None);
    // Produce before 3 is advertised for librdkafka's sake and refused.
    asker.versions.insert(ProduceRequest::KEY, 3..=9);
    let parts = [("t", 0, batch.clone()), ("t", 7, batch.clone()), ("u", 0, batch)];
    asker.ask(
        |_| produce(&parts, -1),
        |version, answer| {
            let code =
                |topic: usize, partition: usize| answer.responses[topic].partition_responses[partition].error_code;
            assert_eq!((code(0, 0), code(0, 1), code(1, 0)), (0, 3, 3));
            assert_eq!(answer.responses[0].partition_responses[0].base_offset, i64::from(version) - 2);
        },
    );
    let from = |topic, offset| From { topic, partition: 0, offset, max_bytes: 1_000 };
    asker.ask(
        |_| fetch(&[from("t", 0), from("u", 0)], NO_WAIT),
        |_, answer| {
            let partition = |topic: usize| &answer.responses[topic].partitions[0];
            assert!(!partition(0).records.as_ref().unwrap().is_empty());
            assert_eq!((partition(0).error_code, partition(1).error_code), (0, 3));
        },
    );
    asker.ask(
        |_| fetch(&[from("t", 99)], NO_WAIT),
        |_, answer| {
            assert_eq!(answer.responses[0].partitions[0].error_code, ResponseError::OffsetOutOfRange.code());
        },
    );
    let latest = |topic| {
        let partition = ListOffsetsPartition::default().with_timestamp(LATEST);
        ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition])
    };
    asker.ask(
        |_| ListOffsetsRequest::default().with_topics(vec![latest("t"), latest("u")]),
        |_, answer| {
            assert_eq!((answer.topics[0].partitions[0].error_code, answer.topics[0].partitions[0].offset), (0, 8));
            assert_eq!(answer.topics[1].partitions[0].error_code, 3);
        },
    );
    let epoch = |topic| {
        let partition = OffsetForLeaderPartition::default().with_leader_epoch(0);
        OffsetForLeaderTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition])
    };
    asker.ask(
        |_| OffsetForLeaderEpochRequest::default().with_topics(vec![epoch("t"), epoch("u")]),
        |_, answer| {
            assert_eq!((answer.topics[0].partitions[0].error_code, answer.topics[0].partitions[0].end_offset), (0, 8));
            assert_eq!(answer.topics[1].partitions[0].error_code, 3);
        },
    );
}

#[test]
fn groups_there_and_not() {
    let (_broker, mut asker) = broker();
    asker.ask(
        |_| DescribeGroupsRequest::default().with_groups(vec![group_id("g"), group_id("nobody")]),
        |_, answer| {
            assert_eq!((answer.groups[0].error_code, answer.groups[0].members.len()), (0, 1));
            assert_eq!(
                (answer.groups[0].group_state.as_str(), answer.groups[0].protocol_data.as_str()),
                ("Stable", "range")
            );
            assert_eq!((answer.groups[1].members.len(), answer.groups[1].group_state.as_str()), (0, "Dead"));
        },
    );
    asker.ask(
        |_| ListGroupsRequest::default(),
        |_, answer| {
            let groups: Vec<_> = answer.groups.iter().map(|group| group.group_id.as_str()).collect();
            assert_eq!((answer.error_code, groups), (0, vec!["g"]));
        },
    );
    asker.ask(
        |version| {
            let request = FindCoordinatorRequest::default().with_key_type(i8::from(version > 0));
            if version < 4 { request.with_key(text("x")) } else { request.with_coordinator_keys(vec![text("x")]) }
        },
        |version, answer| {
            let code = answer.coordinators.first().map_or(answer.error_code, |found| found.error_code);
            assert_eq!(code == 0, version == 0, "there is no coordinator for transactions");
        },
    );
}

#[test]
fn what_is_refused_is_refused_in_every_version() {
    let (_broker, mut asker) = broker();
    let topic =
        |name| CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(1).with_replication_factor(1);
    asker.ask(
        |_| CreateTopicsRequest::default().with_topics(vec![topic("t"), topic("v")]).with_validate_only(true),
        |_, answer| {
            let codes: Vec<_> = answer.topics.iter().map(|topic| topic.error_code).collect();
            assert_eq!(codes, [ResponseError::TopicAlreadyExists.code(), 0]);
        },
    );
    let resource = |name| DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(name));
    asker.ask(
        |version| {
            DescribeConfigsRequest::default()
                .with_resources(["t", "u"].map(|name| resource(name).with_configuration_keys(None)).into())
                .with_include_synonyms(true)
                .with_include_documentation(version >= 3)
        },
        |_, answer| {
            assert!(answer.results[0].configs.iter().any(|config| config.name.as_str() == "retention.ms"));
            assert_eq!(answer.results[1].error_code, ResponseError::UnknownTopicOrPartition.code());
        },
    );
    asker.ask(
        |_| InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text("x")))),
        |_, answer| assert_ne!(answer.error_code, 0, "no transactions"),
    );
}
