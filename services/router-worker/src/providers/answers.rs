//! A whole answer in another API's words as a chat completion, and counts in OpenAI's shape.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/object>. Thinking goes to `reasoning_content`, the name other
//! providers of the chat format use, and what must be sent back of it in a tool loop to `thinking_blocks`.

use super::{Answer, Asked, raw};
use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use serde_json::{Value, json};

/// The document that a provider answered with.
pub(super) fn document(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer that is not a JSON document"))
}

/// What an assistant's message holds.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The texts, joined.
    pub text: String,
    /// Why it said no more.
    pub refusal: Value,
    /// The reasoning, joined.
    pub reasoning: String,
    /// The reasoning as blocks.
    pub thinking: Vec<Value>,
    /// Tool calls.
    pub calls: Vec<Value>,
}

impl Said {
    /// A tool call with its arguments as JSON text.
    pub(super) fn call(&mut self, id: &Value, name: &Value, arguments: String) {
        let function = json!({ "name": name, "arguments": arguments });
        self.calls.push(json!({ "id": id, "type": "function", "function": function }));
    }

    /// Characters of texts and of arguments.
    pub(super) fn chars(&self) -> usize {
        let arguments = self.calls.iter().filter_map(|call| call["function"]["arguments"].as_str());
        let texts = [self.text.as_str(), &self.reasoning];
        texts.into_iter().chain(arguments).map(|text| text.chars().count()).sum()
    }

    /// The message.
    pub(super) fn message(self) -> Value {
        let content = if self.text.is_empty() && !self.calls.is_empty() { Value::Null } else { self.text.into() };
        let mut out = json!({ "role": "assistant", "content": content, "refusal": self.refusal });
        if !self.reasoning.is_empty() {
            out["reasoning_content"] = self.reasoning.into();
        }
        if !self.thinking.is_empty() {
            out["thinking_blocks"] = self.thinking.into();
        }
        if !self.calls.is_empty() {
            out["tool_calls"] = self.calls.into();
        }
        out
    }
}

/// A whole answer, in parts.
pub(super) struct Whole {
    /// Its id.
    pub id: Value,
    /// The message of its only choice.
    pub message: Value,
    /// Characters that the message holds.
    pub output_chars: usize,
    /// Log probabilities of its text, in OpenAI's shape; `null` if there are none.
    pub logprobs: Value,
    /// How it ended, in OpenAI's words.
    pub finish_reason: &'static str,
    /// What it used.
    pub usage: Option<Usage>,
}

impl Whole {
    /// The completion, with `shown` as its usage. The leaf adds what its provider says beside.
    pub(super) fn answer(self, asked: &Asked<'_>, shown: Option<Value>, service_tier: Option<&Value>) -> Answer {
        let mut completion = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": asked.created,
            "model": asked.shown_model,
            "choices": [
                { "index": 0, "message": self.message, "logprobs": self.logprobs, "finish_reason": self.finish_reason },
            ],
            "usage": shown,
        });
        if let Some(tier) = service_tier {
            completion["service_tier"] = tier.clone();
        }
        Answer {
            body: raw(&completion),
            finish_reason: Some(self.finish_reason.to_owned()),
            usage: self.usage,
            output_chars: self.output_chars,
            response_model: None,
            service_tier: service_tier.and_then(Value::as_str).map(str::to_owned),
        }
    }
}

/// Counts in OpenAI's shape, for a provider that counts nothing beside. The prompt includes what a cache gave of it.
pub(super) fn sums(usage: &Usage) -> Value {
    let Tokens { input, output, .. } = usage.tokens;
    json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input.saturating_add(output) })
}

/// The same, with what came from a cache and what was reasoning.
pub(super) fn counts(usage: &Usage) -> Value {
    let mut out = sums(usage);
    out["prompt_tokens_details"] = json!({ "cached_tokens": usage.tokens.cache_read.unwrap_or(0) });
    out["completion_tokens_details"] = json!({ "reasoning_tokens": usage.tokens.reasoning.unwrap_or(0) });
    out
}

/// The same, with what was written to a cache, for a provider that has a price for it.
pub(super) fn counts_and_writes(usage: &Usage) -> Value {
    let mut out = counts(usage);
    out["prompt_tokens_details"]["cache_write_tokens"] = usage.tokens.cache_write.unwrap_or(0).into();
    out
}
