//! `endpoints`: what callers send as `model`, and where their requests go.

use super::{Guardrails, Limit};
use crate::config::units::Millis;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap};

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
    pub shadows: Vec<Shadow>,
    #[serde(default)]
    pub routing: Routing,
    #[serde(default)]
    pub sticky: Option<Sticky>,
    #[serde(default)]
    pub hedge: Option<Hedge>,
    #[serde(default)]
    pub cache: Option<EndpointCache>,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default)]
    pub timeout: Timeout,
    #[serde(default)]
    #[schema(value_type = String)]
    pub on_disconnect: tollgate_schemas::OnDisconnect,
    #[serde(default)]
    pub on_unsupported: OnUnsupported,
    #[serde(default)]
    pub on_midstream_failure: OnMidstreamFailure,
    #[serde(default)]
    pub allow_store: bool,
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

impl Endpoint {
    /// With that destination alone, and all else as it is unless the file says so.
    pub(super) fn single(name: String, task: Task, destination: Destination) -> Self {
        Self {
            name,
            aliases: Vec::new(),
            task,
            destinations: vec![destination],
            fallbacks: Vec::new(),
            shadows: Vec::new(),
            routing: Routing::default(),
            sticky: None,
            hedge: None,
            cache: None,
            retry: Retry::default(),
            timeout: Timeout::default(),
            on_disconnect: tollgate_schemas::OnDisconnect::default(),
            on_unsupported: OnUnsupported::default(),
            on_midstream_failure: OnMidstreamFailure::default(),
            allow_store: false,
            reserve_output: default_reserve_output(),
            limits: Vec::new(),
            guardrails: Guardrails::default(),
            payload_log: None,
            tags: BTreeMap::new(),
        }
    }

    /// Every destination with the place where it stands, as in `fallbacks[0]`; those of shadows too.
    pub fn every_destination(&self) -> impl Iterator<Item = (String, Cow<'_, Destination>)> {
        let [own, others] =
            [("destinations", &self.destinations), ("fallbacks", &self.fallbacks)].map(|(list, all)| {
                let each = all.iter().enumerate();
                each.map(move |(at, destination)| (format!("{list}[{at}]"), Cow::Borrowed(destination)))
            });
        let shadows = self.shadows.iter().enumerate();
        let shadows = shadows.map(|(at, shadow)| (format!("shadows[{at}]"), Cow::Owned(shadow.destination())));
        own.chain(others).chain(shadows)
    }
}

/// The beginning that a wildcard name stands for: of `openai/*` it is `openai/`.
pub fn wildcard(name: &str) -> Option<&str> {
    name.strip_suffix('*')
}

/// A destination's model for a request of an endpoint: `*` in it is what `*` was in the endpoint's name.
pub fn model_for<'a>(model: &'a str, endpoint: &str, asked: &str) -> Cow<'a, str> {
    match wildcard(endpoint).and_then(|prefix| asked.strip_prefix(prefix)) {
        Some(rest) if model.contains('*') => Cow::Owned(model.replacen('*', rest, 1)),
        _ => Cow::Borrowed(model),
    }
}

fn default_reserve_output() -> u32 {
    4096
}

/// `endpoints[].on_unsupported`: what becomes of a field of a request that a destination's API cannot express.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum OnUnsupported {
    #[default]
    Error,
    Drop,
}

/// `endpoints[].on_midstream_failure`: what becomes of a stream that breaks after its caller has seen its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum OnMidstreamFailure {
    #[default]
    Error,
    Resume,
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
    Moderations,
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
    /// The lowest go first. Of `destinations` only.
    #[serde(default)]
    pub priority: u32,
    /// The failures it stands in for; empty: any that is not the request's own fault. Of `fallbacks` only.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub on: Vec<Trigger>,
    #[serde(default)]
    pub concurrency: Option<usize>,
    /// Of the destination itself, whoever asks.
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// Fields that the model does not take, by their names in the API it is asked in.
    #[serde(default)]
    pub unsupported: Vec<String>,
}

