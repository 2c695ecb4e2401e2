//! The shape of the file. Names are a contract with users; `tollgate.example.yaml` explains them.
//!
//! Every field has a default where one makes sense, so that a minimal file is short. Unknown fields are refused by `read`.

use super::units::{Millis, Per};
use crate::Secret;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole file.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "sections, documented in tollgate.example.yaml")]
pub struct Config {
    pub listen: String,
    pub data_dir: String,
    pub gateway: String,
    pub region: String,
    pub kafka: Kafka,
    pub retention: Retention,
    pub storage: Option<Storage>,
    pub usage: Usage,
    pub admission: Admission,
    pub shutdown: Shutdown,
    pub providers: BTreeMap<String, Provider>,
    pub endpoints: Vec<Endpoint>,
    pub judges: BTreeMap<String, Judge>,
    pub teams: Vec<Team>,
    pub keys: Vec<Key>,
    pub admin: Admin,
    pub prices: Vec<Price>,
}

impl Config {
    /// The endpoint a caller means by `model`: its name or one of its aliases.
    pub fn endpoint(&self, model: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.name == model || e.aliases.iter().any(|alias| alias == model))
    }

    /// The team of that name.
    pub fn team(&self, name: &str) -> Option<&Team> {
        self.teams.iter().find(|team| team.name == name)
    }
}

/// `kafka`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Kafka {
    pub brokers: String,
    pub listen: String,
    pub advertised: Option<String>,
    pub users: Vec<KafkaUser>,
    pub fsync: Fsync,
    pub topic_prefix: String,
    pub partitions: PartitionCounts,
    pub replication: i32,
    pub properties: BTreeMap<String, Secret>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: super::EMBEDDED.into(),
            listen: "127.0.0.1:9092".into(),
            advertised: None,
            users: Vec::new(),
            fsync: Fsync::Interval,
            topic_prefix: "tollgate.".into(),
            partitions: PartitionCounts::default(),
            replication: 1,
            properties: BTreeMap::new(),
        }
    }
}

/// `kafka.users[]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct KafkaUser {
    pub name: String,
    pub password: Secret,
    pub team: String,
}

/// `kafka.fsync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Fsync {
    Always,
    Interval,
}

/// `kafka.partitions`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct PartitionCounts {
    pub default: i32,
    pub usage: i32,
}

impl Default for PartitionCounts {
    fn default() -> Self {
        Self { default: 12, usage: 1 }
    }
}

/// `retention`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Retention {
    pub requests: Millis,
    pub replies: Millis,
    pub results: Millis,
    pub payload_blobs: Millis,
    pub dead_letters: Millis,
}

impl Default for Retention {
    fn default() -> Self {
        let (hour, day) = (3_600_000, 86_400_000);
        Self {
            requests: Millis(7 * day),
            replies: Millis(hour),
            results: Millis(day),
            payload_blobs: Millis(38 * day),
            dead_letters: Millis(30 * day),
        }
    }
}

/// `storage`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Storage {
    pub url: String,
    #[serde(default)]
    pub options: BTreeMap<String, Secret>,
}

/// `usage`.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Usage {
    pub flush: Flush,
    pub delta: bool,
}

/// `usage.flush`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Flush {
    pub rows: usize,
    pub after: Millis,
}

impl Default for Flush {
    fn default() -> Self {
        Self { rows: 50_000, after: Millis(60_000) }
    }
}

/// `admission`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Admission {
    pub store: Secret,
    pub on_store_failure: OnFailure,
}

impl Default for Admission {
    fn default() -> Self {
        Self { store: Secret::new("memory"), on_store_failure: OnFailure::Deny }
    }
}

/// `shutdown`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Shutdown {
    pub unready: Millis,
    pub drain: Millis,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { unready: Millis(5_000), drain: Millis(20_000) }
    }
}

/// What a failure of something that decides means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum OnFailure {
    Allow,
    Deny,
}

/// `providers.NAME`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Provider {
    pub kind: ProviderKind,
    #[serde(default)]
    pub base_url: Option<String>,
    /// Resolved for the router-worker only; elsewhere it holds the reference as written.
    #[serde(default)]
    pub api_key: Option<Secret>,
    #[serde(default)]
    pub api_keys: Vec<Secret>,
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
}

