//! The guardrail service: nothing reaches a provider or a caller before the checks that apply to it have passed.
//!
//! ```text
//! requests.<lane> ─► input checks ─┬─ passed, masked ─► approved.<lane>
//!                        │  ▲      └─ blocked, expired, cancelled ─► replies, usage, out.<team>
//!              approved.judge, replies: models that judge
//!                        ▼  │
//! completions ─► output checks ─┬─ passed, masked ─► restore ─┐
//!    chunks, whole              └─ blocked ───────────────────┴─► replies, usage, out.<team>
//! cancellations ─► what to end early
//! ```
//!
//! [`pipeline`] is pure: (policy, body) → verdict, with the rulings of [`judges`] in between. [`checks`] and [`injection`] are its
//! leaves, [`inspect`] finds the texts of a body, `encoded` takes base64 off, [`stream`] checks an answer while it is produced, [`restore`] puts
//! back what masking took, `court` asks the judges, `service` connects all of it to the bus. [`replay`] runs two sets of guardrails on what has
//! passed before.
//!
//! Deliberately absent: provider credentials (checks that need a model are requests through the router's `judge` lane, which are
//! checked by nobody), matched text in logs, spans, errors or metrics, and any state that outlives a record, except what to end
//! early, streams that are being checked, which are checked whole if that state is lost, and, where it is asked for, rulings by the hash of
//! what was judged.

pub mod checks;
pub mod config;
mod court;
mod encoded;
pub mod injection;
pub mod inspect;
pub mod judges;
mod metric_definitions;
pub mod pipeline;
pub mod replay;
pub mod restore;
mod service;
pub mod stream;
mod streams;

use futures::future::join_all;
use service::{CompletionHandler, RequestHandler, Service};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tollgate_bus::broadcast::Start;
use tollgate_bus::replies::Replies;
use tollgate_bus::work::{Options, Running};
use tollgate_bus::{Bus, Profile};
use tollgate_runtime::config::{Config, Problems};
use tollgate_runtime::{BlobStore, Control, MAX_CLOCK_SKEW_MS, Readiness};
use tollgate_schemas::{Cancellation, Lane, Produced, Request, topic};

/// What stops the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoints' guardrails cannot be compiled.
    #[error(transparent)]
    Config(#[from] Problems),
    /// Kafka failed in a way that only a restart can mend.
    #[error(transparent)]
    Bus(#[from] tollgate_bus::Error),
}

/// Runs until `stop`; then takes no new work, finishes what is in flight and commits. Topics must exist.
pub async fn run(
    control: &Control,
    bus: Bus,
    blobs: BlobStore,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), Error> {
    metric_definitions::describe();
    let config = &control.config();
    let stop = stop.child_token();
    let policies = control.derive("policies", &stop, |config, _| config::endpoints(config))?;
    // Longer than the consumers: what is in flight while they drain may wait for judges.
    let reading = CancellationToken::new();
    let _ends_with_this = reading.clone().drop_guard();
    let replies = Replies::assign(&bus, reading).await?;
    let service = Arc::new(Service::new(config, policies, blobs, replies));
    read_cancellations(config, &bus, &service, &stop).await?;
    let running = start(config, &bus, &service, &readiness, &stop)?;
    let stopped = running.into_iter().map(|consumer| {
        let stop = stop.clone();
        async move {
            let ended = consumer.stopped().await;
            // one consumer that fails takes the others with it, each after draining
            stop.cancel();
            ended
        }
    });
    let ended = join_all(stopped).await;
    ended.into_iter().collect::<Result<(), _>>().map_err(Error::from)
}

/// One consumer and one producer per lane, so that bulk work never stands before somebody who waits.
fn start(
    config: &Config,
    bus: &Bus,
    service: &Arc<Service>,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> Result<Vec<Running>, Error> {
    let mut running = Vec::with_capacity(4);
    let drain_timeout = config.shutdown.drain.duration();
    for lane in Lane::ALL {
        let (group, profile) = match lane {
            Lane::Interactive => ("guardrail-interactive", Profile::Interactive),
            Lane::Batch => ("guardrail-batch", Profile::Bulk),
            Lane::Judge => ("guardrail-judge", Profile::Interactive),
        };
        let topics = vec![bus.full_name(topic::requests(lane).spec.name)];
        let options = Options { drain_timeout, ..Options::new(group, topics) };
        let handler = Arc::new(RequestHandler(service.clone()));
        running.push(bus.consume::<Request, _>(options, bus.producer(profile)?, handler, stop.clone())?);
    }
    let topics = vec![bus.full_name(topic::COMPLETIONS.spec.name)];
    let options = Options { drain_timeout, ..Options::new("guardrail-completions", topics) };
    let handler = Arc::new(CompletionHandler(service.clone()));
    let producer = bus.producer(Profile::Interactive)?;
    running.push(bus.consume::<Produced, _>(options, producer, handler, stop.clone())?);
    for consumer in &running {
        readiness.require("the guardrail's partitions", consumer.probe());
    }
    Ok(running)
}

/// Cancellations are read from as far back as a request can still be alive.
async fn read_cancellations(
    config: &Config,
    bus: &Bus,
    service: &Arc<Service>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let longest_ms = i64::try_from(config.longest_deadline().as_millis()).unwrap_or(i64::MAX);
    let since = (tollgate_schemas::now_us() / 1000).saturating_sub(longest_ms).saturating_sub(MAX_CLOCK_SKEW_MS).max(0);
    let (bus, service, stop) = (bus.clone(), service.clone(), stop.clone());
    let topic = bus.full_name(topic::CANCELLATIONS.spec.name);
    let read = move || {
        bus.broadcast(&topic, &[], Start::Since(since), stop, move |record| {
            match serde_json::from_slice::<Cancellation>(record.value()) {
                Ok(cancellation) => service.cancel(cancellation),
                Err(error) => tracing::warn!(%error, "a cancellation does not parse and is skipped"),
            }
        })
    };
    // asks the broker for offsets, which blocks
    let joined = tokio::task::spawn_blocking(read).await;
    joined.map_err(|_| tollgate_bus::Error::Stopped("cancellations".to_owned()))??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if the service can be spawned with owned arguments, as `tollgate` does.
    #[test]
    fn the_service_can_be_spawned() {
        fn spawnable<F: Future + Send + 'static>(_: impl FnOnce(Control, Bus, BlobStore) -> F) {}
        spawnable(|control, bus, blobs| async move {
            run(&control, bus, blobs, Readiness::default(), CancellationToken::new()).await
        });
    }
}
