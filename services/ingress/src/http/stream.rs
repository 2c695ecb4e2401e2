//! Server-sent events: chunks as they come, the rest of an answer from its terminal, failures as a last event.
//!
//! No header leaves before the first content or keep-alive, so that a failure before it is a plain error response. After
//! it a failure is `data: {"error":…}` without `[DONE]`. Never compressed: axum compresses nothing by itself.

use super::{chat, error::Failure};
use crate::{Answer, Pending};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::VecDeque, time::Duration};
use tollgate_schemas::{ApiError, ErrorCode, Request, StreamEvent, Terminal};

/// Silence after which a comment is sent, so that proxies and callers keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COMMENT: &[u8] = b": keep-alive\n\n";

/// Whether the caller asked for the usage chunk.
pub(super) fn wants_usage(request: &Request) -> bool {
    #[derive(Deserialize)]
    struct Peek {
        stream_options: Option<Options>,
    }
    #[derive(Deserialize)]
    struct Options {
        include_usage: Option<bool>,
    }
    let tollgate_schemas::Body::Inline(body) = &request.body else { return false };
    serde_json::from_str::<Peek>(body.get())
        .is_ok_and(|p| p.stream_options.is_some_and(|o| o.include_usage == Some(true)))
}

/// Waits for the first content, the end or a keep-alive's time, and answers.
pub(super) async fn respond_with_stream(
    mut pending: Pending,
    usage_wanted: bool,
    model: String,
) -> Result<Response, Failure> {
    let mut sent = Sent { usage_wanted, model, ..Sent::default() };
    let first = match tokio::time::timeout(KEEP_ALIVE, pending.next()).await {
        Err(_) => Step::More(KEEP_ALIVE_COMMENT.to_vec()),
        Ok(Ok(Answer::StillRunning)) => return Err(chat::still_running(&pending).into()),
        Ok(Ok(Answer::Terminal { terminal, .. })) if terminal.error.is_some() && terminal.chunks == 0 => {
            return chat::finished(&pending, &terminal).await;
        }
        Ok(answer) => step(&pending, &mut sent, answer?).await,
    };
    let id = pending.id();
    let (destination, attempts) = (sent.destination.clone(), sent.attempts);
    let state = State { pending, sent, ready: VecDeque::from([first]), over: false };
    let stream = futures::stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(bytes)), state))
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    chat::tell(&mut response, id, destination.as_deref(), attempts);
    Ok(response)
}

struct State {
    pending: Pending,
    sent: Sent,
    ready: VecDeque<Step>,
    over: bool,
}

enum Step {
    More(Vec<u8>),
    Last(Vec<u8>),
}

impl State {
    async fn next(&mut self) -> Option<Vec<u8>> {
        if self.over {
            return None;
        }
        let step = match self.ready.pop_front() {
            Some(step) => step,
            None => match tokio::time::timeout(KEEP_ALIVE, self.pending.next()).await {
                Err(_) => Step::More(KEEP_ALIVE_COMMENT.to_vec()),
                Ok(Ok(answer)) => step(&self.pending, &mut self.sent, answer).await,
                Ok(Err(error)) => Step::Last(error_event(&error)),
            },
        };
        match step {
            Step::More(bytes) => Some(bytes),
            Step::Last(bytes) => {
                self.over = true;
                Some(bytes)
            }
        }
    }
}

/// Turns one step of the answer into bytes.
async fn step(pending: &Pending, sent: &mut Sent, answer: Answer) -> Step {
    match answer {
        Answer::Events(events, origin) => {
            if let Some(origin) = origin {
                (sent.destination, sent.attempts) = (Some(origin.destination), Some(origin.attempts));
            }
            sent.note(&events);
            Step::More(frames(&events))
        }
        Answer::StillRunning => Step::Last(error_event(&chat::still_running(pending))),
        Answer::Terminal { terminal, forwarded, interrupted } => {
            sent.destination.clone_from(&terminal.destination);
            sent.attempts = Some(terminal.attempts);
            Step::Last(end(pending, sent, &terminal, forwarded, interrupted).await)
        }
    }
}

/// The last bytes of a stream: what was not forwarded yet, then `[DONE]` or the error.
async fn end(pending: &Pending, sent: &Sent, terminal: &Terminal, forwarded: u32, interrupted: bool) -> Vec<u8> {
    if interrupted {
        return error_event(&ApiError::new(
            ErrorCode::StreamInterrupted,
            "the work was taken over by another worker after part of the answer had been sent; ask again",
        ));
    }
    let mut bytes = Vec::new();
    if forwarded < terminal.chunks || (terminal.chunks == 0 && terminal.error.is_none()) {
        match pending.body(terminal).await {
            Ok(Some(body)) => match sent.rest(body.get()) {
                Ok(events) => bytes.extend(frames(&events)),
                Err(error) => return error_event(&error),
            },
            Ok(None) => {}
            Err(error) => return error_event(&error),
        }
    }
    match &terminal.error {
        Some(error) => bytes.extend(error_event(error)),
        None => bytes.extend_from_slice(b"data: [DONE]\n\n"),
    }
    bytes
}

fn error_event(error: &ApiError) -> Vec<u8> {
    format!("data: {}\n\n", error.openai()).into_bytes()
}

