//! APIs of the doors over a provider that does not speak them: each is translated to chat completions and back.
//!
//! ```text
//! caller's body ─► dialect ─► chat ─► leaf ─► provider ─► leaf ─► chat ─► dialect ─► caller's answer
//! ```
//!
//! Pure, like the leaves. What chat completions cannot express is refused with the name of the field. A provider that speaks the
//! API itself is never translated for: see [`crate::providers::Kind::speaks`].

mod completions;
mod generate;
mod messages;
mod responses;

pub(crate) use generate::camel;

use crate::{
    failure::Failure,
    leave_out::leave_out,
    providers::{
        Answer, Asked, Begun, Continuation, Decoded, Encoded, Fields, Frame, Framing, Grant, Leaving, StreamDecoder,
        Wire,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use std::{iter, sync::Arc};
use tollgate_schemas::{ApiType, StreamEvent};

/// Budgets of thinking, in tokens, below which the effort is low, and medium.
const LOW_BELOW: u64 = 4_096;
const MEDIUM_BELOW: u64 = 16_384;

/// What a chat may carry beyond OpenAI's words, for the models behind it.
#[derive(Debug, Clone, Copy)]
struct Takes {
    /// Messages may carry what is for Anthropic's models alone ([`Wire::takes_marks`]).
    marks: bool,
    /// Reasoning that nobody signed goes back as `reasoning_content` of the message that it belongs to
    /// ([`Wire::takes_reasoning`]).
    reasoning: bool,
}

/// An API in terms of chat completions.
trait Dialect: Send + Sync {
    /// The request.
    fn request(&self, body: &Fields, takes: Takes) -> Result<Fields, Failure>;
    /// Fields of the body that are heeded nowhere, of which the caller is told.
    fn undone(&self, _: &Fields) -> Vec<&'static str> {
        Vec::new()
    }
    /// Fields of the body, the same in the chat that it becomes, by which a leaf reads a stream: which tier was asked
    /// for, and how many answers. Google's leaf alone does, which speaks Google's own API itself.
    fn reads_by(&self) -> &'static [&'static str] {
        &[]
    }
    /// For one answer to that request.
    fn answering(&self, asked: &Asked<'_>) -> Box<dyn Answering>;
    /// Fields of a chat, and what they are called in this API, where that differs and a leaf may refuse them; several names, if a
    /// field may come of several.
    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// Turns a chat completion into the API's answer, whole or as it comes.
pub(crate) trait Answering: Send + Sync {
    /// Takes a `chat.completion.chunk`.
    fn chunk(&mut self, chunk: &Value) -> Vec<StreamEvent>;
    /// The events that end a whole answer.
    fn end(&mut self) -> Vec<StreamEvent>;
    /// The document for a whole `chat.completion`, or for what there was of it, after its chunks or without them.
    fn whole(self: Box<Self>, completion: &Value) -> Value;
    /// Another one that is as far as this one, for the rest of an answer whose chunks break off here.
    fn fork(&self) -> Box<dyn Answering>;
}

/// A wire format for `api` over a provider's chat; `None` if it cannot be had of a chat.
pub(crate) fn over(api: ApiType, chat: &Arc<dyn Wire>) -> Option<Arc<dyn Wire>> {
    let dialect: &'static dyn Dialect = match api {
        ApiType::Messages => &messages::Messages,
        ApiType::Responses => &responses::Responses,
        ApiType::Completions => &completions::Completions,
        ApiType::GenerateContent => &generate::GenerateContent,
        ApiType::ChatCompletions | ApiType::Embeddings | ApiType::Moderations | ApiType::CountTokens => return None,
    };
    Some(Arc::new(Translated { dialect, chat: chat.clone() }))
}

struct Translated {
    dialect: &'static dyn Dialect,
    chat: Arc<dyn Wire>,
}

impl Translated {
    /// What a leaf reads a stream by, of the chat that was asked for. Its last event tells what was used, whether or
    /// not the caller's own API has a word for asking.
    fn read_by(&self, asked: &Asked<'_>) -> Fields {
        let mut chat = Fields::default();
        chat.put("stream_options", &serde_json::json!({ "include_usage": true }));
        for name in self.dialect.reads_by() {
            if let Some(raw) = asked.chat.get(name) {
                chat.set(name, raw.to_owned());
            }
        }
        chat
    }

    fn answer(answering: Box<dyn Answering>, answer: Answer) -> Answer {
        let mut completion: Value = serde_json::from_str(answer.body.get()).unwrap_or(Value::Null);
        name_reasoning(&mut completion, "message");
        let body = serde_json::value::to_raw_value(&answering.whole(&completion));
        Answer { body: body.unwrap_or_else(|_| RawValue::NULL.to_owned()), ..answer }
    }
}

impl Wire for Translated {
    fn otel_name(&self) -> &'static str {
        self.chat.otel_name()
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let takes = Takes { marks: self.chat.takes_marks(), reasoning: self.chat.takes_reasoning() };
        let chat = self.dialect.request(asked.chat, takes)?;
        let asked_of_chat = Asked { chat: &chat, ..*asked };
        let encoded = asked_of_chat.supported().and_then(|()| self.chat.encode(&asked_of_chat));
        let mut encoded = encoded.map_err(|failure| named(self.dialect.names(), asked.chat, failure))?;
        encoded.undone.extend(self.dialect.undone(asked.chat));
        Ok(encoded)
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        Ok(Self::answer(self.dialect.answering(asked), self.chat.decode(asked, body)?))
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        let chat = self.read_by(asked);
        Box::new(Decoder {
            chat: self.chat.decoder(&Asked { chat: &chat, ..*asked }),
            answering: self.dialect.answering(asked),
        })
    }

    fn resumed(&self, asked: &Asked<'_>, begun: &Begun) -> Box<dyn StreamDecoder> {
        let chat = self.read_by(asked);
        Box::new(Decoder {
            chat: self.chat.resumed(&Asked { chat: &chat, ..*asked }, begun),
            answering: begun.answering().unwrap_or_else(|| self.dialect.answering(asked)),
        })
    }

    fn continues(&self, model: &str) -> Option<Continuation> {
        self.chat.continues(model)
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        // The field that a provider names is one of its own body, not of the caller's.
        Failure { param: None, ..self.chat.classify(status, body) }
    }

    fn framing(&self) -> Framing {
        self.chat.framing()
    }

    fn grant(&self, key: Option<&str>, now_s: i64) -> Result<Option<Grant>, String> {
        self.chat.grant(key, now_s)
    }

    fn headers(&self, key: Option<&str>, leaving: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        self.chat.headers(key, leaving)
    }

    fn request_id_header(&self) -> &'static str {
        self.chat.request_id_header()
    }
}

