//! Connects the pure core to the bus: what a record becomes, and who ends the request.
//!
//! The owner rule: while the latest record of a request is in `requests` or `completions`, this service ends it.

use crate::config::{Endpoint, Endpoints};
use crate::metric_definitions as metric;
use crate::pipeline::{self, Outcome as Found, Verdict};
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tollgate_bus::work::{Handler, Outcome};
use tollgate_bus::{Cancelled, DeadLetter, Emitter, Incoming, Outgoing, end};
use tollgate_runtime::config::Config;
use tollgate_runtime::control::Derived;
use tollgate_runtime::{BlobStore, MAX_CLOCK_SKEW_MS};
use tollgate_schemas::{
    ApiError, Body, Cancellation, Completion, ErrorCode, ExecutionId, Lane, PriceStatus, Request, Terminal,
    TraceContext, UsageRow, headers, topic,
};

/// Larger bodies are checked off the async threads.
const INLINE_MAX_BYTES: usize = 64 * 1024;
/// Waits between tries to read or write a stored body.
const STORAGE_WAITS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// What all consumers share.
pub(crate) struct Service {
    gateway: String,
    region: String,
    endpoints: Derived<Endpoints>,
    blobs: BlobStore,
    cancelled: Mutex<Cancelled>,
}

/// Consumes `requests.<lane>`.
pub(crate) struct RequestHandler(pub(crate) Arc<Service>);

/// Consumes `completions`.
pub(crate) struct CompletionHandler(pub(crate) Arc<Service>);

impl Handler<Request> for RequestHandler {
    async fn handle(&self, record: Incoming<Request>, _: Emitter) -> Outcome {
        self.0.request(record).await.unwrap_or_else(dead)
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        self.0.poisoned(record)
    }
}

impl Handler<Completion> for CompletionHandler {
    async fn handle(&self, record: Incoming<Completion>, _: Emitter) -> Outcome {
        let Incoming { value, trace, .. } = record;
        self.0.completion(value, &trace).await.unwrap_or_else(dead)
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        self.0.poisoned(record)
    }
}

fn dead(error: tollgate_bus::Error) -> Outcome {
    Outcome::dead(DeadLetter::new("guardrail", error.to_string()))
}

/// Which checks to run.
#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
}

impl Service {
    /// With what the configuration makes of the policies, and of each later one.
    pub(crate) fn new(config: &Config, endpoints: Derived<Endpoints>, blobs: BlobStore) -> Self {
        Self {
            gateway: config.gateway.clone(),
            region: config.region.clone(),
            endpoints,
            blobs,
            cancelled: Mutex::default(),
        }
    }

    fn endpoint(&self, name: &str) -> Option<Arc<Endpoint>> {
        self.endpoints.get().get(name).cloned()
    }

