//! From a configuration to running services, started and stopped in order.
//!
//! Stopping goes with the flow: ingress first, so that callers in flight get their answers from services that still run;
//! then guardrail and router-worker; then the ledger; last the embedded broker, which writes everything to the disk.

use crate::{
    embedded::{Embedded, Lock},
    live,
};
use anyhow::{Context, bail};
use std::{collections::BTreeMap, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Bus, Retentions, Settings, TeamTopics};
use tollgate_runtime::{BlobStore, Config, Control, Readiness, health, store, supervised};
use tollgate_usage_aggregator::OnError;

/// One of the four.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Service {
    Ingress,
    Guardrail,
    RouterWorker,
    UsageAggregator,
}

impl Service {
    /// Its name on the command line, in client ids and in traces.
    pub fn name(self) -> &'static str {
        match self {
            Service::Ingress => "ingress",
            Service::Guardrail => "guardrail",
            Service::RouterWorker => "router-worker",
            Service::UsageAggregator => "usage-aggregator",
        }
    }
}

/// How to reach the Kafka that the configuration names, which another process runs.
pub fn settings(config: &Config, client: &str) -> anyhow::Result<Settings> {
    if config.kafka.is_embedded() {
        bail!(
            "kafka.brokers is embedded, and that broker lives inside `tollgate up`: run that, or set kafka.brokers (or pass \
             --brokers) to host:port of a cluster that all services share"
        );
    }
    Ok(settings_at(config, config.kafka.brokers.clone(), client))
}

/// What the configuration says of Kafka, for a cluster at `brokers`.
pub(crate) fn settings_at(config: &Config, brokers: String, client: &str) -> Settings {
    let ms = |millis: tollgate_runtime::config::Millis| i64::try_from(millis.0).unwrap_or(i64::MAX);
    let properties = config.kafka.properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    Settings {
        brokers,
        prefix: config.kafka.topic_prefix.clone(),
        properties: properties.collect::<BTreeMap<_, _>>(),
        partitions_default: config.kafka.partitions.default,
        partitions_usage: config.kafka.partitions.usage,
        replication: config.kafka.replication,
        retentions: Retentions {
            requests_ms: ms(config.retention.requests),
            replies_ms: ms(config.retention.replies),
            results_ms: ms(config.retention.results),
            dead_letters_ms: ms(config.retention.dead_letters),
        },
        client_id: format!("tollgate-{client}"),
    }
}

/// How long a start waits for a broker before it gives up.
const BROKER_TIMEOUT: Duration = Duration::from_secs(60);

/// A bus whose topics exist; `None` if `stop` came first.
pub async fn connect_until(
    stop: &CancellationToken,
    config: &Config,
    settings: Settings,
) -> anyhow::Result<Option<Bus>> {
    stop.run_until_cancelled(connect(config, settings)).await.transpose()
}

