//! GenerateContent for callers who speak it: bodies and answers pass through but for the model's name.
//!
//! Sources: as [`super`]. What is changed: the gateway's own field and `model` are left out, because the path says it; so are `labels`
//! for the Gemini API, which has none (they are the caller's tags here). A model that demands signatures gets Google's word for
//! calls that another one made, which this gateway showed without a signature in an earlier answer.

use super::{
    super::{
        Answer, Asked, Content, Decoded, Encoded, Fields, Frame, StreamDecoder,
        assemble::{ANSWER_MAX_BYTES, ITEM_BYTES},
        beside::Side,
        raw,
    },
    Google,
    contents::NOT_SIGNED,
    errors,
    response::{block, finish, tier, usage},
    stream::CANDIDATES_MAX,
    thinks_by_budget,
};
use crate::{failure::Failure, tokens::estimate};
use serde_json::{Map, Value, json};
use tollgate_schemas::{StreamEvent, TokenSource};

/// The side for callers of the same API. It knows where the models are, as its leaf does.
#[derive(Debug)]
pub(in super::super) struct Native(pub(in super::super) Google);

impl Side for Native {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = asked.passed_on();
        body.remove("model");
        if matches!(self.0, Google::Gemini) {
            body.remove("labels");
        }
        if !thinks_by_budget(asked.upstream_model) {
            sign(&mut body);
        }
        Ok(Encoded::new(self.0.path(asked.upstream_model, asked.stream), body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let mut fields = Fields::of_answer(body)?;
        let mut decoder = Decoder::new(asked);
        let document: Value =
            serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer that is not JSON"))?;
        decoder.take(&document)?;
        if decoder.candidates.is_empty() && decoder.blocked.is_none() {
            return Err(Failure::malformed("an answer without candidates"));
        }
        decoder.show_model(&mut fields);
        // A whole answer has ended, whether or not each candidate says so.
        let answer = decoder.told(true);
        Ok(Answer { body: raw(&fields), ..answer })
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Decoder::new(asked))
    }
}

/// Gives the first call of each turn of the model the word that stands for a signature, if no call of the turn has one.
fn sign(body: &mut Fields) {
    let is_open = |content: &Value| {
        let parts = || content["parts"].as_array().into_iter().flatten();
        let is_signed = |part: &Value| part.get("thoughtSignature").or_else(|| part.get("thought_signature")).is_some();
        content["role"] == "model" && parts().any(|part| call(part).is_some()) && !parts().any(is_signed)
    };
    let Ok(Some(mut contents)) = body.read::<Vec<Value>>("contents") else { return };
    if !contents.iter().any(is_open) {
        return;
    }
    for content in contents.iter_mut().filter(|content| is_open(content)) {
        let parts = content["parts"].as_array_mut().into_iter().flatten();
        if let Some(first) = parts.filter(|part| call(part).is_some()).find_map(Value::as_object_mut) {
            first.insert("thoughtSignature".to_owned(), NOT_SIGNED.into());
        }
    }
    body.put("contents", &contents);
}

/// The call that a part is. Google's parsers take both spellings of a name.
fn call(part: &Value) -> Option<&Value> {
    part.get("functionCall").or_else(|| part.get("function_call"))
}

/// A stream, passed through, and the response that it amounts to.
struct Decoder {
    shown_model: String,
    /// Candidates that were asked for.
    expected: usize,
    /// What the last events said beside candidates.
    head: Map<String, Value>,
    usage: Map<String, Value>,
    candidates: Vec<Candidate>,
    /// Why the prompt got no answer at all.
    blocked: Option<String>,
    response_model: Option<String>,
    chars: usize,
    bytes: usize,
    is_done: bool,
}

/// What has come of a candidate.
struct Candidate {
    index: u64,
    fields: Map<String, Value>,
    parts: Vec<Value>,
}

