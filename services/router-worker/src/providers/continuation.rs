//! An answer that begins in one call and goes on in another: what is taken along, how the rest is asked for, and how the two
//! become one stream.
//!
//! Only plain text goes on: one choice of which text has come, and nothing else. What the next model would have to take over unseen
//! (reasoning, calls of tools that have begun) or could not keep to in the middle (a schema, log probabilities) ends with the call
//! that broke. Pure, like the leaves.

use super::{Answer, Asked, Content, Decoded, Fields, Frame, StreamDecoder, raw};
use crate::{
    dialects::Answering,
    failure::Failure,
    tokens::{Tokens, estimate},
};
use serde_json::{Map, Value, json, value::RawValue};
use std::fmt;
use tollgate_schemas::StreamEvent;

/// A longer beginning is not taken along: it would have to be sent again, whole, with the request.
const TEXT_MAX_BYTES: usize = 1 << 20;
/// Fields by which vLLM is asked for an answer of a certain form, beside `response_format`:
/// <https://docs.vllm.ai/en/latest/features/structured_outputs.html>, and their earlier names.
const FORMS: [&str; 5] = ["structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"];

/// What a model sends that is shown the beginning of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// The rest.
    Rest,
    /// The rest, perhaps behind the beginning.
    PerhapsAll,
    /// The rest of a beginning that is shown without the white space at its end; that may come again.
    Trimmed,
}

/// The beginning of an answer, for the call that goes on with it.
pub(crate) struct Begun {
    /// The text that the caller has seen.
    pub text: String,
    /// What the calls used that it is from.
    pub spent: Tokens,
    /// The answer stays the first call's, whoever goes on with it.
    id: Value,
    created: Value,
    /// How far the translation is, if the caller's API is one.
    answering: Option<Box<dyn Answering>>,
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Begun {
    /// Of a chat completion that broke off; `None`: it is none that can go on.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        let mut body: Value = serde_json::from_str(answer.body.get()).ok()?;
        let [choice] = body["choices"].as_array()?.as_slice() else { return None };
        let message = choice["message"].as_object()?;
        let is_text = |(name, value): (&String, &Value)| name == "role" || name == "content" || says_nothing(value);
        let is_open = choice["index"] == 0 && choice["finish_reason"].is_null() && choice["logprobs"].is_null();
        let text = message.get("content")?.as_str()?.to_owned();
        if !is_open || !message.iter().all(is_text) || text.trim().is_empty() || text.len() > TEXT_MAX_BYTES {
            return None;
        }
        let (id, created) = (body["id"].take(), body["created"].take());
        Some(Self { text, spent: Tokens::default(), id, created, answering: None })
    }

    /// The same, for a caller whose API is translated.
    pub(crate) fn answered_by(self, answering: Box<dyn Answering>) -> Self {
        Self { answering: Some(answering), ..self }
    }

    /// The translation, to go on with it.
    pub(crate) fn answering(&self) -> Option<Box<dyn Answering>> {
        self.answering.as_ref().map(|answering| answering.fork())
    }
}

/// The chat with the beginning of its answer as the last message, which `message` writes in the provider's words. `None`: no answer
/// has begun. Errors if the answer to this chat cannot go on, always with the one field that is never left out of a request.
///
/// What has been said counts towards the longest answer that the caller wants.
pub(super) fn chat(asked: &Asked<'_>, message: impl FnOnce(&str) -> Value) -> Result<Option<Fields>, Failure> {
    let Some(begun) = asked.begun else { return Ok(None) };
    let mut messages: Vec<Box<RawValue>> = asked.chat.read("messages").ok().flatten().unwrap_or_default();
    let last = messages.last().and_then(|last| serde_json::from_str::<Value>(last.get()).ok());
    // Whoever began the answer himself may have asked for more than text.
    if !is_plain(asked.chat) || last.is_none_or(|last| last["role"] == "assistant") {
        return Err(cannot());
    }
    let mut chat = asked.chat.clone();
    let said = estimate(begun.text.chars().count());
    for name in ["max_completion_tokens", "max_tokens"] {
        if let Ok(Some(max)) = chat.read::<u64>(name) {
            chat.put(name, &max.saturating_sub(said).max(1));
        }
    }
    messages.push(raw(&message(&begun.text)));
    chat.put("messages", &messages);
    Ok(Some(chat))
}

