//! What every librdkafka client here shares: how its errors are logged, how its consumers are set up.

use crate::{Bus, Error};
use rdkafka::{
    ClientConfig, ClientContext,
    client::Client,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, Producer, ProducerContext},
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// For how long the same trouble of the same sort of client is told once: a broker that is away is found so several times a second.
const QUIET: Duration = Duration::from_secs(10);

/// Logs a client's error, but not each repetition. Connection losses are retried by librdkafka itself, so they are warnings.
pub(crate) fn log_error(who: &'static str, error: &KafkaError, reason: &str) {
    static TOLD: Mutex<Told> = Mutex::new(Told(BTreeMap::new()));
    // How a reader is told that it has caught up.
    let Some(code) = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::PartitionEOF) else {
        return;
    };
    metrics::counter!("tollgate_kafka_client_errors_total").increment(1);
    let kept_quiet = TOLD.lock().unwrap_or_else(PoisonError::into_inner).kept_quiet((who, code as i32), Instant::now());
    let Some(kept_quiet) = kept_quiet else { return };
    match code {
        RDKafkaErrorCode::Fatal => tracing::error!(who, reason, kept_quiet, "kafka client failed for good"),
        RDKafkaErrorCode::AllBrokersDown => {
            tracing::warn!(who, reason, kept_quiet, "no Kafka broker reachable; retrying until one is");
        }
        _ => tracing::warn!(who, reason, kept_quiet, "kafka client error; it retries by itself"),
    }
}

/// When each sort of trouble was told last, and how often it has come since. As many as librdkafka has codes, a client each.
struct Told(BTreeMap<(&'static str, i32), (Option<Instant>, u64)>);

impl Told {
    /// Of a trouble that is to be told now: how many like it were not, since the last that was.
    fn kept_quiet(&mut self, trouble: (&'static str, i32), now: Instant) -> Option<u64> {
        let (last, quiet) = self.0.entry(trouble).or_default();
        if last.is_some_and(|last| now.saturating_duration_since(last) < QUIET) {
            *quiet += 1;
            return None;
        }
        *last = Some(now);
        Some(std::mem::take(quiet))
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
    // Left as it comes: nobody asks for statistics, and code that reads them would be compiled for every consumer and producer.
    fn stats_raw(&self, _: &[u8]) {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_once_in_a_while_and_how_often_it_came() {
        let (mut told, now) = (Told(BTreeMap::new()), Instant::now());
        let mut at = |who, ms| told.kept_quiet((who, -1), now + Duration::from_millis(ms));
        assert_eq!([at("a", 0), at("a", 1), at("b", 2), at("a", 9_999)], [Some(0), None, Some(0), None]);
        assert_eq!([at("a", 10_000), at("a", 10_001), at("a", 20_000)], [Some(2), None, Some(1)]);
    }
}
