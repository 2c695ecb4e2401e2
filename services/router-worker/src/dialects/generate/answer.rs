//! A chat completion as a GenerateContentResponse, and its chunks as those of a stream.
//!
//! Source: <https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse>. Texts are passed on as they come. A call is
//! whole in Google's format, so calls are kept for the last response, which has the finish reasons and the counts too.

use super::{
    super::{Answering, arguments, text},
    camel,
};
use crate::providers::Asked;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tollgate_schemas::StreamEvent;

/// The state between two chunks.
#[derive(Clone)]
pub(super) struct State {
    shown_model: String,
    /// Of the response, until the provider says one.
    id: Value,
    /// The caller wants to see thoughts.
    shows_thoughts: bool,
    usage: Value,
    /// What is kept of each choice.
    kept: BTreeMap<u64, Kept>,
}

/// What is not passed on yet of a choice.
#[derive(Clone, Default)]
struct Kept {
    /// By their index in the chunks.
    calls: BTreeMap<u64, Call>,
    refusal: String,
    finish_reason: Option<String>,
}

#[derive(Clone, Default)]
struct Call {
    id: Value,
    name: Value,
    arguments: String,
}

impl State {
    /// For the answer to `asked`, whose body is the caller's.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            shown_model: asked.shown_model.to_owned(),
            id: asked.request_id.to_string().into(),
            shows_thoughts: shows_thoughts(asked),
            usage: Value::Null,
            kept: BTreeMap::new(),
        }
    }

    /// A response with those candidates.
    fn response(&self, candidates: Vec<Value>, is_last: bool) -> Value {
        let mut response = json!({ "candidates": candidates });
        if is_last && !self.usage.is_null() {
            response["usageMetadata"] = self.usage.clone();
        }
        response["modelVersion"] = self.shown_model.clone().into();
        response["responseId"] = self.id.clone();
        response
    }

    /// Thoughts and text of a message or a delta, in the order in which models write them.
    fn said(&self, said: &Value) -> Vec<Value> {
        let thought = text(&said["reasoning_content"]).filter(|_| self.shows_thoughts);
        let thought = thought.map(|thought| json!({ "text": thought, "thought": true }));
        let content = text(&said["content"]).map(|content| json!({ "text": content }));
        thought.into_iter().chain(content).collect()
    }

    /// Takes what describes the whole answer.
    fn learn(&mut self, document: &Value) {
        if document["id"].is_string() {
            self.id = document["id"].clone();
        }
        if document["usage"].is_object() {
            self.usage = usage(&document["usage"]);
        }
    }
}

impl Kept {
    /// Takes what a message or a delta says beside thoughts and text.
    fn take(&mut self, said: &Value, finish_reason: &Value) {
        self.refusal.push_str(text(&said["refusal"]).unwrap_or_default());
        for (place, call) in said["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let known = self.calls.entry(call["index"].as_u64().unwrap_or(place as u64)).or_default();
            if text(&call["id"]).is_some() {
                known.id = call["id"].clone();
            }
            if text(&call["function"]["name"]).is_some() {
                known.name = call["function"]["name"].clone();
            }
            known.arguments.push_str(text(&call["function"]["arguments"]).unwrap_or_default());
        }
        if let Some(reason) = finish_reason.as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
    }

    /// The end of a candidate, behind the parts that are shown of it.
    fn end(self, index: u64, mut parts: Vec<Value>) -> Value {
        let is_filtered = self.finish_reason.as_deref() == Some("content_filter");
        if !is_filtered && !self.refusal.is_empty() {
            parts.push(json!({ "text": self.refusal }));
        }
        for call in self.calls.into_values() {
            let mut function = json!({ "name": call.name, "args": arguments(&call.arguments) });
            if !call.id.is_null() {
                function["id"] = call.id;
            }
            parts.push(json!({ "functionCall": function }));
        }
        // Clients look for a part.
        if parts.iter().all(|part| part["thought"] == true) {
            parts.push(json!({ "text": "" }));
        }
        let mut candidate = candidate(index, parts, &Value::Null);
        if let Some(reason) = self.finish_reason {
            candidate["finishReason"] = finish(&reason).into();
        }
        if is_filtered && !self.refusal.is_empty() {
            candidate["finishMessage"] = self.refusal.into();
        }
        candidate
    }
}

