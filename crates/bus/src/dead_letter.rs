//! Records nobody can process: the original bytes, and why, in the headers that existing tools read.
//!
//! Header names: Kafka Connect's error reporting (`__connect.errors.*`) and Spring Kafka's dead-letter publishing
//! recoverer (`kafka_dlt-*`), so that their tools can list and redrive these records.

use crate::{Incoming, Outgoing, TopicName};
use std::fmt;
use tollgate_schemas::{TraceContext, topic};

/// Why a record is dead.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    stage: &'static str,
    reason: String,
}

const REASON_MAX_CHARS: usize = 1000;

impl DeadLetter {
    /// `stage` is a short word (`parse`, `panic`, …); `reason` is for people and must not quote the record's content.
    pub fn new(stage: &'static str, reason: impl Into<String>) -> Self {
        Self { stage, reason: reason.into().chars().take(REASON_MAX_CHARS).collect() }
    }

    pub(crate) fn record(&self, dead: &Incoming<Vec<u8>>, trace: &TraceContext) -> Outgoing {
        let mut out = Outgoing {
            topic: TopicName::Internal(topic::DEAD_LETTERS.name),
            partition: None,
            key: dead.key.clone(),
            headers: dead.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            payload: dead.value.clone(),
            relaxed: true,
        };
        out.header("__connect.errors.topic", dead.topic.as_str());
        out.header("__connect.errors.partition", dead.partition.to_string());
        out.header("__connect.errors.offset", dead.offset.to_string());
        out.header("__connect.errors.stage", self.stage);
        out.header("__connect.errors.exception.message", self.reason.as_str());
        out.header("kafka_dlt-original-topic", dead.topic.as_str());
        out.header("kafka_dlt-original-partition", dead.partition.to_be_bytes().as_slice());
        out.header("kafka_dlt-original-offset", dead.offset.to_be_bytes().as_slice());
        out.header("kafka_dlt-original-timestamp", dead.timestamp_ms.to_be_bytes().as_slice());
        out.header("kafka_dlt-exception-fqcn", self.stage);
        out.header("kafka_dlt-exception-message", self.reason.as_str());
        out.headers.retain(|(name, _)| name != tollgate_schemas::headers::TRACEPARENT);
        out.header(tollgate_schemas::headers::TRACEPARENT, trace.to_string());
        out
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.reason)
    }
}
