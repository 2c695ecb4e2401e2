//! The consumers: one per lane for approved requests, one per delay for parked ones, one for cancellations and one for cool-downs.
//!
//! The owner rule: while the latest record of a request is in `approved` or `parked`, the router ends it. Nothing is ended from
//! `parked` itself: a request whose time, deadline or cancellation has come goes back to `approved`, and is ended there.

use crate::{
    Error,
    allowance::Meters,
    attempt::{ChunkSink, Signals},
    cache::Cache,
    config::Router,
    execute::{Done, Executor, Finished, HELD_MAX_BYTES},
    gate::LANE_BYTES_MAX,
    metric, park,
    patience::WAITING_IN_PLACE_MAX,
    registry::{Begun, Registry, Stage},
    share,
};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus, DeadLetter, Emitter, Incoming, Outgoing, Producer, Profile,
    broadcast::Start,
    end,
    work::{Handler, Options, Outcome, Running},
};
use tollgate_runtime::{BlobStore, Config, Control, Readiness, control::Derived, store};
use tollgate_schemas::{
    Body, Cancellation, Completion, CompletionChunk, ExecutionId, Lane, Origin, Produced, ReplyEvent, Request,
    StreamEvent, TraceContext, headers, left_until, topic,
};

/// Requests under way, a partition of a lane. It takes in half of them although a provider and its queue are full.
const IN_FLIGHT_MAX: usize = 2_000;
/// Requests that wait in this process, a partition of `parked.*`: about as many as a commit can tell of. What is beyond waits
/// unread, which holds up nobody ([`park`]); a cancellation takes effect on it once it is read: after the topic's delay at the
/// latest.
const PARKED_MAX: usize = 1_500;
/// Their bytes, in each of the three topics. They do nothing but wait, so there is no use in holding more of them: the next ones
/// are read as soon as the time of these has come.
const PARKED_MAX_BYTES: usize = 8 << 20;
/// How long calls that are broken off at the end of the drain may take to be handed over. Usually milliseconds.
const HANDOVER_MAX: Duration = Duration::from_secs(5);

/// Runs the service until `stop`, then finishes what is in flight. Topics must exist.
pub async fn run(control: &Control, bus: Bus, readiness: Readiness, stop: CancellationToken) -> Result<(), Error> {
    let config = &control.config();
    let (gossip, told) = share::gossip();
    let derive = {
        let gossip = gossip.clone();
        move |config: &Arc<Config>, last: Option<&Router>| Router::new(config, last, Some(&gossip))
    };
    let shared = Shared {
        router: control.derive("router", &stop, derive)?,
        blobs: BlobStore::new(store::open(config)?),
        places: Arc::new(Semaphore::new(WAITING_IN_PLACE_MAX)),
        held: Arc::new(Semaphore::new(HELD_MAX_BYTES)),
        meters: Arc::new(Meters::open(config)?),
        cache: Arc::new(Cache::open(&config.cache, &config.gateway)?),
    };
    let registry = Registry::default();
    watch_cancellations(config, &bus, registry.clone(), stop.clone()).await?;
    share::speak(&bus, told, stop.clone())?;
    let (listening, router, until) = (bus.clone(), shared.router.clone(), stop.clone());
    let listen = move || share::listen(&listening, &gossip, router, until);
    tokio::task::spawn_blocking(listen).await.map_err(|_| Error::Defect("the reader of cool-downs panicked"))??;
    let handover = after_drain(config, &stop);
    let mut consumers = Vec::new();
    for lane in Lane::ALL {
        let worker = Worker { shared: shared.clone(), registry: registry.clone(), lane, handover: handover.clone() };
        let running = consume(config, &bus, worker, stop.clone())?;
        readiness.require(condition(lane), running.probe());
        consumers.push(running);
    }
    let producer = bus.producer(Profile::Bulk)?;
    let groups = ["router-parked-10s", "router-parked-1m", "router-parked-10m"];
    for ((topic, delay), group) in topic::PARKED.iter().zip(park::DELAYS).zip(groups) {
        let topics = vec![bus.full_name(topic.spec.name)];
        let fetch_wait = Duration::from_secs(5);
        let bounds = Options { max_in_flight: PARKED_MAX, max_bytes: PARKED_MAX_BYTES, ..Options::new(group, topics) };
        let options = Options { fetch_wait, ..bounds };
        let waker = Waker { router: shared.router.clone(), registry: registry.clone(), delay };
        let running = bus.consume::<Request, _>(options, producer.clone(), Arc::new(waker), stop.clone())?;
        readiness.require("parked requests", running.probe());
        consumers.push(running);
    }
    // Whichever ends first with an error ends the service: half a router would look alive.
    let all = consumers.into_iter().map(Running::stopped);
    let result = futures::future::try_join_all(all).await;
    stop.cancel();
    result?;
    Ok(())
}

