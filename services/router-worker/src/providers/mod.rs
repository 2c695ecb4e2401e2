//! Providers: what is particular to each, behind one trait; this file alone matches the provider kind.
//!
//! A leaf (`openai`, `anthropic`, …) holds pure functions: encode, decode, stream decode, error classification, and what a
//! credential becomes. `mock` makes answers in OpenAI's wire format by itself. `http` does the only I/O. A
//! leaf's answers have OpenAI's chat shape, but for those that serve another API natively; `dialects` does the rest.
//!
//! What leaves have in common is beside them: `completions` for servers of OpenAI's own format; for translations
//! `translate` and `conversation` (requests), `answers` and `chunks` (what comes back); `continuation` and `prefill` for answers that
//! go on where another call broke off; `beside` for an API that a server has beside chat, such as `embeddings`. A leaf imports no
//! other.
//!
//! Deliberately absent: an `Idempotency-Key` to the provider. Neither kind documents one for these calls, and the official SDKs,
//! whose generator has the feature, name no header for it (`_idempotency_header = None` in openai-python's `_base_client.py`;
//! `idempotencyHeader` is never set in anthropic-sdk-typescript's `client.ts`). A repeated call is a second call.

mod answers;
pub(crate) mod anthropic;
mod assemble;
mod azure;
mod bedrock;
mod beside;
mod chat;
mod chunks;
mod cohere;
mod completions;
mod content_safety;
mod continuation;
mod conversation;
mod credentials;
mod databricks;
mod embeddings;
pub(crate) mod eventstream;
mod fields;
mod framing;
mod google;
mod http;
mod mistral;
mod mock;
mod moderations;
mod openai;
mod path;
mod prefill;
mod responses;
mod sse;
mod text_completions;
mod token;
mod translate;
mod transport;

pub(crate) use assemble::Assembler;
pub(crate) use continuation::{Begun, Continuation};
pub(crate) use fields::Fields;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use framing::Unframed;
pub(crate) use framing::{Framing, Parser};
pub(crate) use http::{BODY_MAX_BYTES, Http};
pub(crate) use responses::{asks_for_later, refers_to_stored, unkept};
pub(crate) use sse::Frame;
pub(crate) use token::Grant;
pub(crate) use transport::{Head, Incoming, Transport};

use crate::{
    dialects,
    failure::Failure,
    tokens::{Tokens, Usage, estimate},
};
use beside::Beside;
use serde::Serialize;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, sync::Arc};
use tollgate_runtime::config::{Provider, ProviderKind};
use tollgate_schemas::{ApiType, RequestId, StreamEvent, TokenSource};

/// A request as a leaf needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The body, of the API that the wire format is for: as a rule OpenAI's chat.
    pub chat: &'a Fields,
    /// The caller's headers that are part of its API.
    pub api_headers: &'a BTreeMap<String, String>,
    /// The model at the provider.
    pub upstream_model: &'a str,
    /// Fields of a body, of the caller's or of the chat it becomes, that the model does not take.
    pub unsupported: &'a [String],
    /// What the caller sent as `model`; answers show it.
    pub shown_model: &'a str,
    /// The provider is asked for a stream.
    pub stream: bool,
    /// Output tokens when the caller sets no maximum and the provider demands one.
    pub default_max_tokens: u32,
    /// The provider may store the conversation: the endpoint says so and has no other destination, so what is stored is found
    /// again.
    pub may_store: bool,
    /// Seconds since the Unix epoch, for answers that carry no time of their own.
    pub created: i64,
    /// The request's id here, for answers that carry none of their own.
    pub request_id: RequestId,
    /// The beginning of the answer, which broke off elsewhere: only the rest is asked for. Of a model that [`Wire::continues`].
    pub begun: Option<&'a Begun>,
}