/// The answer to this chat cannot go on at this provider.
pub(super) fn cannot() -> Failure {
    Failure::inexpressible("messages", "have an answer that this model's provider cannot go on with")
}

/// Whether one answer of plain text is asked for.
fn is_plain(chat: &Fields) -> bool {
    let given = |name: &str| chat.read::<Value>(name).ok().flatten().unwrap_or_default();
    let [n, format, logprobs] = ["n", "response_format", "logprobs"].map(given);
    (n.is_null() || n == 1)
        && (format.is_null() || format["type"] == "text")
        && (logprobs.is_null() || logprobs == false)
        && FORMS.iter().all(|name| chat.get(name).is_none())
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What may come a second time, and is then not shown again.
enum Repeated {
    Nothing,
    /// All of the beginning or nothing of it; so many bytes of it have come.
    All {
        beginning: String,
        come: usize,
    },
    /// As much as comes of this white space.
    Space(String),
}

impl Repeated {
    fn of(continuation: Continuation, beginning: &str) -> Self {
        match continuation {
            Continuation::Rest => Self::Nothing,
            Continuation::PerhapsAll => Self::All { beginning: beginning.to_owned(), come: 0 },
            Continuation::Trimmed => Self::Space(beginning[beginning.trim_end().len()..].to_owned()),
        }
    }

    /// What of a piece is to be shown now.
    fn take(&mut self, piece: &str) -> String {
        let (new, is_over) = match self {
            Self::Nothing => return piece.to_owned(),
            Self::All { beginning, come } => {
                let (had, left) = beginning.split_at(*come);
                match piece.strip_prefix(left) {
                    Some(new) => (new.to_owned(), true),
                    None if left.starts_with(piece) => {
                        *come += piece.len();
                        (String::new(), false)
                    }
                    None => (format!("{had}{piece}"), true),
                }
            }
            Self::Space(left) => {
                let same = left.chars().zip(piece.chars()).take_while(|(a, b)| a == b);
                let same: usize = same.map(|(letter, _)| letter.len_utf8()).sum();
                left.replace_range(..same, "");
                (piece[same..].to_owned(), same < piece.len())
            }
        };
        if is_over {
            *self = Self::Nothing;
        }
        new
    }

    /// No more text comes: what looked like the beginning was new.
    fn release(&mut self) -> String {
        match std::mem::replace(self, Self::Nothing) {
            Self::All { mut beginning, come } => {
                beginning.truncate(come);
                beginning
            }
            Self::Nothing | Self::Space(_) => String::new(),
        }
    }
}

/// Decodes the stream of a call that goes on with an answer, as the rest of that answer.
pub(super) struct Joined {
    rest: Box<dyn StreamDecoder>,
    repeated: Repeated,
    /// All that the caller has seen.
    text: String,
    spent: Tokens,
    id: Value,
    created: Value,
}

impl Joined {
    /// `rest` decodes what such a model sends.
    pub(super) fn new(rest: Box<dyn StreamDecoder>, continuation: Continuation, begun: &Begun) -> Self {
        let repeated = Repeated::of(continuation, &begun.text);
        let (text, id, created) = (begun.text.clone(), begun.id.clone(), begun.created.clone());
        Self { rest, repeated, text, spent: begun.spent, id, created }
    }

    /// An event of the rest as one of the whole; `None`: it says nothing new.
    fn event(&mut self, event: StreamEvent) -> Option<StreamEvent> {
        let Ok(mut chunk) = Fields::parse(&event.data) else { return Some(event) };
        for (name, first) in [("id", &self.id), ("created", &self.created)] {
            if !first.is_null() {
                chunk.put(name, first);
            }
        }
        let usage = chunk.read::<Value>("usage").ok().flatten();
        let has_usage = usage.is_some();
        if let Some(mut usage) = usage {
            add(&mut usage, &self.spent);
            chunk.put("usage", &usage);
        }
        if let Ok(Some(mut choices)) = chunk.read::<Vec<Value>>("choices") {
            let mut says = has_usage;
            for choice in &mut choices {
                says |= self.choice(choice);
            }
            if !says {
                return None;
            }
            chunk.put("choices", &choices);
        }
        Some(StreamEvent { data: chunk.to_json(), ..event })
    }

    /// A choice of the rest as one of the whole; whether it says something.
    fn choice(&mut self, choice: &mut Value) -> bool {
        let is_end = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
        let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) else { return is_end };
        // Who speaks has been said.
        delta.remove("role");
        let piece = delta.get("content").and_then(Value::as_str).unwrap_or_default();
        let mut new = self.repeated.take(piece);
        if is_end || delta.get("tool_calls").is_some_and(|calls| !says_nothing(calls)) {
            new.push_str(&self.repeated.release());
        }
        self.text.push_str(&new);
        show(delta, new);
        is_end || !delta.values().all(says_nothing)
    }
}

