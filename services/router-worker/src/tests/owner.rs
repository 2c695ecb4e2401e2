//! The owner rule in a small world: deliveries that overlap, crashes, stops, cancellations and time over a log, with the real
//! executor, registry, parking and ends. Only the broker, the clock and the guardrail are played.

use super::requests::{Bench, Chunks, ask};
use crate::{
    attempt::Signals,
    execute::Done,
    park,
    registry::{Begun, Registry, Stage, Working},
    service::{effects, moved},
};
use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use proptest::prelude::*;
use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Outgoing, TopicName, end};
use tollgate_schemas::{
    ApiError, Cancellation, Completion, ErrorCode, ExecutionId, Lane, Reply, ReplyEvent, Request, RequestId, Terminal,
    TraceContext, UsageRow, topic,
};

const WORK: [&str; 6] =
    ["approved.batch", "approved.interactive", "parked.10s", "parked.1m", "parked.10m", "completions"];
/// What providers do: answer, answer something that is checked, throttle, fail, say nothing, answer slowly.
const ENDPOINTS: [&str; 6] = ["mock", "mock-checked", "mock-429", "mock-500", "mock-timeout", "mock-slow"];

#[derive(Debug, Clone)]
enum Event {
    /// Begins to handle the nth record of those that are open and, unless `is_again`, not being handled.
    Deliver {
        nth: usize,
        is_again: bool,
        is_committed: bool,
        /// When it is heard that what it causes stands on the log.
        acked_after_ms: u64,
    },
    Pass {
        ms: u64,
    },
    Cancel {
        which: usize,
    },
    /// From now on its deadline has passed.
    Expire {
        which: usize,
    },
    /// What is under way is handed over.
    Stop,
    /// What is under way is lost.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        10 => deliver(),
        6 => (0..400u64).prop_map(|ms| Event::Pass { ms }),
        2 => (1_000..30_000u64).prop_map(|ms| Event::Pass { ms }),
        2 => (0..4usize).prop_map(|which| Event::Cancel { which }),
        1 => (0..4usize).prop_map(|which| Event::Expire { which }),
        1 => Just(Event::Stop),
        1 => Just(Event::Crash),
    ]
}

fn deliver() -> impl Strategy<Value = Event> {
    let acked_after_ms = prop_oneof![3 => Just(0u64), 1 => 0..40_000u64];
    (0..64usize, prop::bool::weighted(0.1), prop::bool::weighted(0.8), acked_after_ms).prop_map(
        |(nth, is_again, is_committed, acked_after_ms)| Event::Deliver { nth, is_again, is_committed, acked_after_ms },
    )
}

/// A record of the log.
struct Record {
    topic: String,
    payload: Vec<u8>,
    is_done: bool,
}

/// What became of a delivery: the record, what it caused, and the guard that is held until that is known to be on the log.
type Handled = (usize, Vec<Outgoing>, Option<Working>);

struct World {
    bench: Rc<Bench>,
    log: Vec<Record>,
    registry: Registry,
    cancellations: Vec<Cancellation>,
    expired: HashSet<RequestId>,
    leaving: CancellationToken,
    handover: CancellationToken,
    under_way: FuturesUnordered<LocalBoxFuture<'static, Handled>>,
    /// By record: whether its offset is committed at its end.
    commits: HashMap<usize, bool>,
    /// By record: how long what it causes stands on the log before that is heard of.
    acks: HashMap<usize, Duration>,
    /// Every provider answers.
    is_quiet: bool,
}

impl World {
    fn new() -> Self {
        Self {
            bench: Rc::new(Bench::new("http://127.0.0.1:9", "http://127.0.0.1:9", "")),
            log: Vec::new(),
            registry: Registry::default(),
            cancellations: Vec::new(),
            expired: HashSet::new(),
            leaving: CancellationToken::new(),
            handover: CancellationToken::new(),
            under_way: FuturesUnordered::new(),
            commits: HashMap::new(),
            acks: HashMap::new(),
            is_quiet: false,
        }
    }

    fn append(&mut self, records: Vec<Outgoing>) {
        for record in records {
            let TopicName::Internal(name) = record.topic else { continue };
            self.log.push(Record { topic: name.to_owned(), payload: record.payload, is_done: false });
        }
    }

