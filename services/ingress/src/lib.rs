//! Ingress: who asks, whether they may, and the way back of the answer.
//!
//! ```text
//! HTTP ──► auth ─► admit ─► requests.<lane> (approved.<lane> where the policy has no input check)
//! in.<team> ─► jobs ─► admit ─┘
//! idempotency ─► idempotency: which requests repeat an earlier one
//! replies ─► (bus) replies ─► HTTP              replies (group `results`) ─► results ─► GET /v1/requests/{id}
//! ```
//!
//! Writes: `requests.*`, `approved.*`, `idempotency`, `cancellations`, `out.<team>` (answers of jobs that were refused here),
//! `dead-letters`. Reads: `in.<team>`, `idempotency`, `replies`.
//!
//! Deliberately absent: provider credentials, checks, and ending a request: once published, a request belongs to whoever
//! holds its latest record, so a wait that runs out, or that a stop cuts short, answers `still_running`, which is not an end.

mod admin;
mod admit;
mod auth;
mod background;
mod bodies;
mod config;
mod error;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod http;
mod idempotency;
mod jobs;
mod pending;
mod reserve;
mod results;

pub use admit::{Admission, Called, Door};
pub use auth::roles;
pub use config::IngressConfig;
pub use error::Error;
pub use gateway::Gateway;
pub use pending::{Answer, Pending};

use reserve::{Desk, Keeper};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Bus, Profile, replies::Replies};
use tollgate_runtime::{BlobStore, Control, Readiness, health, store};

/// How long what runs in the background may take to commit and leave its groups, after the callers' time is over.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long callers may take to read that their time is over.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(2);

/// How ingress stops, step by step.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    /// No more jobs are taken; HTTP goes on, for those who have not heard yet and those who wait.
    pub asked: CancellationToken,
    /// Callers that still wait are told that their requests go on.
    pub over: CancellationToken,
    /// What callers needed in the background ends.
    pub background: CancellationToken,
}

impl Stops {
    /// All at once.
    pub fn at(stop: &CancellationToken) -> Self {
        Self { asked: stop.clone(), over: stop.clone(), background: stop.clone() }
    }
}

/// Runs the service until `stop`, then finishes what is in flight. `listener` is where HTTP comes in. Topics must exist.
pub async fn run(
    control: &Control,
    bus: Bus,
    listener: tokio::net::TcpListener,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), Error> {
    let stops = Stops { asked: stop.clone(), ..Stops::default() };
    let (gateway, mut parts) = start(control, bus, &readiness, stops.clone()).await?;
    let stopping = stop.clone();
    readiness.require("not stopping", move || !stopping.is_cancelled());
    let routes = http::routes(gateway).merge(health::routes(readiness));
    tracing::info!(address = %listener.local_addr()?, "ingress is listening");
    let config = control.base();
    let (drain, closed) = (config.shutdown.drain.duration(), CancellationToken::new());
    let ending = async {
        stop.cancelled().await;
        tokio::time::sleep(config.unready()).await;
        closed.cancel();
        tokio::time::sleep(drain).await;
        tracing::warn!("requests are still in flight after {drain:?}; their callers are told and can ask again by id");
        stops.over.cancel();
        tokio::time::sleep(LAST_WORD_TIMEOUT).await;
    };
    tokio::select! {
        served = tollgate_runtime::listener::serve(listener, routes, &config.http, closed.clone()) => served?,
        () = ending => tracing::warn!("some callers did not read that in {LAST_WORD_TIMEOUT:?}"),
    }
    stops.background.cancel();
    // What has been read from a team's topic is published within milliseconds, or repeated by the next reader.
    tokio::time::timeout(LEAVE_TIMEOUT, parts.stopped()).await.unwrap_or(Ok(()))
}

/// Starts everything but HTTP: for `run`, and for programs that embed the gateway (the benchmark).
pub async fn start(
    control: &Control,
    bus: Bus,
    readiness: &Readiness,
    stops: Stops,
) -> Result<(Arc<Gateway>, Parts), Error> {
    let (store, background) = (store::open(control.base())?, &stops.background);
    let live =
        control.derive("ingress", background, move |config, last| IngressConfig::of(config, store.clone(), last))?;
    let config = live.get();
    let interactive = bus.producer(Profile::Door)?;
    let blobs = BlobStore::new(config.store.clone());
    let replies = Replies::assign(&bus, background.clone()).await?;
    let results = results::Results::start(&bus, &config, readiness, background.clone())?;
    let window = config.results_window;
    let keys = idempotency::Keys::start(&bus, interactive.clone(), window, readiness, background.clone()).await?;
    let desk = Arc::new(Desk::open(control, background)?);
    let keeper = Keeper::start(desk.clone(), control, bus.clone(), config.store.clone(), readiness, background.clone());
    let live_parts = (control.clone(), live.clone());
    let (reader, parts) = (results.reader(), (keys, desk));
    let gateway = Arc::new(Gateway::new(live_parts, interactive, blobs, replies, reader, parts, stops.clone()));
    let jobs = jobs::start(live, &bus, gateway.clone(), readiness, stops.asked).await?;
    // The replies of this replica are assigned by now, so this condition holds as soon as it is asked for.
    readiness.require("reply assignment", || true);
    Ok((gateway, Parts { jobs: Some(jobs), results: Some(results), keeper: Some(keeper) }))
}

/// What runs in the background.
pub struct Parts {
    jobs: Option<jobs::Doors>,
    results: Option<results::Results>,
    keeper: Option<tokio::task::JoinHandle<Option<()>>>,
}

impl Parts {
    /// Waits for the end of everything after the stop token was cancelled.
    pub async fn stopped(&mut self) -> Result<(), Error> {
        if let Some(jobs) = self.jobs.take() {
            jobs.stopped().await?;
        }
        if let Some(results) = self.results.take() {
            results.stopped().await?;
        }
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.await;
        }
        Ok(())
    }
}
