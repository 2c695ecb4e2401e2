//! OpenAI's chat completions format: what the leaves share whose servers speak it.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat/create>, `…/chat/streaming`, `…/chat/object` and
//! <https://platform.openai.com/docs/guides/error-codes>. Requests and answers pass through byte for byte but for
//! `model`, `stream`, `stream_options`, the gateway's own field and what [`Quirks`] says.

pub(super) mod parts;
mod request;
mod stream;

pub(super) use request::encode;
pub(super) use stream::{Decoder, Over, TEXT_COMPLETION};

use super::{Answer, Asked, Fields};
use crate::{
    failure::{Class, Failure},
    tokens::{Tokens, Usage},
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tollgate_schemas::TokenSource;

/// 429s that waiting does not cure (<https://platform.openai.com/docs/guides/error-codes>): the account, not the traffic.
const QUOTA_CODES: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];

/// What a server of this format does otherwise than OpenAI.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quirks {
    /// It takes no `stream_options`; usage, if any, comes unasked, in a chunk that has choices too.
    pub no_stream_options: bool,
    /// It knows `max_tokens` and not `max_completion_tokens`.
    pub max_tokens_only: bool,
}

/// A whole answer.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let fields = Fields::of_answer(body)?;
    let choices: Vec<Choice> =
        fields.read("choices").ok().flatten().ok_or_else(|| Failure::malformed("an answer without choices"))?;
    Ok(Answer {
        finish_reason: choices.first().and_then(|choice| choice.finish_reason.clone()),
        usage: fields.get("usage").and_then(usage),
        output_chars: choices.iter().map(Choice::chars).sum(),
        service_tier: fields.read("service_tier").ok().flatten(),
        ..Answer::passed_on(fields, asked.shown_model)
    })
}

/// What an answer with an error status means.
pub(super) fn classify(status: u16, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Document {
        error: Value,
    }
    let error = serde_json::from_slice::<Document>(body).map_or(Value::Null, |document| document.error);
    failure(status, &error)
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    message: Message,
    /// Of a text completion, which has no message.
    text: Option<String>,
    finish_reason: Option<String>,
}

impl Choice {
    fn chars(&self) -> usize {
        self.message.chars() + self.text.as_ref().map_or(0, |text| text.chars().count())
    }
}

#[derive(Deserialize, Default)]
struct Message {
    content: Option<Value>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    /// The same by the name that vLLM and others have for it.
    reasoning: Option<Value>,
    tool_calls: Option<Vec<Value>>,
}

impl Message {
    fn chars(&self) -> usize {
        let reasoning = self.reasoning_content.as_deref().filter(|text| !text.is_empty());
        let reasoning = reasoning.or_else(|| self.reasoning.as_ref().and_then(Value::as_str));
        let texts = [self.content.as_ref().and_then(Value::as_str), self.refusal.as_deref(), reasoning];
        let calls = self.tool_calls.iter().flatten().filter_map(|call| call["function"]["arguments"].as_str());
        texts.into_iter().flatten().chain(calls).map(|text| text.chars().count()).sum()
    }
}

/// The failure that an error object stands for. Some servers put a plain string where OpenAI puts an object.
pub(super) fn failure(status: u16, error: &Value) -> Failure {
    let text = |name: &str| error[name].as_str().map(str::to_owned);
    let message = text("message").or_else(|| error.as_str().map(str::to_owned));
    let message = message.unwrap_or_else(|| format!("the provider answered with status {status}"));
    let mut failure = Failure::of_status(status, message);
    failure.code = text("code").or_else(|| text("type"));
    failure.param = text("param");
    let quota = [text("code"), text("type")].into_iter().flatten().any(|code| QUOTA_CODES.contains(&code.as_str()));
    if failure.class == Class::RateLimited && quota {
        failure.class = Class::Refused;
    }
    failure
}

/// Reads a usage document of this format. `None` if it holds no counts.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Document {
        prompt_tokens: u64,
        completion_tokens: Option<u64>,
        total_tokens: Option<u64>,
        prompt_tokens_details: Option<PromptDetails>,
        completion_tokens_details: Option<CompletionDetails>,
        /// DeepSeek's and Mistral's names for what OpenAI calls `prompt_tokens_details.cached_tokens`.
        prompt_cache_hit_tokens: Option<u64>,
        num_cached_tokens: Option<u64>,
    }
    #[derive(Deserialize, Default)]
    struct PromptDetails {
        cached_tokens: Option<u64>,
        cache_write_tokens: Option<u64>,
    }
    #[derive(Deserialize, Default)]
    struct CompletionDetails {
        reasoning_tokens: Option<u64>,
    }
    let document: Document = serde_json::from_str(raw.get()).ok()?;
    let prompt = document.prompt_tokens_details.unwrap_or_default();
    let cached = prompt.cached_tokens.or(document.prompt_cache_hit_tokens).or(document.num_cached_tokens);
    let reasoning = document.completion_tokens_details.unwrap_or_default().reasoning_tokens;
    let mut output = document.completion_tokens.unwrap_or(0);
    // Some servers of this format count reasoning beside the completion instead of in it; their total tells.
    if let (Some(reasoning @ 1..), Some(total)) = (reasoning, document.total_tokens)
        && total == document.prompt_tokens + output + reasoning
    {
        output += reasoning;
    }
    let tokens = Tokens {
        input: document.prompt_tokens,
        output,
        cache_read: cached,
        cache_write: prompt.cache_write_tokens,
        cache_write_1h: None,
        reasoning,
    };
    Some(Usage { tokens, source: TokenSource::Provider, raw: Some(raw.get().to_owned()) })
}