#[cfg(any(test, feature = "fuzz"))]
impl<'a> Asked<'a> {
    /// With that body, whole, from nobody in particular.
    pub(crate) fn of(chat: &'a Fields) -> Self {
        static NO_HEADERS: BTreeMap<String, String> = BTreeMap::new();
        Self {
            chat,
            api_headers: &NO_HEADERS,
            upstream_model: "up",
            unsupported: &[],
            shown_model: "chat",
            stream: false,
            default_max_tokens: 4096,
            may_store: false,
            created: 1_795_400_000,
            request_id: RequestId(Default::default()),
            begun: None,
        }
    }
}

/// Top-level request fields that are the gateway's own and never go upstream.
const GATEWAY_FIELDS: [&str; 1] = ["tollgate"];
const NOT_TAKEN: &str = "is not taken by this model; leave it out or use another endpoint";

impl Asked<'_> {
    /// The body for a server of the same API: byte for byte but for the model and the gateway's own fields.
    fn passed_on(&self) -> Fields {
        let mut body = self.chat.clone();
        for name in GATEWAY_FIELDS {
            body.remove(name);
        }
        body.put("model", self.upstream_model);
        body
    }

    /// Refuses a field that the provider's API has and this model does not take.
    pub(crate) fn supported(&self) -> Result<(), Failure> {
        match self.unsupported.iter().find(|name| self.chat.get(name).is_some()) {
            Some(name) => Err(Failure { is_optional: true, ..Failure::inexpressible(name, NOT_TAKEN) }),
            None => Ok(()),
        }
    }

    /// The caller wants the usage chunk at the end of a stream.
    pub(crate) fn wants_usage_chunk(&self) -> bool {
        let options = self.chat.read::<Fields>("stream_options").ok().flatten();
        options.and_then(|o| o.read::<bool>("include_usage").ok().flatten()).unwrap_or(false)
    }
}

/// A request in a provider's own wire format. Credentials are not in it; the transport adds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Path below the provider's base URL, with its query; names in it are percent-encoded.
    pub path: String,
    /// The JSON body.
    pub body: String,
    /// Headers beside those of [`Wire::headers`]: the caller's, for a destination of the same API.
    pub headers: Vec<(&'static str, String)>,
    /// Fields of the request that are not done, by the caller's names: it is told of them.
    pub undone: Vec<&'static str>,
}

impl Encoded {
    /// Without headers of its own, and with all that was asked for.
    pub(crate) fn new(path: impl Into<String>, body: String) -> Self {
        Self { path: path.into(), body, headers: Vec::new(), undone: Vec::new() }
    }
}

/// A call that is about to leave, for who signs it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Leaving<'a> {
    /// All of its URL.
    pub url: &'a str,
    /// Its body.
    pub body: &'a str,
    /// Seconds since the Unix epoch.
    pub now_s: i64,
    /// What is shown is a token that the credential gave, not the credential.
    pub is_token: bool,
}

/// A whole answer in the caller's shape.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The document in the shape of the API that the wire format is for: as a rule a `chat.completion`.
    pub body: Box<RawValue>,
    /// First choice's finish reason.
    pub finish_reason: Option<String>,
    /// What it used; `None` if the provider does not say.
    pub usage: Option<Usage>,
    /// Characters of text it holds, to estimate by.
    pub output_chars: usize,
    /// The model that answered, in the provider's words.
    pub response_model: Option<String>,
    /// The tier that served it, in the provider's words.
    pub service_tier: Option<String>,
}

impl Answer {
    /// A document of which nothing more is known.
    fn bare(body: Box<RawValue>) -> Self {
        Self { body, finish_reason: None, usage: None, output_chars: 0, response_model: None, service_tier: None }
    }

    /// An answer of the caller's API: as it came but for the model.
    fn passed_on(mut fields: Fields, shown_model: &str) -> Self {
        let response_model = fields.read("model").ok().flatten();
        fields.put("model", shown_model);
        Self { response_model, ..Self::bare(raw(&fields)) }
    }

    /// The model said no more than that it would not speak of it; the second is Anthropic's word.
    pub(crate) fn is_refusal(&self) -> bool {
        self.finish_reason.as_deref().is_some_and(is_filter)
    }