/// Gives reasoning the name that DeepSeek gave it first and dialects know, where a server of the chat format calls it
/// `reasoning` (vLLM, <https://docs.vllm.ai/en/stable/features/reasoning_outputs/>, OpenRouter, Ollama, Groq). `of`:
/// `message` or `delta`.
fn name_reasoning(document: &mut Value, of: &str) {
    let choices = document.get_mut("choices").and_then(Value::as_array_mut);
    for said in choices.into_iter().flatten().filter_map(|choice| choice.get_mut(of)?.as_object_mut()) {
        let is_named = said.get("reasoning_content").is_some_and(|known| text(known).is_some());
        if !is_named && said.get("reasoning").is_some_and(Value::is_string) {
            let reasoning = said.remove("reasoning").unwrap_or_default();
            said.insert("reasoning_content".to_owned(), reasoning);
        }
    }
}

/// A field that a leaf cannot express, by the caller's name for it: of several, by the one that it came of. What may be left out of a
/// chat may be left out by that name too.
fn named(names: &[(&str, &str)], body: &Fields, failure: Failure) -> Failure {
    let rest = |field: &str, chat: &str| {
        let rest = field.strip_prefix(chat)?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest.is_empty())
    };
    let Some(param) = failure.param.clone() else { return failure };
    let mut own = names.iter().filter_map(|(chat, own)| Some((*own, rest(&param, chat)?)));
    let Some(first) = own.next() else { return failure };
    let came = |own: &str| leave_out(&mut body.clone(), own).is_some();
    let (own, is_whole) = iter::once(first).chain(own).find(|(own, _)| came(own)).unwrap_or(first);
    let is_optional = failure.is_optional || is_whole;
    let message = failure.message.replacen(&param, own, 1);
    Failure { message, param: Some(own.to_owned()), is_optional, ..failure }
}