impl Decoder {
    fn new(asked: &Asked<'_>) -> Self {
        let config = ["generationConfig", "generation_config"]
            .into_iter()
            .find_map(|name| asked.chat.read::<Value>(name).ok().flatten())
            .unwrap_or_default();
        let count = config["candidateCount"].as_u64().or(config["candidate_count"].as_u64()).unwrap_or(1);
        Self {
            shown_model: asked.shown_model.to_owned(),
            expected: usize::try_from(count).unwrap_or(1).clamp(1, CANDIDATES_MAX),
            head: Map::new(),
            usage: Map::new(),
            candidates: Vec::new(),
            blocked: None,
            response_model: None,
            chars: 0,
            bytes: 0,
            is_done: false,
        }
    }

    /// Puts the caller's name of the model where the provider's is.
    fn show_model(&self, response: &mut Fields) {
        if response.get("modelVersion").is_some() {
            response.put("modelVersion", &self.shown_model);
        }
    }

    /// Takes a response. What there is to see in it.
    fn take(&mut self, response: &Value) -> Result<Content, Failure> {
        let Some(fields) = response.as_object() else { return Err(Failure::malformed("an answer that is no object")) };
        let mut content = Content::Nothing;
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            match name.as_str() {
                "candidates" => {
                    for (position, candidate) in value.as_array().into_iter().flatten().enumerate() {
                        content = content.max(self.candidate(position, candidate));
                    }
                }
                // Counts are cumulative.
                "usageMetadata" => {
                    let counts = value.as_object().into_iter().flatten();
                    self.usage.extend(counts.map(|(name, value)| (name.clone(), value.clone())));
                }
                "modelVersion" => self.response_model = value.as_str().map(str::to_owned),
                _ => drop(self.head.insert(name.clone(), value.clone())),
            }
        }
        if let Some(reason) = block(&response["promptFeedback"]).filter(|_| self.candidates.is_empty()) {
            self.blocked = Some(reason);
            content = content.max(Content::Refusal);
        }
        let is_all = self.blocked.is_some() || self.candidates.len() >= self.expected;
        self.is_done = is_all && self.is_complete() && response.get("usageMetadata").is_some();
        if self.bytes > ANSWER_MAX_BYTES || self.candidates.len() > CANDIDATES_MAX {
            return Err(Failure::malformed("an answer that is too large"));
        }
        Ok(content)
    }

    fn candidate(&mut self, position: usize, candidate: &Value) -> Content {
        let index = candidate["index"].as_u64().unwrap_or(position as u64);
        let at = self.candidates.iter().position(|known| known.index == index).unwrap_or_else(|| {
            self.candidates.push(Candidate { index, fields: Map::new(), parts: Vec::new() });
            self.candidates.len() - 1
        });
        let known = &mut self.candidates[at];
        let mut content = finish(candidate, false).map_or(Content::Nothing, |(reason, _)| Content::of_end(reason));
        for (name, value) in candidate.as_object().into_iter().flatten().filter(|(name, _)| *name != "content") {
            match known.fields.get_mut(name) {
                Some(before) if name == "logprobsResult" => grow(before, value),
                _ => drop(known.fields.insert(name.clone(), value.clone())),
            }
        }
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            self.bytes += ITEM_BYTES + part.to_string().len();
            self.chars += chars(part);
            content = content.max((part["text"] != "").into());
            join(&mut known.parts, part);
        }
        content
    }

    /// What is known of the answer, without its document.
    fn told(self, has_ended: bool) -> Answer {
        let mut usage = usage(&self.usage);
        if let Some(usage) = usage.as_mut().filter(|_| !has_ended) {
            // The counts lag behind: the input is known, the output is estimated.
            usage.tokens.output = usage.tokens.output.max(estimate(self.chars));
            usage.source = TokenSource::Estimated;
        }
        let first = self.candidates.iter().min_by_key(|candidate| candidate.index);
        let reason = first.and_then(|candidate| {
            let said = candidate.fields.get("finishReason").cloned();
            let said = said.or_else(|| has_ended.then(|| "STOP".into()));
            let calls = candidate.parts.iter().any(|part| call(part).is_some());
            finish(&json!({ "finishReason": said }), calls).map(|(reason, _)| reason)
        });
        Answer {
            finish_reason: reason.or(self.blocked.as_ref().map(|_| "content_filter")).map(str::to_owned),
            usage,
            output_chars: self.chars,
            service_tier: tier(&self.usage),
            response_model: self.response_model,
            ..Answer::bare(raw(&Value::Null))
        }
    }

    /// The response that has come.
    fn response(&self) -> Value {
        let mut candidates: Vec<&Candidate> = self.candidates.iter().collect();
        candidates.sort_by_key(|candidate| candidate.index);
        let whole = |candidate: &Candidate| {
            let mut fields = candidate.fields.clone();
            fields.insert("content".to_owned(), json!({ "role": "model", "parts": candidate.parts }));
            Value::Object(fields)
        };
        let mut response = Map::new();
        if !candidates.is_empty() {
            response.insert("candidates".to_owned(), candidates.into_iter().map(whole).collect());
        }
        response.extend(self.head.clone());
        if !self.usage.is_empty() {
            response.insert("usageMetadata".to_owned(), self.usage.clone().into());
        }
        if self.response_model.is_some() {
            response.insert("modelVersion".to_owned(), self.shown_model.clone().into());
        }
        Value::Object(response)
    }
}

