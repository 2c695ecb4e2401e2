//! Streams, mostly of server-sent events ([`Form`]): chunks as they come, the rest of an answer from its terminal, failures as a last event.
//!
//! No header leaves before the first content or keep-alive, so that a failure before it is a plain error response. After
//! it a failure is a last event in the API's own shape. Never compressed: axum compresses nothing by itself.
//!
//! What is particular to an API (how an answer is cut into events, how a stream ends) is in [`chat`], [`completions`], [`google`],
//! [`messages`] and [`responses`].

mod chat;
mod completions;
mod form;
mod google;
mod messages;
mod responses;
mod seen;

pub(super) use form::Form;

use super::{
    answer,
    error::{Failure, set_headers},
};
use crate::{Answer, Pending};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use tollgate_schemas::{
    ApiError, ApiType, ErrorCode, Request, StreamEvent, Terminal, error::Shape as Errors, reply::DROPPED_HEADER,
};

/// Silence after which a comment is sent, so that proxies and callers keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Waits for the first content, the end or a keep-alive's time, and answers.
pub(super) async fn respond_with_stream(mut pending: Pending, mut sent: Sent) -> Result<Response, Failure> {
    // Of an answer that was whole before anything of it was sent.
    let mut told = BTreeMap::new();
    let first = match tokio::time::timeout(KEEP_ALIVE, pending.next()).await {
        Err(_) => Step::More(sent.keep_alive()),
        Ok(Ok(Answer::StillRunning)) => return Err(answer::still_running(&pending).into()),
        Ok(Ok(Answer::Terminal { terminal, .. })) if terminal.error.is_some() && terminal.chunks == 0 => {
            return answer::finished(pending.gateway(), pending.id(), &terminal).await;
        }
        Ok(answer) => {
            let answer = answer?;
            if let Answer::Terminal { terminal, .. } = &answer {
                told.clone_from(&terminal.headers);
            }
            step(&pending, &mut sent, answer).await
        }
    };
    let id = pending.id();
    let (destination, attempts, content_type) = (sent.destination.clone(), sent.attempts, sent.form.content_type());
    if !sent.dropped.is_empty() {
        told.insert(DROPPED_HEADER.to_owned(), sent.dropped.join(", "));
    }
    let state = State { pending, sent, ready: VecDeque::from([first]), over: false };
    let stream = futures::stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(bytes)), state))
    });
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    set_headers(&mut response, &told);
    answer::tell(&mut response, id, destination.as_deref(), attempts);
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
                Err(_) => Step::More(self.sent.keep_alive()),
                Ok(Ok(answer)) => step(&self.pending, &mut self.sent, answer).await,
                Ok(Err(error)) => Step::Last(self.sent.failed(&self.pending, &error)),
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
                sent.dropped = origin.dropped;
            }
            sent.note(&events);
            Step::More(sent.form.write(&events))
        }
        Answer::StillRunning => Step::Last(sent.failed(pending, &answer::still_running(pending))),
        Answer::Terminal { terminal, forwarded, interrupted } => {
            sent.destination.clone_from(&terminal.destination);
            sent.attempts = Some(terminal.attempts);
            Step::Last(end(pending, sent, &terminal, forwarded, interrupted).await)
        }
    }
}

/// The last bytes of a stream: what was not forwarded yet, then its end or the error.
async fn end(pending: &Pending, sent: &mut Sent, terminal: &Terminal, forwarded: u32, interrupted: bool) -> Vec<u8> {
    if interrupted {
        let message = "the work was taken over by another worker after part of the answer had been sent; ask again";
        return sent.failed(pending, &ApiError::new(ErrorCode::StreamInterrupted, message));
    }
    let mut bytes = Vec::new();
    if forwarded < terminal.chunks || (terminal.chunks == 0 && terminal.error.is_none()) {
        match pending.gateway().body_of(pending.id(), terminal).await {
            Ok(Some(body)) => match sent.rest(body.get()) {
                Ok(events) => bytes.extend(sent.form.write(&events)),
                Err(error) => return sent.failed(pending, &error),
            },
            Ok(None) => {}
            Err(error) => return sent.failed(pending, &error),
        }
    }
    match &terminal.error {
        Some(_) if terminal.is_filtered => {
            let events = sent.filtered();
            bytes.extend(sent.form.write(&events));
            bytes.extend_from_slice(sent.last());
        }
        Some(error) => bytes.extend(sent.failed(pending, error)),
        None => bytes.extend_from_slice(sent.last()),
    }
    bytes
}