    /// What the call used: the provider's count, else an estimate from the texts.
    pub(crate) fn usage_or_estimate(&self, asked: &Asked<'_>) -> Usage {
        self.usage.clone().unwrap_or_else(|| {
            let prompt = prompt_estimate(asked);
            Usage { tokens: Tokens { output: estimate(self.output_chars), ..prompt.tokens }, ..prompt }
        })
    }
}

/// Whether a finish reason says that the model would not speak of it.
fn is_filter(finish_reason: &str) -> bool {
    matches!(finish_reason, "content_filter" | "refusal")
}

/// What a call used of which only the prompt is known. The beginning of an answer is part of it.
pub(crate) fn prompt_estimate(asked: &Asked<'_>) -> Usage {
    let begun = asked.begun.map_or(0, |begun| begun.text.chars().count());
    let tokens = Tokens { input: estimate(chat::prompt_chars(asked.chat) + begun), ..Tokens::default() };
    Usage { tokens, source: TokenSource::Estimated, raw: None }
}

/// The answer to a caller who wants to know how many tokens a message has, for a provider that does not count: an estimate from its
/// texts and tools, in the shape of <https://platform.claude.com/docs/en/api/messages-count-tokens>.
pub(crate) fn token_count_estimate(message: &Fields) -> Box<RawValue> {
    let tools = message.get("tools").map_or(0, |tools| tools.get().chars().count());
    raw(&serde_json::json!({ "input_tokens": estimate(chat::prompt_chars(message) + tools) }))
}

/// What there is to see in a part of an answer. Of two the larger one counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Content {
    /// Nothing that a caller would miss.
    #[default]
    Nothing,
    /// No more than that the model will not speak of it: the words of a refusal, or the end that a filter makes.
    Refusal,
    /// Something of the answer, or its end: it may be empty.
    Answer,
}

impl Content {
    /// That of an answer's end.
    fn of_end(finish_reason: &str) -> Self {
        if is_filter(finish_reason) { Self::Refusal } else { Self::Answer }
    }
}

impl From<bool> for Content {
    /// Whether there is something of the answer.
    fn from(is_answer: bool) -> Self {
        if is_answer { Self::Answer } else { Self::Nothing }
    }
}

/// What one frame of a provider's stream becomes.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// Events for the caller.
    pub events: Vec<StreamEvent>,
    /// What they have for the caller to see, once they are sent.
    pub content: Content,
}

/// Turns a provider's stream into the caller's, and keeps the whole answer.
pub(crate) trait StreamDecoder: Send {
    /// Takes one frame. Errors end the stream.
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure>;
    /// Whether the answer is whole if the stream ends now; if not, it was cut off.
    fn is_complete(&self) -> bool;
    /// Whether nothing more can come.
    fn is_done(&self) -> bool;
    /// Events that are still owed to the caller once the answer is whole.
    fn end(&mut self) -> Vec<StreamEvent> {
        Vec::new()
    }
    /// The answer as far as it came.
    fn answer(self: Box<Self>) -> Answer;
    /// The same of a stream that broke, and what another call needs to go on with it; `None`: none can.
    fn broken(self: Box<Self>) -> (Answer, Option<Begun>) {
        let answer = self.answer();
        let begun = Begun::of(&answer);
        (answer, begun)
    }
}

