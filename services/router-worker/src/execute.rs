//! One request from its approval to its end: try destinations until one answers, and account for every call.
//!
//! `patience` says whether it may wait in place, `choose` in which order destinations are tried, `hedge` makes two calls at once,
//! `resume` goes on with a stream that broke, `unwilling` gives way to a model that will speak of it, `again` and `count` answer
//! without a call, `bodies` reads and stores what is too large for the log, `cap` lowers what may be produced, `ending` says how the
//! end is told, and `shadow` who gets a copy.

mod again;
mod bodies;
mod cap;
mod choose;
mod count;
mod ending;
mod hedge;
mod resume;
mod shadow;
mod task;
mod unwilling;

use crate::{
    allowance::Meters,
    attempt::{Broken, ChunkSink, Ended, Limits, Signals},
    cache::{Cache, Kept},
    config::{Checked, Router},
    failure::{Class, Failure},
    health::Cooling,
    ledger::Ledger,
    metric,
    park::{CALLS_MAX, Parked, park},
    patience::Patience,
    providers::Wire,
    route::{self, Now, Outcome, Plan, Step},
    spans,
};
use again::Place;
pub(crate) use bodies::HELD_MAX_BYTES;
use bodies::Unread;
use ending::failed;
use hedge::Hedged;
use std::{borrow::Cow, sync::Arc, time::Duration};
use task::{QUEUE_MAX, Running, Task};
use tokio::{sync::Semaphore, time::Instant};
use tollgate_runtime::{BlobStore, MAX_CLOCK_SKEW_MS, config::model_for};
use tollgate_schemas::{
    ApiError, AttemptAction, ErrorCode, ExecutionId, Lane, Request, Terminal, UsageRow, Waiting, left_until,
};

/// What an execution needs beside the request.
#[derive(Clone)]
pub(crate) struct Executor {
    /// Endpoints, providers, prices.
    pub router: Arc<Router>,
    /// Where large bodies are.
    pub blobs: BlobStore,
    /// Places for requests of the batch lane that wait without being parked.
    pub places: Arc<Semaphore>,
    /// Bytes of answers of the batch lane that may wait for object storage.
    pub held: Arc<Semaphore>,
    /// What calls take of their destinations' limits.
    pub meters: Arc<Meters>,
    /// Answers that are given again.
    pub cache: Arc<Cache>,
    /// What the request's record takes of the bytes that its lane has in flight.
    pub bytes: usize,
}

/// What is throttled without a word about how long is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Done {
    /// It ended.
    Ended(Box<Finished>),
    /// It waits.
    Parked(Box<Parked>),
    /// This process ends before it does: it goes back to `approved`, with the calls that were made.
    HandedOver(Box<Request>),
}

/// How a request ended, before anybody has been told.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The end. Its `chunks` is for the sender of the chunks to fill.
    pub terminal: Terminal,
    /// The row, but for what the end decides.
    pub usage: UsageRow,
    /// The answer must pass the guardrail before it may go out: its output checks, or to get back what masking took.
    pub is_checked: bool,
    /// Copies of the request, for the endpoint's shadows.
    pub copies: Vec<Request>,
}

/// A request under way.
struct Execution<'a, S> {
    task: Task<'a>,
    is_checked: bool,
    sink: Option<&'a mut S>,
    ledger: Ledger,
    /// How many of the ledger's calls an earlier execution made, before the request was parked.
    carried: usize,
    patience: Patience<'a>,
    history: Vec<Outcome>,
    /// The last failure of a call that was made, and the first reason why one could not be made.
    failure: Option<Failure>,
    inexpressible: Option<Failure>,
    /// The answer of a model that would not speak of it, and its destination: it goes out if no other model does better.
    unwilling: Option<(usize, Ended)>,
}

/// The last word on a request.
enum End {
    Answered(Ended),
    /// Answered without a call.
    Counted,
    /// Broken or cancelled after the caller had seen a part; by which destination.
    Broken(usize, Ended),
    Cancelled,
    Exhausted,
    Expired,
    /// To be tried again after this long at the least.
    Parked(Duration),
    /// To be begun again by another process.
    HandedOver,
}

impl End {
    /// An answer that may be given again.
    fn kept(&self) -> Option<Kept> {
        match self {
            End::Answered(ended) if !ended.is_resumed => ended.answer.as_ref().and_then(Kept::of),
            _ => None,
        }
    }
}

