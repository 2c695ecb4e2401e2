//! One request from its approval to its end: try destinations until one answers, and account for every call.

use crate::{
    attempt::{Broken, Call, ChunkSink, Ended, Limits},
    config::{Endpoint, Router},
    failure::{Class, Failure},
    ledger::Ledger,
    metric,
    providers::{Asked, Fields},
    route::{self, Outcome, Step},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tollgate_runtime::{BlobStore, MAX_CLOCK_SKEW_MS};
use tollgate_schemas::{ApiError, AttemptAction, Body, ErrorCode, ExecutionId, Lane, Request, Terminal, UsageRow};
use tracing::{Instrument, field::Empty};

/// What an execution needs beside the request.
#[derive(Clone)]
pub(crate) struct Executor {
    /// Endpoints, providers, prices.
    pub router: Arc<Router>,
    /// Where large bodies are.
    pub blobs: BlobStore,
}

/// How a request ended, before anybody has been told.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The end. Its `chunks` is for the sender of the chunks to fill.
    pub terminal: Terminal,
    /// The row, but for what the end decides.
    pub usage: UsageRow,
    /// The answer must pass the guardrail's output checks before it may go out.
    pub is_checked: bool,
}

/// A request under way.
struct Execution<'a, S> {
    executor: &'a Executor,
    request: &'a Request,
    endpoint: &'a Endpoint,
    chat: Fields,
    is_checked: bool,
    cancel: &'a CancellationToken,
    sink: Option<&'a mut S>,
    limits: Limits,
    ledger: Ledger,
    history: Vec<Outcome>,
    /// The last failure of a call that was made, and the first reason why one could not be made.
    failure: Option<Failure>,
    inexpressible: Option<Failure>,
}

/// The last word on a request.
enum End {
    Answered(Ended),
    /// Broken or cancelled after the caller had seen a part.
    Broken(Ended),
    Cancelled,
    Exhausted,
}

impl Executor {
    /// Runs a request to its end. Chunks of a stream go to `sink`. Never fails: an error is an end too.
    pub(crate) async fn execute<S: ChunkSink>(
        &self,
        request: &Request,
        execution_id: ExecutionId,
        trace_id: Option<String>,
        sink: &mut S,
        cancel: &CancellationToken,
    ) -> Finished {
        let mut usage = UsageRow::of(request, execution_id, &self.router.gateway, &self.router.region, trace_id);
        let endpoint = match self.router.endpoint(&request.endpoint) {
            Some(endpoint) => endpoint,
            None => return failed(request, usage, unknown_endpoint(request)),
        };
        usage.endpoint_tags.clone_from(&endpoint.tags);
        if cancel.is_cancelled() {
            return failed(request, usage, cancelled());
        }
        let now_ms = tollgate_schemas::now_us() / 1000;
        if request.expired(now_ms, MAX_CLOCK_SKEW_MS) {
            return failed(request, usage, request.expired_error());
        }
        let chat = match self.chat(request).await {
            Ok(chat) => chat,
            Err(error) => return failed(request, usage, error),
        };
        let left_ms = request.deadline_ms.saturating_add(MAX_CLOCK_SKEW_MS).saturating_sub(now_ms);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(FAR);
        let now = Instant::now();
        let limits =
            Limits { timeout: endpoint.timeout, total: now + endpoint.timeout.total.duration(), deadline: now + left };
        // A judge's answer is itself part of a check.
        let is_checked = endpoint.is_checked && request.lane != Lane::Judge;
        let sink = (request.stream && !is_checked).then_some(sink);
        let mut execution = Execution {
            executor: self,
            request,
            endpoint: &endpoint,
            chat,
            is_checked,
            cancel,
            sink,
            limits,
            ledger: Ledger::default(),
            history: Vec::new(),
            failure: None,
            inexpressible: None,
        };
        let end = execution.run().await;
        execution.finish(end, usage).await
    }

    async fn chat(&self, request: &Request) -> Result<Fields, ApiError> {
        let body = self.blobs.check_out(&request.body).await.map_err(|error| {
            tracing::error!(%error, request_id = %request.request_id, "a request's body cannot be read");
            ApiError::new(ErrorCode::Internal, "the request's body could not be read from object storage")
        })?;
        Fields::parse(body.get())
            .map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the body must be a JSON object"))
    }
}

