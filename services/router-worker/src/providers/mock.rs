//! A provider that answers by itself: no key, no network, no cost. For the quick start, demonstrations and tests.
//!
//! The answer is `mock: ` and the text of the last user message, cut at the caller's maximum of tokens; a stream gives it
//! word by word. An embedding is a short vector that means nothing, and a moderation finds nothing. Tokens are counted by the
//! gateway's estimate, (characters + 1) / 4. Its wire format is OpenAI's, so it takes the same way through the router as any other
//! provider's, and it goes on with an answer as vLLM does (`continue_final_message`). Some model names stand for faults:
//!
//! | model | what happens |
//! | --- | --- |
//! | `mock-429` | status 429 with `retry-after: 1` |
//! | `mock-500` | status 500 |
//! | `mock-timeout` | no answer, until the caller's time-out |
//! | `mock-cut-<words>` | a stream that ends without a word after so many of the answer |
//! | `mock-slow-<ms>` | waits that many milliseconds before the answer, and in a stream before each word |

use super::{Asked, Encoded, Fields, Head, chat};
use crate::tokens::estimate;
use bytes::Bytes;
use serde_json::{Value, json};
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// How long an embedding is, unless the caller says so, and at the most.
const DIMENSIONS: usize = 8;
const DIMENSIONS_MAX: usize = 4_096;

/// What OpenAI's moderations look for.
const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// What is still to be sent.
#[derive(Debug, Default)]
pub(super) struct Script {
    pause: Duration,
    due: Option<Instant>,
    pieces: VecDeque<Bytes>,
}

impl Script {
    /// The next piece. The moment it is due outlives a dropped call.
    pub(super) async fn chunk(&mut self) -> Option<Bytes> {
        if !self.pause.is_zero() && !self.pieces.is_empty() {
            let due = *self.due.get_or_insert_with(|| Instant::now() + self.pause);
            tokio::time::sleep_until(due).await;
            self.due = None;
        }
        self.pieces.pop_front()
    }
}

/// The answer to a request as it would be sent; never, if the model says so.
pub(super) async fn respond(asked: &Asked<'_>, request: &Encoded) -> (Head, Script) {
    let body = Fields::parse(&request.body).unwrap_or_default();
    let asked = &Asked { chat: &body, ..*asked };
    let fault = asked.upstream_model.strip_prefix("mock-").unwrap_or_default();
    match fault {
        "429" => return error(429, "rate_limit_exceeded", Some(Duration::from_secs(1))),
        "500" => return error(500, "server_error", None),
        "timeout" => std::future::pending().await,
        _ => {}
    }
    let pause =
        fault.strip_prefix("slow-").and_then(|ms| ms.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
    let head = Head { status: 200, retry_after: None, request_id: Some("mock".to_owned()), credential: None };
    let pieces = match request.path.as_str() {
        "/embeddings" => VecDeque::from([Bytes::from(embeddings(asked).to_string())]),
        "/moderations" => VecDeque::from([Bytes::from(moderations(asked).to_string())]),
        _ if asked.stream => stream(asked, fault.strip_prefix("cut-").and_then(|words| words.parse().ok())),
        _ => VecDeque::from([Bytes::from(whole(asked).to_string())]),
    };
    (head, Script { pause, due: None, pieces })
}

fn error(status: u16, kind: &str, retry_after: Option<Duration>) -> (Head, Script) {
    let body = json!({ "error": { "message": "this model of the mock provider always fails", "type": kind, "param": null, "code": kind } });
    let pieces = VecDeque::from([Bytes::from(body.to_string())]);
    (
        Head { status, retry_after, request_id: Some("mock".to_owned()), credential: None },
        Script { pieces, ..Script::default() },
    )
}

/// The answer's text and why it ends.
fn text(asked: &Asked<'_>) -> (String, &'static str) {
    let mut text = format!("mock: {}", chat::last_user_text(asked.chat));
    if let Some(rest) = chat::beginning(asked.chat).and_then(|begun| text.strip_prefix(&begun)) {
        text = rest.to_owned();
    }
    let max =
        ["max_completion_tokens", "max_tokens"].iter().find_map(|name| asked.chat.read::<u32>(name).ok().flatten());
    // `estimate` gives `max` for up to 4 × max characters.
    match max.and_then(|max| text.char_indices().nth(4 * max as usize)).map(|(at, _)| at) {
        Some(at) => {
            text.truncate(at);
            (text, "length")
        }
        None => (text, "stop"),
    }
}

fn usage(asked: &Asked<'_>, text: &str) -> Value {
    let (prompt, completion) = (estimate(chat::prompt_chars(asked.chat)), estimate(text.chars().count()));
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": { "cached_tokens": 0 },
        "completion_tokens_details": { "reasoning_tokens": 0 },
    })
}

