//! The span of a provider call, for whoever collects traces. Deliberately absent: content, and anything that was not sent.

use crate::attempt::{Call, Ended};
use tollgate_schemas::{ApiType, Attempt};
use tracing::field::Empty;

/// A client span with OpenTelemetry's GenAI attributes
/// (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>). No content is in it.
pub(crate) fn call(call: &Call<'_>, api: ApiType) -> tracing::Span {
    let operation = match api {
        ApiType::ChatCompletions | ApiType::Responses | ApiType::Messages => "chat",
        ApiType::GenerateContent => "generate_content",
        ApiType::Embeddings => "embeddings",
        ApiType::Completions => "text_completion",
        // The conventions have no word for these.
        ApiType::Moderations => "moderation",
        ApiType::CountTokens => "count_tokens",
    };
    tracing::info_span!(
        "provider_call",
        otel.name = %format_args!("{operation} {}", call.asked.upstream_model),
        otel.kind = "client",
        gen_ai.operation.name = operation,
        gen_ai.provider.name = call.wire.otel_name(),
        gen_ai.request.model = %call.asked.upstream_model,
        gen_ai.response.model = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        http.response.status_code = Empty,
        error.type = Empty,
        tollgate.destination = %call.destination.name,
        tollgate.provider = %call.destination.provider.name,
    )
}

/// Adds what came of the call.
pub(crate) fn record(span: &tracing::Span, attempt: &Attempt, ended: &Ended) {
    if let Some(answer) = &ended.answer {
        span.record("gen_ai.response.model", answer.response_model.as_deref());
        span.record("gen_ai.response.finish_reasons", answer.finish_reason.as_deref());
    }
    span.record("gen_ai.usage.input_tokens", attempt.input_tokens);
    span.record("gen_ai.usage.output_tokens", attempt.output_tokens);
    span.record("http.response.status_code", attempt.status_code);
    span.record("error.type", attempt.error_code.as_deref());
}