/// A bus whose topics exist.
pub async fn connect(config: &Config, settings: Settings) -> anyhow::Result<Bus> {
    let bus = Bus::new(settings);
    let pair = |(requests, replies)| TeamTopics { requests, replies };
    let teams: Vec<TeamTopics> = config.teams.iter().filter_map(|team| config.team_topics(team).map(pair)).collect();
    let begun = tokio::time::Instant::now();
    loop {
        match bus.ensure_topics(&teams).await {
            Ok(()) => return Ok(bus),
            Err(error @ tollgate_bus::Error::Unreachable { .. }) if begun.elapsed() < BROKER_TIMEOUT => {
                tracing::warn!(%error, "waiting for Kafka");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Does `work` with the Kafka that the configuration names. The embedded broker is started before it and stopped after it,
/// whatever came of it; should it end by itself, `work` is dropped: without a log nothing can be finished in order. `None` if
/// `stop` came before there was a Kafka to work with; from then on it is for `work` to heed.
pub async fn with_kafka<T>(
    config: &Config,
    client: &str,
    stop: &CancellationToken,
    work: impl AsyncFnOnce(Bus, Option<Lock>) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    if !config.kafka.is_embedded() {
        return work_with(connect_until(stop, config, settings(config, client)?).await?, None, work).await;
    }
    let broker = Embedded::start(config).await?;
    let (ended, lock) = (broker.ended(), broker.lock());
    let result = unless(&ended, async {
        work_with(connect_until(stop, config, broker.settings(config, client)).await?, Some(lock), work).await
    });
    let result = result.await;
    match (result, broker.stop().await) {
        (Some(result), Ok(())) => result,
        (Some(Err(error)), Err(broker)) => {
            tracing::error!(error = %format!("{broker:#}"), "the broker did not end well");
            Err(error)
        }
        (_, Err(error)) => Err(error),
        (None, Ok(())) => bail!("the embedded broker ended by itself; see the log above"),
    }
}

async fn work_with<T>(
    bus: Option<Bus>,
    lock: Option<Lock>,
    work: impl AsyncFnOnce(Bus, Option<Lock>) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    match bus {
        Some(bus) => work(bus, lock).await.map(Some),
        None => Ok(None),
    }
}

/// The work's result, if it came before `ended`.
async fn unless<T>(ended: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        result = work => Some(result),
        () = ended.cancelled() => None,
    }
}

/// Binds the configured address.
pub async fn bind(config: &Config) -> anyhow::Result<TcpListener> {
    TcpListener::bind(&config.listen).await.with_context(|| {
        format!(
            "listen: {} cannot be bound; stop what uses it, or set `listen` (or pass --listen) to another",
            config.listen
        )
    })
}

/// How long a service may take to end, beside `shutdown.unready` and `shutdown.drain`: to leave its groups, and for a Kafka that is
/// away to be given up.
const LEAVING: Duration = Duration::from_secs(15);

/// Runs one service until `stop`, and no longer than it may take to end, wherever it is: it may still be starting, and wait for a Kafka
/// that went away. Services other than ingress serve health and metrics on the listener.
pub async fn run_one(
    service: Service,
    config: Config,
    bus: Bus,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let in_order = config.unready() + config.shutdown.drain.duration() + LEAVING;
    in_time(&stop, in_order, run_to_its_end(service, config, bus, listener, stop.clone())).await
}

/// What `run` comes to, unless it goes on for longer than that after it was asked to end.
async fn in_time(
    stop: &CancellationToken,
    in_order: Duration,
    run: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(in_order).await;
    };
    tokio::select! {
        biased;
        ended = run => ended,
        () = late => {
            tracing::warn!("not at its end {in_order:?} after it was asked to; what it has not finished others do again");
            Ok(())
        }
    }
}

async fn run_to_its_end(
    service: Service,
    config: Config,
    bus: Bus,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let readiness = Readiness::default();
    let reading = CancellationToken::new();
    let _ends_with_this = reading.clone().drop_guard();
    let control = &live::follow(config, &bus, reading).await?;
    if service == Service::Ingress {
        return Ok(tollgate_ingress::run(control, bus, listener, readiness, stop).await?);
    }
    let over = CancellationToken::new();
    let routes = health::routes(readiness.clone());
    let server = supervised("health", health::serve(listener, routes, over.clone()));
    let result = run_inner(service, control, bus, readiness, stop, OnError::End).await;
    over.cancel();
    let _ = server.await;
    result
}

async fn run_inner(
    service: Service,
    control: &Control,
    bus: Bus,
    readiness: Readiness,
    stop: CancellationToken,
    ledger: OnError,
) -> anyhow::Result<()> {
    match service {
        Service::Ingress => unreachable!("ingress has its own listener"),
        Service::Guardrail => {
            let blobs = BlobStore::new(store::open(control.base())?);
            tollgate_guardrail::run(control, bus, blobs, readiness, stop).await?
        }
        Service::RouterWorker => tollgate_router_worker::run(control, bus, readiness, stop).await?,
        Service::UsageAggregator => {
            tollgate_usage_aggregator::run(control.base(), bus, readiness, stop, ledger).await?
        }
    }
    Ok(())
}

/// Runs all four until `stop`. If one ends early, all are stopped and its error is returned; an error of the ledger's tables is
/// no such end. The embedded broker's lock follows the configuration as it changes.
pub async fn run_all(
    config: Config,
    (bus, lock): (Bus, Option<Lock>),
    listener: TcpListener,
    readiness: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let reading = CancellationToken::new();
    let _ends_with_this = reading.clone().drop_guard();
    let control = live::follow(config, &bus, reading.clone()).await?;
    if let Some(lock) = lock {
        supervised("broker access", live::lock(control.clone(), lock, reading));
    }
    let (middle, last) = (CancellationToken::new(), CancellationToken::new());
    let background = |service: Service, token: &CancellationToken| {
        let (control, bus, readiness, token) = (control.clone(), bus.clone(), readiness.clone(), token.clone());
        // Ended without being asked to, by a panic too: nothing works without it.
        let ends_all = stop.clone().drop_guard();
        supervised(service.name(), async move {
            let _ends_all = ends_all;
            // A table that needs a person stops the ledger alone: its rows wait on their topic, and callers need not.
            let result = run_inner(service, &control, bus, readiness, token, OnError::StayDown).await;
            result.with_context(|| service.name())
        })
    };
    let aggregator = background(Service::UsageAggregator, &last);
    let router = background(Service::RouterWorker, &middle);
    let guardrail = background(Service::Guardrail, &middle);
    let ingress = tollgate_ingress::run(&control, bus.clone(), listener, readiness.clone(), stop.clone())
        .await
        .context("ingress");
    stop.cancel();
    middle.cancel();
    let results = [router.await, guardrail.await];
    last.cancel();
    let [a, b] = results.map(joined);
    ingress.and(a).and(b).and(joined(aggregator.await))
}

fn joined(result: Result<Option<anyhow::Result<()>>, tokio::task::JoinError>) -> anyhow::Result<()> {
    result.ok().flatten().unwrap_or_else(|| bail!("a service panicked; see the log above"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_runtime::config::{self as file, Over, Role};

    #[tokio::test]
    async fn work_is_dropped_when_the_broker_ends_by_itself() {
        let ended = CancellationToken::new();
        assert_eq!(unless(&ended, async { 1 }).await, Some(1));
        ended.cancel();
        assert_eq!(unless(&ended, std::future::pending::<i32>()).await, None);
        assert_eq!(unless(&ended, async { 2 }).await, Some(2), "what is done is done");
    }

    #[tokio::test]
    async fn whoever_does_not_heed_a_stop_is_left_behind() {
        let (stop, bound) = (CancellationToken::new(), Duration::from_millis(10));
        assert!(in_time(&stop, bound, async { bail!("its own end") }).await.is_err());
        stop.cancel();
        in_time(&stop, bound, std::future::pending()).await.expect("no error");
        assert!(in_time(&stop, bound, async { bail!("its own end") }).await.is_err(), "what is done is done");
    }

    #[tokio::test]
    async fn a_stop_while_kafka_is_away_is_heeded() {
        let (config, _folder) = config();
        let stop = CancellationToken::new();
        stop.cancel();
        let nowhere = settings_at(&config, "127.0.0.1:1".to_owned(), "test");
        assert!(connect_until(&stop, &config, nowhere).await.expect("no error").is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_during_the_brokers_start_stops_the_broker_too() {
        let (config, folder) = config();
        let stop = CancellationToken::new();
        stop.cancel();
        for _ in 0..2 {
            let worked = with_kafka(&config, "test", &stop, async |_, _| Ok(())).await.expect("no error");
            assert_eq!(worked, None);
            assert!(folder.path().join("broker").is_dir(), "it was started");
            assert!(!folder.path().join("broker/credential").exists(), "and stopped");
        }
    }

    fn config() -> (Config, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!(
            "listen: 127.0.0.1:0\ndata_dir: \"{}\"\nkafka: {{ brokers: embedded, listen: 127.0.0.1:0 }}\n",
            folder.path().display()
        );
        let loaded = file::parse_over(&text, Role::All, &Over::default(), &|_| Ok(None)).expect("a configuration");
        (loaded.config, folder)
    }
}
