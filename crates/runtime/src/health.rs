//! `/health/live`, `/health/ready` and `/metrics`, the same in every service.

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::{Arc, Mutex, OnceLock};

type Probe = Box<dyn Fn() -> bool + Send + Sync>;

/// Named conditions that must all hold before a service takes traffic. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<(&'static str, Probe)>>>,
    notes: Arc<Mutex<Vec<(&'static str, Probe)>>>,
}

impl Readiness {
    /// Adds a condition. It is asked at each `/health/ready`, so it must be quick.
    pub fn require(&self, name: &'static str, probe: impl Fn() -> bool + Send + Sync + 'static) {
        if let Ok(mut probes) = self.conditions.lock() {
            probes.push((name, Box::new(probe)));
        }
    }

    /// Adds a state that a person should know of and that takes nobody out of traffic: `/health/ready` shows `text` while it
    /// holds. Asked as the conditions are.
    pub fn note(&self, text: &'static str, probe: impl Fn() -> bool + Send + Sync + 'static) {
        if let Ok(mut probes) = self.notes.lock() {
            probes.push((text, Box::new(probe)));
        }
    }

    fn notes(&self) -> String {
        let Ok(probes) = self.notes.lock() else { return String::new() };
        probes.iter().filter(|(_, probe)| probe()).map(|(text, _)| format!("note: {text}\n")).collect()
    }

    /// Names of the conditions that do not hold; `None` if nothing has been required yet.
    pub fn missing(&self) -> Option<Vec<&'static str>> {
        let probes = self.conditions.lock().ok()?;
        (!probes.is_empty()).then(|| probes.iter().filter(|(_, probe)| !probe()).map(|(name, _)| *name).collect())
    }
}

/// The three routes.
pub fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/health/live", get(|| async { "ok\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(|| async { prometheus().render() }))
        .with_state(readiness)
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    match readiness.missing() {
        Some(missing) if missing.is_empty() => (StatusCode::OK, format!("ready\n{}", readiness.notes())),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: waiting for {}\n", missing.join(", "))),
        None => (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting\n".to_owned()),
    }
}

/// Seconds; from a bare hop to the longest call a default endpoint allows.
const BUCKETS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

/// The process's metrics recorder, installed at the first call.
pub fn prometheus() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS);
        let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        // Fails only if an embedding program has installed its own recorder; then that one gets the metrics.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Serves a router until `stop`, without TLS and with the default bounds: for services that answer only these routes.
pub async fn serve(
    listener: tokio::net::TcpListener,
    router: Router,
    stop: tokio_util::sync::CancellationToken,
) -> std::io::Result<()> {
    crate::listener::serve(listener, router, &crate::config::Http::default(), stop).await
}