/// Far enough away to mean never, near enough for the clock's arithmetic.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl<S: ChunkSink> Execution<'_, S> {
    async fn run(&mut self) -> End {
        let endpoint = self.endpoint;
        let fallbacks = endpoint.destinations.len() - endpoint.weights.len();
        let order = route::order(&endpoint.weights, fallbacks, fastrand::f64());
        loop {
            let left = self.limits.end().saturating_duration_since(Instant::now());
            let step = route::next(&order, &endpoint.retry, &self.history, left, fastrand::f64());
            let Step::Try { destination, action, after } = step else { return End::Exhausted };
            if !after.is_zero() {
                tokio::select! {
                    () = self.cancel.cancelled() => return End::Cancelled,
                    () = tokio::time::sleep(after) => {}
                }
            }
            if let Some(end) = self.attempt(destination, action).await {
                return end;
            }
        }
    }

    /// Makes one call and enters it into the ledger. `None`: go on.
    async fn attempt(&mut self, index: usize, action: AttemptAction) -> Option<End> {
        let destination = &self.endpoint.destinations[index];
        let asked = Asked {
            chat: &self.chat,
            upstream_model: &destination.model,
            shown_model: &self.request.model,
            stream: self.request.stream,
            default_max_tokens: self.endpoint.default_max_tokens,
            created: tollgate_schemas::now_us() / 1_000_000,
        };
        let call = Call { destination, asked, lane: self.request.lane, limits: self.limits, cancel: self.cancel };
        let span = call_span(&call);
        let calls = self.ledger.calls();
        if let Some(sink) = &mut self.sink {
            sink.trying(&destination.name, u32::try_from(calls).unwrap_or(u32::MAX).saturating_add(1));
        }
        let ended = call.run(self.sink.as_deref_mut()).instrument(span.clone()).await;
        self.ledger.enter(&self.executor.router, destination, action, &ended, &self.chat);
        if let Some(attempt) = self.ledger.attempts().get(calls) {
            metric::attempt(attempt, &ended);
            record_span(&span, attempt, &ended);
        }
        match ended.broken {
            None => Some(End::Answered(ended)),
            Some(_) if ended.is_seen => Some(End::Broken(ended)),
            Some(Broken::Cancelled) => Some(End::Cancelled),
            Some(Broken::Failed(failure)) => {
                self.history.push(Outcome {
                    destination: index,
                    class: failure.class,
                    status: failure.status,
                    retry_after: failure.retry_after,
                });
                match failure.class {
                    Class::Inexpressible => drop(self.inexpressible.get_or_insert(failure)),
                    _ => self.failure = Some(failure),
                }
                None
            }
        }
    }

    async fn finish(self, end: End, mut usage: UsageRow) -> Finished {
        let (attempts, last) = (self.ledger.calls(), self.ledger.attempts().last().map(|a| a.destination.clone()));
        let (terminal, first_content_us, finish_reason) = match end {
            End::Answered(ended) => {
                let first = ended.first_content_us;
                let reason = ended.answer.as_ref().and_then(|answer| answer.finish_reason.clone());
                (self.answered(ended).await, first, reason)
            }
            End::Broken(ended) => {
                let first = ended.first_content_us;
                (self.interrupted(ended).await, first, None)
            }
            End::Cancelled => (Terminal::failed(&self.request.caller.team, cancelled()), None, None),
            End::Exhausted => (self.exhausted(), None, None),
        };
        let terminal =
            Terminal { destination: last, attempts: u32::try_from(attempts).unwrap_or(u32::MAX), ..terminal };
        self.ledger.fill(&mut usage, first_content_us, finish_reason);
        Finished { terminal, usage, is_checked: self.is_checked }
    }

    async fn answered(&self, ended: Ended) -> Terminal {
        match self.check_in(ended).await {
            Ok(body) => Terminal { body: Some(body), ..self.blank() },
            Err(error) => Terminal::failed(&self.request.caller.team, error),
        }
    }

    /// The caller has seen the beginning: it gets what there was, and why there is no more.
    async fn interrupted(&self, mut ended: Ended) -> Terminal {
        let error = match ended.broken.take() {
            Some(Broken::Failed(failure)) => match failure.class {
                Class::Timeout => {
                    ApiError::new(ErrorCode::ProviderTimeout, "the provider stopped in the middle of its answer")
                }
                Class::Deadline => failure.api_error(),
                _ => ApiError::new(ErrorCode::ProviderError, "the provider's stream broke in the middle of its answer"),
            },
            _ => cancelled(),
        };
        let body = self.check_in(ended).await.ok();
        Terminal { status: error.code.status(), body, error: Some(error), ..self.blank() }
    }

    fn exhausted(&self) -> Terminal {
        let Some(failure) = self.failure.as_ref().or(self.inexpressible.as_ref()) else {
            // No call was made at all: there was nobody to call, or no time.
            let nobody = || ApiError::new(ErrorCode::ProviderError, "the endpoint has no destination");
            let is_empty = self.endpoint.destinations.is_empty();
            let error = if is_empty { nobody() } else { self.request.expired_error() };
            return Terminal::failed(&self.request.caller.team, error);
        };
        let error = failure.api_error();
        let mut terminal = Terminal::failed(&self.request.caller.team, error);
        match failure.class {
            Class::Rejected => terminal.status = failure.status.unwrap_or(terminal.status),
            Class::Inexpressible | Class::Deadline => {}
            // The gateway has tried as often as is sensible; an SDK that tries again would only multiply that.
            _ => drop(terminal.headers.insert("x-should-retry".to_owned(), "false".to_owned())),
        }
        if let (Class::RateLimited, Some(wait)) = (failure.class, failure.retry_after) {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            terminal.headers.insert("retry-after".to_owned(), seconds.max(1).to_string());
        }
        terminal
    }

    fn blank(&self) -> Terminal {
        Terminal {
            status: 200,
            body: None,
            error: None,
            chunks: 0,
            team: self.request.caller.team.clone(),
            destination: None,
            attempts: 0,
            headers: std::collections::BTreeMap::new(),
            ended_us: tollgate_schemas::now_us(),
        }
    }

    async fn check_in(&self, ended: Ended) -> Result<Body, ApiError> {
        let internal = |message: &str| ApiError::new(ErrorCode::Internal, message);
        let answer = ended.answer.ok_or_else(|| internal("the answer was lost; this is a defect"))?;
        let id = self.request.request_id.to_string();
        self.executor.blobs.check_in(&id, answer.body).await.map_err(|error| {
            tracing::error!(%error, request_id = %id, "an answer cannot be stored");
            internal("the answer is too large for a record and could not be written to object storage")
        })
    }
}

