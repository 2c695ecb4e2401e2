//! The consumers: one per lane for approved requests, one for cancellations.

use crate::{
    Error,
    attempt::ChunkSink,
    config::Router,
    execute::{Executor, Finished},
    metric,
    registry::{Begun, Registry},
};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus, DeadLetter, Emitter, Incoming, Outgoing, Producer, Profile,
    broadcast::Start,
    end,
    work::{Handler, Options, Outcome, Running},
};
use tollgate_runtime::{BlobStore, Config, Readiness, store};
use tollgate_schemas::{
    Body, Cancellation, Completion, ExecutionId, Lane, Origin, ReplyEvent, Request, StreamEvent, TraceContext, topic,
};

/// Runs the service until `stop`, then finishes what is in flight. Topics must exist.
pub async fn run(config: &Config, bus: Bus, readiness: Readiness, stop: CancellationToken) -> Result<(), Error> {
    let executor = Executor { router: Arc::new(Router::new(config)?), blobs: BlobStore::new(store::open(config)?) };
    let registry = Registry::default();
    watch_cancellations(config, &bus, registry.clone(), stop.clone()).await?;
    let mut consumers = Vec::new();
    for lane in Lane::ALL {
        let worker = Worker { executor: executor.clone(), registry: registry.clone(), lane };
        let running = consume(config, &bus, worker, stop.clone())?;
        readiness.require(condition(lane), running.probe());
        consumers.push(running);
    }
    // Whichever ends first with an error ends the service: half a router would look alive.
    let all = consumers.into_iter().map(Running::stopped);
    let result = futures::future::try_join_all(all).await;
    stop.cancel();
    result?;
    Ok(())
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
    let options = Options { drain_timeout: config.shutdown.drain.duration(), ..Options::new(group, topics) };
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
            Ok(cancellation) => registry.cancel(cancellation.request_id),
            Err(error) => tracing::warn!(%error, "a cancellation does not parse and is skipped"),
        };
    let start = move || bus.broadcast(&name, &[], Start::Since(since), stop, each);
    tokio::task::spawn_blocking(start).await.map_err(|_| Error::Defect("the reader of cancellations panicked"))??;
    Ok(())
}

/// Works on one lane.
struct Worker {
    executor: Executor,
    registry: Registry,
    lane: Lane,
}

impl Handler<Request> for Worker {
    async fn handle(&self, record: Incoming<Request>, emitter: Emitter) -> Outcome {
        let request = record.value;
        let working = match self.registry.begin(request.request_id) {
            Begun::Work(working) => working,
            Begun::Wait(done) => {
                // A redelivery of what this process is working on: the first delivery's effects are this one's too.
                done.cancelled().await;
                return Outcome::default();
            }
        };
        let _in_flight = metric::InFlight::begin(self.lane);
        let execution_id = ExecutionId::new();
        let mut sink =
            BusSink { request: &request, execution_id, trace: record.trace.clone(), emitter, chunks: 0, origin: None };
        let trace_id = Some(record.trace.trace_id_hex());
        let mut finished = self.executor.execute(&request, execution_id, trace_id, &mut sink, &working.cancel).await;
        finished.terminal.chunks = sink.chunks;
        metric::ended(self.lane, finished.terminal.status);
        match records(&request, execution_id, finished, &record.trace) {
            Ok(records) => Outcome::emit(records),
            // Nothing a retry would change: the records of this very request cannot be written as JSON.
            Err(error) => Outcome::dead(DeadLetter::new("serialise", error.to_string())),
        }
    }
}

/// What the end of a request is told by. An answer that must be checked goes to the guardrail, which then owns the
/// request's end; an end without an answer has nothing to check.
fn records(
    request: &Request,
    id: ExecutionId,
    finished: Finished,
    trace: &TraceContext,
) -> Result<Vec<Outgoing>, tollgate_bus::Error> {
    let Finished { terminal, usage, is_checked } = finished;
    if !is_checked || terminal.body.is_none() {
        return end::end_request(request, id, terminal, usage, trace);
    }
    let request_without_body = Request { body: Body::Inline(RawValue::NULL.to_owned()), ..request.clone() };
    let completion = Completion { request: request_without_body, terminal, usage };
    Ok(vec![Outgoing::of(&topic::COMPLETIONS, request.request_id, &completion, trace)?])
}

/// Sends chunks to whoever waits.
struct BusSink<'a> {
    request: &'a Request,
    execution_id: ExecutionId,
    trace: TraceContext,
    emitter: Emitter,
    chunks: u32,
    origin: Option<Origin>,
}

impl ChunkSink for BusSink<'_> {
    fn trying(&mut self, destination: &str, attempt: u32) {
        self.origin = Some(Origin { destination: destination.to_owned(), attempts: attempt });
    }

    async fn send(&mut self, events: Vec<StreamEvent>) {
        let event = ReplyEvent::Chunk { seq: self.chunks, events, origin: self.origin.take() };
        self.chunks += 1;
        let sent = match end::reply(self.request, self.execution_id, event, &self.trace) {
            Ok(record) => self.emitter.send(record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // The terminal carries the whole answer, from which the waiter serves what it has not been sent.
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
        let topics = |is_checked, body| {
            let usage = UsageRow::of(&request, id, "main", "local", None);
            let finished = Finished { terminal: terminal(body), usage, is_checked };
            let records = records(&request, id, finished, &trace).expect("json");
            records.into_iter().map(|record| record.topic).collect::<Vec<_>>()
        };
        let end = [TopicName::Internal("replies"), TopicName::Internal("usage")];
        assert_eq!(topics(false, true), end);
        assert_eq!(topics(true, false), end);
        assert_eq!(topics(true, true), [TopicName::Internal("completions")]);
    }
}
