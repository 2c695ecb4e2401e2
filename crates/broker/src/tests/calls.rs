//! What tests ask for, in one call each: topics, records, offsets. The answer's error code becomes an [`super::client::Error`].
//! Consumer groups are in `group_calls`.

use super::{
    batch::{self, Batch},
    client::{Client, Error, Result, check},
};
use bytes::Bytes;
use kafka_protocol::{
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
        DescribeConfigsRequest, FetchRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest,
        ListOffsetsRequest, MetadataRequest, MetadataResponse, ProduceRequest, SaslAuthenticateRequest,
        SaslHandshakeRequest, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic},
        delete_topics_request::DeleteTopicState,
        describe_configs_request::DescribeConfigsResource,
        fetch_request::{FetchPartition, FetchTopic},
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
        metadata_request::MetadataRequestTopic,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::PartitionProduceResponse,
    },
    protocol::StrBytes,
};
use std::collections::HashMap;
use uuid::Uuid;

/// [`Client::list_offset`]: the end, the start, the record with the largest timestamp.
pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;
pub(super) const MAX_TIMESTAMP: i64 = -3;

/// A resource type of the configuration requests.
const TOPIC: i8 = 2;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// What an answer takes without the broker waiting on purpose.
const TIMEOUT_MS: i32 = 30_000;

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Where a produced batch went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Produced {
    pub(super) base_offset: i64,
    /// -1 if the records keep their own time.
    pub(super) append_time: i64,
    /// Where the log begins; -1 in versions that do not say it.
    pub(super) log_start: i64,
}

/// One partition to read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct From<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) max_bytes: i32,
}

/// How a fetch waits, and its bound over all partitions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) max_ms: i32,
    pub(super) min_bytes: i32,
    pub(super) max_bytes: i32,
}

/// What is there now.
pub(super) const NO_WAIT: Wait = Wait { max_ms: 0, min_bytes: 0, max_bytes: i32::MAX };

/// What was read from one partition.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    /// Bytes of records, with a batch that was cut.
    pub(super) bytes: usize,
    pub(super) batches: Vec<Batch>,
    pub(super) high_watermark: i64,
    /// Where the log begins; -1 in versions that do not say it.
    pub(super) log_start: i64,
}