    fn open(&self, is_again: bool) -> Vec<usize> {
        let is_open = |at: &usize| {
            WORK.contains(&self.log[*at].topic.as_str())
                && !self.log[*at].is_done
                && (is_again || !self.commits.contains_key(at))
        };
        (0..self.log.len()).filter(is_open).collect()
    }

    fn deliver(&mut self, at: usize, is_committed: bool) {
        let (name, payload) = (self.log[at].topic.clone(), self.log[at].payload.clone());
        self.commits.insert(at, is_committed);
        if name == "completions" {
            self.under_way.push(futures::future::ready((at, check(&payload), None)).boxed_local());
            return;
        }
        let mut request: Request = serde_json::from_slice(&payload).expect("a request");
        if self.expired.contains(&request.request_id) {
            request.deadline_ms = 0;
        }
        if self.is_quiet {
            "mock".clone_into(&mut request.endpoint);
        }
        let registry = self.registry.clone();
        self.under_way.push(if name.starts_with("parked") {
            wait(at, request, registry).boxed_local()
        } else {
            let (bench, leaving, handover) = (self.bench.clone(), self.leaving.clone(), self.handover.clone());
            work(at, request, registry, bench, leaving, handover).boxed_local()
        });
    }

    /// Lets time pass, in which deliveries end.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                Some((at, records, here)) = self.under_way.next(), if !self.under_way.is_empty() => {
                    let late = self.acks.remove(&at).filter(|late| !late.is_zero() && !records.is_empty());
                    self.append(records);
                    if let Some(late) = late {
                        self.under_way.push(sleep(late).map(move |()| (at, Vec::new(), here)).boxed_local());
                        continue;
                    }
                    drop(here);
                    self.log[at].is_done |= self.commits.remove(&at).unwrap_or(false);
                }
                () = sleep_until(until) => return,
            }
        }
    }

    /// What a process that starts reads before it works.
    fn start(&mut self) {
        self.commits.clear();
        self.acks.clear();
        self.registry = Registry::default();
        self.cancellations.iter().for_each(|cancellation| self.registry.cancel(cancellation.clone()));
        (self.leaving, self.handover) = (CancellationToken::new(), CancellationToken::new());
    }

    async fn happen(&mut self, event: &Event, requests: &[Request]) {
        match event {
            Event::Deliver { nth, is_again, is_committed, acked_after_ms } => {
                let open = self.open(*is_again);
                if !open.is_empty() {
                    let at = open[nth % open.len()];
                    self.acks.insert(at, Duration::from_millis(*acked_after_ms));
                    self.deliver(at, *is_committed);
                }
            }
            Event::Pass { ms } => self.pass(Duration::from_millis(*ms)).await,
            Event::Cancel { which } => {
                let (request_id, team) = (requests[*which].request_id, Some("search".to_owned()));
                let cancellation = Cancellation { request_id, team, reason: "requested".to_owned() };
                self.cancellations.push(cancellation.clone());
                self.registry.cancel(cancellation);
            }
            Event::Expire { which } => drop(self.expired.insert(requests[*which].request_id)),
            Event::Stop => {
                self.leaving.cancel();
                self.handover.cancel();
                while !self.under_way.is_empty() {
                    self.pass(Duration::from_secs(1)).await;
                }
                self.start();
            }
            Event::Crash => {
                self.under_way = FuturesUnordered::new();
                self.start();
            }
        }
    }

    /// Until nothing is open: no more harm, and every provider answers.
    async fn settle(&mut self) {
        self.is_quiet = true;
        loop {
            self.open(false).into_iter().for_each(|at| self.deliver(at, true));
            if self.under_way.is_empty() {
                return;
            }
            self.pass(Duration::from_secs(1)).await;
        }
    }
}

/// As the worker does. The time that one of the clocks shows is real, and hardly passes.
async fn work(
    at: usize,
    request: Request,
    registry: Registry,
    bench: Rc<Bench>,
    leaving: CancellationToken,
    handover: CancellationToken,
) -> Handled {
    let Some(here) = registry.work(&request).await else { return (at, Vec::new(), None) };
    let (id, trace, mut sink) = (ExecutionId::new(), TraceContext::new(), Chunks::default());
    let signals = Signals { cancel: &here.cancel, leaving: &leaving, handover: &handover };
    let done = bench.executor.execute(&request, id, None, &mut sink, signals).await;
    if let Done::Parked(parked) = &done {
        here.parks(&parked.request);
    }
    (at, effects(done, &request, id, None, &trace).expect("JSON"), Some(here))
}

