//! Records nobody can process: the original bytes, and why, in the headers that existing tools read.
//!
//! Two families, so that tools for either can list and redrive these records:
//! * Kafka Connect's, all text (`DeadLetterQueueReporter`,
//!   <https://cwiki.apache.org/confluence/display/KAFKA/KIP-298%3A+Error+Handling+in+Connect>);
//! * Spring Kafka's, numbers as big-endian integers (`DeadLetterPublishingRecoverer`,
//!   <https://docs.spring.io/spring-kafka/reference/kafka/annotation-error-handling.html#dead-letters>).
//!
//! There are no exception classes here, so the stage stands where those go. Absent: stack traces, which would be empty, and
//! Spring's timestamp type.

use crate::{Incoming, Outgoing, TopicName};
use std::fmt;
use tollgate_schemas::{TraceContext, topic};

/// Why a record is dead.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    stage: &'static str,
    reason: String,
}

/// How the names of Kafka Connect's headers begin.
pub(crate) const CONNECT: &str = "__connect.errors.";

/// How the names of Spring's headers begin.
pub(crate) const SPRING: &str = "kafka_dlt-";

const REASON_MAX_CHARS: usize = 1000;

impl DeadLetter {
    /// `stage` is a short word (`parse`, `panic`, …); `reason` is for people and must not quote the record's content.
    pub fn new(stage: &'static str, reason: impl Into<String>) -> Self {
        Self { stage, reason: reason.into().chars().take(REASON_MAX_CHARS).collect() }
    }

    /// The record for `dead-letters`. `reader` is the group or client that could not process it. The original's headers stay, but
    /// for its trace context, which becomes this hop's.
    pub(crate) fn record(&self, dead: &Incoming<Vec<u8>>, reader: &str, trace: &TraceContext) -> Outgoing {
        let mut out = Outgoing {
            topic: TopicName::Internal(topic::DEAD_LETTERS.name),
            partition: None,
            key: dead.key.clone(),
            headers: dead.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            payload: dead.value.clone(),
            relaxed: true,
        };
        let text = |name: &str| format!("{CONNECT}{name}");
        out.header(&text("topic"), dead.topic.as_str());
        out.header(&text("partition"), dead.partition.to_string());
        out.header(&text("offset"), dead.offset.to_string());
        out.header(&text("connector.name"), reader);
        // Connect numbers a connector's tasks; a reader here has one.
        out.header(&text("task.id"), "0");
        out.header(&text("stage"), self.stage);
        out.header(&text("class.name"), self.stage);
        out.header(&text("exception.class.name"), self.stage);
        out.header(&text("exception.message"), self.reason.as_str());
        let spring = |name: &str| format!("{SPRING}{name}");
        out.header(&spring("original-topic"), dead.topic.as_str());
        out.header(&spring("original-partition"), dead.partition.to_be_bytes().as_slice());
        out.header(&spring("original-offset"), dead.offset.to_be_bytes().as_slice());
        out.header(&spring("original-timestamp"), dead.timestamp_ms.to_be_bytes().as_slice());
        out.header(&spring("original-consumer-group"), reader);
        out.header(&spring("exception-fqcn"), self.stage);
        out.header(&spring("exception-message"), self.reason.as_str());
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
