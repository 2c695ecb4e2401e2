//! `endpoints`: what callers send as `model`, and where their requests go.

use super::{Guardrails, Limit};
use crate::config::units::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `endpoints[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
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
    #[schema(value_type = String)]
    pub on_disconnect: tollgate_schemas::OnDisconnect,
    #[serde(default)]
    pub on_unsupported: OnUnsupported,
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

/// `endpoints[].on_unsupported`: what becomes of a top-level field of a request that a destination's API cannot express.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum OnUnsupported {
    #[default]
    Error,
    Drop,
}

/// `endpoints[].task`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Task {
    #[default]
    Chat,
    Embeddings,
    Completions,
}

/// `endpoints[].destinations[]` and `.fallbacks[]`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Destination {
    pub name: String,
    pub provider: String,
    pub model: String,
    #[serde(default = "default_weight")]
    pub weight: u32,
    #[serde(default)]
    pub concurrency: Option<usize>,
    /// Of the destination itself, whoever asks.
    #[serde(default)]
    pub limits: Vec<Limit>,
}

fn default_weight() -> u32 {
    1
}

/// `endpoints[].routing`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Retry {
    pub attempts: u32,
    pub max_attempts: u32,
    #[schema(value_type = String)]
    pub backoff: Millis,
    #[schema(value_type = Vec<String>)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Timeout {
    #[schema(value_type = String)]
    pub connect: Millis,
    #[schema(value_type = String)]
    pub first_byte: Millis,
    #[schema(value_type = String)]
    pub between_chunks: Millis,
    #[schema(value_type = String)]
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

/// `endpoints[].payload_log`.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, utoipa::ToSchema)]
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
