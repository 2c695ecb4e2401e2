//! What can go wrong on the bus.

use rdkafka::error::KafkaError;

/// An error of the bus. Messages say what to do; properties, which may hold secrets, are never in them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// librdkafka's own.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    /// No broker answered as it should.
    #[error(
        "no Kafka broker answered at {brokers} ({reason}); check kafka.brokers, kafka.properties and that the broker is up"
    )]
    Unreachable {
        /// Who was asked.
        brokers: String,
        /// librdkafka's last words.
        reason: String,
    },
    /// A topic cannot be created or read.
    #[error("topic {topic} cannot be used: {reason}")]
    Topic {
        /// Full name.
        topic: String,
        /// The broker's words.
        reason: String,
    },
    /// A topic has another partition count than configured.
    #[error(
        "topic {topic} has {found} partitions, the configuration says {expected}; partition counts of internal topics never change: set kafka.partitions to what exists, or use another kafka.topic_prefix"
    )]
    PartitionCount {
        /// Full name.
        topic: String,
        /// What exists.
        found: usize,
        /// What is configured.
        expected: i32,
    },
    /// A record is over the bound.
    #[error(
        "a record of {bytes} bytes for {topic} is over the bound of {max} bytes; large bodies belong in object storage"
    )]
    TooLarge {
        /// Topic it was for.
        topic: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A partition gave out records again that are long committed.
    #[error(
        "topic {topic}, partition {partition}: offset {offset} came after {committed} had been committed: the log was cut or made anew while it was read; start again, which goes on from what the log has now"
    )]
    Rewound {
        /// Full name.
        topic: String,
        /// Partition.
        partition: i32,
        /// What was fetched.
        offset: i64,
        /// Where the newest known commit stands.
        committed: i64,
    },
    /// A record could not be written as JSON.
    #[error("a record cannot be serialised: {0}")]
    Serialise(#[from] serde_json::Error),
    /// The broker did not acknowledge.
    #[error("a record for {topic} was not acknowledged: {reason}")]
    NotAcknowledged {
        /// Topic it was for.
        topic: String,
        /// Why.
        reason: String,
    },
    /// A topic takes no such record, now or later: it does not exist, is not open to this client, or wants smaller ones.
    #[error(
        "topic {topic} does not take a record ({reason}); check that it exists, that this client may write to it, and its max.message.bytes"
    )]
    Refused {
        /// Topic it was for.
        topic: String,
        /// librdkafka's or the broker's words.
        reason: String,
    },
    /// A background thread has ended.
    #[error("the consumer of {0} has stopped")]
    Stopped(String),
}