/// Where an answer goes part by part; `None`: it goes as a whole.
fn in_parts<'s, S: ChunkSink>(sink: &'s mut S, request: &Request, checked: Checked) -> Option<&'s mut S> {
    if checked != Checked::Not {
        sink.check_first();
    }
    (request.stream && checked != Checked::Whole).then_some(sink)
}

impl Executor {
    /// Runs a request to its end, or until it is to be parked. Chunks of a stream go to `sink`. Never fails: an error is an
    /// end too.
    pub(crate) async fn execute<S: ChunkSink>(
        &self,
        request: &Request,
        execution_id: ExecutionId,
        trace_id: Option<String>,
        sink: &mut S,
        signals: Signals<'_>,
    ) -> Done {
        let mut usage = UsageRow::of(request, execution_id, &self.router.gateway, &self.router.region, trace_id);
        let endpoint = match self.endpoint(request) {
            Ok(endpoint) => endpoint,
            Err(error) => return failed(request, usage, error),
        };
        usage.endpoint_tags.clone_from(&endpoint.tags);
        if signals.cancel.is_cancelled() {
            return failed(request, usage, cancelled());
        }
        let (now, now_ms) = (Instant::now(), tollgate_schemas::now_us() / 1000);
        if request.expired(now_ms, MAX_CLOCK_SKEW_MS) {
            return failed(request, usage, request.expired_error());
        }
        let left = left_until(request.deadline_ms.saturating_add(MAX_CLOCK_SKEW_MS), now_ms).min(FAR);
        let limits =
            Limits { timeout: endpoint.timeout, total: now + endpoint.timeout.total.duration(), deadline: now + left };
        let (chat, bytes) = match self.read(request, &limits, signals).await {
            Ok(read) => read,
            Err(Unread::Failed(error)) => return failed(request, usage, error),
            Err(Unread::HandedOver) => return Done::HandedOver(Box::new(request.clone())),
            Err(Unread::Away) => return Done::Parked(Box::new(bodies::parked(request))),
        };
        let ledger = carried(request);
        let checked = self.router.checked(&endpoint, request);
        let is_checked = checked != Checked::Not;
        let place = Place::of(&self.cache, &endpoint, request, &chat);
        if let Some(place) = &place
            && let Some(kept) = place.take().await
        {
            return Done::Ended(Box::new(self.again(request, usage, kept, is_checked).await));
        }
        let sink = in_parts(sink, request, checked);
        let names = endpoint.destinations.iter().map(|destination| &destination.model);
        let models: Vec<Cow<'_, str>> = names.map(|name| model_for(name, &request.endpoint, &request.model)).collect();
        let task = Task { executor: self, request, endpoint: &endpoint, models: &models, chat: &chat, limits, signals };
        let mut execution = Execution {
            task,
            is_checked,
            sink,
            carried: ledger.calls(),
            ledger,
            patience: Patience::new(&self.places, request.lane == Lane::Batch, bytes),
            history: Vec::new(),
            failure: None,
            inexpressible: None,
            unwilling: None,
        };
        let end = match execution.run().await {
            End::Parked(at_least) => return Done::Parked(Box::new(execution.park(at_least))),
            End::HandedOver => return Done::HandedOver(Box::new(execution.hand_over())),
            End::Exhausted => execution.unwilling().unwrap_or(End::Exhausted),
            end => end,
        };
        let answer = place.as_ref().and_then(|_| end.kept());
        let mut finished = execution.finish(end, usage).await;
        if let Some(place) = place {
            place.keep(answer, &mut finished).await;
        }
        Done::Ended(Box::new(finished))
    }
}

/// Far enough away to mean never, near enough for the clock's arithmetic.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