/// A token that is cancelled when the time that a stop leaves to what is under way is over.
fn after_drain(config: &Config, stop: &CancellationToken) -> CancellationToken {
    let (handover, drain, stop) = (CancellationToken::new(), config.shutdown.drain.duration(), stop.clone());
    let token = handover.clone();
    tollgate_runtime::supervised("drain", async move {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
        token.cancel();
    });
    handover
}

fn condition(lane: Lane) -> &'static str {
    match lane {
        Lane::Interactive => "approved requests, interactive",
        Lane::Batch => "approved requests, batch",
        Lane::Judge => "approved requests, judge",
    }
}

fn consume(config: &Config, bus: &Bus, worker: Worker, stop: CancellationToken) -> Result<Running, Error> {
    let (group, profile) = match worker.lane {
        Lane::Interactive => ("router-interactive", Profile::Interactive),
        Lane::Batch => ("router-batch", Profile::Bulk),
        Lane::Judge => ("router-judge", Profile::Interactive),
    };
    let topics = vec![bus.full_name(topic::approved(worker.lane).spec.name)];
    let producer: Producer = bus.producer(profile)?;
    let drain_timeout = config.shutdown.drain.duration() + HANDOVER_MAX;
    let bounds = Options { max_in_flight: IN_FLIGHT_MAX, max_bytes: LANE_BYTES_MAX, ..Options::new(group, topics) };
    let options = Options { drain_timeout, ..bounds };
    Ok(bus.consume::<Request, _>(options, producer, Arc::new(worker), stop)?)
}

async fn watch_cancellations(
    config: &Config,
    bus: &Bus,
    registry: Registry,
    stop: CancellationToken,
) -> Result<(), Error> {
    let longest = i64::try_from(config.longest_deadline().max(Duration::from_secs(60)).as_millis()).unwrap_or(i64::MAX);
    let since = tollgate_schemas::now_us() / 1000 - longest;
    let name = bus.full_name(topic::CANCELLATIONS.spec.name);
    let bus = bus.clone();
    let each =
        move |record: tollgate_bus::broadcast::Raw<'_>| match serde_json::from_slice::<Cancellation>(record.value()) {
            Ok(cancellation) => registry.cancel(cancellation),
            Err(error) => tracing::warn!(%error, "a cancellation does not parse and is skipped"),
        };
    let start = move || bus.broadcast(&name, &[], Start::Since(since), stop, each);
    tokio::task::spawn_blocking(start).await.map_err(|_| Error::Defect("the reader of cancellations panicked"))??;
    Ok(())
}

/// What all consumers share.
#[derive(Clone)]
struct Shared {
    router: Derived<Router>,
    blobs: BlobStore,
    places: Arc<Semaphore>,
    held: Arc<Semaphore>,
    meters: Arc<Meters>,
    cache: Arc<Cache>,
}

impl Shared {
    /// For one request, whose record has so many bytes and which goes on with the configuration of its beginning.
    fn executor(&self, bytes: usize) -> Executor {
        let Self { router, blobs, places, held, meters, cache } = self.clone();
        Executor { router: router.get(), blobs, places, held, meters, cache, bytes }
    }
}

/// Works on one lane.
struct Worker {
    shared: Shared,
    registry: Registry,
    lane: Lane,
    /// See [`Signals::handover`].
    handover: CancellationToken,
}

impl Handler<Request> for Worker {
    async fn handle(&self, record: Incoming<Request>, emitter: Emitter) -> Outcome {
        let expiry = record.headers.get(headers::EXPIRY_TIME).map(str::to_owned);
        let request = record.value;
        // `None`: a redelivery of what this process was working on. The first delivery's effects are this one's too.
        let Some(working) = self.registry.work(&request).await else { return Outcome::default() };
        let _in_flight = metric::InFlight::begin(self.lane);
        let execution_id = ExecutionId::new();
        let (leaving, executor) = (emitter.leaving().clone(), self.shared.executor(emitter.bytes()));
        let trace = record.trace.clone();
        let mut sink =
            BusSink { request: &request, execution_id, trace, emitter, chunks: 0, origin: None, is_checked: false };
        let trace_id = Some(record.trace.trace_id_hex());
        let signals = Signals { cancel: &working.cancel, leaving: &leaving, handover: &self.handover };
        let mut done = executor.execute(&request, execution_id, trace_id, &mut sink, signals).await;
        if let Done::Ended(finished) = &mut done {
            finished.terminal.chunks = sink.chunks;
            metric::copy_ended(&request, finished);
        }
        if let Done::Parked(parked) = &done {
            working.parks(&parked.request);
        }
        metric::done(self.lane, &done);
        match effects(done, &request, execution_id, expiry, &record.trace) {
            // Until all of it is acknowledged a redelivery waits: its offset must not be committed before.
            Ok(records) => Outcome::emit(records).holding(working),
            // Nothing a retry would change: the records of this very request cannot be written as JSON.
            Err(error) => Outcome::dead(DeadLetter::new("serialise", error.to_string())),
        }
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        let router = self.shared.router.get();
        end::poisoned_request(&record.value, &router.gateway, &router.region, &record.trace)
    }
}

