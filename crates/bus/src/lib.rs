//! The only crate that talks to Kafka: typed produce, consume, track, commit, dead-letter.
//!
//! ```text
//!            ┌────────── work::consume ──────────┐
//! partition ─► poll thread ─► tracker ─► handler ─► producer ─► acknowledged ─► tracker ─► commit
//!            └──── ordered (the ledger), broadcast (replies, cancellations) read without handlers ────┘
//! ```
//!
//! An offset is committed only after everything its record caused is acknowledged. Redelivery may repeat work, never an
//! effect. Completion is out of order; what is committed is the lowest incomplete offset of each partition.
//!
//! Deliberately absent: Kafka transactions, share groups, `split_partition_queue` (see docs/adr/0002), and any knowledge
//! of what a record means.

pub mod broadcast;
mod cancelled;
mod client;
mod commit_async;
mod commit_metadata;
mod dead_letter;
pub mod dead_letters;
pub mod end;
mod error;
pub mod fault;
mod groups;
pub mod ordered;
mod producer;
mod progress;
mod record;
pub mod replies;
mod retained;
#[cfg(test)]
mod testing;
mod topic_id;
mod topics;
mod trace;
mod tracker;
pub mod work;

pub use cancelled::Cancelled;
pub use dead_letter::DeadLetter;
pub use error::Error;
pub use producer::{Ack, DOOR_TIMEOUT, Emitter, Producer, Profile};
pub use progress::Progress;
pub use record::{FromRecord, Headers, Incoming, Outgoing, RawValueBytes, TEAM_RECORD_MAX_BYTES, TopicName};
pub use retained::Retained;
pub use topics::{Retentions, TeamTopics};
pub use trace::{ROW_SPANS, producer_span, row_span};

/// What fuzzers call.
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz {
    /// Reads any bytes as the metadata of a commit. Panics only on a defect.
    pub fn commit_metadata(data: &[u8]) {
        crate::commit_metadata::fuzz(data);
    }
}

use rdkafka::ClientConfig;
use std::{collections::BTreeMap, sync::Arc};

/// How to reach Kafka and what to create there.
#[derive(Clone)]
pub struct Settings {
    /// `host:port,host:port`.
    pub brokers: String,
    /// Put before every topic and group name.
    pub prefix: String,
    /// Passed to librdkafka as they are (`security.protocol`, `sasl.*`, `ssl.*`, …). May hold secrets: never logged.
    pub properties: BTreeMap<String, String>,
    /// Partitions of most topics.
    pub partitions_default: i32,
    /// Partitions of `usage`.
    pub partitions_usage: i32,
    /// Replication factor; 1 to the number of brokers.
    pub replication: i32,
    /// Retention per class of topic.
    pub retentions: Retentions,
    /// Names this client in the broker's logs, e.g. `tollgate-ingress`.
    pub client_id: String,
}

/// How long a consumer with nothing to do waits for a record, and so how soon it sees a stop. Each wake-up of each consumer
/// counts in what an idle gateway costs.
const IDLE_POLL: std::time::Duration = std::time::Duration::from_millis(300);

/// A cheap handle on one Kafka cluster. Making one does no I/O.
#[derive(Clone)]
pub struct Bus(Arc<Settings>);

impl Bus {
    /// Checks the properties by building a client configuration; connects to nothing.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(settings))
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.0
    }

    /// The full name of an internal topic or of a consumer group.
    pub fn full_name(&self, short: &str) -> String {
        format!("{}{}", self.0.prefix, short)
    }

    /// A librdkafka configuration with the connection part filled in; the user's properties win.
    fn config(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.0.brokers).set("client.id", &self.0.client_id);
        config.set("socket.nagle.disable", "true").set("log.connection.close", "false");
        for (name, value) in ours {
            config.set(*name, *value);
        }
        for (name, value) in &self.0.properties {
            config.set(name, value);
        }
        config
    }

    /// The cluster's id. Waits up to `timeout` for a broker; run it off the async threads.
    pub fn cluster_id(&self, timeout: std::time::Duration) -> Result<String, Error> {
        let asker = self.asker()?;
        asker.client().fetch_cluster_id(timeout).ok_or_else(|| asker.unreachable())
    }
}