impl<S: ChunkSink> Execution<'_, S> {
    async fn run(&mut self) -> End {
        if let Some(failure) = self.task.refusal() {
            self.inexpressible = Some(failure);
            return End::Exhausted;
        }
        let endpoint = self.task.endpoint;
        let mut policy = endpoint.retry.clone();
        if self.has_been_throttled() {
            // It has had its retries; what is left is to find out whether anybody serves it now.
            policy.attempts = 1;
            policy.max_attempts = u32::try_from(endpoint.destinations.len()).unwrap_or(u32::MAX);
        }
        loop {
            let order = self.task.order();
            let is_patient = self.task.request.lane == Lane::Batch;
            let plan = Plan { order: &order, on: &endpoint.on, policy: &policy, is_patient };
            self.history.clear();
            if let Some(end) = self.round(&plan).await {
                return end;
            }
        }
    }

    /// Tries each destination as the plan has it. `None`: begin again.
    async fn round(&mut self, plan: &Plan<'_>) -> Option<End> {
        loop {
            let destinations = &self.task.endpoint.destinations;
            let cooling: Vec<Option<Cooling>> = destinations.iter().map(|d| d.health.cooling()).collect();
            let left = self.task.limits.end().saturating_duration_since(Instant::now());
            let now = Now { cooling: &cooling, patience: self.patience.left(), left };
            match route::next(plan, &self.history, &now, fastrand::f64()) {
                Step::Try { destination, action, after, is_forced } => {
                    if let Some(end) = self.pause(after).await {
                        return Some(end);
                    }
                    let queue_max = self.queue_max(plan, destination);
                    let hedge = self.hedge(plan, destination, &now);
                    if let Some(end) = self.attempt(destination, action, queue_max, is_forced, hedge).await {
                        return Some(self.go_on(plan, end).await);
                    }
                }
                Step::Skip { destination, cooling } => self.failed(destination, Failure::open(cooling)),
                Step::GiveUp => return self.give_up(plan, &now).await,
            }
        }
    }

    /// The end of a round in which nobody answered: the request's end, unless it can wait and that makes sense.
    async fn give_up(&mut self, plan: &Plan<'_>, now: &Now<'_>) -> Option<End> {
        if !plan.is_patient {
            return Some(End::Exhausted);
        }
        if Instant::now() >= self.task.limits.deadline {
            return Some(End::Expired);
        }
        let Some(at_least) = route::waits(plan, &self.history, now) else { return Some(End::Exhausted) };
        if self.ledger.calls() >= CALLS_MAX || now.left.is_zero() {
            return Some(End::Exhausted);
        }
        let has_queued = self.history.iter().any(|outcome| outcome.class == Class::Busy);
        let wait = at_least.max(AGAIN_AFTER);
        if has_queued || self.is_resumed_and_called() || wait > self.patience.left() || wait >= now.left {
            return Some(End::Parked(at_least));
        }
        self.pause(wait).await
    }

    /// Called and refused by an earlier execution, which parked it. Who was parked because no call could be made, or was handed
    /// over, has had nothing yet.
    fn has_been_throttled(&self) -> bool {
        self.carried > 0 && self.task.request.waiting.as_ref().is_some_and(|waiting| waiting.parks > 0)
    }

    /// Parked before and called since: that was its one call, so it is parked again.
    fn is_resumed_and_called(&self) -> bool {
        self.has_been_throttled() && self.ledger.calls() > self.carried
    }

    /// Waits in place. A request of the batch lane is parked instead if there is no place, or if this process is leaving.
    async fn pause(&mut self, wait: Duration) -> Option<End> {
        if wait.is_zero() {
            return None;
        }
        if !self.patience.may_pause(wait) {
            return Some(End::Parked(wait));
        }
        let is_patient = self.task.request.lane == Lane::Batch;
        tokio::select! {
            () = self.task.signals.cancel.cancelled() => Some(End::Cancelled),
            () = self.task.signals.leaving.cancelled(), if is_patient => Some(End::Parked(wait)),
            () = self.task.signals.handover.cancelled() => Some(End::HandedOver),
            () = tokio::time::sleep(wait) => None,
        }
    }

    fn queue_max(&self, plan: &Plan<'_>, destination: usize) -> Duration {
        let has_others = plan.order.iter().any(|other| *other != destination && !self.is_tried(*other));
        if plan.is_patient || has_others {
            QUEUE_MAX
        } else {
            self.task.endpoint.timeout.first_byte.duration().max(QUEUE_MAX)
        }
    }

    fn park(self, at_least: Duration) -> Parked {
        let has_called = self.ledger.calls() > self.carried;
        let now_ms = tollgate_schemas::now_us() / 1000;
        let attempts = self.ledger.into_attempts();
        park(self.task.request, attempts, has_called, at_least, now_ms, fastrand::f64())
    }

    /// The request for whoever goes on with it, with the calls that were made.
    fn hand_over(self) -> Request {
        let attempts = self.ledger.into_attempts();
        let waiting = match self.task.request.waiting.clone() {
            None if attempts.is_empty() => None,
            waiting => Some(Waiting { attempts, ..waiting.unwrap_or_default() }),
        };
        Request { waiting, ..self.task.request.clone() }
    }

    /// Makes a call, and perhaps a second one (`hedge`), and enters them into the ledger. `None`: go on.
    async fn attempt(
        &mut self,
        index: usize,
        action: AttemptAction,
        queue_max: Duration,
        is_forced: bool,
        hedge: Option<Hedged>,
    ) -> Option<End> {
        let Some(wire) = self.wire(index) else { return self.counted() };
        let calls = self.ledger.calls();
        // A later round begins with the first destination again.
        let is_again = calls > 0 && action == AttemptAction::InitialAttempt;
        let action = if is_again { AttemptAction::Retry } else { action };
        let mut running = self.task.begin(index, &*wire, action, self.task.signals);
        running.call.queue_max = queue_max;
        running.call.is_forced = is_forced;
        running.call.holds_refusals = self.may_do_better(index);
        if let Some(hedge) = hedge {
            return self.race(running, hedge).await;
        }
        if let Some(sink) = &mut self.sink {
            sink.trying(&running.call.destination.name, u32::try_from(calls).unwrap_or(u32::MAX).saturating_add(1));
        }
        let ended = running.run(&mut self.patience, self.sink.as_deref_mut()).await;
        self.enter(running, &ended).await;
        self.outcome(index, ended)
    }

    /// The words in which a destination is asked. One that does not serve the request's API has failed.
    fn wire(&mut self, index: usize) -> Option<Arc<dyn Wire>> {
        let api = self.task.request.api_type;
        let wire = self.task.endpoint.destinations[index].provider.kind.speaks(api);
        if wire.is_none() {
            let why = format!("means a destination that does not serve {}", api.path());
            self.failed(index, Failure::inexpressible("model", &why));
        }
        wire
    }

    /// Enters a call that has ended, and settles it.
    async fn enter(&mut self, running: Running<'_>, ended: &Ended) {
        let Running { call, action, span, allowance, .. } = running;
        let calls = self.ledger.calls();
        self.ledger.enter(&self.task.executor.router, &call, action, ended);
        let attempt = self.ledger.attempts().get(calls);
        if let Some(attempt) = attempt {
            metric::attempt(attempt, ended);
            spans::record(&span, attempt, ended);
        }
        if let Some(allowance) = allowance {
            allowance.settle(attempt).await;
        }
    }

    /// What a call that has ended means for the request. `None`: go on.
    fn outcome(&mut self, index: usize, ended: Ended) -> Option<End> {
        match ended.broken {
            None if self.is_unwilling(index, &ended) => {
                self.failed(index, Failure::new(Class::ContentPolicy, "the model would not speak of it"));
                self.unwilling = Some((index, ended));
                None
            }
            None => Some(End::Answered(ended)),
            Some(_) if ended.is_seen => Some(End::Broken(index, ended)),
            Some(Broken::Cancelled | Broken::Outrun) => Some(End::Cancelled),
            Some(Broken::HandedOver) => Some(End::HandedOver),
            Some(Broken::Failed(failure)) => {
                self.failed(index, failure);
                None
            }
        }
    }

    fn is_tried(&self, destination: usize) -> bool {
        self.history.iter().any(|outcome| outcome.destination == destination)
    }

    fn failed(&mut self, destination: usize, failure: Failure) {
        if matches!(failure.class, Class::Busy | Class::Open | Class::Limited) {
            metric::turned_away(&self.task.endpoint.destinations[destination].name, failure.error_code());
        }
        self.history.push(Outcome {
            destination,
            class: failure.class,
            status: failure.status,
            retry_after: failure.retry_after,
            is_throttle: failure.is_throttle(),
            other_credential: failure.other_credential,
        });
        match failure.class {
            Class::Inexpressible => drop(self.inexpressible.get_or_insert(failure)),
            // What a call met says more than that none was made.
            Class::Busy | Class::Open | Class::Limited => drop(self.failure.get_or_insert(failure)),
            _ => self.failure = Some(failure),
        }
    }
}

fn carried(request: &Request) -> Ledger {
    Ledger::resumed(request.waiting.as_ref().map(|waiting| waiting.attempts.clone()).unwrap_or_default())
}

fn cancelled() -> ApiError {
    ApiError::new(ErrorCode::Cancelled, "the request was cancelled")
}