fn failed(request: &Request, usage: UsageRow, error: ApiError) -> Finished {
    Finished { terminal: Terminal::failed(&request.caller.team, error), usage, is_checked: false }
}

fn cancelled() -> ApiError {
    ApiError::new(ErrorCode::Cancelled, "the request was cancelled")
}

fn unknown_endpoint(request: &Request) -> ApiError {
    let message = format!("the endpoint `{}` has been removed since the request was accepted", request.endpoint);
    ApiError::new(ErrorCode::ModelNotFound, message).param("model")
}

/// A client span with OpenTelemetry's GenAI attributes
/// (<https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>). No content is in it.
fn call_span(call: &Call<'_>) -> tracing::Span {
    tracing::info_span!(
        "provider_call",
        otel.name = %format_args!("chat {}", call.destination.model),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = call.destination.provider.kind.wire.otel_name(),
        gen_ai.request.model = %call.destination.model,
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

fn record_span(span: &tracing::Span, attempt: &tollgate_schemas::Attempt, ended: &Ended) {
    if let Some(answer) = &ended.answer {
        span.record("gen_ai.response.model", answer.response_model.as_deref());
        span.record("gen_ai.response.finish_reasons", answer.finish_reason.as_deref());
    }
    span.record("gen_ai.usage.input_tokens", attempt.input_tokens);
    span.record("gen_ai.usage.output_tokens", attempt.output_tokens);
    span.record("http.response.status_code", attempt.status_code);
    span.record("error.type", attempt.error_code.as_deref());
}