impl Client {
    pub(super) fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<Uuid> {
        let config = |(key, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let version = self.version(2, 7);
        let answer = self.call(version, &request)?;
        check(answer.topics[0].error_code)?;
        if version == 7 {
            return Ok(answer.topics[0].topic_id);
        }
        let metadata = self.metadata(Some(&[name]))?;
        Ok(metadata.topics[0].topic_id)
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> Result<()> {
        let version = self.version(1, 6);
        let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
        let request = if version < 6 {
            request.with_topic_names(vec![topic_name(name)])
        } else {
            request.with_topics(vec![DeleteTopicState::default().with_name(Some(topic_name(name)))])
        };
        check(self.call(version, &request)?.responses[0].error_code)
    }

    pub(super) fn add_partitions(&mut self, topic: &str, count: i32) -> Result<()> {
        let topic =
            CreatePartitionsTopic::default().with_name(topic_name(topic)).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let version = self.version(0, 3);
        check(self.call(version, &request)?.results[0].error_code)
    }

    /// Sets one key of a topic's configuration, or with `None` gives it its default back.
    pub(super) fn configure(&mut self, topic: &str, key: &str, value: Option<&str>) -> Result<()> {
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(if value.is_some() { SET } else { DELETE })
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let version = self.version(0, 1);
        check(self.call(version, &request)?.responses[0].error_code)
    }

    /// A key of a topic's configuration.
    pub(super) fn configured(&mut self, topic: &str, key: &str) -> Result<Option<String>> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configuration_keys(Some(vec![text(key)]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let version = self.version(1, 4);
        let answer = self.call(version, &request)?.results.remove(0);
        check(answer.error_code)?;
        let config = answer.configs.into_iter().find(|config| config.name.as_str() == key);
        Ok(config.and_then(|config| config.value).map(|value| value.to_string()))
    }

    /// These topics, or all.
    pub(super) fn metadata(&mut self, topics: Option<&[&str]>) -> Result<MetadataResponse> {
        let topic = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(topics.map(|topics| topics.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(false);
        let version = self.version(10, 12);
        self.call(version, &request)
    }

    pub(super) fn init_producer_id(&mut self) -> Result<(i64, i16)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let version = self.version(0, 4);
        let answer = self.call(version, &request)?;
        check(answer.error_code)?;
        Ok((answer.producer_id.0, answer.producer_epoch))
    }

    /// Sends one batch for each partition; [`Self::receive_produced`] gets the answer.
    pub(super) fn send_produce(&mut self, batches: &[(&str, i32, Bytes)]) -> Result<i16> {
        let version = self.version(3, 9);
        self.send(version, &produce(batches, -1))?;
        Ok(version)
    }

    /// The answer to a produce of that version for one partition.
    pub(super) fn receive_produced(&mut self, version: i16) -> Result<Produced> {
        let answer = self.receive::<ProduceRequest>(version)?;
        let partition = answer.responses.into_iter().flat_map(|topic| topic.partition_responses).next();
        produced(&partition.expect("an answer for the partition"))
    }

    /// One batch for each partition; the answers in the same order.
    pub(super) fn produce_all(&mut self, batches: &[(&str, i32, Bytes)]) -> Result<Vec<Result<Produced>>> {
        let version = self.send_produce(batches)?;
        let answer = self.receive::<ProduceRequest>(version)?;
        let parts = answer.responses.iter().flat_map(|t| t.partition_responses.iter().map(|p| ((&t.name, p.index), p)));
        let parts: HashMap<_, _> = parts.collect();
        let outcome = |(topic, partition, _): &(&str, i32, Bytes)| produced(parts[&(&topic_name(topic), *partition)]);
        Ok(batches.iter().map(outcome).collect())
    }

    pub(super) fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> Result<Produced> {
        self.produce_all(&[(topic, partition, batch)])?.remove(0)
    }

    /// Produces with `acks=0`: there is no answer.
    pub(super) fn produce_unanswered(&mut self, batches: &[(&str, i32, Bytes)]) -> Result<()> {
        let version = self.version(3, 9);
        self.send_unanswered(version, &produce(batches, 0))
    }

    /// Reads each partition; the answers in the same order.
    pub(super) fn fetch_all(&mut self, from: &[From<'_>], wait: Wait) -> Result<Vec<Result<Fetched>>> {
        let version = self.version(4, 12);
        self.send(version, &fetch(from, wait))?;
        self.receive_fetched(version, from)
    }

    /// The answer to a fetch of that version from these partitions.
    pub(super) fn receive_fetched(&mut self, version: i16, from: &[From<'_>]) -> Result<Vec<Result<Fetched>>> {
        let answer = self.receive::<FetchRequest>(version)?;
        check(answer.error_code)?;
        let parts = answer.responses.into_iter().flat_map(|t| {
            let name = t.topic;
            t.partitions.into_iter().map(move |p| ((name.clone(), p.partition_index), p))
        });
        let mut parts: HashMap<_, _> = parts.collect();
        let outcome = |from: &From<'_>| {
            let partition =
                parts.remove(&(topic_name(from.topic), from.partition)).expect("an answer for each partition");
            let records = partition.records.unwrap_or_default();
            check(partition.error_code).map(|()| Fetched {
                bytes: records.len(),
                batches: batch::decode(records),
                high_watermark: partition.high_watermark,
                log_start: partition.log_start_offset,
            })
        };
        Ok(from.iter().map(outcome).collect())
    }

    pub(super) fn fetch(&mut self, topic: &str, partition: i32, offset: i64, max_bytes: i32) -> Result<Fetched> {
        self.fetch_all(&[From { topic, partition, offset, max_bytes }], NO_WAIT)?.remove(0)
    }

    /// All batches from `offset` on.
    pub(super) fn fetch_to_end(&mut self, topic: &str, partition: i32, mut offset: i64) -> Result<Vec<Batch>> {
        let mut batches = Vec::new();
        loop {
            let mut fetched = self.fetch(topic, partition, offset, 1 << 20)?;
            let Some(last) = fetched.batches.last() else { return Ok(batches) };
            assert!(last.last_offset >= offset, "a fetch from {offset} gave batches up to {}", last.last_offset);
            offset = last.last_offset + 1;
            batches.append(&mut fetched.batches);
        }
    }

    /// Offset and timestamp of the first record at or after `time`, or of what a constant above names; -1 if there is none.
    pub(super) fn list_offset(&mut self, topic: &str, partition: i32, time: i64) -> Result<(i64, i64)> {
        let partition = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(time);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let version = self.version(if time == MAX_TIMESTAMP { 7 } else { 1 }, 8);
        let answer = self.call(version, &request)?.topics.remove(0).partitions.remove(0);
        check(answer.error_code)?;
        Ok((answer.offset, answer.timestamp))
    }

    /// Deletes what is before `offset` (-1: everything); where the log now begins.
    pub(super) fn delete_records(&mut self, topic: &str, partition: i32, offset: i64) -> Result<i64> {
        let partition = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let version = self.version(0, 2);
        let answer = self.call(version, &request)?.topics.remove(0).partitions.remove(0);
        check(answer.error_code)?;
        Ok(answer.low_watermark)
    }

    /// Logs in with SASL/PLAIN.
    pub(super) fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        let version = self.version(1, 1);
        let hello = self.call(version, &SaslHandshakeRequest::default().with_mechanism(text("PLAIN")))?;
        check(hello.error_code)?;
        let token = format!("\0{user}\0{password}").into_bytes();
        let version = self.version(0, 2);
        check(self.call(version, &SaslAuthenticateRequest::default().with_auth_bytes(token.into()))?.error_code)
    }

    /// What is said when a login fails; nothing if it does not.
    pub(super) fn log_in_told(&mut self, user: &str, password: &str) -> String {
        self.call(1, &SaslHandshakeRequest::default().with_mechanism(text("PLAIN"))).unwrap();
        let token = format!("\0{user}\0{password}").into_bytes();
        let answer = self.call(2, &SaslAuthenticateRequest::default().with_auth_bytes(token.into())).unwrap();
        answer.error_message.unwrap_or_default().to_string()
    }
}

/// A produce request, one batch for each partition.
pub(super) fn produce(batches: &[(&str, i32, Bytes)], acks: i16) -> ProduceRequest {
    let part = |(topic, partition, batch): &(&'_ str, i32, Bytes)| {
        (topic_name(topic), PartitionProduceData::default().with_index(*partition).with_records(Some(batch.clone())))
    };
    let topic = |(name, data)| TopicProduceData::default().with_name(name).with_partition_data(data);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(acks)
        .with_timeout_ms(TIMEOUT_MS)
        .with_topic_data(by_topic(batches.iter().map(part)).into_iter().map(topic).collect())
}

fn produced(partition: &PartitionProduceResponse) -> Result<Produced> {
    check(partition.error_code).map(|()| Produced {
        base_offset: partition.base_offset,
        append_time: partition.log_append_time_ms,
        log_start: partition.log_start_offset,
    })
}

/// Each topic once, in the order in which they come, as brokers expect it.
pub(super) fn by_topic<T>(parts: impl Iterator<Item = (TopicName, T)>) -> Vec<(TopicName, Vec<T>)> {
    let mut topics: Vec<(TopicName, Vec<T>)> = Vec::new();
    for (name, part) in parts {
        match topics.iter_mut().find(|(known, _)| *known == name) {
            Some((_, parts)) => parts.push(part),
            None => topics.push((name, vec![part])),
        }
    }
    topics
}

/// A fetch request.
pub(super) fn fetch(from: &[From<'_>], wait: Wait) -> FetchRequest {
    let part = |from: &From<'_>| {
        let partition = FetchPartition::default()
            .with_partition(from.partition)
            .with_fetch_offset(from.offset)
            .with_partition_max_bytes(from.max_bytes);
        (topic_name(from.topic), partition)
    };
    let topic = |(name, partitions)| FetchTopic::default().with_topic(name).with_partitions(partitions);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(wait.max_ms)
        .with_min_bytes(wait.min_bytes)
        .with_max_bytes(wait.max_bytes)
        .with_session_epoch(-1)
        .with_topics(by_topic(from.iter().map(part)).into_iter().map(topic).collect())
}

/// The code of a refusal, for comparing.
pub(super) fn refusal<T>(result: Result<T>) -> Option<kafka_protocol::ResponseError> {
    result.err().map(|error: Error| error.code())
}
