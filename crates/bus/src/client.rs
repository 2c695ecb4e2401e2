//! What every librdkafka client here shares: how its errors are logged, how its consumers are set up.

use crate::Bus;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
};

/// Logs a client's error. Connection losses are retried by librdkafka itself, so they are warnings.
pub(crate) fn log_error(who: &str, error: &KafkaError, reason: &str) {
    metrics::counter!("tollgate_kafka_client_errors_total").increment(1);
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::Fatal) => tracing::error!(who, reason, "kafka client failed for good"),
        Some(RDKafkaErrorCode::AllBrokersDown) => {
            tracing::warn!(who, reason, "no Kafka broker reachable; retrying until one is");
        }
        _ => tracing::warn!(who, reason, "kafka client error; it retries by itself"),
    }
}

impl Bus {
    /// Settings of every consumer: nothing automatic, little prefetch, quick fetches.
    pub(crate) fn consumer_config(&self, extra: &[(&str, &str)]) -> ClientConfig {
        let mut ours = vec![
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("queued.max.messages.kbytes", "16384"),
            ("queued.min.messages", "10000"),
            // How long a fetcher rests when the prefetch queue is full; the default of 1 s would be seen as latency.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.wait.max.ms", "500"),
            ("fetch.min.bytes", "1"),
            ("fetch.error.backoff.ms", "50"),
            ("topic.metadata.refresh.interval.ms", "30000"),
            ("isolation.level", "read_committed"),
        ];
        ours.extend_from_slice(extra);
        self.config(&ours)
    }
}