/// Log probabilities are told step by step, in lists.
fn grow(before: &mut Value, more: &Value) {
    for (name, value) in more.as_object().into_iter().flatten() {
        match (before.get_mut(name), value) {
            (Some(Value::Array(before)), Value::Array(more)) => before.extend(more.iter().cloned()),
            _ => drop(before.as_object_mut().map(|before| before.insert(name.clone(), value.clone()))),
        }
    }
}

/// Characters of a part's text, or of its call's arguments.
fn chars(part: &Value) -> usize {
    let text = part["text"].as_str().map_or(0, |text| text.chars().count());
    let args = call(part).map(|call| &call["args"]).filter(|args| args.is_object());
    text + args.map_or(0, |args| args.to_string().chars().count())
}

/// Adds a part to those before it: a text goes on with one of its kind, unless a signature stands between them.
fn join(parts: &mut Vec<Value>, part: &Value) {
    let is_text = |part: &Value| {
        let known = |name: &String| matches!(name.as_str(), "text" | "thought");
        part["text"].is_string() && part.as_object().is_some_and(|fields| fields.keys().all(known))
    };
    if let Some(last) = parts.last_mut().filter(|last| is_text(last) && last["thought"] == part["thought"])
        && is_text(part)
        && let (Some(Value::String(before)), Some(more)) = (last.get_mut("text"), part["text"].as_str())
    {
        before.push_str(more);
    } else {
        parts.push(part.clone());
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let malformed = || Failure::malformed("a stream event that is not a JSON object");
        let response: Value = serde_json::from_str(&frame.data).map_err(|_| malformed())?;
        if let Some(error) = response.get("error") {
            return Err(errors::in_stream(error));
        }
        let content = self.take(&response)?;
        let mut fields = Fields::parse(&frame.data).map_err(|_| malformed())?;
        self.show_model(&mut fields);
        let event = StreamEvent { event: None, data: fields.to_json().replace(['\n', '\r'], " ") };
        Ok(Decoded { events: vec![event], content })
    }

    fn is_complete(&self) -> bool {
        let has_ended = |candidate: &Candidate| candidate.fields.get("finishReason").is_some_and(Value::is_string);
        self.blocked.is_some() || !self.candidates.is_empty() && self.candidates.iter().all(has_ended)
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn answer(self: Box<Self>) -> Answer {
        let (body, has_ended) = (raw(&self.response()), self.is_complete());
        Answer { body, ..self.told(has_ended) }
    }
}
