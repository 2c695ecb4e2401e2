//! OpenAI's chat completions format, spoken by OpenAI and by vLLM, Ollama, TGI, llama.cpp, LM Studio and many others.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat/create>, `…/chat/streaming`, `…/chat/object` and
//! <https://platform.openai.com/docs/guides/error-codes>. Requests and answers pass through byte for byte but for
//! `model`, `stream`, `stream_options` and the gateway's own field. No idempotency key is sent: the reference documents
//! none, and the official SDKs make one but send no header with it.

use super::{Answer, Asked, Assembler, Decoded, Encoded, Fields, Frame, Leaving, StreamDecoder, Wire};
use crate::{
    failure::{Class, Failure},
    tokens::{Tokens, Usage},
};
use serde::Deserialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use tollgate_schemas::{StreamEvent, TokenSource};

/// Top-level request fields that are the gateway's own and never go upstream.
pub(super) const GATEWAY_FIELDS: [&str; 1] = ["tollgate"];

/// 429s that waiting does not cure (<https://platform.openai.com/docs/guides/error-codes>): the account, not the traffic.
const QUOTA_CODES: [&str; 5] = [
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
];

/// The leaf.
#[derive(Debug)]
pub(super) struct OpenAi;

impl Wire for OpenAi {
    fn otel_name(&self) -> &'static str {
        "openai"
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut chat = asked.chat.clone();
        for name in GATEWAY_FIELDS {
            chat.remove(name);
        }
        chat.put("model", asked.upstream_model);
        if asked.stream {
            chat.put("stream", &true);
            // Without the usage chunk a stream's cost would be a guess.
            let mut options =
                chat.read::<Fields>("stream_options").map_err(|_| invalid("stream_options"))?.unwrap_or_default();
            options.put("include_usage", &true);
            chat.put("stream_options", &options);
        } else if chat.get("stream").is_some_and(|stream| stream.get() == "true") {
            // A job that asked for a stream where none can be had, such as on a topic.
            chat.remove("stream");
            chat.remove("stream_options");
        }
        Ok(Encoded::new("/chat/completions", chat.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let text = std::str::from_utf8(body).map_err(|_| Failure::malformed("an answer that is not UTF-8"))?;
        let mut fields = Fields::parse(text).map_err(|_| Failure::malformed("an answer that is not a JSON object"))?;
        let choices: Vec<Choice> =
            fields.read("choices").ok().flatten().ok_or_else(|| Failure::malformed("an answer without choices"))?;
        let response_model = fields.read::<String>("model").ok().flatten();
        fields.put("model", asked.shown_model);
        Ok(Answer {
            finish_reason: choices.first().and_then(|choice| choice.finish_reason.clone()),
            usage: fields.get("usage").and_then(usage),
            output_chars: choices.iter().map(|choice| choice.message.chars()).sum(),
            response_model,
            service_tier: fields.read("service_tier").ok().flatten(),
            body: to_raw_value(&fields).map_err(|_| Failure::malformed("an answer that is not JSON"))?,
        })
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Decoder {
            shown_model: asked.shown_model.to_owned(),
            wants_usage: asked.wants_usage_chunk(),
            created: asked.created,
            assembler: Assembler::default(),
            head_known: false,
            done: false,
            usage: None,
            response_model: None,
            service_tier: None,
        })
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        #[derive(Deserialize)]
        struct Document {
            error: Value,
        }
        let error = serde_json::from_slice::<Document>(body).map_or(Value::Null, |document| document.error);
        failure(status, &error)
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        Ok(key.map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Message {
    content: Option<Value>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<Value>>,
}

impl Message {
    fn chars(&self) -> usize {
        let texts =
            [self.content.as_ref().and_then(Value::as_str), self.refusal.as_deref(), self.reasoning_content.as_deref()];
        let calls = self.tool_calls.iter().flatten().filter_map(|call| call["function"]["arguments"].as_str());
        texts.into_iter().flatten().chain(calls).map(|text| text.chars().count()).sum()
    }
}

fn invalid(param: &str) -> Failure {
    Failure {
        param: Some(param.to_owned()),
        ..Failure::new(Class::Inexpressible, format!("`{param}` must be an object"))
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

/// Reads OpenAI's usage document. `None` if it holds no counts.
pub(super) fn usage(raw: &RawValue) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Document {
        prompt_tokens: u64,
        completion_tokens: Option<u64>,
        total_tokens: Option<u64>,
        prompt_tokens_details: Option<PromptDetails>,
        completion_tokens_details: Option<CompletionDetails>,
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
        cache_read: prompt.cached_tokens,
        cache_write: prompt.cache_write_tokens,
        cache_write_1h: None,
        reasoning,
    };
    Some(Usage { tokens, source: TokenSource::Provider, raw: Some(raw.get().to_owned()) })
}

struct Decoder {
    shown_model: String,
    wants_usage: bool,
    created: i64,
    assembler: Assembler,
    head_known: bool,
    done: bool,
    usage: Option<Usage>,
    response_model: Option<String>,
    service_tier: Option<String>,
}

impl Decoder {
    /// Takes what describes the whole answer from the first chunk that has it.
    fn learn_head(&mut self, fields: &Fields) {
        if let Some(tier) = fields.read("service_tier").ok().flatten() {
            self.assembler.set("service_tier", Value::String(String::clone(&tier)));
            self.service_tier = Some(tier);
        }
        if std::mem::replace(&mut self.head_known, true) {
            return;
        }
        self.response_model = fields.read("model").ok().flatten();
        let created = fields.read::<i64>("created").ok().flatten().unwrap_or(self.created);
        self.assembler.set("id", fields.read("id").ok().flatten().unwrap_or(Value::Null));
        self.assembler.set("object", "chat.completion".into());
        self.assembler.set("created", created.into());
        self.assembler.set("model", self.shown_model.clone().into());
        if let Some(fingerprint) = fields.read::<Value>("system_fingerprint").ok().flatten() {
            self.assembler.set("system_fingerprint", fingerprint);
        }
    }

    fn chunk(&mut self, mut fields: Fields) -> Result<Decoded, Failure> {
        self.learn_head(&fields);
        let choices: Vec<Value> = fields.read("choices").ok().flatten().unwrap_or_default();
        let only_usage = choices.is_empty() && fields.get("usage").is_some();
        if let Some(raw) = fields.get("usage") {
            self.usage = usage(raw).or(self.usage.take());
            self.assembler.set("usage", serde_json::from_str(raw.get()).unwrap_or(Value::Null));
        }
        let content = self.assembler.choices(choices);
        if self.assembler.is_too_large() {
            return Err(Failure::malformed("an answer that is too large"));
        }
        if only_usage && !self.wants_usage {
            return Ok(Decoded::default());
        }
        if !self.wants_usage {
            fields.remove("usage");
        }
        fields.put("model", &self.shown_model);
        // A pretty-printed chunk came as several `data:` lines; between tokens a blank is as good as a line feed.
        let data = fields.to_json().replace(['\n', '\r'], " ");
        Ok(Decoded { events: vec![StreamEvent { event: None, data }], content })
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        if frame.data == "[DONE]" {
            self.done = true;
            return Ok(Decoded::default());
        }
        let fields =
            Fields::parse(&frame.data).map_err(|_| Failure::malformed("a stream event that is not a JSON object"))?;
        if let Some(error) = fields.get("error") {
            let error: Value = serde_json::from_str(error.get()).unwrap_or(Value::Null);
            let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
            // The 200 has been sent by then, so an error inside a stream has no status of its own.
            return Err(failure(status.unwrap_or(500), &error));
        }
        self.chunk(fields)
    }

    fn is_complete(&self) -> bool {
        // Some servers of this format leave `[DONE]` out. One that sends nothing else has not answered.
        self.head_known && (self.done || self.assembler.all_finished())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn answer(self: Box<Self>) -> Answer {
        Answer {
            finish_reason: self.assembler.finish_reason().map(str::to_owned),
            output_chars: self.assembler.chars(),
            usage: self.usage,
            response_model: self.response_model,
            service_tier: self.service_tier,
            body: super::raw(&self.assembler.into_completion()),
        }
    }
}
