//! Connects the pure core to the bus: what a record becomes, and who ends the request.
//!
//! The owner rule: while the latest record of a request is in `requests` or `completions`, this service ends it.

use crate::config::{Endpoint, Endpoints};
use crate::court::{Court, Hearing, Open, Sends};
use crate::judges::Ruling;
use crate::metric_definitions as metric;
use crate::pipeline::{self, Outcome as Found, Side, Sifted, Verdict};
use crate::restore::Restorer;
use crate::streams::Streams;
use rust_decimal::Decimal;
use serde_json::value::RawValue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};
use tollgate_bus::replies::Replies;
use tollgate_bus::work::{Handler, Outcome};
use tollgate_bus::{Cancelled, DeadLetter, Emitter, Incoming, Outgoing, end};
use tollgate_runtime::config::Config;
use tollgate_runtime::control::Derived;
use tollgate_runtime::{BlobStore, MAX_CLOCK_SKEW_MS};
use tollgate_schemas::{
    ApiError, ApiType, Cancellation, Completion, ErrorCode, ExecutionId, Lane, PriceStatus, Produced, Request,
    RequestId, Terminal, TraceContext, UsageRow, headers, left_until, topic,
};

/// Larger bodies are checked off the async threads.
const INLINE_MAX_BYTES: usize = 64 * 1024;

/// Told in place of an answer that storage does not give or take.
const UNSTORED: &str = "the answer was produced and is billed, but object storage failed while it was checked; \
                        what is sent again is billed again";

/// What all consumers share.
pub(crate) struct Service {
    gateway: String,
    region: String,
    endpoints: Derived<Endpoints>,
    blobs: BlobStore,
    court: Court,
    streams: Streams,
    /// Bytes of jobs' stored bodies that there is room for.
    stored: Semaphore,
    cancelled: Mutex<Cancelled>,
    /// Something has been cancelled.
    news: Notify,
}

/// Consumes `requests.<lane>`.
pub(crate) struct RequestHandler(pub(crate) Arc<Service>);

/// Consumes `completions`.
pub(crate) struct CompletionHandler(pub(crate) Arc<Service>);

impl Handler<Request> for RequestHandler {
    async fn handle(&self, record: Incoming<Request>, emitter: Emitter) -> Outcome {
        self.0.request(record, &emitter).await.unwrap_or_else(dead)
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        self.0.poisoned(record)
    }
}

impl Handler<Produced> for CompletionHandler {
    async fn handle(&self, record: Incoming<Produced>, emitter: Emitter) -> Outcome {
        let Incoming { value, trace, .. } = record;
        match value {
            Produced::Whole(completion) => self.0.completion(*completion, &trace, &emitter).await.unwrap_or_else(dead),
            Produced::Chunk(chunk) => {
                self.0.chunk(*chunk, &trace, &emitter).await;
                Outcome::default()
            }
        }
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        self.0.poisoned(record)
    }
}

fn dead(error: tollgate_bus::Error) -> Outcome {
    Outcome::dead(DeadLetter::new("guardrail", error.to_string()))
}

/// Why a record does not simply go on.
enum Stopped {
    /// Its request ends.
    Ended(ApiError),
    /// A judge or storage did not answer, and this process is leaving: whoever gets the record next asks again.
    HandedBack,
    /// Its body could not be read or written.
    Storage,
}

impl From<ApiError> for Stopped {
    fn from(error: ApiError) -> Self {
        Stopped::Ended(error)
    }
}

/// An answer, and the row of its request.
struct Answer<'a> {
    request: &'a Request,
    terminal: &'a mut Terminal,
    usage: &'a mut UsageRow,
}

/// A body to be checked, and what it belongs to.
struct Checking<'a> {
    endpoint: &'a Arc<Endpoint>,
    side: Side,
    request: &'a Request,
    trace: &'a TraceContext,
    open: &'a Open,
}

impl Service {
    /// With what the configuration makes of the policies, and of each later one; judges answer at `replies`.
    pub(crate) fn new(config: &Config, endpoints: Derived<Endpoints>, blobs: BlobStore, replies: Replies) -> Self {
        Self {
            gateway: config.gateway.clone(),
            region: config.region.clone(),
            endpoints,
            court: Court::new(replies, blobs.clone()),
            streams: Streams::default(),
            stored: Semaphore::new(bodies::JOBS_MAX_BYTES),
            blobs,
            cancelled: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// What a request meets; `None`: its endpoint is gone.
    fn endpoint(&self, request: &Request) -> Option<Arc<Endpoint>> {
        self.endpoints.get().of(request)
    }

    /// Remembers which request is to be ended early.
    pub(crate) fn cancel(&self, cancellation: Cancellation) {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).add(cancellation);
        self.news.notify_waiters();
    }

    fn is_cancelled(&self, id: RequestId, team: &str) -> bool {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).holds(id, team)
    }

