//! Streams that come in chunks and go on in chunks, and every way in which they do not.

use super::*;
use std::collections::BTreeMap;
use tollgate_schemas::{CompletionChunk, Origin, Originals, StreamEvent};

const FINE: &str =
    "Everything in this sentence is fine, and it is long enough to go out before the next one has come in whole. ";

/// The chunks of a stream of one text, and the completion behind them.
struct Streamed {
    chunks: Vec<CompletionChunk>,
    whole: Completion,
}

fn streamed(endpoint: &str, parts: &[&str]) -> Streamed {
    let mut whole = completion(endpoint, &parts.concat());
    whole.terminal.chunks = u32::try_from(parts.len()).expect("few");
    let (request_id, execution_id) = (whole.request.request_id, whole.usage.execution_id);
    let chunk = |(seq, part): (usize, &&str)| CompletionChunk {
        request: (seq == 0).then(|| Box::new(whole.request.clone())),
        request_id,
        execution_id,
        seq: u32::try_from(seq).expect("few"),
        events: vec![StreamEvent {
            event: None,
            data: json!({ "choices": [{ "index": 0, "delta": { "content": part }, "finish_reason": null }] })
                .to_string(),
        }],
        origin: (seq == 0).then(|| Origin { destination: "d".into(), attempts: 1, dropped: Vec::new() }),
    };
    Streamed { chunks: parts.iter().enumerate().map(chunk).collect(), whole }
}

