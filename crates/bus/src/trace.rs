//! Spans around a hop: a consumer span that continues the producer's trace and links to it, a producer span.
//!
//! Names: OpenTelemetry messaging conventions, <https://opentelemetry.io/docs/specs/semconv/messaging/kafka/>. When no
//! exporter is configured the trace context still travels, because logs carry the trace id; then only ids are made.

use crate::record::Incoming;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use std::str::FromStr;
use tollgate_schemas::TraceContext;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A consumer span of one record, at a level and target that decide who sees it.
macro_rules! hop {
    ($level:expr, $target:expr, $record:expr, $group:expr) => {
        tracing::span!(
            target: $target,
            $level,
            "process",
            otel.name = %format_args!("process {}", $record.topic),
            otel.kind = "consumer",
            trace_id = %$record.trace.trace_id_hex(),
            messaging.system = "kafka",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = %$record.topic,
            messaging.destination.partition.id = $record.partition,
            messaging.kafka.offset = $record.offset,
            messaging.consumer.group.name = $group,
        )
    };
}

/// A span for processing one record, and the context to put on what the processing sends.
pub(crate) fn process_span<T>(record: &Incoming<T>, group: &str) -> (Span, TraceContext) {
    let span = hop!(Level::INFO, "tollgate_bus", record, group);
    continue_trace(&span, &record.trace);
    let here = current(&span, &record.trace);
    (span, here)
}

/// A span for a record that is one of many processed together. It exists only where spans are exported: its level keeps it
/// out of logs, and then it costs nothing.
pub fn row_span<T>(record: &Incoming<T>, group: &str) -> Span {
    let span = hop!(Level::TRACE, ROW_SPANS, record, group);
    if !span.is_disabled() {
        continue_trace(&span, &record.trace);
    }
    span
}

/// The target of spans that only an exporter wants; `runtime::telemetry` lets it through to exporters.
pub const ROW_SPANS: &str = "tollgate_rows";

/// The producer's span becomes the parent, and is linked to as the conventions ask.
fn continue_trace(span: &Span, producer: &TraceContext) {
    let parent = to_otel(producer);
    span.add_link(parent.clone());
    // Fails only if there is no exporter, and then nobody would see the parent.
    let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
}

/// A span for publishing to a topic on behalf of a caller, and the context to put on the record. `parent` is the
/// caller's own context, if it sent one.
pub fn producer_span(name: &str, parent: Option<&TraceContext>) -> (Span, TraceContext) {
    let start = parent.cloned().unwrap_or_default();
    let span = tracing::info_span!("request", otel.name = name, otel.kind = "server", trace_id = %start.trace_id_hex());
    if parent.is_some() {
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(to_otel(&start)));
    }
    let here = current(&span, &start);
    if here.trace_id != start.trace_id {
        span.record("trace_id", here.trace_id_hex());
    }
    (span, here)
}

fn current(span: &Span, fallback: &TraceContext) -> TraceContext {
    let context = span.context();
    let otel = context.span();
    let otel = otel.span_context();
    if !otel.is_valid() {
        return fallback.child();
    }
    TraceContext {
        trace_id: u128::from_be_bytes(otel.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(otel.span_id().to_bytes()),
        flags: otel.trace_flags().to_u8(),
        state: fallback.state.clone(),
    }
}

fn to_otel(trace: &TraceContext) -> SpanContext {
    let state = trace.state.as_deref().and_then(|s| TraceState::from_str(s).ok()).unwrap_or_default();
    let (trace_id, span_id) = (TraceId::from(trace.trace_id), SpanId::from(trace.span_id));
    SpanContext::new(trace_id, span_id, TraceFlags::new(trace.flags), true, state)
}