    /// Waits until a request is to be ended early.
    async fn cancellation(&self, id: RequestId, team: &str) {
        loop {
            // Made before the look, so that nothing comes between the two.
            let news = self.news.notified();
            if self.is_cancelled(id, team) {
                return;
            }
            news.await;
        }
    }

    /// The end of a request whose record cannot be processed.
    fn poisoned(&self, record: &Incoming<Vec<u8>>) -> Vec<Outgoing> {
        end::poisoned_request(&record.value, &self.gateway, &self.region, &record.trace)
    }

    async fn request(&self, record: Incoming<Request>, sends: &impl Sends) -> Result<Outcome, tollgate_bus::Error> {
        let expiry = record.headers.get(headers::EXPIRY_TIME).map(str::to_owned);
        let Incoming { value: mut request, trace, .. } = record;
        let (open, id, team) = (Open::default(), request.request_id, request.caller.team.clone());
        let checked = tokio::select! {
            biased;
            checked = self.input(&mut request, &trace, (&open, sends)) => Some(checked),
            () = self.cancellation(id, &team) => None,
        };
        if checked.is_none() || request.expired(tollgate_schemas::now_us() / 1000, MAX_CLOCK_SKEW_MS) {
            open.call_off(&request, &trace, sends).await;
        }
        let error = match checked {
            Some(Ok(())) => None,
            Some(Err(Stopped::HandedBack)) => return Ok(Outcome::hand_back()),
            Some(Err(Stopped::Ended(error))) => Some(error),
            Some(Err(Stopped::Storage)) => Some(unchecked(&request)),
            None => Some(cancelled()),
        };
        if let Some(error) = error {
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
    async fn input(
        &self,
        request: &mut Request,
        trace: &TraceContext,
        (open, sends): (&Open, &impl Sends),
    ) -> Result<(), Stopped> {
        if self.is_cancelled(request.request_id, &request.caller.team) {
            return Err(cancelled().into());
        }
        if request.expired(tollgate_schemas::now_us() / 1000, MAX_CLOCK_SKEW_MS) {
            return Err(request.expired_error().into());
        }
        if request.lane == Lane::Judge {
            return Ok(());
        }
        let Some(endpoint) = self.endpoint(request) else {
            let message = "the endpoint was removed after the request was accepted";
            return Err(ApiError::new(ErrorCode::ModelNotFound, message).into());
        };
        request.policy_version.clone_from(&endpoint.policy.version);
        if endpoint.policy.input.is_empty() {
            request.guardrail_outcome = Some(Found::None.as_str().to_owned());
            return Ok(());
        }
        let _room = self.room(request, &request.body).await?;
        let body = self.fetch(request, &request.body, sends).await?;
        let checking = Checking { endpoint: &endpoint, side: Side::Input, request: &*request, trace, open };
        let verdict = self.check(checking, body, sends).await?;
        request.guardrail_outcome = Some(verdict.outcome.as_str().to_owned());
        request.guardrails = verdict.checks.iter().map(pipeline::Checked::record).collect();
        if let Some(error) = verdict.error {
            return Err(error.into());
        }
        if let Some(body) = verdict.body {
            let masked = self.store(request, body, sends).await?;
            request.body = masked;
        }
        if has_texts(request.api_type) {
            (request.restore, request.masked) = (verdict.restore, verdict.masked);
        }
        Ok(())
    }

    /// Ends a request that no provider has seen.
    fn refuse(&self, request: &Request, error: ApiError, trace: &TraceContext) -> Result<Outcome, tollgate_bus::Error> {
        let execution_id = ExecutionId::new();
        let trace_id = Some(trace.trace_id_hex());
        let mut usage = UsageRow::of(request, execution_id, &self.gateway, &self.region, trace_id);
        if let Some(endpoint) = self.endpoint(request) {
            usage.endpoint_tags.clone_from(&endpoint.tags);
            let input = &endpoint.policy.input;
            // It ended before there was a verdict.
            if usage.guardrails.is_empty() && request.lane != Lane::Judge && !input.is_empty() {
                usage.guardrails = pipeline::not_run(input).iter().map(pipeline::Checked::record).collect();
                usage.guardrail_outcome = Some(Found::NotRun.as_str().to_owned());
                usage.policy_version.clone_from(&endpoint.policy.version);
            }
        }
        usage.cost_usd = Some(Decimal::ZERO);
        usage.price_status = Some(PriceStatus::Free);
        let terminal = Terminal::failed(&request.caller.team, error);
        end::end_request(request, execution_id, terminal, usage, trace).map(Outcome::emit)
    }

    async fn completion(
        &self,
        completion: Completion,
        trace: &TraceContext,
        sends: &impl Sends,
    ) -> Result<Outcome, tollgate_bus::Error> {
        let Completion { request, mut terminal, mut usage } = completion;
        let execution_id = usage.execution_id;
        let live = self.streams.ended(request.request_id, execution_id, terminal.chunks).await;
        // Those of the guardrail count, not those that came to it.
        terminal.chunks = 0;
        // An answer that exists is delivered and stored even if it is late or was cancelled meanwhile: it has been paid for, and
        // an earlier delivery of this record may have ended the request with it, so it must come to the same end again.
        let answer = Answer { request: &request, terminal: &mut terminal, usage: &mut usage };
        let room = match &answer.terminal.body {
            Some(body) => self.room(&request, body).await,
            None => Ok(None),
        };
        let checked = match (&room, &live) {
            (Err(_), _) => Err(Stopped::Storage),
            (_, Some(live)) => self.finish(live, answer, (trace, sends)).await,
            (_, None) => self.output(answer, (trace, sends)).await,
        };
        let restored = match checked {
            Ok(()) => self.restore(&request, &mut terminal, sends).await,
            stopped => stopped,
        };
        match restored {
            Ok(()) => {}
            Err(Stopped::HandedBack) => return Ok(Outcome::hand_back()),
            Err(Stopped::Ended(error)) => terminal = withheld(&request, terminal, error),
            Err(Stopped::Storage) => {
                terminal = withheld(&request, terminal, ApiError::new(ErrorCode::Internal, UNSTORED));
                terminal.forbid_retry();
            }
        }
        terminal.ended_us = tollgate_schemas::now_us();
        end::end_request(&request, execution_id, terminal, usage, trace).map(Outcome::emit)
    }

    /// Checks an answer; an error takes its place.
    async fn output(&self, answer: Answer<'_>, (trace, sends): (&TraceContext, &impl Sends)) -> Result<(), Stopped> {
        let Answer { request, terminal, usage } = answer;
        let Some(body) = &terminal.body else { return Ok(()) };
        let Some(endpoint) = self.endpoint(request) else {
            let message = "the endpoint was removed, and with it the checks of its answers; the answer is withheld";
            return Err(ApiError::new(ErrorCode::GuardrailUnavailable, message).into());
        };
        if endpoint.policy.output.is_empty() {
            return Ok(());
        }
        let body = self.fetch(request, body, sends).await?;
        let (side, open) = (Side::Output, &Open::default());
        let verdict = self.check(Checking { endpoint: &endpoint, side, request, trace, open }, body, sends).await?;
        let answer = Answer { request, terminal, usage };
        self.judged(answer, verdict, endpoint.policy.version.as_ref(), sends).await
    }

    /// Enters what the checks of an answer did into its row, and puts what they made of it in its place.
    async fn judged(
        &self,
        answer: Answer<'_>,
        verdict: Verdict,
        version: Option<&String>,
        sends: &impl Sends,
    ) -> Result<(), Stopped> {
        let Answer { request, terminal, usage } = answer;
        let input = usage.guardrail_outcome.as_deref().and_then(Found::parse).unwrap_or(Found::None);
        usage.guardrail_outcome = Some(input.max(verdict.outcome).as_str().to_owned());
        usage.guardrails.extend(verdict.checks.iter().map(pipeline::Checked::record));
        usage.policy_version = version.cloned();
        if let Some(error) = verdict.error {
            return Err(error.into());
        }
        if let Some(body) = verdict.body {
            terminal.body = Some(self.store_answer(request, body, sends).await?);
        }
        Ok(())
    }

    /// Puts back into an answer what masking took from its request. After the checks: they are about what the provider has written, and what
    /// the caller has written goes back to nobody else.
    async fn restore(&self, request: &Request, terminal: &mut Terminal, sends: &impl Sends) -> Result<(), Stopped> {
        let Some(body) = terminal.body.as_ref().filter(|_| !request.restore.is_empty()) else { return Ok(()) };
        let (body, restorer) = (self.fetch(request, body, sends).await?, Restorer::new(request.restore.clone()));
        let restored = if body.get().len() <= INLINE_MAX_BYTES {
            restorer.answer(&body)
        } else {
            let restored = tokio::task::spawn_blocking(move || restorer.answer(&body)).await;
            let broken = "what masking took could not be put back into the answer; report it with the request id";
            restored.map_err(|_| ApiError::new(ErrorCode::Internal, broken))?
        };
        if let Some(restored) = restored {
            terminal.body = Some(self.store_answer(request, restored, sends).await?);
        }
        Ok(())
    }

    /// Runs one side's checks on a body: patterns and scores, then the judges.
    async fn check(&self, checking: Checking<'_>, body: Box<RawValue>, sends: &impl Sends) -> Result<Verdict, Stopped> {
        let Checking { endpoint, side, request, trace, open } = checking;
        let (started, stage) = (Instant::now(), side.stage(&endpoint.policy));
        let span = tracing::info_span!(
            "guardrail",
            stage = side.as_str(),
            outcome = tracing::field::Empty,
            bytes = body.get().len()
        );
        let sifted = sift(endpoint, side, request.placeholders(), body).await;
        let rulings = match &sifted.case {
            None => Vec::new(),
            Some(case) => {
                let left = left_until(
                    request.deadline_ms.saturating_add(MAX_CLOCK_SKEW_MS),
                    tollgate_schemas::now_us() / 1000,
                );
                // What has been answered is checked however late it is.
                let budget = if side == Side::Input { stage.budget.min(left) } else { stage.budget };
                let policy_version = endpoint.policy.version.as_deref().unwrap_or_default();
                let hearing = Hearing { request, trace, policy_version, stage, case, part: None, budget, open, sends };
                self.court.hear(&hearing, sifted.open(stage)).await
            }
        };
        let has_failed = rulings.iter().any(|(_, ruled)| matches!(ruled.ruling, Ruling::Failed(_)));
        if has_failed && sends.is_leaving() {
            return Err(Stopped::HandedBack);
        }
        let verdict = pipeline::conclude(stage, side, sifted, rulings);
        span.record("outcome", verdict.outcome.as_str());
        metric::checked(side.as_str(), &verdict, started.elapsed());
        Ok(verdict)
    }
}

/// Whether the answers of an API have texts in which anything could be put back.
fn has_texts(api: ApiType) -> bool {
    !matches!(api, ApiType::Embeddings | ApiType::Moderations | ApiType::CountTokens)
}

fn cancelled() -> ApiError {
    ApiError::new(ErrorCode::Cancelled, "the request was cancelled")
}

/// What takes an answer's place. What was used stays in the row: its provider has billed it.
fn withheld(request: &Request, answer: Terminal, error: ApiError) -> Terminal {
    let Terminal { destination, attempts, chunks, is_filtered, .. } = answer;
    Terminal { destination, attempts, chunks, is_filtered, ..Terminal::failed(&request.caller.team, error) }
}

/// The end of a request that could not be checked because storage did not answer.
fn unchecked(request: &Request) -> ApiError {
    if request.expired(tollgate_schemas::now_us() / 1000, MAX_CLOCK_SKEW_MS) {
        return request.expired_error();
    }
    ApiError::new(ErrorCode::Internal, "object storage failed while the request was checked; send it again")
}

/// Patterns and scores: here if the body is short, else on a thread that may block.
async fn sift(endpoint: &Arc<Endpoint>, side: Side, placeholders: Vec<String>, body: Box<RawValue>) -> Sifted {
    if body.get().len() <= INLINE_MAX_BYTES {
        return sift_now(endpoint, side, &placeholders, body);
    }
    let endpoint = endpoint.clone();
    let sifted = tokio::task::spawn_blocking(move || sift_now(&endpoint, side, &placeholders, body)).await;
    sifted.unwrap_or_else(|_| Sifted::broken(RawValue::NULL.to_owned()))
}

/// A check that panics must not turn its request into a dead letter that nobody answers.
pub(crate) fn sift_now(endpoint: &Endpoint, side: Side, placeholders: &[String], body: Box<RawValue>) -> Sifted {
    let run = || pipeline::sift_beside(placeholders, side.stage(&endpoint.policy), side, body);
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        tracing::error!("a check panicked; the request is refused; this is a defect, please report it with the log");
        Sifted::broken(RawValue::NULL.to_owned())
    })
}

mod bodies;
mod parts;

#[cfg(test)]
pub(crate) mod tests;
