//! What every librdkafka client here shares: how its errors are logged, how its consumers are set up.

use crate::{Bus, Error};
use rdkafka::{
    ClientConfig, ClientContext,
    client::Client,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, Producer, ProducerContext},
};
use std::{sync::Mutex, time::Duration};

/// Logs a client's error. Connection losses are retried by librdkafka itself, so they are warnings.
pub(crate) fn log_error(who: &str, error: &KafkaError, reason: &str) {
    // How a reader is told that it has caught up.
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return;
    }
    metrics::counter!("tollgate_kafka_client_errors_total").increment(1);
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::Fatal) => tracing::error!(who, reason, "kafka client failed for good"),
        Some(RDKafkaErrorCode::AllBrokersDown) => {
            tracing::warn!(who, reason, "no Kafka broker reachable; retrying until one is");
        }
        _ => tracing::warn!(who, reason, "kafka client error; it retries by itself"),
    }
}

/// A client that only asks questions, and remembers what librdkafka said went wrong: its calls' own errors hide that a
/// password or a certificate was refused.
pub(crate) struct Asker {
    producer: BaseProducer<LastError>,
    brokers: String,
}

#[derive(Default)]
pub(crate) struct LastError(Mutex<Option<String>>);

impl ClientContext for LastError {
    fn error(&self, error: KafkaError, reason: &str) {
        // "All brokers down" follows every real reason and says less.
        let vague = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if let Ok(mut last) = self.0.lock()
            && !(vague && last.is_some())
        {
            *last = Some(reason.to_owned());
        }
    }
}

impl ProducerContext for LastError {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl Asker {
    pub(crate) fn client(&self) -> &Client<LastError> {
        self.producer.client()
    }

    /// The error of a question that was not answered.
    pub(crate) fn unreachable(&self) -> Error {
        self.producer.poll(Duration::from_millis(100));
        let reason = self.client().context().0.lock().ok().and_then(|last| last.clone());
        Error::Unreachable {
            brokers: self.brokers.clone(),
            reason: reason.unwrap_or_else(|| "no answer in time".to_owned()),
        }
    }
}

impl Bus {
    /// A client for metadata.
    pub(crate) fn asker(&self) -> Result<Asker, Error> {
        let producer = self.config(&[]).create_with_context(LastError::default())?;
        Ok(Asker { producer, brokers: self.settings().brokers.clone() })
    }

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
            ("fetch.min.bytes", "1"),
            ("fetch.error.backoff.ms", "50"),
            ("topic.metadata.refresh.interval.ms", "30000"),
            ("isolation.level", "read_committed"),
        ];
        ours.extend_from_slice(extra);
        self.config(&ours)
    }
}