impl Answering for State {
    fn chunk(&mut self, chunk: &Value) -> Vec<StreamEvent> {
        self.learn(chunk);
        let mut candidates = Vec::new();
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            let parts = self.said(&choice["delta"]);
            self.kept.entry(index).or_default().take(&choice["delta"], &choice["finish_reason"]);
            if !parts.is_empty() {
                candidates.push(candidate(index, parts, &choice["logprobs"]));
            }
        }
        if candidates.is_empty() { Vec::new() } else { vec![event(&self.response(candidates, false))] }
    }

    fn end(&mut self) -> Vec<StreamEvent> {
        let kept = std::mem::take(&mut self.kept);
        let candidates = kept.into_iter().map(|(index, kept)| kept.end(index, Vec::new())).collect();
        vec![event(&self.response(candidates, true))]
    }

    fn whole(mut self: Box<Self>, completion: &Value) -> Value {
        self.learn(completion);
        let choices = completion["choices"].as_array().into_iter().flatten();
        let candidates = choices.map(|choice| {
            let mut kept = Kept::default();
            kept.take(&choice["message"], &choice["finish_reason"]);
            let mut whole = kept.end(choice["index"].as_u64().unwrap_or(0), self.said(&choice["message"]));
            if let Some(logprobs) = logprobs(&choice["logprobs"]) {
                whole["logprobsResult"] = logprobs;
            }
            whole
        });
        let candidates = candidates.collect();
        self.response(candidates, true)
    }

    fn fork(&self) -> Box<dyn Answering> {
        Box::new(self.clone())
    }
}

fn event(response: &Value) -> StreamEvent {
    StreamEvent { event: None, data: response.to_string() }
}

fn candidate(index: u64, parts: Vec<Value>, given: &Value) -> Value {
    let mut candidate = json!({ "content": { "role": "model", "parts": parts }, "index": index });
    if let Some(logprobs) = logprobs(given) {
        candidate["logprobsResult"] = logprobs;
    }
    candidate
}

/// Whether thoughts were asked for.
fn shows_thoughts(asked: &Asked<'_>) -> bool {
    let under = |value: &Value, wanted: &str| {
        let found = value.as_object().into_iter().flatten().find(|(name, _)| camel(name) == wanted);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let config = asked.chat.iter().find(|(name, _)| camel(name) == "generationConfig");
    let config: Value = config.and_then(|(_, raw)| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    under(&under(&config, "thinkingConfig"), "includeThoughts") == true
}

/// A finish reason in Google's words.
fn finish(finish_reason: &str) -> &'static str {
    match finish_reason {
        "stop" | "tool_calls" | "function_call" => "STOP",
        "length" => "MAX_TOKENS",
        "content_filter" => "SAFETY",
        _ => "OTHER",
    }
}

/// OpenAI's log probabilities as Google's; `None` if there are none.
fn logprobs(given: &Value) -> Option<Value> {
    let steps = given["content"].as_array().filter(|steps| !steps.is_empty())?;
    let token = |of: &Value| json!({ "token": of["token"], "logProbability": of["logprob"] });
    let top = |step: &Value| -> Value {
        let candidates: Vec<Value> = step["top_logprobs"].as_array().into_iter().flatten().map(token).collect();
        json!({ "candidates": candidates })
    };
    let (chosen, top): (Vec<Value>, Vec<Value>) = steps.iter().map(|step| (token(step), top(step))).unzip();
    Some(json!({ "chosenCandidates": chosen, "topCandidates": top }))
}

/// OpenAI's counts as Google's, which has reasoning beside the candidates; `null` if there are none.
fn usage(usage: &Value) -> Value {
    let mut counts = Map::new();
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    if !usage["prompt_tokens"].is_u64() {
        return Value::Null;
    }
    let (prompt, output) = (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]));
    let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
    let thoughts = count(&usage["completion_tokens_details"]["reasoning_tokens"]);
    counts.insert("promptTokenCount".to_owned(), prompt.into());
    counts.insert("candidatesTokenCount".to_owned(), output.saturating_sub(thoughts).into());
    if cached > 0 {
        counts.insert("cachedContentTokenCount".to_owned(), cached.into());
    }
    if thoughts > 0 {
        counts.insert("thoughtsTokenCount".to_owned(), thoughts.into());
    }
    counts.insert("totalTokenCount".to_owned(), prompt.saturating_add(output).into());
    counts.into()
}
