//! The owner rule in a small world: random deliveries, crashes, cancellations and time over a log, with the real registry,
//! parking and ends. The provider and the guardrail are a draw of lots.

use super::requests::ask;
use crate::{
    execute::Finished,
    park::park,
    registry::{Begun, Registry, Stage},
    service::{moved, records},
};
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::{collections::HashMap, time::Duration};
use tollgate_bus::{Outgoing, TopicName, end};
use tollgate_schemas::{
    ApiError, Body, Cancellation, Completion, ErrorCode, ExecutionId, Lane, Reply, ReplyEvent, Request, RequestId,
    Terminal, TraceContext, UsageRow, topic,
};

const WORK: [&str; 5] = ["approved.batch", "parked.10s", "parked.1m", "parked.10m", "completions"];

#[derive(Debug, Clone)]
enum Event {
    /// Handles the nth record of all that are not done; `luck` is what the provider or the checks say.
    Deliver {
        nth: usize,
        luck: u8,
        is_committed: bool,
    },
    Cancel {
        which: usize,
    },
    Crash,
    Expire {
        which: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..64usize, 0..4u8, prop::bool::weighted(0.7))
            .prop_map(|(nth, luck, is_committed)| Event::Deliver { nth, luck, is_committed }),
        1 => (0..4usize).prop_map(|which| Event::Cancel { which }),
        1 => Just(Event::Crash),
        1 => (0..4usize).prop_map(|which| Event::Expire { which }),
    ]
}

/// The log: each record with its topic, and whether its offset is committed.
#[derive(Default)]
struct World {
    log: Vec<(String, Vec<u8>, bool)>,
    registry: Registry,
    cancellations: Vec<Cancellation>,
    expired: Vec<RequestId>,
}

impl World {
    fn append(&mut self, records: Vec<Outgoing>) {
        for record in records {
            let TopicName::Internal(name) = record.topic else { continue };
            self.log.push((name.to_owned(), record.payload, false));
        }
    }

    fn open(&self) -> Vec<usize> {
        let is_work = |at: &usize| WORK.contains(&self.log[*at].0.as_str()) && !self.log[*at].2;
        (0..self.log.len()).filter(is_work).collect()
    }

    /// What a process that starts reads before it works.
    fn crash(&mut self) {
        self.registry = Registry::default();
        self.cancellations.iter().for_each(|cancellation| self.registry.cancel(cancellation.clone()));
    }

    fn deliver(&mut self, at: usize, luck: u8, is_committed: bool) {
        let (name, payload, _) = self.log[at].clone();
        let out = if name == "completions" {
            let Completion { request, terminal, usage } = serde_json::from_slice(&payload).expect("a completion");
            // What the checks say depends on the answer alone, so a repeat says the same.
            let is_blocked = usage.execution_id.0.as_u128() % 2 == 0;
            let terminal = if is_blocked { failed(ErrorCode::GuardrailBlocked) } else { terminal };
            end::end_request(&request, usage.execution_id, terminal, usage, &TraceContext::new()).expect("JSON")
        } else {
            let request: Request = serde_json::from_slice(&payload).expect("a request");
            let stage = if name == "approved.batch" { Stage::Working } else { Stage::Parked };
            let Begun::Work(here) = self.registry.begin(stage, request.request_id, "search") else { panic!("alone") };
            let is_over = here.cancel.is_cancelled() || self.expired.contains(&request.request_id);
            match stage {
                Stage::Parked => {
                    vec![moved(topic::approved(request.lane), &request, None, &TraceContext::new()).expect("JSON")]
                }
                Stage::Working => work(&request, is_over, luck),
            }
        };
        self.append(out);
        self.log[at].2 |= is_committed;
    }
}

fn failed(code: ErrorCode) -> Terminal {
    Terminal::failed("search", ApiError::new(code, "x"))
}

fn work(request: &Request, is_over: bool, luck: u8) -> Vec<Outgoing> {
    let (id, trace) = (ExecutionId::new(), TraceContext::new());
    let usage = UsageRow::of(request, id, "main", "local", None);
    let answer =
        Terminal { body: Some(Body::Inline(RawValue::NULL.to_owned())), error: None, ..failed(ErrorCode::Internal) };
    let (terminal, is_checked) = match (is_over, luck) {
        (true, _) => (failed(ErrorCode::Cancelled), false),
        (_, 0) => {
            let parked = park(request, Vec::new(), true, Duration::ZERO, 0, 1.0);
            return vec![moved(parked.topic, &parked.request, None, &trace).expect("JSON")];
        }
        (_, 1) => (answer, true),
        (_, 2) => (answer, false),
        _ => (failed(ErrorCode::ProviderError), false),
    };
    records(request, id, Finished { terminal, usage, is_checked }, &trace).expect("JSON")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn every_request_ends_whatever_the_order(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::default();
        let requests: Vec<Request> = (0..4).map(|_| Request { lane: Lane::Batch, ..ask("chat") }).collect();
        for request in &requests {
            world.append(vec![moved(topic::approved(Lane::Batch), request, None, &TraceContext::new()).expect("JSON")]);
        }
        for event in events {
            match event {
                Event::Deliver { nth, luck, is_committed } => {
                    let open = world.open();
                    if !open.is_empty() {
                        world.deliver(open[nth % open.len()], luck, is_committed);
                    }
                }
                Event::Crash => world.crash(),
                Event::Expire { which } => world.expired.push(requests[which].request_id),
                Event::Cancel { which } => {
                    let (request_id, team) = (requests[which].request_id, Some("search".to_owned()));
                    let cancellation = Cancellation { request_id, team, reason: "requested".to_owned() };
                    world.cancellations.push(cancellation.clone());
                    world.registry.cancel(cancellation);
                }
            }
        }
        // Until it is quiet: no more crashes, and every provider answers.
        while let Some(at) = world.open().first() {
            world.deliver(*at, 2, true);
        }
        let mut ends: HashMap<RequestId, Vec<ExecutionId>> = HashMap::new();
        let mut by_execution: HashMap<ExecutionId, (RequestId, bool)> = HashMap::new();
        for (_, payload, _) in world.log.iter().filter(|(name, ..)| name == "replies") {
            let reply: Reply = serde_json::from_slice(payload).expect("a reply");
            let ReplyEvent::Terminal(terminal) = reply.event else { panic!("no chunks here") };
            ends.entry(reply.request_id).or_default().push(reply.execution_id);
            let said = (reply.request_id, terminal.body.is_some());
            prop_assert_eq!(*by_execution.entry(reply.execution_id).or_insert(said), said, "one execution, one end");
        }
        let rows = world.log.iter().filter(|(name, ..)| name == "usage").count();
        prop_assert_eq!(rows, ends.values().map(Vec::len).sum::<usize>(), "each end comes with its row");
        for request in &requests {
            prop_assert!(ends.contains_key(&request.request_id), "a request without an end");
        }
        prop_assert_eq!(ends.len(), requests.len());
    }
}
