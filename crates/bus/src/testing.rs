//! For tests: librdkafka's mock cluster, which is a small Kafka in this process, and a bus on it.

use crate::{Bus, Headers, Incoming, Retentions, Settings};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use std::{collections::BTreeMap, sync::mpsc, time::Duration};
use tokio_util::sync::CancellationToken;
use tollgate_schemas::TraceContext;

/// Every wait of a test; it only runs out when something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The prefix of all names.
pub(crate) const PREFIX: &str = "t.";

pub(crate) struct Kafka(MockCluster<'static, DefaultProducerContext>);

impl Kafka {
    /// One broker with these topics (full names) of so many partitions.
    pub(crate) fn start(topics: &[(&str, i32)]) -> Self {
        let mock = MockCluster::new(1).expect("a mock cluster");
        for (topic, partitions) in topics {
            mock.create_topic(topic, *partitions, 1).expect("a topic");
        }
        Self(mock)
    }

    pub(crate) fn bus(&self) -> Bus {
        Bus::new(Settings {
            brokers: self.0.bootstrap_servers(),
            prefix: PREFIX.to_owned(),
            properties: BTreeMap::new(),
            partitions_default: 1,
            partitions_usage: 1,
            replication: 1,
            retentions: Retentions { requests_ms: -1, replies_ms: -1, results_ms: -1, dead_letters_ms: -1 },
            client_id: "test".to_owned(),
        })
    }

    /// From now on each answer takes so long.
    pub(crate) fn round_trip(&self, time: Duration) {
        self.0.broker_round_trip_time(1, time).expect("a broker");
    }

    /// The next so many fetches are refused: no record comes, and no word that there is none.
    pub(crate) fn refuse_fetches(&self, times: usize) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
        self.0.request_errors(RDKafkaApiKey::Fetch, &vec![error; times]);
    }

    /// From now on no client may write to or read from this topic (full name).
    pub(crate) fn close_topic(&self, topic: &str) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        self.0.topic_error(topic, error).expect("a topic");
    }

    /// The next so many commits are refused, and nothing else comes of it.
    pub(crate) fn refuse_commits(&self, times: usize) {
        let error = RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE;
        self.0.request_errors(RDKafkaApiKey::OffsetCommit, &vec![error; times]);
    }
}

/// Every record that a topic (full name) has now. Blocks.
pub(crate) fn read(bus: &Bus, topic: &str) -> Vec<Incoming<Vec<u8>>> {
    let (sender, records) = mpsc::channel();
    let end = sender.clone();
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let each = move |raw: crate::broadcast::Raw<'_>| drop(sender.send(Some(raw.to_incoming())));
    bus.replay(topic, crate::broadcast::Start::Beginning, stop, each, move || drop(end.send(None))).expect("a topic");
    std::iter::from_fn(|| records.recv_timeout(PATIENCE).expect("the topic's end")).collect()
}

/// A record of `t.work`.
pub(crate) fn incoming(value: &[u8]) -> Incoming<Vec<u8>> {
    Incoming {
        topic: format!("{PREFIX}work"),
        partition: 3,
        offset: 41,
        timestamp_ms: 1_700_000_000_123,
        key: Some(b"key".to_vec()),
        headers: Headers::from_iter([("mine".to_owned(), b"\xfe".to_vec())]),
        trace: TraceContext::new(),
        is_tombstone: false,
        value: value.to_vec(),
    }
}