impl Bench {
    /// The text that went out in chunks, whose numbers must follow each other.
    fn text(&self) -> String {
        let replied = self.replied.lock().expect("no panic");
        let mut text = String::new();
        for (at, reply) in replied.iter().enumerate() {
            let ReplyEvent::Chunk { seq, events, origin } = &reply.event else { panic!("a chunk") };
            assert_eq!((*seq as usize, origin.is_some()), (at, at == 0));
            for event in events {
                let document: Value = serde_json::from_str(&event.data).expect("JSON");
                text.push_str(document["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
        }
        text
    }

    fn chunks(&self) -> u32 {
        u32::try_from(self.replied.lock().expect("no panic").len()).expect("few")
    }
}

async fn push(service: &Service, chunk: &CompletionChunk, bench: &Bench) {
    service.chunk(chunk.clone(), &TraceContext::new(), bench).await;
}

fn content(terminal: &Terminal) -> String {
    let body = text(terminal.body.as_ref().expect("an answer"));
    body["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn a_stream_goes_out_while_it_comes_masked_and_its_end_says_how_much_did() {
    let (service, bench) = (service(), Bench::default());
    let long = FINE.repeat(8);
    let Streamed { chunks, whole } = streamed("chat", &[FINE, "mail a@", "b.com, ", &long, "and again a@b.com."]);
    for chunk in &chunks {
        push(&service, chunk, &bench).await;
    }
    let early = bench.text();
    assert!(early.starts_with(&format!("{FINE}mail [EMAIL_ADDRESS_1], ")), "{early}");
    let (terminal, usage) = answered_by(&service, whole, &bench).await;
    assert_eq!(terminal.chunks, bench.chunks());
    assert_eq!(bench.text(), format!("{FINE}mail [EMAIL_ADDRESS_1], {long}and again [EMAIL_ADDRESS_1]."));
    assert_eq!(content(&terminal), bench.text());
    assert_eq!((usage.guardrail_outcome.as_deref(), usage.cost_usd), (Some("masked"), Some(Decimal::ONE)));
    assert_eq!(told(&usage.guardrails), [("output.keywords", "passed"), ("output.pii", "masked")]);
    assert_eq!(service.streams.len(), 0);
}

#[tokio::test]
async fn what_masking_took_comes_back_while_the_stream_comes_with_checks_and_without() {
    for (endpoint, early) in [("restoring", ""), ("free", "to a@b.com, ")] {
        let (service, bench) = (service(), Bench::default());
        let Streamed { mut chunks, mut whole } = streamed(endpoint, &["to [EMAIL", "_ADDRESS_1], ", "and ["]);
        let restore = Originals(BTreeMap::from([("[EMAIL_ADDRESS_1]".to_owned(), "a@b.com".to_owned())]));
        whole.request.restore = restore.clone();
        chunks[0].request.as_mut().expect("with the first").restore = restore;
        for chunk in &chunks {
            push(&service, chunk, &bench).await;
        }
        assert_eq!(bench.text(), early);
        let (terminal, usage) = answered_by(&service, whole, &bench).await;
        assert_eq!((bench.text().as_str(), terminal.error.is_none()), ("to a@b.com, and [", true));
        assert_eq!((content(&terminal), terminal.chunks), (bench.text(), bench.chunks()));
        assert!(!serde_json::to_string(&usage).expect("JSON").contains("a@b.com"));
    }
}

#[tokio::test]
async fn a_block_ends_it_with_what_was_sent_counted_and_billed() {
    let (service, bench) = (service(), Bench::default());
    let Streamed { chunks, whole } = streamed(
        "chat",
        &[FINE, "and more of the same, but then ", "a FORBID", "DEN word", ", and on it goes", &FINE.repeat(8)],
    );
    for chunk in &chunks {
        push(&service, chunk, &bench).await;
    }
    assert!(bench.text().starts_with("Everything") && !bench.text().contains("FORBID"));
    let (terminal, usage) = answered_by(&service, whole, &bench).await;
    assert!(bench.chunks() > 0 && terminal.body.is_none() && !terminal.is_filtered);
    assert_eq!((terminal.chunks, terminal.status), (bench.chunks(), 400));
    assert_eq!(terminal.error.expect("an error").checks, ["output.keywords"]);
    assert_eq!((usage.guardrail_outcome.as_deref(), usage.cost_usd), (Some("blocked"), Some(Decimal::ONE)));
}

#[tokio::test]
async fn judges_see_it_part_by_part_under_ids_of_their_own_and_once() {
    let service = service();
    let bench = Bench::of(&service);
    let Streamed { chunks, whole } = streamed("filtered", &[FINE, FINE, "How to build a bomb. ", FINE]);
    for chunk in &chunks {
        push(&service, chunk, &bench).await;
    }
    assert_eq!(bench.text(), FINE.repeat(2));
    let asked = bench.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[0].request_id != asked[1].request_id && asked[1].request_id != asked[2].request_id);
    let again = Bench::of(&service);
    service.streams.ended(whole.request.request_id, whole.usage.execution_id, 0).await;
    for chunk in &chunks {
        push(&service, chunk, &again).await;
    }
    let ids = |asked: &[Request]| asked.iter().map(|request| request.request_id).collect::<Vec<_>>();
    assert_eq!(ids(&again.asked()), ids(&asked), "a repeat asks the same");
    let (terminal, usage) = answered_by(&service, whole, &again).await;
    assert!(again.asked().is_empty(), "what was blocked is not asked about again");
    assert!(terminal.is_filtered && terminal.error.is_some() && terminal.chunks == again.chunks());
    assert_eq!(told(&usage.guardrails), [("output.safety", "blocked")]);
}

#[tokio::test]
async fn chunks_that_overtake_each_other_go_out_in_order() {
    let (service, bench) = (service(), Bench::default());
    let Streamed { mut chunks, whole } = streamed("chat", &[FINE, "two ", "three ", FINE, FINE]);
    chunks.swap(0, 2);
    chunks.swap(3, 4);
    for chunk in chunks.iter().chain(&chunks[..2]) {
        push(&service, chunk, &bench).await;
    }
    let (terminal, _) = answered_by(&service, whole, &bench).await;
    assert_eq!((bench.text(), terminal.chunks), (format!("{FINE}two three {FINE}{FINE}"), bench.chunks()));
}

/// The process that knew its beginning is gone: the whole answer is checked, and nothing says that parts of it were sent.
#[tokio::test(start_paused = true)]
async fn a_stream_whose_beginning_is_not_known_is_checked_whole() {
    let (service, bench) = (service(), Bench::default());
    let Streamed { chunks, whole } = streamed("chat", &[FINE, "mail a@", "b.com"]);
    for chunk in &chunks[1..] {
        push(&service, chunk, &bench).await;
    }
    let (terminal, _) = answered_by(&service, whole.clone(), &bench).await;
    assert_eq!((bench.chunks(), terminal.chunks), (0, 0));
    assert_eq!(content(&terminal), format!("{FINE}mail [EMAIL_ADDRESS_1]"));
    // The same if nothing of it came here at all, or another run began it.
    let (terminal, _) = answered_by(&service, whole, &bench).await;
    assert_eq!((terminal.chunks, content(&terminal)), (0, format!("{FINE}mail [EMAIL_ADDRESS_1]")));
    let Streamed { chunks, mut whole } = streamed("chat", &["a@b.com"]);
    push(&service, &chunks[0], &bench).await;
    whole.usage.execution_id = ExecutionId::new();
    let (terminal, _) = answered_by(&service, whole, &bench).await;
    assert_eq!((terminal.chunks, content(&terminal)), (0, "[EMAIL_ADDRESS_1]".to_owned()));
    assert_eq!(service.streams.len(), 0);
}

#[tokio::test]
async fn what_cannot_be_checked_in_parts_is_checked_whole() {
    let (service, bench) = (service(), Bench::default());
    let Streamed { mut chunks, whole } = streamed("chat", &[FINE, "mail a@b.com"]);
    chunks[1].events[0].data = "not JSON".into();
    for chunk in &chunks {
        push(&service, chunk, &bench).await;
    }
    let (terminal, _) = answered_by(&service, whole, &bench).await;
    assert_eq!((terminal.chunks, content(&terminal)), (0, format!("{FINE}mail [EMAIL_ADDRESS_1]")));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_while_a_judge_is_asked_leaves_the_answer_to_the_next() {
    let service = service();
    let bench = Bench { is_silent: true, is_leaving: true, ..Bench::of(&service) };
    let Streamed { chunks, whole } = streamed("filtered", &[FINE, FINE]);
    push(&service, &chunks[0], &bench).await;
    assert_eq!(bench.chunks(), 0);
    let outcome = service.completion(whole, &TraceContext::new(), &bench).await.expect("records");
    assert!(outcome.emit.is_empty());
}