/// Puts a text in the place of what came of it.
fn show(delta: &mut Map<String, Value>, new: String) {
    if !new.is_empty() {
        delta.insert("content".to_owned(), new.into());
    } else if delta.get("content").is_some_and(|content| !says_nothing(content)) {
        delta.remove("content");
    }
}

/// Adds what was used before to a usage document in OpenAI's shape.
fn add(usage: &mut Value, spent: &Tokens) {
    let counts = [
        ("/prompt_tokens", spent.input),
        ("/completion_tokens", spent.output),
        ("/total_tokens", spent.input.saturating_add(spent.output)),
        ("/prompt_tokens_details/cached_tokens", spent.cache_read.unwrap_or(0)),
        ("/prompt_tokens_details/cache_write_tokens", spent.cache_write.unwrap_or(0)),
        ("/completion_tokens_details/reasoning_tokens", spent.reasoning.unwrap_or(0)),
    ];
    for (path, before) in counts {
        if let Some(count) = usage.pointer_mut(path)
            && let Some(known) = count.as_u64()
        {
            *count = known.saturating_add(before).into();
        }
    }
}

impl StreamDecoder for Joined {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let Decoded { events, content } = self.rest.frame(frame)?;
        let events: Vec<StreamEvent> = events.into_iter().filter_map(|event| self.event(event)).collect();
        let content = if events.is_empty() { Content::Nothing } else { content };
        Ok(Decoded { events, content })
    }

    fn is_complete(&self) -> bool {
        self.rest.is_complete()
    }

    fn is_done(&self) -> bool {
        self.rest.is_done()
    }

    fn end(&mut self) -> Vec<StreamEvent> {
        self.rest.end()
    }

    /// All of the text, and the counts of this call alone; those that the caller sees are of all calls.
    fn answer(self: Box<Self>) -> Answer {
        let Self { rest, text, spent, id, created, .. } = *self;
        let answer = rest.answer();
        let mut body: Value = serde_json::from_str(answer.body.get()).unwrap_or_default();
        for (name, first) in [("id", id), ("created", created)] {
            if !first.is_null() {
                body[name] = first;
            }
        }
        match body.pointer_mut("/choices/0/message/content") {
            Some(content) => *content = text.into(),
            None => {
                let message = json!({ "role": "assistant", "content": text });
                body["choices"] = json!([{ "index": 0, "message": message, "finish_reason": null, "logprobs": null }]);
            }
        }
        if let Some(usage) = body.get_mut("usage") {
            add(usage, &spent);
        }
        Answer { body: raw(&body), ..answer }
    }
}

#[cfg(test)]
mod tests;