fn whole(asked: &Asked<'_>) -> Value {
    let (text, finish) = text(asked);
    let usage = usage(asked, &text);
    let message = json!({ "role": "assistant", "content": text, "refusal": null });
    json!({
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": asked.created,
        "model": asked.upstream_model,
        "choices": [{ "index": 0, "message": message, "logprobs": null, "finish_reason": finish }],
        "usage": usage,
    })
}

/// A short vector for each text, the same for the same text: it means nothing, but it can be stored and compared.
fn embeddings(asked: &Asked<'_>) -> Value {
    let inputs = match asked.chat.read::<Value>("input") {
        Ok(Some(Value::Array(inputs))) if !inputs.iter().all(Value::is_number) => inputs,
        Ok(Some(input)) => vec![input],
        _ => Vec::new(),
    };
    let dimensions = asked.chat.read::<usize>("dimensions").ok().flatten().unwrap_or(DIMENSIONS).min(DIMENSIONS_MAX);
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let mut random = fastrand::Rng::with_seed(seed(&input.to_string()));
        let embedding: Vec<f32> = (0..dimensions).map(|_| random.f32() * 2.0 - 1.0).collect();
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let prompt = estimate(chat::prompt_chars(asked.chat));
    json!({
        "object": "list",
        "data": data.collect::<Vec<Value>>(),
        "model": asked.upstream_model,
        "usage": { "prompt_tokens": prompt, "total_tokens": prompt },
    })
}

/// Nothing found, once for each text, or for all parts of one input.
fn moderations(asked: &Asked<'_>) -> Value {
    let inputs = match asked.chat.read::<Value>("input") {
        Ok(Some(Value::Array(inputs))) if inputs.iter().all(Value::is_string) => inputs.len(),
        _ => 1,
    };
    let each =
        |value: Value| Value::Object(CATEGORIES.map(|name| (name.to_owned(), value.clone())).into_iter().collect());
    let result = json!({
        "flagged": false,
        "categories": each(false.into()),
        "category_scores": each(json!(0.0)),
        "category_applied_input_types": each(json!(["text"])),
    });
    json!({ "id": "modr-mock", "model": asked.upstream_model, "results": vec![result; inputs] })
}

/// A number for a text; which one does not matter.
fn seed(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `cut`: it ends after so many words.
fn stream(asked: &Asked<'_>, cut: Option<usize>) -> VecDeque<Bytes> {
    let (text, finish) = text(asked);
    let event = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-mock",
            "object": "chat.completion.chunk",
            "created": asked.created,
            "model": asked.upstream_model,
            "choices": choices,
            "usage": usage,
        });
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let delta = |delta: Value, finish: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        event(json!([choice]), Value::Null)
    };
    let mut pieces = VecDeque::from([delta(json!({ "role": "assistant", "content": "" }), None)]);
    pieces.extend(text.split_inclusive(' ').map(|word| delta(json!({ "content": word }), None)));
    pieces.push_back(delta(json!({}), Some(finish)));
    pieces.push_back(event(json!([]), usage(asked, &text)));
    pieces.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
    if let Some(words) = cut {
        pieces.truncate(words.saturating_add(1));
    }
    pieces
}