/// Holds parked requests for their topic's delay, then sends them on: to be tried if their time has come, else to wait on.
struct Waker {
    router: Derived<Router>,
    registry: Registry,
    /// Of its topic.
    delay: Duration,
}

impl Handler<Request> for Waker {
    async fn handle(&self, record: Incoming<Request>, emitter: Emitter) -> Outcome {
        let expiry = record.headers.get(headers::EXPIRY_TIME).map(str::to_owned);
        let request = record.value;
        let waiting = loop {
            match self.registry.begin(Stage::Parked, &request) {
                Begun::Work(waiting) => break waiting,
                // An earlier delivery, whose partition has left: it gives the record back, or sends it on a second time.
                Begun::Wait(present) => present.done.cancelled().await,
            }
        };
        let not_before_ms = request.waiting.as_ref().map_or(0, |waiting| waiting.not_before_ms);
        let leaves_ms = park::leaves_ms(self.delay, record.timestamp_ms, not_before_ms);
        let _waiting = metric::Waiting::begin();
        tokio::select! {
            () = emitter.leaving().cancelled() => return Outcome::hand_back(),
            () = waiting.cancel.cancelled() => {}
            () = sleep_until_ms(leaves_ms) => {}
        }
        let next = park::next(&request, waiting.cancel.is_cancelled(), tollgate_schemas::now_us() / 1000);
        match moved(next, &request, expiry, &record.trace) {
            Ok(record) => Outcome::emit(vec![record]).holding(waiting),
            Err(error) => Outcome::dead(DeadLetter::new("serialise", error.to_string())),
        }
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, _: &DeadLetter) -> Vec<Outgoing> {
        let router = self.router.get();
        end::poisoned_request(&record.value, &router.gateway, &router.region, &record.trace)
    }
}

