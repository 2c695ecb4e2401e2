//! Records nobody can process: the original bytes, and why, in the headers that existing tools read.
//!
//! Two families, so that tools for either can list and redrive these records:
//! * Kafka Connect's, all text (`DeadLetterQueueReporter`,
//!   <https://cwiki.apache.org/confluence/display/KAFKA/KIP-298%3A+Error+Handling+in+Connect>);
//! * Spring Kafka's, numbers as big-endian integers (`DeadLetterPublishingRecoverer`,
//!   <https://docs.spring.io/spring-kafka/reference/kafka/annotation-error-handling.html#dead-letters>).
//!
//! A record that is too large for a copy becomes a stub: no value, and headers that say where the original stands.
//!
//! There are no exception classes here, so the stage stands where those go. Absent: stack traces, which would be empty, and
//! Spring's timestamp type.

use crate::{
    Headers, Incoming, Outgoing, TopicName,
    record::{BATCH_OVERHEAD_BYTES, RECORD_MAX_BYTES, header_bytes},
};
use std::fmt;
use tollgate_schemas::{TraceContext, headers::TRACEPARENT, topic};

/// Why a record is dead.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    stage: &'static str,
    reason: String,
}

/// Who could not process a record, and with which trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop<'a> {
    /// The group or client.
    pub(crate) reader: &'a str,
    pub(crate) trace: &'a TraceContext,
}

/// A header of our own among Kafka Connect's: how many bytes of the original are missing, `0` of a whole one.
pub(crate) const OMITTED: &str = "tollgate.omitted.bytes";

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

    /// The step that failed.
    pub fn stage(&self) -> &'static str {
        self.stage
    }

    /// The record for `dead-letters`. The original's key, value and headers stay, but for its trace context, which becomes this
    /// hop's. Of a record that is too large with the headers that are added, what fits is there.
    pub(crate) fn record(&self, dead: &Incoming<Vec<u8>>, hop: Hop<'_>) -> Outgoing {
        let added = self.explained(dead, hop, 0);
        let whole = Outgoing {
            key: dead.key.clone(),
            headers: originals(dead).chain(added.iter()).map(owned).collect(),
            payload: dead.value.clone(),
            is_tombstone: dead.is_tombstone,
            ..empty()
        };
        if whole.over_bound().is_none() {
            return whole;
        }
        self.stub(dead, dead.bytes(), hop, "it is too large to be copied")
    }

    /// The same, of a record whose value of so many bytes is not at hand any more.
    pub(crate) fn without_value(&self, dead: &Incoming<Vec<u8>>, value_bytes: usize, hop: Hop<'_>) -> Outgoing {
        self.stub(dead, value_bytes + dead.bytes(), hop, "its value was let go of while it waited")
    }

    /// What can be kept of a record without its value: the key if it fits, and those headers that do. The original can be read
    /// where it stands for as long as its topic keeps it.
    fn stub(&self, dead: &Incoming<Vec<u8>>, bytes: usize, hop: Hop<'_>, why: &str) -> Outgoing {
        let Incoming { topic, partition, offset, .. } = dead;
        let reason =
            format!("{why} and stands at {topic} {partition}/{offset} until its retention ends; {}", self.reason);
        let reason = Self::new(self.stage, reason);
        // The number has as many digits as it may need before it is known.
        let explained = reason.explained(dead, hop, usize::MAX);
        let mut room = RECORD_MAX_BYTES - BATCH_OVERHEAD_BYTES - header_bytes(explained.iter());
        let mut fits = |bytes: usize| {
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        };
        let key = dead.key.clone().filter(|key| fits(key.len()));
        let kept: Vec<_> = originals(dead).filter(|header| fits(header_bytes(std::iter::once(*header)))).collect();
        let has = key.as_ref().map_or(0, Vec::len) + header_bytes(kept.iter().copied());
        let explained = reason.explained(dead, hop, bytes.saturating_sub(has).max(1));
        let headers = kept.into_iter().chain(explained.iter()).map(owned).collect();
        Outgoing { key, headers, is_tombstone: true, ..empty() }
    }

    /// The headers that are added. `omitted`: bytes of the original that are not in the dead letter.
    fn explained(&self, dead: &Incoming<Vec<u8>>, Hop { reader, trace }: Hop<'_>, omitted: usize) -> Headers {
        let text = |name: &str, value: &str| (format!("{CONNECT}{name}"), value.as_bytes().to_vec());
        let spring = |name: &str, value: &[u8]| (format!("{SPRING}{name}"), value.to_vec());
        let all = [
            text("topic", &dead.topic),
            text("partition", &dead.partition.to_string()),
            text("offset", &dead.offset.to_string()),
            text("connector.name", reader),
            // Connect numbers a connector's tasks; a reader here has one.
            text("task.id", "0"),
            text("stage", self.stage),
            text("class.name", self.stage),
            text("exception.class.name", self.stage),
            text("exception.message", &self.reason),
            text(OMITTED, &omitted.to_string()),
            spring("original-topic", dead.topic.as_bytes()),
            spring("original-partition", &dead.partition.to_be_bytes()),
            spring("original-offset", &dead.offset.to_be_bytes()),
            spring("original-timestamp", &dead.timestamp_ms.to_be_bytes()),
            spring("original-consumer-group", reader.as_bytes()),
            spring("exception-fqcn", self.stage.as_bytes()),
            spring("exception-message", self.reason.as_bytes()),
            (TRACEPARENT.to_owned(), trace.to_string().into_bytes()),
        ];
        all.into_iter().collect()
    }
}

/// A header as it is read.
type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

fn originals(dead: &Incoming<Vec<u8>>) -> impl Iterator<Item = HeaderRef<'_>> {
    dead.headers.iter().filter(|(name, _)| *name != TRACEPARENT)
}

fn owned((name, value): HeaderRef<'_>) -> (String, Option<Vec<u8>>) {
    (name.to_owned(), value.map(<[u8]>::to_vec))
}

fn empty() -> Outgoing {
    Outgoing {
        topic: TopicName::Internal(topic::DEAD_LETTERS.name),
        partition: None,
        key: None,
        headers: Headers::default(),
        payload: Vec::new(),
        is_tombstone: false,
        relaxed: true,
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.reason)
    }
}
