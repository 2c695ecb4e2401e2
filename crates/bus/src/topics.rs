//! Creating the topics of `schemas::topic` where they are missing.

use crate::{
    Bus, Error,
    record::{RECORD_MAX_BYTES, TEAM_RECORD_MAX_BYTES},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
    metadata::MetadataPartition,
};
use std::{collections::HashMap, time::Duration};
use tollgate_schemas::topic::{self, Partitions, Retention, TopicSpec};

/// Milliseconds each class of topic keeps its records.
#[derive(Debug, Clone, Copy)]
pub struct Retentions {
    /// `retention.requests`.
    pub requests_ms: i64,
    /// `retention.replies`.
    pub replies_ms: i64,
    /// `retention.results`.
    pub results_ms: i64,
    /// `retention.dead_letters`.
    pub dead_letters_ms: i64,
}

/// The topics of a team's Kafka door, full names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamTopics {
    /// Jobs.
    pub requests: String,
    /// Answers.
    pub replies: String,
}

/// Partitions of an existing topic.
struct Counts {
    all: usize,
    /// Those with a leader.
    led: usize,
}

/// Short, so that whoever waits for a broker soon learns why it does not answer.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
const ADMIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a segment of a compacted topic is written to.
const COMPACTED_SEGMENT_MS: u32 = 3_600_000;

impl Bus {
    /// Creates what is missing and checks what exists: a topic with another partition count is an error, because keys
    /// would move. Several services may do this at the same time.
    pub async fn ensure_topics(&self, teams: &[TeamTopics]) -> Result<(), Error> {
        let mut wanted: Vec<(String, TopicSpec)> =
            topic::all().into_iter().map(|spec| (self.full_name(spec.name), spec)).collect();
        for team in teams {
            wanted.push((team.requests.clone(), topic::TEAM_IN));
            wanted.push((team.replies.clone(), topic::TEAM_OUT));
        }
        let bus = self.clone();
        // Metadata is a blocking call in librdkafka.
        let existing = tokio::task::spawn_blocking(move || bus.partition_counts())
            .await
            .map_err(|_| Error::Stopped("admin".into()))??;
        let (found, missing): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(name, _)| existing.contains_key(name));
        for (name, spec) in &found {
            let (found, expected) = (existing[name].all, self.partition_count(spec.partitions));
            if !spec.name.ends_with('*') && i32::try_from(found).ok() != Some(expected) {
                return Err(Error::PartitionCount { topic: name.clone(), found, expected });
            }
        }
        self.create(&missing).await
    }

    /// How many partitions each topic of the cluster has. Blocks.
    fn partition_counts(&self) -> Result<HashMap<String, Counts>, Error> {
        let asker = self.asker()?;
        let metadata = asker.client().fetch_metadata(None, METADATA_TIMEOUT).map_err(|_| asker.unreachable())?;
        let counts = |partitions: &[MetadataPartition]| Counts {
            all: partitions.len(),
            led: partitions.iter().filter(|p| p.leader() >= 0).count(),
        };
        Ok(metadata.topics().iter().map(|t| (t.name().to_owned(), counts(t.partitions()))).collect())
    }

    /// How many partitions a topic of this kind has.
    pub fn partition_count(&self, partitions: Partitions) -> i32 {
        match partitions {
            Partitions::Default => self.settings().partitions_default,
            Partitions::Usage => self.settings().partitions_usage,
            Partitions::One => 1,
        }
    }

    async fn create(&self, missing: &[(String, TopicSpec)]) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let admin: AdminClient<DefaultClientContext> = self.config(&[]).create()?;
        let settings: Vec<_> = missing.iter().map(|(name, spec)| (name, spec, self.topic_config(spec))).collect();
        let new: Vec<NewTopic<'_>> = settings
            .iter()
            .map(|(name, spec, config)| {
                let replication = TopicReplication::Fixed(self.settings().replication);
                let start = NewTopic::new(name, self.partition_count(spec.partitions), replication);
                config.iter().fold(start, |topic, (key, value)| topic.set(key, value))
            })
            .collect();
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT)).request_timeout(Some(ADMIN_TIMEOUT));
        for result in admin.create_topics(&new, &options).await? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(Error::Topic { topic, reason: code.to_string() }),
            }
        }
        self.until_led(missing).await
    }

    /// A topic just created has no leader for a moment; readers and producers would fail on it.
    async fn until_led(&self, created: &[(String, TopicSpec)]) -> Result<(), Error> {
        let begun = std::time::Instant::now();
        loop {
            let bus = self.clone();
            let now = tokio::task::spawn_blocking(move || bus.partition_counts())
                .await
                .map_err(|_| Error::Stopped("admin".into()))??;
            let expected = |spec: &TopicSpec| usize::try_from(self.partition_count(spec.partitions)).unwrap_or(0);
            match created.iter().find(|(name, spec)| now.get(name).map(|p| p.led) != Some(expected(spec))) {
                None => return Ok(()),
                Some((topic, _)) if begun.elapsed() > ADMIN_TIMEOUT => {
                    return Err(Error::Topic {
                        topic: topic.clone(),
                        reason: "its partitions have no leader; is every broker up?".into(),
                    });
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn topic_config(&self, spec: &TopicSpec) -> Vec<(&'static str, String)> {
        let retentions = &self.settings().retentions;
        let retention_ms = match spec.retention {
            Retention::Requests => retentions.requests_ms,
            Retention::Replies => retentions.replies_ms,
            Retention::Results => retentions.results_ms,
            Retention::DeadLetters => retentions.dead_letters_ms,
            Retention::Days(days) | Retention::Newest(days) => i64::from(days) * 86_400_000,
            Retention::Forever => -1,
        };
        let time = if spec.append_time { "LogAppendTime" } else { "CreateTime" };
        let is_compacted = matches!(spec.retention, Retention::Newest(_));
        let mut config = vec![
            ("cleanup.policy", if is_compacted { "compact,delete" } else { "delete" }.to_owned()),
            ("retention.ms", retention_ms.to_string()),
            ("message.timestamp.type", time.to_owned()),
            (
                "max.message.bytes",
                if spec.name.ends_with('*') { TEAM_RECORD_MAX_BYTES } else { RECORD_MAX_BYTES }.to_string(),
            ),
        ];
        if is_compacted {
            // Only what is in a closed segment is compacted, and by default a segment is open for a week.
            config.push(("segment.ms", COMPACTED_SEGMENT_MS.to_string()));
        }
        if self.settings().replication >= 3 {
            config.push(("min.insync.replicas", "2".to_owned()));
        }
        config
    }
}
