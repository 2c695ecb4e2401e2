//! An accepted request on its way to a provider.

use crate::{ApiError, Attempt, Body, GuardrailCheck, Originals, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The value of `requests.<lane>`, `approved.<lane>` and `parked.*`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Which request this is.
    pub request_id: RequestId,
    /// Which consumers serve it.
    pub lane: Lane,
    /// The endpoint's own name (aliases are resolved at the door).
    pub endpoint: String,
    /// What the caller sent as `model`; answers show it.
    pub model: String,
    /// The wire shape of the request body, of the answer and of its errors.
    pub api_type: ApiType,
    /// The caller wants a stream.
    #[serde(default)]
    pub stream: bool,
    /// The body as the caller sent it, or as masking left it. Never holds a gateway key.
    pub body: Body,
    /// Headers of the caller's that are part of the API (`anthropic-beta`), for a destination that speaks it itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub api_headers: BTreeMap<String, String>,
    /// Who asked.
    pub caller: Caller,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// Free-form attribution from the caller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When ingress accepted it, microseconds since the Unix epoch.
    pub accepted_us: i64,
    /// When nobody wants the answer any more, milliseconds since the Unix epoch.
    pub deadline_ms: i64,
    /// Whether a kept answer will do.
    #[serde(default, skip_serializing_if = "CacheUse::is_default")]
    pub cache: CacheUse,
    /// What a disconnect means.
    #[serde(default)]
    pub on_disconnect: OnDisconnect,
    /// The request that caused this one (judges, shadows).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_request_id: Option<RequestId>,
    /// It is a copy for this shadow of the endpoint: nobody else works on it, and its end is told to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// The batch this job belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// The caller's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What the input checks did, once they have run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail_outcome: Option<String>,
    /// The same check by check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<GuardrailCheck>,
    /// Version of the policy that `guardrail_outcome` was decided under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<String>,
    /// What masking has replaced in `body` and the answer is to have back, by placeholder.
    #[serde(default, skip_serializing_if = "Originals::is_empty")]
    pub restore: Originals,
    /// Placeholders in `body` that nothing comes back for, up to a bound: in the answer, too, they are no finding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// What admission has reserved for it, if a limit or a budget applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
    /// How it has waited so far, once it was parked because every destination throttled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// What was reserved for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reserved {
    /// Estimate of the prompt.
    pub input_tokens: u64,
    /// The most it may produce, all choices together.
    pub output_tokens: u64,
    /// The provider must not be asked for more output tokens than this, a choice: a strict budget stands on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
}

/// What a request that waits in `parked.*` carries from one execution to the next.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Nothing is tried before, milliseconds since the Unix epoch.
    pub not_before_ms: i64,
    /// How often it was parked after a call that was throttled: what the next delay depends on.
    pub parks: u32,
    /// The provider calls made so far. They end up in the request's one usage row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
}

/// A class of traffic with topics and consumers of its own, so that bulk work never delays a waiting caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A caller waits.
    Interactive,
    /// Topic jobs and batches.
    Batch,
    /// Internal requests of guardrail checks.
    Judge,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 3] = [Lane::Interactive, Lane::Batch, Lane::Judge];

    /// Its name in topics, tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Interactive => "interactive",
            Lane::Batch => "batch",
            Lane::Judge => "judge",
        }
    }
}

/// The API a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ApiType {
    /// OpenAI's `POST /v1/chat/completions`.
    #[serde(rename = "openai/v1/chat/completions")]
    ChatCompletions,
    /// Google's `POST /v1beta/models/{model}:generateContent`, and the same as a stream.
    #[serde(rename = "gemini/v1beta/generateContent")]
    GenerateContent,
    /// Anthropic's `POST /v1/messages/count_tokens`.
    #[serde(rename = "anthropic/v1/messages/count_tokens")]
    CountTokens,
    /// OpenAI's `POST /v1/embeddings`.
    #[serde(rename = "openai/v1/embeddings")]
    Embeddings,
    /// OpenAI's `POST /v1/responses`.
    #[serde(rename = "openai/v1/responses")]
    Responses,
    /// Anthropic's `POST /v1/messages`.
    #[serde(rename = "anthropic/v1/messages")]
    Messages,
    /// OpenAI's `POST /v1/completions`: a text goes on.
    #[serde(rename = "openai/v1/completions")]
    Completions,
    /// OpenAI's `POST /v1/moderations`.
    #[serde(rename = "openai/v1/moderations")]
    Moderations,
}

impl ApiType {
    /// Every API.
    pub const ALL: [ApiType; 8] = [
        ApiType::ChatCompletions,
        ApiType::Responses,
        ApiType::Embeddings,
        ApiType::Messages,
        ApiType::CountTokens,
        ApiType::GenerateContent,
        ApiType::Completions,
        ApiType::Moderations,
    ];

