//! The shape of the file. Names are a contract with users; `tollgate.example.yaml` explains them.
//!
//! Every field has a default where one makes sense, so that a minimal file is short. Unknown fields are refused by `read`.

mod endpoint;
mod governance;
mod guardrails;
mod provider;

pub use endpoint::*;
pub use governance::*;
pub use guardrails::*;
pub use provider::*;

use super::units::Millis;
use crate::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole file.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "sections, documented in tollgate.example.yaml")]
pub struct Config {
    pub listen: String,
    pub http: Http,
    pub data_dir: String,
    pub gateway: String,
    pub region: String,
    pub kafka: Kafka,
    pub retention: Retention,
    pub storage: Option<Storage>,
    pub usage: Usage,
    pub admission: Admission,
    pub cache: Cache,
    pub shutdown: Shutdown,
    pub providers: BTreeMap<String, Provider>,
    /// Those of their keys that stand in files, for who uses them.
    #[serde(skip)]
    pub key_files: Vec<super::KeyFile>,
    /// Administrators' credentials for providers, encrypted. Not a section of the file: they come by `control` only.
    #[serde(skip)]
    pub credentials: BTreeMap<String, Credential>,
    pub endpoints: Vec<Endpoint>,
    /// Policies by name, for endpoints, teams and keys that say `guardrails: { policy: NAME }`.
    pub guardrails: BTreeMap<String, Guardrails>,
    /// `guardrails.hash_key`: what hashes of values are keyed with.
    #[serde(skip)]
    pub hash_key: Option<Secret>,
    pub judges: BTreeMap<String, Judge>,
    pub webhooks: BTreeMap<String, Webhook>,
    pub teams: Vec<Team>,
    pub users: Vec<User>,
    pub keys: Vec<Key>,
    pub budgets: Vec<Budget>,
    pub oidc: Vec<Oidc>,
    pub admin: Admin,
    pub prices: Vec<Price>,
}

impl Config {
    /// The endpoint a caller means by `model`: its name or one of its aliases.
    pub fn endpoint(&self, model: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.name == model || e.aliases.iter().any(|alias| alias == model))
    }

    /// Whether callers of the Responses API may have an endpoint's answers later (`background`): it has one destination, whose
    /// provider serves that API itself.
    pub fn runs_in_background(&self, endpoint: &Endpoint) -> bool {
        let mut all = endpoint.destinations.iter().chain(&endpoint.fallbacks);
        let (Some(only), None, Task::Chat) = (all.next(), all.next(), endpoint.task) else { return false };
        self.providers.get(&only.provider).is_some_and(Provider::serves_responses)
    }

    /// The team of that name.
    pub fn team(&self, name: &str) -> Option<&Team> {
        self.teams.iter().find(|team| team.name == name)
    }

    /// Everything that is wrong with it, or to be known, as a whole.
    pub fn problems(&self) -> Vec<super::Problem> {
        super::check::check(self)
    }

    /// Puts the named policies where they are referred to. One that is not there leaves the reference, which `check` reports.
    pub(crate) fn resolve_policies(&mut self) {
        let of_endpoints = self.endpoints.iter_mut().map(|endpoint| &mut endpoint.guardrails);
        let of_teams = self.teams.iter_mut().filter_map(|team| team.guardrails.as_mut());
        let of_keys = self.keys.iter_mut().filter_map(|key| key.guardrails.as_mut());
        for own in of_endpoints.chain(of_teams).chain(of_keys) {
            let policy = own.policy.as_ref().and_then(|name| self.guardrails.get(name));
            if let Some(policy) = policy.cloned() {
                *own = Guardrails { policy: own.policy.take(), allow_weaker: own.allow_weaker, ..policy };
            }
        }
    }

    /// With the guardrails and judges of another configuration: its named policies, and those of each endpoint, team and key
    /// that both have.
    pub fn with_guardrails_of(&self, other: &Config) -> Config {
        let mut config = self.clone();
        config.guardrails.extend(other.guardrails.clone());
        config.judges.extend(other.judges.clone());
        if config.hash_key.is_none() {
            config.hash_key.clone_from(&other.hash_key);
        }
        for endpoint in &mut config.endpoints {
            if let Some(same) = other.endpoints.iter().find(|same| same.name == endpoint.name) {
                endpoint.guardrails.clone_from(&same.guardrails);
            }
        }
        for team in &mut config.teams {
            if let Some(same) = other.team(&team.name) {
                team.guardrails.clone_from(&same.guardrails);
            }
        }
        for key in &mut config.keys {
            if let Some(same) = other.keys.iter().find(|same| same.name == key.name) {
                key.guardrails.clone_from(&same.guardrails);
            }
        }
        config.resolve_policies();
        config
    }
}

/// `http`: the listener and its bounds.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Http {
    pub tls: Option<Tls>,
    pub cors: Option<Cors>,
    pub body_max_bytes: usize,
    pub header_max_bytes: usize,
    pub connections_max: usize,
    pub header_timeout: Millis,
    pub body_timeout: Millis,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            tls: None,
            cors: None,
            body_max_bytes: 32 << 20,
            header_max_bytes: 64 << 10,
            connections_max: 20_000,
            header_timeout: Millis(10_000),
            body_timeout: Millis(60_000),
        }
    }
}

/// `http.cors`: whose pages in browsers may call the API (not the admin API).
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Cors {
    /// `https://host`, or `*` for any.
    pub origins: Vec<String>,
}

/// `http.tls`: PEM files, read again when they change.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Tls {
    pub cert: String,
    pub key: String,
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
            replies: Millis(4 * hour),
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
    /// How many ingress replicas there are, for `config check`.
    pub replicas: u32,
}

impl Default for Admission {
    fn default() -> Self {
        Self { store: Secret::new("memory"), on_store_failure: OnFailure::Deny, replicas: 1 }
    }
}

/// `cache`: where the answers of endpoints with a `cache` are kept.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Cache {
    pub store: Secret,
    /// Of `memory`, in each router-worker.
    pub max_bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { store: Secret::new("memory"), max_bytes: 128 << 20 }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum OnFailure {
    Allow,
    Deny,
}