fn default_concurrency() -> usize {
    256
}

/// `providers.NAME.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ProviderKind {
    Openai,
    Azure,
    Anthropic,
    Gemini,
    Vertex,
    Bedrock,
    Cohere,
    Mistral,
    Databricks,
    Mock,
}

impl ProviderKind {
    /// As written in the file; also OpenTelemetry's `gen_ai.provider.name` where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Mistral => "mistral",
            Self::Databricks => "databricks",
            Self::Mock => "mock",
        }
    }
}

/// `endpoints[]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Endpoint {
    pub name: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub task: Task,
    pub destinations: Vec<Destination>,
    #[serde(default)]
    pub fallbacks: Vec<Destination>,
    #[serde(default)]
    pub routing: Routing,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default)]
    pub timeout: Timeout,
    #[serde(default)]
    pub on_disconnect: tollgate_schemas::OnDisconnect,
    #[serde(default = "default_reserve_output")]
    pub reserve_output: u32,
    #[serde(default)]
    pub limits: Vec<Limit>,
    #[serde(default)]
    pub guardrails: Guardrails,
    #[serde(default)]
    pub payload_log: Option<PayloadLog>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

fn default_reserve_output() -> u32 {
    4096
}

/// `endpoints[].task`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Task {
    #[default]
    Chat,
    Embeddings,
    Completions,
}

/// `endpoints[].destinations[]` and `.fallbacks[]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Destination {
    pub name: String,
    pub provider: String,
    pub model: String,
    #[serde(default = "default_weight")]
    pub weight: u32,
    #[serde(default)]
    pub concurrency: Option<usize>,
}

fn default_weight() -> u32 {
    1
}

/// `endpoints[].routing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Routing {
    #[default]
    Weighted,
    Cheapest,
    Fastest,
    LeastBusy,
}

/// `endpoints[].retry`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Retry {
    pub attempts: u32,
    pub max_attempts: u32,
    pub backoff: Millis,
    pub on: Vec<RetryOn>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            max_attempts: 3,
            backoff: Millis(200),
            on: vec![RetryOn::Status(429), RetryOn::ServerError, RetryOn::Timeout],
        }
    }
}

/// `endpoints[].retry.on[]`: `429`, `5xx` or `timeout` (a failed connection counts as one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// One status.
    Status(u16),
    /// Any 5xx.
    ServerError,
    /// A time-out or a failed connection.
    Timeout,
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let number = value.as_u64().or_else(|| value.as_str().and_then(|s| s.parse().ok()));
        match (value.as_str(), number.and_then(|n| u16::try_from(n).ok())) {
            (Some("5xx"), _) => Ok(Self::ServerError),
            (Some("timeout"), _) => Ok(Self::Timeout),
            (_, Some(status)) if (400..600).contains(&status) => Ok(Self::Status(status)),
            _ => {
                Err(serde::de::Error::custom(format!("{value} is not one of: a status from 400 to 599, 5xx, timeout")))
            }
        }
    }
}

impl Serialize for RetryOn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Status(status) => serializer.serialize_u16(*status),
            Self::ServerError => serializer.serialize_str("5xx"),
            Self::Timeout => serializer.serialize_str("timeout"),
        }
    }
}

/// `endpoints[].timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Timeout {
    pub connect: Millis,
    pub first_byte: Millis,
    pub between_chunks: Millis,
    pub total: Millis,
}

impl Default for Timeout {
    fn default() -> Self {
        Self {
            connect: Millis(5_000),
            first_byte: Millis(120_000),
            between_chunks: Millis(60_000),
            total: Millis(540_000),
        }
    }
}

/// `limits[]` of an endpoint or a team: exactly one of `requests`, `tokens` (each with `per`) and `concurrent`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Limit {
    #[serde(default)]
    pub requests: Option<u64>,
    #[serde(default)]
    pub tokens: Option<u64>,
    #[serde(default)]
    pub concurrent: Option<u64>,
    #[serde(default)]
    pub per: Option<Per>,
    #[serde(default, rename = "for")]
    pub subject: Option<String>,
}