/// Whether the caller asked for the usage chunk.
fn wants_usage(request: &Request) -> bool {
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

/// The beginning of a text that was sent: how long it is, and what tells it from another one.
#[derive(Debug, Clone, Copy)]
struct Beginning {
    bytes: usize,
    /// FNV-1a.
    hash: u64,
}

impl Default for Beginning {
    fn default() -> Self {
        Self { bytes: 0, hash: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Beginning {
    fn of(text: &str) -> Self {
        let mut beginning = Self::default();
        beginning.add(text);
        beginning
    }

    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        self.hash = text.bytes().fold(self.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }

    /// The rest of a whole text, if it begins so: one whose checks were made anew may not.
    fn rest<'t>(&self, text: &'t str) -> Result<&'t str, &'static str> {
        let (known, rest) = text.split_at_checked(self.bytes).ok_or(NOT_ITS_BEGINNING)?;
        if Self::of(known).hash == self.hash { Ok(rest) } else { Err(NOT_ITS_BEGINNING) }
    }

    /// Errors unless the text is this and no more.
    fn is_all_of(&self, text: &str) -> Result<(), &'static str> {
        if self.rest(text)?.is_empty() { Ok(()) } else { Err(NOT_ITS_BEGINNING) }
    }
}

const NOT_ITS_BEGINNING: &str = "what was sent is not its beginning";

/// What a caller has been sent, as far as it is needed to send the rest of the answer.
pub(super) struct Sent {
    form: Form,
    errors: Errors,
    any: bool,
    shape: Shape,
    destination: Option<String>,
    attempts: Option<u32>,
    /// Fields of the request that were left out.
    dropped: Vec<String>,
}

enum Shape {
    Chat(chat::Sent),
    Completions(completions::Sent),
    /// How far the parts were sent is not counted, so a beginning is not continued.
    Google,
    Messages(messages::Sent),
    Responses(responses::Sent),
}

impl Sent {
    /// Nothing yet of the answer to this request, whose caller reads that form and knows errors of that shape.
    pub(super) fn of(request: &Request, form: Form, errors: Errors) -> Self {
        let shape = match request.api_type {
            ApiType::GenerateContent => Shape::Google,
            // A count is never one.
            ApiType::Messages | ApiType::CountTokens => Shape::Messages(messages::Sent::default()),
            ApiType::Responses => Shape::Responses(responses::Sent::default()),
            ApiType::Completions => Shape::Completions(completions::Sent::of(request)),
            ApiType::ChatCompletions | ApiType::Embeddings | ApiType::Moderations => {
                Shape::Chat(chat::Sent::of(request))
            }
        };
        Self { form, errors, any: false, shape, destination: None, attempts: None, dropped: Vec::new() }
    }

    fn note(&mut self, events: &[StreamEvent]) {
        self.any = true;
        match &mut self.shape {
            Shape::Chat(sent) => sent.note(events),
            Shape::Completions(sent) => sent.note(events),
            Shape::Google => {}
            Shape::Messages(sent) => sent.note(events),
            Shape::Responses(sent) => sent.note(events),
        }
    }

    /// The events that make a stream of the whole answer `body`, less what was sent.
    fn rest(&self, body: &str) -> Result<Vec<StreamEvent>, ApiError> {
        let rest = serde_json::from_str(body).map_err(|_| "the stored answer is not JSON").and_then(|body| match &self
            .shape
        {
            Shape::Chat(sent) => sent.rest(&body),
            Shape::Completions(sent) => sent.rest(&body),
            Shape::Google if self.any => Err("a part of it was lost on its way"),
            Shape::Google => Ok(google::events(&body)),
            Shape::Messages(sent) => sent.rest(&body),
            Shape::Responses(sent) => sent.rest(&body),
        });
        rest.map_err(|why| {
            let message =
                format!("the rest of the stream cannot be sent: {why}; GET /v1/requests/{{id}} has the whole answer");
            ApiError::new(ErrorCode::StreamInterrupted, message)
        })
    }

    /// What is sent in silence. Clients of the Messages API know `ping`, and some count on it.
    fn keep_alive(&self) -> Vec<u8> {
        match self.shape {
            Shape::Chat(_) | Shape::Completions(_) | Shape::Responses(_) => b": keep-alive\n\n".to_vec(),
            Shape::Google => google::KEEP_ALIVE.to_vec(),
            Shape::Messages(_) => b"event: ping\ndata: {\"type\": \"ping\"}\n\n".to_vec(),
        }
    }

    /// What follows the last event of a stream that ended well.
    fn last(&self) -> &'static [u8] {
        match self.shape {
            Shape::Chat(_) | Shape::Completions(_) => b"data: [DONE]\n\n",
            Shape::Google | Shape::Messages(_) | Shape::Responses(_) => self.form.close(),
        }
    }

    /// What ends a stream that was blocked as its API ends one that a content filter has stopped.
    fn filtered(&self) -> Vec<StreamEvent> {
        match &self.shape {
            Shape::Chat(sent) => sent.filtered(),
            Shape::Completions(sent) => sent.filtered(),
            Shape::Google => google::filtered(),
            Shape::Messages(sent) => sent.filtered(),
            Shape::Responses(sent) => sent.filtered(),
        }
    }

    /// The last event of a stream that did not.
    fn failed(&mut self, pending: &Pending, error: &ApiError) -> Vec<u8> {
        let document = error.document(self.errors, Some(&pending.id().to_string()));
        let named = |data: Value| StreamEvent { event: Some("error".to_owned()), data: data.to_string() };
        let event = match &self.shape {
            Shape::Chat(_) | Shape::Completions(_) | Shape::Google => {
                StreamEvent { event: None, data: document.to_string() }
            }
            Shape::Messages(_) => named(document),
            Shape::Responses(sent) => named(sent.failed(document)),
        };
        let mut bytes = self.form.write(&[event]);
        bytes.extend_from_slice(self.form.close());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guardrail that was killed had masked the first value it saw; the next one sees all of the answer.
    #[test]
    fn an_answer_that_was_checked_anew_is_continued_only_if_it_begins_with_what_was_sent() {
        let mut sent = Beginning::default();
        ["wr", "ite to [EMAIL_ADDRESS_1]"].iter().for_each(|part| sent.add(part));
        assert_eq!(sent.rest("write to [EMAIL_ADDRESS_1], please"), Ok(", please"));
        for other in ["write to [EMAIL_ADDRESS_2], please", "write to", "", "wr\u{e9}te to [EMAIL_ADDRESS_1]"] {
            assert_eq!(sent.rest(other), Err(NOT_ITS_BEGINNING), "{other}");
        }
    }

    #[test]
    fn a_beginning_whose_length_is_not_counted_is_not_continued() {
        let (form, errors, shape, dropped) = (Form::Events, Errors::Google, Shape::Google, Vec::new());
        let mut sent = Sent { form, errors, any: false, shape, destination: None, attempts: None, dropped };
        assert!(sent.rest("{}").is_ok());
        sent.note(&[]);
        assert!(sent.rest("{}").is_err());
    }
}