/// As the waker does.
async fn wait(at: usize, request: Request, registry: Registry) -> Handled {
    let here = loop {
        match registry.begin(Stage::Parked, &request) {
            Begun::Work(here) => break here,
            Begun::Wait(present) => present.done.cancelled().await,
        }
    };
    let not_before_ms = request.waiting.as_ref().expect("it waits").not_before_ms;
    let in_topic = sleep(Duration::from_secs(10));
    tokio::select! { () = here.cancel.cancelled() => {}, () = in_topic => {} }
    let next = park::next(&request, here.cancel.is_cancelled(), not_before_ms);
    (at, vec![moved(next, &request, None, &TraceContext::new()).expect("JSON")], Some(here))
}

/// As the guardrail does. What it says depends on the answer alone, so a repeat says the same.
fn check(payload: &[u8]) -> Vec<Outgoing> {
    let Completion { request, terminal, usage } = serde_json::from_slice(payload).expect("a completion");
    let blocked = || Terminal::failed("search", ApiError::new(ErrorCode::GuardrailBlocked, "x"));
    let terminal = if usage.execution_id.0.as_u128() % 2 == 0 { blocked() } else { terminal };
    end::end_request(&request, usage.execution_id, terminal, usage, &TraceContext::new()).expect("JSON")
}

fn check_ends(world: &World, requests: &[Request], is_calm: bool) -> Result<(), TestCaseError> {
    let read = |name: &'static str| world.log.iter().filter(move |record| record.topic == name);
    let mut ends: HashMap<RequestId, Vec<ExecutionId>> = HashMap::new();
    let mut by_execution: HashMap<ExecutionId, (RequestId, bool)> = HashMap::new();
    for record in read("replies") {
        let reply: Reply = serde_json::from_slice(&record.payload).expect("a reply");
        let ReplyEvent::Terminal(terminal) = reply.event else { panic!("no chunks here") };
        ends.entry(reply.request_id).or_default().push(reply.execution_id);
        let said = (reply.request_id, terminal.body.is_some());
        prop_assert_eq!(*by_execution.entry(reply.execution_id).or_insert(said), said, "one execution, one end");
    }
    let rows: Vec<UsageRow> = read("usage").map(|r| serde_json::from_slice(&r.payload).expect("a row")).collect();
    prop_assert_eq!(rows.len(), ends.values().map(Vec::len).sum::<usize>(), "each end comes with its row");
    for row in &rows {
        let numbers: Vec<i32> = row.attempts.iter().map(|attempt| attempt.priority).collect();
        prop_assert_eq!(numbers, (1..=row.attempts.len() as i32).collect::<Vec<_>>(), "each call once, in order");
    }
    prop_assert_eq!(ends.len(), requests.len(), "each request ends, and nothing else");
    for request in requests {
        let found = ends.get(&request.request_id).map_or(0, Vec::len);
        prop_assert!(found >= 1, "a request without an end");
        prop_assert!(found == 1 || !is_calm, "{found} ends, though nothing was delivered twice");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_request_ends_and_once_unless_it_is_delivered_again(
        asked in proptest::collection::vec((0..ENDPOINTS.len(), any::<bool>(), any::<bool>()), 4),
        events in proptest::collection::vec(event(), 0..60),
        is_calm in any::<bool>(),
    ) {
        let now_ms = tollgate_schemas::now_us() / 1000;
        let requests: Vec<Request> = asked
            .into_iter()
            .map(|(endpoint, is_batch, is_short)| Request {
                lane: if is_batch { Lane::Batch } else { Lane::Interactive },
                deadline_ms: if is_short { now_ms } else { now_ms + 3_600_000 },
                ..ask(ENDPOINTS[endpoint])
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new();
            for request in &requests {
                world.append(vec![
                    moved(topic::approved(request.lane), request, None, &TraceContext::new()).expect("JSON"),
                ]);
            }
            for event in events {
                // Without crashes and lost commits nothing is delivered twice.
                let event = match event {
                    Event::Crash if is_calm => continue,
                    Event::Deliver { nth, acked_after_ms, .. } if is_calm => {
                        Event::Deliver { nth, is_again: false, is_committed: true, acked_after_ms }
                    }
                    event => event,
                };
                world.happen(&event, &requests).await;
            }
            world.settle().await;
            check_ends(&world, &requests, is_calm)
        })?;
    }
}