/// `endpoints[].guardrails`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Guardrails {
    pub input: Checks,
    pub output: Checks,
}

/// `guardrails.input` and `.output`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Checks {
    pub pii: Option<Pii>,
    pub keywords: Option<Keywords>,
    pub topics: Option<Topics>,
    pub safety: Option<Judged>,
    pub injection: Option<Judged>,
}

impl Checks {
    /// Whether there is anything to check.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// What a check does when it finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    Block,
    Mask,
    Log,
}

/// `guardrails.*.pii`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Pii {
    pub action: Action,
    /// `None`: the default set.
    #[serde(default)]
    pub entities: Option<Vec<String>>,
    /// ISO 3166 region codes for numbers written without a country code.
    #[serde(default)]
    pub phone_regions: Vec<String>,
}

/// `guardrails.*.keywords`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Keywords {
    pub action: Action,
    pub words: Vec<String>,
}

/// `guardrails.*.topics`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Topics {
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub deny: Vec<String>,
    pub judge: String,
}

/// `guardrails.*.safety` and `.injection`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Judged {
    pub action: Action,
    #[serde(default)]
    pub judge: Option<String>,
}

/// `endpoints[].payload_log`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct PayloadLog {
    pub enabled: bool,
    #[serde(default = "all")]
    pub sample: f64,
    #[serde(default)]
    pub redact_pii: bool,
}

fn all() -> f64 {
    1.0
}

/// `judges.NAME`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Judge {
    pub kind: JudgeKind,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub url: Option<String>,
}

/// `judges.NAME.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum JudgeKind {
    OpenaiModeration,
    LlamaGuard,
    Llm,
    Presidio,
    Webhook,
    BedrockGuardrail,
    AzureContentSafety,
}

/// `teams[]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Team {
    pub name: String,
    #[serde(default)]
    pub endpoints: Vec<String>,
    #[serde(default)]
    pub budgets: Vec<Budget>,
    #[serde(default)]
    pub on_unpriced: Option<OnFailure>,
    #[serde(default)]
    pub limits: Vec<Limit>,
    #[serde(default)]
    pub kafka: Option<TeamKafka>,
}

/// `teams[].budgets[]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Budget {
    pub usd: Decimal,
    pub per: Per,
    pub action: BudgetAction,
    #[serde(default)]
    pub enforcement: Enforcement,
    #[serde(default, rename = "for")]
    pub subject: Option<String>,
}

/// `teams[].budgets[].action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum BudgetAction {
    Block,
    Alert,
}

/// `teams[].budgets[].enforcement`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Enforcement {
    #[default]
    Strict,
    Soft,
}

/// `teams[].kafka`: topic names without the prefix.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct TeamKafka {
    pub requests: String,
    pub replies: String,
}

/// `keys[]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Key {
    pub name: String,
    pub team: String,
    /// Lower-case hex SHA-256 of the whole key.
    pub sha256: String,
    #[serde(default)]
    pub user: Option<String>,
}

/// `admin`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Admin {
    pub keys: Vec<AdminKey>,
}

/// `admin.keys[]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct AdminKey {
    pub name: String,
    pub sha256: String,
}

/// `prices[]`: dollars per million tokens, over the built-in list.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Price {
    pub provider: String,
    pub model: String,
    #[serde(default)]
    pub input: Option<Decimal>,
    #[serde(default)]
    pub output: Option<Decimal>,
    #[serde(default)]
    pub cache_read: Option<Decimal>,
    #[serde(default)]
    pub cache_write: Option<Decimal>,
    #[serde(default)]
    pub cache_write_1h: Option<Decimal>,
    #[serde(default)]
    pub above_tokens: Option<u64>,
    #[serde(default)]
    pub per_call: Option<Decimal>,
    #[serde(default)]
    pub service_tier: Option<String>,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub batch_input: Option<Decimal>,
    #[serde(default)]
    pub batch_output: Option<Decimal>,
    #[serde(default)]
    pub valid_from: Option<String>,
}