/// The wire format of a kind of provider.
pub(crate) trait Wire: Send + Sync {
    /// `gen_ai.provider.name` in OpenTelemetry's conventions.
    fn otel_name(&self) -> &'static str;
    /// The request in the provider's format, or the field that it cannot express.
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure>;
    /// A whole answer (status 2xx).
    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure>;
    /// A decoder for one stream.
    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder>;
    /// What an answer with another status means.
    fn classify(&self, status: u16, body: &[u8]) -> Failure;
    /// How the events of a stream are told apart.
    fn framing(&self) -> Framing {
        Framing::Sse
    }
    /// What to ask for a token, if the credential is only good for that; `None`: it is shown as it is. `Err` says what is wrong
    /// with it, without a word of it.
    fn grant(&self, _key: Option<&str>, _now_s: i64) -> Result<Option<Grant>, String> {
        Ok(None)
    }
    /// Headers that carry a credential, or the token that it gave, and any the API demands. `Err` as above.
    fn headers(&self, key: Option<&str>, leaving: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String>;
    /// Name of the response header with the provider's id of the call.
    fn request_id_header(&self) -> &'static str;
    /// Whether a chat may carry what only Claude knows: `cache_control` at parts and tools (OpenAI's `prompt_cache_breakpoint` at parts
    /// too), `thinking_blocks` of earlier answers, and the field `thinking`.
    fn takes_marks(&self) -> bool {
        false
    }
    /// Whether an assistant's message must have its reasoning as `reasoning_content`, where it calls tools.
    fn takes_reasoning(&self) -> bool {
        false
    }
    /// What a model sends that is shown the beginning of its answer ([`Asked::begun`]); `None`: it does not go on with one.
    fn continues(&self, _model: &str) -> Option<Continuation> {
        None
    }
    /// A decoder for one stream that goes on with `begun`: of both together.
    fn resumed(&self, asked: &Asked<'_>, begun: &Begun) -> Box<dyn StreamDecoder> {
        let continuation = self.continues(asked.upstream_model).unwrap_or(Continuation::Rest);
        Box::new(continuation::Joined::new(self.decoder(asked), continuation, begun))
    }
}

/// A provider's properties by its kind.
pub(crate) struct Kind {
    /// Its wire format for chat completions.
    pub wire: Arc<dyn Wire>,
    /// Other APIs that it speaks itself.
    native: Vec<(ApiType, Arc<dyn Wire>)>,
    /// Where it is; `None` if it needs no network.
    pub base_url: Option<String>,
    /// Name in the built-in price list.
    pub price_name: &'static str,
    /// Answers cost nothing, whatever the model.
    pub free: bool,
}

impl Kind {
    /// At the configuration's address, else at that one.
    fn at(provider: &Provider, base_url: &str, price_name: &'static str, wire: impl Wire + 'static) -> Self {
        let base_url = provider.base_url.as_deref().unwrap_or(base_url).trim_end_matches('/').to_owned();
        Self { wire: Arc::new(wire), native: Vec::new(), base_url: Some(base_url), price_name, free: false }
    }

    fn and(mut self, api: ApiType, wire: impl Wire + 'static) -> Self {
        self.native.push((api, Arc::new(wire)));
        self
    }