/// Sleeps until the clock says so. The clock may be set meanwhile, so it is looked at again and again.
async fn sleep_until_ms(until_ms: i64) {
    const LOOK_EVERY: Duration = Duration::from_secs(60);
    loop {
        let left = left_until(until_ms, tollgate_schemas::now_us() / 1000);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// The records that what became of a request causes.
pub(crate) fn effects(
    done: Done,
    request: &Request,
    id: ExecutionId,
    expiry: Option<String>,
    trace: &TraceContext,
) -> Result<Vec<Outgoing>, tollgate_bus::Error> {
    match done {
        Done::Ended(finished) => records(request, id, *finished, trace),
        Done::Parked(parked) => Ok(vec![moved(parked.topic, &parked.request, expiry, trace)?]),
        Done::HandedOver(request) => Ok(vec![moved(topic::approved(request.lane), &request, expiry, trace)?]),
    }
}

/// A request on its way to another topic of the router's own.
pub(crate) fn moved(
    topic: &tollgate_schemas::Topic<Request>,
    request: &Request,
    expiry: Option<String>,
    trace: &TraceContext,
) -> Result<Outgoing, tollgate_bus::Error> {
    let mut record = Outgoing::of(topic, request.request_id, request, trace)?;
    if let Some(expiry) = expiry {
        record.header(headers::EXPIRY_TIME, expiry);
    }
    Ok(record)
}

/// What the end of a request is told by. An answer that must be checked goes to the guardrail, which then owns the
/// request's end; an end without an answer has nothing to check, unless the guardrail holds parts of one.
fn records(
    request: &Request,
    id: ExecutionId,
    finished: Finished,
    trace: &TraceContext,
) -> Result<Vec<Outgoing>, tollgate_bus::Error> {
    let Finished { terminal, usage, is_checked, copies } = finished;
    let mut records = if !is_checked || (terminal.body.is_none() && terminal.chunks == 0) {
        end::end_request(request, id, terminal, usage, trace)?
    } else {
        let completion = Completion { request: without_body(request), terminal, usage };
        let produced = Produced::Whole(Box::new(completion));
        vec![Outgoing::of(&topic::COMPLETIONS, request.request_id, &produced, trace)?]
    };
    records.extend(copies.iter().filter_map(|copy| copied(copy, trace)));
    Ok(records)
}

/// What output checks need of a request.
pub(crate) fn without_body(request: &Request) -> Request {
    Request { body: Body::Inline(RawValue::NULL.to_owned()), ..request.clone() }
}

/// A shadow's copy of a request. One that cannot be written keeps nothing of the request from its end.
fn copied(copy: &Request, trace: &TraceContext) -> Option<Outgoing> {
    let record = moved(topic::approved(copy.lane), copy, None, trace);
    let told = |error: &tollgate_bus::Error| {
        tracing::error!(%error, request_id = %copy.request_id, "a request cannot be copied for a shadow");
    };
    let record = record.inspect_err(told).ok()?;
    metric::copied(copy);
    Some(Outgoing { relaxed: true, ..record })
}

/// Sends chunks to whoever waits, or to the guardrail, which sends on what may go out.
struct BusSink<'a> {
    request: &'a Request,
    execution_id: ExecutionId,
    trace: TraceContext,
    emitter: Emitter,
    chunks: u32,
    origin: Option<Origin>,
    is_checked: bool,
}

impl BusSink<'_> {
    fn record(&mut self, events: Vec<StreamEvent>) -> Result<Outgoing, tollgate_bus::Error> {
        let (seq, origin) = (self.chunks, self.origin.take());
        self.chunks += 1;
        if !self.is_checked {
            let event = ReplyEvent::Chunk { seq, events, origin };
            return end::reply(self.request, self.execution_id, event, &self.trace);
        }
        let request = (seq == 0).then(|| Box::new(without_body(self.request)));
        let (request_id, execution_id) = (self.request.request_id, self.execution_id);
        let chunk = CompletionChunk { request, request_id, execution_id, seq, events, origin };
        Outgoing::of(&topic::COMPLETIONS, request_id, &Produced::Chunk(Box::new(chunk)), &self.trace)
    }
}

impl ChunkSink for BusSink<'_> {
    fn trying(&mut self, destination: &str, attempt: u32) {
        self.origin = Some(Origin { destination: destination.to_owned(), attempts: attempt, dropped: Vec::new() });
    }

    fn leaving_out(&mut self, names: &[String]) {
        if let Some(origin) = &mut self.origin {
            origin.dropped = names.to_vec();
        }
    }

    fn check_first(&mut self) {
        self.is_checked = true;
    }

    async fn send(&mut self, events: Vec<StreamEvent>) {
        let sent = match self.record(events) {
            Ok(record) => self.emitter.send(record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // The terminal carries the whole answer, from which the waiter is served what it has not been sent.
            tracing::error!(%error, "a chunk could not be sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ask;
    use tollgate_bus::TopicName;
    use tollgate_schemas::{ApiError, ErrorCode, Terminal, UsageRow};

    #[test]
    fn a_checked_answer_goes_to_the_guardrail_and_everything_else_to_its_end() {
        let (request, id, trace) = (ask("chat"), ExecutionId::new(), TraceContext::new());
        let terminal = |body: bool| Terminal {
            body: body.then(|| Body::Inline(RawValue::NULL.to_owned())),
            ..Terminal::failed("search", ApiError::new(ErrorCode::Internal, "x"))
        };
        let topics = |is_checked, body, chunks| {
            let usage = UsageRow::of(&request, id, "main", "local", None);
            let copies = vec![Request { lane: Lane::Batch, ..ask("chat") }];
            let terminal = Terminal { chunks, ..terminal(body) };
            let finished = Finished { terminal, usage, is_checked, copies };
            let records = records(&request, id, finished, &trace).expect("json");
            records.into_iter().map(|record| record.topic).collect::<Vec<_>>()
        };
        let [replies, usage, completions, copy] =
            ["replies", "usage", "completions", "approved.batch"].map(TopicName::Internal);
        let end = [replies, usage, copy.clone()];
        assert_eq!(topics(false, true, 2), end);
        assert_eq!(topics(true, false, 0), end);
        assert_eq!(topics(true, true, 0), [completions.clone(), copy.clone()]);
        assert_eq!(topics(true, false, 2), [completions, copy], "the guardrail holds parts of it");
    }
}