    /// Its name in the usage table.
    pub fn as_str(self) -> &'static str {
        match self {
            ApiType::ChatCompletions => "openai/v1/chat/completions",
            ApiType::GenerateContent => "gemini/v1beta/generateContent",
            ApiType::CountTokens => "anthropic/v1/messages/count_tokens",
            ApiType::Responses => "openai/v1/responses",
            ApiType::Embeddings => "openai/v1/embeddings",
            ApiType::Messages => "anthropic/v1/messages",
            ApiType::Completions => "openai/v1/completions",
            ApiType::Moderations => "openai/v1/moderations",
        }
    }

    /// The HTTP path of the API, as jobs name it in `url`; with `{model}` where the model's name stands in it.
    pub fn path(self) -> &'static str {
        match self {
            ApiType::ChatCompletions => "/v1/chat/completions",
            ApiType::GenerateContent => "/v1beta/models/{model}:generateContent",
            ApiType::CountTokens => "/v1/messages/count_tokens",
            ApiType::Responses => "/v1/responses",
            ApiType::Embeddings => "/v1/embeddings",
            ApiType::Messages => "/v1/messages",
            ApiType::Completions => "/v1/completions",
            ApiType::Moderations => "/v1/moderations",
        }
    }

    /// What its errors look like.
    pub fn errors(self) -> crate::error::Shape {
        match self {
            ApiType::ChatCompletions
            | ApiType::Responses
            | ApiType::Embeddings
            | ApiType::Completions
            | ApiType::Moderations => crate::error::Shape::OpenAi,
            ApiType::Messages | ApiType::CountTokens => crate::error::Shape::Anthropic,
            ApiType::GenerateContent => crate::error::Shape::Google,
        }
    }

    /// Whether its answers may come piece by piece.
    pub fn has_streams(self) -> bool {
        match self {
            ApiType::ChatCompletions
            | ApiType::Responses
            | ApiType::Messages
            | ApiType::GenerateContent
            | ApiType::Completions => true,
            ApiType::Embeddings | ApiType::Moderations | ApiType::CountTokens => false,
        }
    }

    /// Whether a call's model stands in its path, and not in its body.
    pub fn names_model_in_path(self) -> bool {
        self == ApiType::GenerateContent
    }

    /// The API of a path in which no model stands.
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.path() == path)
    }
}

/// What a request makes of answers that are kept, where its endpoint keeps any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// It takes one, and its own is kept.
    #[default]
    Use,
    /// It takes none, but its own is kept.
    Refresh,
    /// Neither.
    Bypass,
}

impl CacheUse {
    /// By the word that callers have for it, in a header.
    pub fn named(word: &str) -> Option<Self> {
        match word {
            "use" => Some(Self::Use),
            "refresh" => Some(Self::Refresh),
            "bypass" => Some(Self::Bypass),
            _ => None,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::Use
    }
}

/// What a caller's disconnect means for the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Stop and bill what was produced.
    #[default]
    Cancel,
    /// Go on and keep the answer.
    Finish,
}

/// Who asked, as ingress established it. Never a key itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// Team name.
    pub team: String,
    /// Stable id of the key: the first 16 hex digits of its SHA-256 unless it has one of its own. `None` for topic jobs.
    pub key_id: Option<String>,
    /// The key's name.
    pub key_name: Option<String>,
    /// The user behind the key.
    pub user_id: Option<String>,
    /// The caller's own user, from the body's `user`.
    pub end_user: Option<String>,
    /// Peer address.
    pub ip_address: Option<String>,
    /// `user-agent` header, at most 256 bytes.
    pub user_agent: Option<String>,
    /// Path that was called, or the topic.
    pub url: Option<String>,
}

/// Where an answer goes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReplyTo {
    /// Partition of `replies`. `None`: nobody waits there, any partition will do.
    pub partition: Option<i32>,
    /// Boot id of the replica that waits, of ingress or of the guardrail; replies of another boot are skipped.
    pub boot_id: Option<uuid::Uuid>,
    /// The team's topic, for jobs that came by topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicReply>,
}

impl ReplyTo {
    /// Nobody waits: the answer is for whoever fetches it.
    pub const NOBODY: Self = Self { partition: None, boot_id: None, topic: None };

    /// Whether nobody waits, here or at a topic.
    pub fn is_nobody(&self) -> bool {
        self.partition.is_none() && self.topic.is_none()
    }
}

/// Where and how to answer a job that came by topic.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TopicReply {
    /// Full name of the topic (with prefix).
    pub topic: String,
    /// Record key of the answer: the job's key if it was UTF-8, else its custom id.
    pub key: Option<String>,
    /// The job's own id.
    pub custom_id: Option<String>,
    /// The job's `metadata`, echoed.
    #[serde(default)]
    pub metadata: Option<serde_json::Value>,
}

impl Request {
    /// Whether the deadline has passed at `now_ms`, allowing `max_skew_ms` for clocks that disagree.
    pub fn expired(&self, now_ms: i64, max_skew_ms: i64) -> bool {
        now_ms > self.deadline_ms.saturating_add(max_skew_ms)
    }

    /// The placeholders that masking has put into the body, as far as they are known.
    pub fn placeholders(&self) -> Vec<String> {
        self.restore.0.keys().chain(&self.masked).cloned().collect()
    }

    /// The error of a request whose deadline has passed.
    pub fn expired_error(&self) -> ApiError {
        ApiError::new(crate::ErrorCode::DeadlineExceeded, "the request's deadline passed before it could be answered")
    }
}
