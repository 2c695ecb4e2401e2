//! Google's GenerateContent over chat completions.
//!
//! Sources: <https://ai.google.dev/api/generate-content>, `…/api/caching#Content` (contents, parts, tools, schemas), and `google/genai/types.py`
//! and `models.py` of googleapis/python-genai for what its SDK sends. Google's parsers take `snake_case` for every name too, so both
//! spellings are read here. Lost on the way: thoughts and signatures of earlier answers, which only the model that wrote them can
//! read; what a function is declared to give back; `labels`, which are the caller's tags. A function's call without an id, which is
//! the rule there, is given one, and its response is known by the function's name.

mod answer;
mod contents;
mod request;
mod schema;

use super::{Answering, Dialect, Takes};
use crate::{
    failure::Failure,
    providers::{Asked, Fields},
};
use serde_json::Value;

/// The dialect.
pub(super) struct GenerateContent;

impl Dialect for GenerateContent {
    fn request(&self, body: &Fields, takes: Takes) -> Result<Fields, Failure> {
        request::chat(body, takes)
    }

    fn answering(&self, asked: &Asked<'_>) -> Box<dyn Answering> {
        Box::new(answer::State::new(asked))
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("messages", "contents"),
            ("tool_choice", "toolConfig.functionCallingConfig"),
            ("service_tier", "serviceTier"),
            ("temperature", "generationConfig.temperature"),
            ("top_p", "generationConfig.topP"),
            ("top_k", "generationConfig.topK"),
            ("max_completion_tokens", "generationConfig.maxOutputTokens"),
            ("stop", "generationConfig.stopSequences"),
            ("n", "generationConfig.candidateCount"),
            ("seed", "generationConfig.seed"),
            ("presence_penalty", "generationConfig.presencePenalty"),
            ("frequency_penalty", "generationConfig.frequencyPenalty"),
            ("logprobs", "generationConfig.responseLogprobs"),
            ("top_logprobs", "generationConfig.logprobs"),
            ("reasoning_effort", "generationConfig.thinkingConfig"),
            ("response_format", "generationConfig.responseJsonSchema"),
        ]
    }
}

/// A name as the reference has it.
pub(crate) fn camel(name: &str) -> String {
    let (mut out, mut is_start) = (String::with_capacity(name.len()), false);
    for letter in name.chars() {
        if letter == '_' && !out.is_empty() {
            is_start = true;
        } else if std::mem::take(&mut is_start) {
            out.push(letter.to_ascii_uppercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// What an object gives, by the names of the reference; a `null` gives nothing.
fn fields<'a>(at: &str, value: &'a Value) -> Result<Vec<(String, &'a Value)>, Failure> {
    match value.as_object() {
        Some(map) => {
            Ok(map.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (camel(name), value)).collect())
        }
        None => Err(Failure::inexpressible(at, "must be an object")),
    }
}

/// A list.
fn list<'a>(at: &str, value: &'a Value) -> Result<&'a [Value], Failure> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| Failure::inexpressible(at, "must be a list"))
}

/// A text.
fn string<'a>(at: &str, name: &str, value: &'a Value) -> Result<&'a str, Failure> {
    value.as_str().ok_or_else(|| Failure::inexpressible(format!("{at}.{name}"), "must be a text"))
}