    /// Remembers which request is to be ended early.
    pub(crate) fn cancel(&self, cancellation: Cancellation) {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).add(cancellation);
    }

    fn is_cancelled(&self, request: &Request) -> bool {
        let cancelled = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        cancelled.holds(request.request_id, &request.caller.team)
    }

    /// The end of a request whose record cannot be processed.
    fn poisoned(&self, record: &Incoming<Vec<u8>>) -> Vec<Outgoing> {
        end::poisoned_request(&record.value, &self.gateway, &self.region, &record.trace)
    }

    async fn request(&self, record: Incoming<Request>) -> Result<Outcome, tollgate_bus::Error> {
        let expiry = record.headers.get(headers::EXPIRY_TIME).map(str::to_owned);
        let Incoming { value: mut request, trace, .. } = record;
        if let Err(error) = self.input(&mut request).await {
            metric::ended_early(error.code.as_str());
            return self.refuse(&request, error, &trace);
        }
        let mut approved = Outgoing::of(topic::approved(request.lane), request.request_id, &request, &trace)?;
        if let Some(expiry) = expiry {
            approved.header(headers::EXPIRY_TIME, expiry);
        }
        Ok(Outcome::emit(vec![approved]))
    }

    /// Checks a request and stamps it with what they did; an error ends it.
    async fn input(&self, request: &mut Request) -> Result<(), ApiError> {
        if self.is_cancelled(request) {
            return Err(cancelled());
        }
        if request.expired(tollgate_schemas::now_us() / 1000, MAX_CLOCK_SKEW_MS) {
            return Err(request.expired_error());
        }
        if request.lane == Lane::Judge {
            return Ok(());
        }
        let Some(endpoint) = self.endpoint(&request.endpoint) else {
            return Err(ApiError::new(
                ErrorCode::ModelNotFound,
                "the endpoint was removed after the request was accepted",
            ));
        };
        request.policy_version.clone_from(&endpoint.policy.version);
        if endpoint.policy.input.is_empty() {
            request.guardrail_outcome = Some(Found::None.as_str().to_owned());
            return Ok(());
        }
        let body = self.fetch(&request.body).await?;
        let verdict = check(endpoint.clone(), Side::Input, body).await;
        request.guardrail_outcome = Some(verdict.outcome.as_str().to_owned());
        if let Some(error) = verdict.error {
            return Err(error);
        }
        if let Some(body) = verdict.body {
            request.body = self.store(&request.request_id.to_string(), body).await?;
        }
        Ok(())
    }

    /// Ends a request that no provider has seen.
    fn refuse(&self, request: &Request, error: ApiError, trace: &TraceContext) -> Result<Outcome, tollgate_bus::Error> {
        let execution_id = ExecutionId::new();
        let trace_id = Some(trace.trace_id_hex());
        let mut usage = UsageRow::of(request, execution_id, &self.gateway, &self.region, trace_id);
        if let Some(endpoint) = self.endpoint(&request.endpoint) {
            usage.endpoint_tags.clone_from(&endpoint.tags);
        }
        usage.cost_usd = Some(Decimal::ZERO);
        usage.price_status = Some(PriceStatus::Free);
        let terminal = Terminal::failed(&request.caller.team, error);
        end::end_request(request, execution_id, terminal, usage, trace).map(Outcome::emit)
    }

    async fn completion(&self, completion: Completion, trace: &TraceContext) -> Result<Outcome, tollgate_bus::Error> {
        let Completion { request, mut terminal, mut usage } = completion;
        let execution_id = usage.execution_id;
        // An answer that exists is delivered and stored even if it is late or was cancelled meanwhile: it has been paid for, and
        // an earlier delivery of this record may have ended the request with it, so it must come to the same end again.
        if let Err(error) = self.output(&request, &mut terminal, &mut usage).await {
            // what was used stays in the row: a blocked answer has been billed by its provider
            let Terminal { destination, attempts, .. } = terminal;
            terminal = Terminal { destination, attempts, ..Terminal::failed(&request.caller.team, error) };
        }
        terminal.ended_us = tollgate_schemas::now_us();
        end::end_request(&request, execution_id, terminal, usage, trace).map(Outcome::emit)
    }

    /// Checks an answer; an error takes its place.
    async fn output(&self, request: &Request, terminal: &mut Terminal, usage: &mut UsageRow) -> Result<(), ApiError> {
        let Some(body) = &terminal.body else { return Ok(()) };
        let Some(endpoint) = self.endpoint(&request.endpoint) else {
            let message = "the endpoint was removed, and with it the checks of its answers; the answer is withheld";
            return Err(ApiError::new(ErrorCode::GuardrailUnavailable, message));
        };
        if endpoint.policy.output.is_empty() {
            return Ok(());
        }
        let body = self.fetch(body).await?;
        let verdict = check(endpoint.clone(), Side::Output, body).await;
        let input = usage.guardrail_outcome.as_deref().and_then(Found::parse).unwrap_or(Found::None);
        usage.guardrail_outcome = Some(input.max(verdict.outcome).as_str().to_owned());
        usage.policy_version.clone_from(&endpoint.policy.version);
        if let Some(error) = verdict.error {
            return Err(error);
        }
        if let Some(body) = verdict.body {
            terminal.body = Some(self.store(&request.request_id.to_string(), body).await?);
        }
        Ok(())
    }

    async fn fetch(&self, body: &Body) -> Result<Box<RawValue>, ApiError> {
        let mut waits = STORAGE_WAITS.into_iter();
        loop {
            match (self.blobs.check_out(body).await, waits.next()) {
                (Ok(json), _) => return Ok(json),
                (Err(error), Some(wait)) => {
                    tracing::warn!(%error, "a stored body could not be read; trying again");
                    tokio::time::sleep(wait).await;
                }
                (Err(error), None) => return Err(storage(&error)),
            }
        }
    }

    async fn store(&self, id: &str, json: Box<RawValue>) -> Result<Body, ApiError> {
        let mut waits = STORAGE_WAITS.into_iter();
        loop {
            match (self.blobs.check_in(id, json.clone()).await, waits.next()) {
                (Ok(body), _) => return Ok(body),
                (Err(error), Some(wait)) => {
                    tracing::warn!(%error, "a masked body could not be stored; trying again");
                    tokio::time::sleep(wait).await;
                }
                (Err(error), None) => return Err(storage(&error)),
            }
        }
    }
}

fn cancelled() -> ApiError {
    ApiError::new(ErrorCode::Cancelled, "the request was cancelled")
}

fn storage(error: &tollgate_runtime::blob::Error) -> ApiError {
    tracing::error!(%error, "object storage failed; the request ends");
    ApiError::new(ErrorCode::Internal, "object storage failed while the request was checked; send it again")
}

/// Runs one side's checks: here if the body is short, else on a thread that may block.
async fn check(endpoint: Arc<Endpoint>, side: Side, body: Box<RawValue>) -> Verdict {
    let started = Instant::now();
    let stage = match side {
        Side::Input => "input",
        Side::Output => "output",
    };
    let span = tracing::info_span!("guardrail", stage, outcome = tracing::field::Empty, bytes = body.get().len());
    let verdict = if body.get().len() <= INLINE_MAX_BYTES {
        check_now(&endpoint, side, &body)
    } else {
        let shared = endpoint.clone();
        let checked = tokio::task::spawn_blocking(move || check_now(&shared, side, &body)).await;
        checked.unwrap_or_else(|_| broken(&endpoint, side))
    };
    span.record("outcome", verdict.outcome.as_str());
    metric::checked(stage, &verdict, started.elapsed());
    verdict
}

/// A check that panics must not turn its request into a dead letter that nobody answers.
fn check_now(endpoint: &Endpoint, side: Side, body: &RawValue) -> Verdict {
    let run = || match side {
        Side::Input => pipeline::check_request(&endpoint.policy, body),
        Side::Output => pipeline::check_answer(&endpoint.policy, body),
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| broken(endpoint, side))
}

fn broken(endpoint: &Endpoint, side: Side) -> Verdict {
    tracing::error!("a check panicked; the request is refused; this is a defect, please report it with the log");
    match side {
        Side::Input => pipeline::broken(&endpoint.policy.input),
        Side::Output => pipeline::broken(&endpoint.policy.output),
    }
}

#[cfg(test)]
mod tests;
