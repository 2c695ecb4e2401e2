//! OpenAI's text completions over chat completions: a prompt is what a user says, and the answer's text goes on from it.
//!
//! Source: <https://platform.openai.com/docs/api-reference/completions>. Lost on the way: reasoning, for which the API has no
//! place. A refusal is text. Deliberately absent: several prompts at once, which would be as many calls.

use super::{Answering, Dialect, Takes, read, text};
use crate::{
    failure::Failure,
    providers::{Asked, Fields},
};
use serde_json::{Value, json, value::RawValue};
use tollgate_schemas::StreamEvent;

/// What the API produces at most if the caller sets no maximum.
const MAX_TOKENS: u32 = 16;
const ONE_TEXT: &str = "must be one text for this model's provider: send a request for each, and tokens as text";

/// The dialect.
pub(super) struct Completions;

impl Dialect for Completions {
    fn request(&self, body: &Fields, _: Takes) -> Result<Fields, Failure> {
        let mut chat = Fields::default();
        let prompt = match body.get("prompt") {
            Some(raw) => one_text(raw).ok_or_else(|| Failure::inexpressible("prompt", ONE_TEXT))?,
            None => return Err(Failure::inexpressible("prompt", "is required")),
        };
        chat.put("messages", &json!([{ "role": "user", "content": prompt }]));
        chat.put("max_completion_tokens", &MAX_TOKENS);
        for (name, raw) in body.iter() {
            field(&mut chat, name, raw)?;
        }
        Ok(chat)
    }

    fn reads_by(&self) -> &'static [&'static str] {
        &["n"]
    }

    fn answering(&self, asked: &Asked<'_>) -> Box<dyn Answering> {
        Box::new(State { shown_model: asked.shown_model.to_owned(), wants_usage: asked.wants_usage_chunk() })
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[("messages", "prompt"), ("max_completion_tokens", "max_tokens")]
    }
}

/// A prompt that is a text, or a list of one.
fn one_text(raw: &RawValue) -> Option<String> {
    match serde_json::from_str(raw.get()).ok()? {
        Value::String(text) => Some(text),
        Value::Array(texts) => match <[Value; 1]>::try_from(texts) {
            Ok([Value::String(text)]) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Puts one top-level field into the chat body.
fn field(chat: &mut Fields, name: &str, raw: &RawValue) -> Result<(), Failure> {
    match name {
        "prompt" | "stream" => {}
        // The chat is asked for its counts in any case.
        "stream_options" => drop(read::<Fields>(name, raw)?),
        // What is so anyway.
        "echo" if raw.get() == "false" => {}
        "best_of" if raw.get() == "1" => {}
        "suffix" if raw.get() == "\"\"" => {}
        "max_tokens" => chat.set("max_completion_tokens", raw.to_owned()),
        "model" | "n" | "stop" | "seed" | "user" | "top_p" | "temperature" | "presence_penalty" | "logit_bias"
        | "frequency_penalty" | "tollgate" => chat.set(name, raw.to_owned()),
        _ => return Err(Failure::no_equivalent(name)),
    }
    Ok(())
}

/// What an answer needs to know of its request; between two chunks there is nothing to remember.
#[derive(Clone)]
struct State {
    shown_model: String,
    wants_usage: bool,
}

impl State {
    /// A document of the API, whole or one of a stream, which have the same name.
    fn document(&self, chat: &Value, choices: Vec<Value>) -> Value {
        json!({
            "id": chat["id"],
            "object": "text_completion",
            "created": chat["created"],
            "model": self.shown_model,
            "choices": choices,
        })
    }
}

/// A choice with what a message or a delta says.
fn choice(chat: &Value, said: &Value) -> Value {
    let said = [&said["content"], &said["refusal"]].into_iter().filter_map(text).collect::<String>();
    json!({
        "text": said,
        "index": chat["index"],
        "logprobs": null,
        "finish_reason": chat["finish_reason"].as_str().map(finish_reason),
    })
}

/// The API has no tools.
fn finish_reason(chat: &str) -> &'static str {
    match chat {
        "length" => "length",
        "content_filter" => "content_filter",
        _ => "stop",
    }
}

impl Answering for State {
    fn chunk(&mut self, chunk: &Value) -> Vec<StreamEvent> {
        let choices = chunk["choices"].as_array().into_iter().flatten();
        let told = choices.map(|told| choice(told, &told["delta"]));
        let told: Vec<Value> = told.filter(|told| told["text"] != "" || !told["finish_reason"].is_null()).collect();
        let counts = Some(&chunk["usage"]).filter(|usage| self.wants_usage && usage.is_object());
        if told.is_empty() && counts.is_none() {
            return Vec::new();
        }
        let mut document = self.document(chunk, told);
        if self.wants_usage {
            document["usage"] = counts.cloned().unwrap_or_default();
        }
        vec![StreamEvent { event: None, data: document.to_string() }]
    }

    fn end(&mut self) -> Vec<StreamEvent> {
        Vec::new()
    }

    fn whole(self: Box<Self>, completion: &Value) -> Value {
        let choices = completion["choices"].as_array().into_iter().flatten();
        let mut document = self.document(completion, choices.map(|told| choice(told, &told["message"])).collect());
        document["usage"] = completion["usage"].clone();
        document
    }

    fn fork(&self) -> Box<dyn Answering> {
        Box::new(self.clone())
    }
}