fn frames(events: &[StreamEvent]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(events.iter().map(|e| e.data.len() + 16).sum());
    for event in events {
        if let Some(name) = &event.event {
            bytes.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        bytes.extend_from_slice(b"data: ");
        bytes.extend_from_slice(event.data.as_bytes());
        bytes.extend_from_slice(b"\n\n");
    }
    bytes
}

/// What a caller has been sent, as far as it is needed to send the rest of the answer.
#[derive(Default)]
struct Sent {
    any: bool,
    /// Bytes of content of choice 0.
    content_bytes: usize,
    /// Something that cannot be continued from the whole answer: tool calls, or other choices.
    beyond_content: bool,
    finished: bool,
    usage_wanted: bool,
    model: String,
    destination: Option<String>,
    attempts: Option<u32>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<ChunkChoice>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    tool_calls: Option<serde::de::IgnoredAny>,
}

impl Sent {
    fn note(&mut self, events: &[StreamEvent]) {
        self.any = true;
        for chunk in events.iter().filter_map(|e| serde_json::from_str::<Chunk>(&e.data).ok()) {
            for choice in chunk.choices {
                self.content_bytes += choice.delta.content.map_or(0, |c| c.len());
                self.beyond_content |= choice.index > 0 || choice.delta.tool_calls.is_some();
                self.finished |= choice.finish_reason.is_some();
            }
        }
    }

    /// The events that make a stream of the whole answer `body`, less what was sent.
    fn rest(&self, body: &str) -> Result<Vec<StreamEvent>, ApiError> {
        let broken = |why: &str| {
            ApiError::new(
                ErrorCode::StreamInterrupted,
                format!("the rest of the stream cannot be sent: {why}; GET /v1/requests/{{id}} has the whole answer"),
            )
        };
        let body: Value = serde_json::from_str(body).map_err(|_| broken("the stored answer is not JSON"))?;
        if self.any && self.beyond_content {
            return Err(broken("it was cut within tool calls"));
        }
        let mut events = Vec::new();
        for choice in body["choices"].as_array().into_iter().flatten() {
            if !self.any {
                events.extend(self.whole_choice(&body, choice));
                continue;
            }
            let content = choice["message"]["content"].as_str().unwrap_or_default();
            let rest = content.get(self.content_bytes..).ok_or_else(|| broken("what was sent is not its beginning"))?;
            if !rest.is_empty() {
                events.push(self.chunk(&body, &choice["index"], json!({ "content": rest }), &Value::Null));
            }
        }
        if self.any && !self.finished {
            let choice = &body["choices"][0];
            events.push(self.chunk(&body, &choice["index"], json!({}), &choice["finish_reason"]));
        }
        if self.usage_wanted && !body["usage"].is_null() {
            let mut last = self.envelope(&body);
            last["choices"] = json!([]);
            last["usage"] = body["usage"].clone();
            events.push(StreamEvent { event: None, data: last.to_string() });
        }
        Ok(events)
    }

    /// A message as the chunks a streaming provider would have sent, content in one piece.
    fn whole_choice(&self, body: &Value, choice: &Value) -> Vec<StreamEvent> {
        let mut delta = choice["message"].clone();
        if let Some(calls) = delta["tool_calls"].as_array_mut() {
            for (index, call) in calls.iter_mut().enumerate() {
                call["index"] = index.into();
            }
        }
        let index = &choice["index"];
        vec![self.chunk(body, index, delta, &Value::Null), self.chunk(body, index, json!({}), &choice["finish_reason"])]
    }

    fn chunk(&self, body: &Value, index: &Value, delta: Value, finish: &Value) -> StreamEvent {
        let mut chunk = self.envelope(body);
        chunk["choices"] = json!([{ "index": index, "delta": delta, "finish_reason": finish }]);
        StreamEvent { event: None, data: chunk.to_string() }
    }

    fn envelope(&self, body: &Value) -> Value {
        json!({ "id": body["id"], "object": "chat.completion.chunk", "created": body["created"], "model": self.model })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"id":"c","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":"héllo world"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}"#;

    fn event(delta: Value) -> StreamEvent {
        StreamEvent {
            event: None,
            data: json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] }).to_string(),
        }
    }

    fn content(events: &[StreamEvent]) -> String {
        let parsed = events.iter().filter_map(|e| serde_json::from_str::<Chunk>(&e.data).ok());
        parsed.flat_map(|c| c.choices).filter_map(|c| c.delta.content).collect()
    }

    #[test]
    fn the_rest_joins_what_was_sent() {
        let mut sent = Sent::default();
        assert_eq!(content(&sent.rest(BODY).expect("whole")), "héllo world");
        sent.note(&[event(json!({ "role": "assistant", "content": "" })), event(json!({ "content": "héllo" }))]);
        let rest = sent.rest(BODY).expect("rest");
        assert_eq!((content(&rest), rest.len()), (" world".to_owned(), 2));
        sent.note(&[event(json!({ "tool_calls": [] }))]);
        assert_eq!(sent.rest(BODY).expect_err("cut").code, ErrorCode::StreamInterrupted);
    }

    #[test]
    fn usage_only_if_asked() {
        let count = |usage_wanted| Sent { usage_wanted, ..Sent::default() }.rest(BODY).expect("whole").len();
        assert_eq!((count(false), count(true)), (2, 3));
    }
}