struct Decoder {
    chat: Box<dyn StreamDecoder>,
    answering: Box<dyn Answering>,
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let Decoded { events, content } = self.chat.frame(frame)?;
        let chunks = events.iter().filter_map(|event| serde_json::from_str(&event.data).ok());
        let told = chunks.flat_map(|mut chunk: Value| {
            name_reasoning(&mut chunk, "delta");
            self.answering.chunk(&chunk)
        });
        Ok(Decoded { events: told.collect(), content })
    }

    fn is_complete(&self) -> bool {
        self.chat.is_complete()
    }

    fn is_done(&self) -> bool {
        self.chat.is_done()
    }

    fn end(&mut self) -> Vec<StreamEvent> {
        self.answering.end()
    }

    fn answer(self: Box<Self>) -> Answer {
        Translated::answer(self.answering, self.chat.answer())
    }

    fn broken(self: Box<Self>) -> (Answer, Option<Begun>) {
        let Self { chat, answering } = *self;
        let (answer, begun) = chat.broken();
        let begun = begun.map(|begun| begun.answered_by(answering.fork()));
        (Translated::answer(answering, answer), begun)
    }
}

/// Takes out of a chat without tools what only chooses among them: chat completions has no place for it then. A choice
/// of a tool that is not there stays, for the provider to refuse.
fn tidy_choice(chat: &mut Fields) {
    if chat.get("tools").is_none() {
        chat.remove("parallel_tool_calls");
        if chat.get("tool_choice").is_some_and(|choice| matches!(choice.get(), "\"auto\"" | "\"none\"")) {
            chat.remove("tool_choice");
        }
    }
}

/// A field of a body as `T`.
fn read<T: DeserializeOwned>(name: &str, raw: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(raw.get()).map_err(|_| Failure::inexpressible(name, "is not what this API takes"))
}

/// A budget of thinking, in tokens, as an effort.
fn effort(budget: u64) -> &'static str {
    if budget < LOW_BELOW {
        "low"
    } else if budget < MEDIUM_BELOW {
        "medium"
    } else {
        "high"
    }
}

/// The arguments of a call as an object. What a model wrote instead of one is shown as it is.
fn arguments(written: &str) -> Value {
    if written.trim().is_empty() {
        return serde_json::json!({});
    }
    let parsed = serde_json::from_str::<Value>(written).ok().filter(Value::is_object);
    parsed.unwrap_or_else(|| serde_json::json!({ "arguments": written }))
}

/// Adds reasoning to what an assistant's message has of it. A call needs some, if it is nothing: another model's
/// thoughts stay behind.
fn reason(message: &mut Value, reasoning: &str) {
    if reasoning.is_empty() && message["tool_calls"].is_null() {
        return;
    }
    let known = message["reasoning_content"].as_str().unwrap_or_default();
    message["reasoning_content"] = format!("{known}{reasoning}").into();
}

/// A text that is not empty.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// A single text without a mark as a string, which every server of the chat format takes; else the parts.
fn one_or_many(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [one] if one["type"] == "text" && one.as_object().is_some_and(|part| part.len() == 2) => one["text"].take(),
        _ => parts.into(),
    }
}

/// Texts for a tool's message, which holds nothing else; a text that is empty if there are none.
fn tool_content(texts: Vec<Value>) -> Value {
    if texts.is_empty() { "".into() } else { one_or_many(texts) }
}