impl Destination {
    /// A model at a provider, and nothing else.
    pub(super) fn new(name: &str, provider: &str, model: &str) -> Self {
        Self {
            name: name.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            weight: default_weight(),
            priority: 0,
            on: Vec::new(),
            concurrency: None,
            limits: Vec::new(),
            unsupported: Vec::new(),
        }
    }
}

fn default_weight() -> u32 {
    1
}

/// `endpoints[].shadows[]`: a destination that is sent copies of requests, and answers nobody.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Shadow {
    pub name: String,
    pub provider: String,
    pub model: String,
    /// Of the requests that are answered.
    pub share: f64,
    /// The `request_tags` of its rows: what its calls are billed to.
    pub tags: BTreeMap<String, String>,
    /// The team of its rows; none: no team is charged.
    #[serde(default)]
    pub team: Option<String>,
    #[serde(default)]
    pub concurrency: Option<usize>,
    #[serde(default)]
    pub limits: Vec<Limit>,
    #[serde(default)]
    pub unsupported: Vec<String>,
}

impl Shadow {
    /// What is called.
    pub fn destination(&self) -> Destination {
        let bare = Destination::new(&self.name, &self.provider, &self.model);
        let (limits, unsupported) = (self.limits.clone(), self.unsupported.clone());
        Destination { concurrency: self.concurrency, limits, unsupported, ..bare }
    }
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

/// `endpoints[].sticky`: whose requests stay with one destination of a weighted split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Sticky {
    Key,
    User,
}

/// `endpoints[].hedge`: a second call, to the next destination, if the first one has shown nothing for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Hedge {
    #[schema(value_type = String)]
    pub after: Millis,
}

/// `endpoints[].cache`: answers that are given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct EndpointCache {
    #[schema(value_type = String)]
    pub ttl: Millis,
    #[serde(default)]
    pub scope: CacheScope,
}

/// `endpoints[].cache.scope`: who gets whose answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum CacheScope {
    Key,
    #[default]
    Team,
    Everyone,
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
    pub on: Vec<Trigger>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            max_attempts: 3,
            backoff: Millis(200),
            on: vec![Trigger::Status(429), Trigger::ServerError, Trigger::Timeout],
        }
    }
}

/// `endpoints[].retry.on[]` and `.fallbacks[].on[]`: a kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// One status.
    Status(u16),
    /// `5xx`: any of them.
    ServerError,
    /// `timeout`: a time-out or a failed connection.
    Timeout,
    /// `connect`: a failed connection.
    Connect,
    /// `refused`: the gateway's credential.
    Refused,
    /// `context_window`: the request is longer than the model takes.
    ContextWindow,
    /// `content_policy`: the provider or its model will not speak of it.
    ContentPolicy,
}

impl Trigger {
    const WORDS: [(&str, Self); 6] = [
        ("5xx", Self::ServerError),
        ("timeout", Self::Timeout),
        ("connect", Self::Connect),
        ("refused", Self::Refused),
        ("context_window", Self::ContextWindow),
        ("content_policy", Self::ContentPolicy),
    ];
}

impl<'de> Deserialize<'de> for Trigger {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if let Some((_, trigger)) = Self::WORDS.iter().find(|(word, _)| value == *word) {
            return Ok(*trigger);
        }
        let number = value.as_u64().or_else(|| value.as_str().and_then(|s| s.parse().ok()));
        match number.and_then(|n| u16::try_from(n).ok()) {
            Some(status) if (400..600).contains(&status) => Ok(Self::Status(status)),
            _ => {
                let words = Self::WORDS.map(|(word, _)| word).join(", ");
                Err(serde::de::Error::custom(format!("{value} is not one of: a status from 400 to 599, {words}")))
            }
        }
    }
}

impl Serialize for Trigger {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Status(status) = self {
            return serializer.serialize_u16(*status);
        }
        let word = Self::WORDS.iter().find(|(_, trigger)| trigger == self).map_or("", |(word, _)| word);
        serializer.serialize_str(word)
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
