//! Logs and traces. Logs go to standard error as text, or as JSON with `TOLLGATE_LOG_FORMAT=json`; `TOLLGATE_LOG` filters them
//! (`info` by default). Traces go out by OTLP over HTTP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
//!
//! Deliberately absent: content. No span or log line holds a body, a key or matched text.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// The store's client tells of each of its own repetitions, which would flood the log while storage is away; whoever waits
/// for storage says so.
const LOG_DEFAULT: &str = "info,object_store::client::retry=warn";

/// Flushes spans when dropped: keep it until the end of `main`.
pub struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            let _ = provider.shutdown();
        }
    }
}

/// Sets the process's logger, tracer and metrics recorder. `service` is OpenTelemetry's `service.name`. Call it once, inside
/// the async runtime.
pub fn init(service: &str) -> Telemetry {
    crate::health::prometheus();
    // A panic's message may quote what was being worked on, so only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(place, "panic");
    }));
    let filter = || EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    let json = std::env::var("TOLLGATE_LOG_FORMAT").is_ok_and(|format| format == "json");
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let logs = if json { text.json().with_current_span(true).boxed() } else { text.boxed() };
    let provider = exporter(service);
    let spans = provider.as_ref().map(|p| {
        let layer =
            tracing_opentelemetry::layer().with_tracer(p.tracer("tollgate")).with_location(false).with_threads(false);
        // `tollgate_rows`: spans of single records in a batch (`tollgate_bus::ROW_SPANS`), for exporters only.
        layer.with_filter(EnvFilter::new("info,tollgate_rows=trace"))
    });
    let registry = tracing_subscriber::registry().with(logs.with_filter(filter())).with(spans);
    // Fails only if an embedding program has set its own subscriber; then that one is used.
    let _ = registry.try_init();
    Telemetry(provider)
}

fn exporter(service: &str) -> Option<SdkTracerProvider> {
    std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").filter(|endpoint| !endpoint.is_empty())?;
    let exporter = match opentelemetry_otlp::SpanExporter::builder().with_http().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            eprintln!("traces are not exported: OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {error}");
            return None;
        }
    };
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