    /// The wire format for callers of an API: the provider's own, or a translation; `None` if it cannot serve them.
    pub(crate) fn speaks(&self, api: ApiType) -> Option<Arc<dyn Wire>> {
        if api == ApiType::ChatCompletions {
            return Some(self.wire.clone());
        }
        let native = self.native.iter().find(|(native, _)| *native == api).map(|(_, wire)| wire.clone());
        native.or_else(|| dialects::over(api, &self.wire))
    }
}

/// The one place that tells provider kinds apart. Errors with what is missing.
pub(crate) fn kind(provider: &Provider) -> Result<Kind, String> {
    Ok(match provider.kind {
        ProviderKind::Openai => of_openai(provider),
        ProviderKind::Anthropic => {
            Kind::at(provider, "https://api.anthropic.com/v1", "anthropic", anthropic::Anthropic)
                .and(ApiType::Messages, Beside { of: anthropic::Anthropic, side: anthropic::Native })
                .and(ApiType::CountTokens, Beside { of: anthropic::Anthropic, side: anthropic::Count })
        }
        ProviderKind::Azure => {
            let version = provider.api_version.as_deref();
            let new = || azure::Azure::new(version);
            let azure = Kind::at(provider, needed(provider)?, "azure", new())
                .and(ApiType::Embeddings, Beside { of: new(), side: azure::Embeddings(new()) })
                .and(ApiType::Completions, Beside { of: new(), side: azure::TextCompletions(new()) })
                .and(
                    ApiType::Moderations,
                    Beside { of: azure::Azure::services(), side: content_safety::ContentSafety },
                );
            // Dated versions keep their models in the path of a deployment, where this API is not.
            if provider.serves_responses() {
                let side = responses::Responses { path: "/openai/v1/responses" };
                azure.and(ApiType::Responses, Beside { of: new(), side })
            } else {
                azure
            }
        }
        ProviderKind::Databricks => {
            let host = needed(provider)?;
            let new = || databricks::Databricks::new(host);
            Kind::at(provider, host, "databricks", new())
                .and(ApiType::Embeddings, Beside { of: new(), side: databricks::Embeddings })
        }
        ProviderKind::Mistral => Kind::at(provider, "https://api.mistral.ai/v1", "mistral", mistral::Mistral)
            .and(ApiType::Embeddings, Beside { of: mistral::Mistral, side: mistral::Embeddings })
            .and(ApiType::Moderations, Beside { of: mistral::Mistral, side: moderations::Moderations }),
        ProviderKind::Cohere => Kind::at(provider, "https://api.cohere.com/v2", "cohere", cohere::Cohere)
            .and(ApiType::Embeddings, Beside { of: cohere::Cohere, side: cohere::Embeddings }),
        ProviderKind::Gemini => {
            let base_url = "https://generativelanguage.googleapis.com/v1beta";
            let google = google::Google::Gemini;
            Kind::at(provider, base_url, "gemini", google.clone())
                .and(ApiType::Embeddings, Beside { of: google.clone(), side: google::Embeddings(google.clone()) })
                .and(ApiType::GenerateContent, Beside { of: google.clone(), side: google::Native(google) })
        }
        ProviderKind::Vertex => {
            let (google, base_url) = google::Google::vertex(provider.project.as_deref(), provider.location.as_deref())?;
            Kind::at(provider, &base_url, "vertex", google.clone())
                .and(ApiType::Embeddings, Beside { of: google.clone(), side: google::Embeddings(google.clone()) })
                .and(ApiType::GenerateContent, Beside { of: google.clone(), side: google::Native(google) })
        }
        ProviderKind::Bedrock => {
            let region = provider.region.clone().ok_or("kind `bedrock` needs a region")?;
            let (base_url, of) = (bedrock::Bedrock::base_url(&region), bedrock::Bedrock { region });
            Kind::at(provider, &base_url, "bedrock", of.clone())
                .and(ApiType::Embeddings, Beside { of: of.clone(), side: bedrock::Embeddings })
                .and(ApiType::Moderations, Beside { of, side: bedrock::Guardrail })
        }
        // The mock answers in OpenAI's format, so that its answers take the same way as any other.
        ProviderKind::Mock => {
            let mock = Kind {
                base_url: None,
                price_name: "mock",
                free: true,
                ..Kind::at(provider, "", "", openai::OpenAi::mock())
            };
            mock.and(ApiType::Embeddings, Beside { of: openai::OpenAi::new(None), side: embeddings::Embeddings })
                .and(ApiType::Moderations, Beside { of: openai::OpenAi::new(None), side: moderations::Moderations })
        }
    })
}

/// OpenAI, or a server of its chat format.
fn of_openai(provider: &Provider) -> Kind {
    let (preset, new) = (provider.preset(), || openai::OpenAi::new(provider.preset()));
    let base_url = preset.map_or("https://api.openai.com/v1", |preset| preset.base_url);
    let texts = text_completions::TextCompletions(new().quirks);
    let kind = Kind::at(provider, base_url, provider.price_name(), new())
        .and(ApiType::Embeddings, Beside { of: new(), side: embeddings::Embeddings })
        .and(ApiType::Completions, Beside { of: new(), side: texts })
        .and(ApiType::Moderations, Beside { of: new(), side: moderations::Moderations });
    if provider.serves_responses() {
        kind.and(ApiType::Responses, Beside { of: new(), side: responses::Responses { path: "/responses" } })
    } else {
        kind
    }
}

/// The address of a provider that has no common one.
fn needed(provider: &Provider) -> Result<&str, String> {
    provider.base_url.as_deref().ok_or_else(|| format!("kind `{}` needs a base_url", provider.kind.as_str()))
}

/// A document as raw JSON. Serialising one into memory cannot fail; `null` stands for the impossible.
fn raw(document: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(document).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
