//! What ingress needs of the configuration, indexed for requests.

use crate::{
    Error,
    auth::{Identity, access::Access},
};
use axum::http::HeaderMap;
use object_store::ObjectStore;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;
use tollgate_runtime::config::{Config, Cors, Endpoint, Overrides, Team, wildcard};
use tollgate_schemas::{ApiError, Caller};

/// Bodies that are read and not published or stored yet, together, in bytes on one replica.
pub(crate) const BODIES_MAX_BYTES: usize = 256 << 20;
/// Callers that may wait at the same time on one replica: for their key, for the log, for an answer.
pub(crate) const WAITING_MAX: usize = 10_000;
/// Repeats of a request with an idempotency key that may wait for its answer at the same time on one replica.
pub(crate) const REPEATS_MAX: usize = 1_000;
/// Jobs of a team that repeat an earlier one and may wait for its answer at the same time on one replica.
pub(crate) const JOB_REPEATS_MAX: usize = 100;

/// What the `*` of an endpoint's name may stand for: it becomes part of a model's name.
const WILDCARD_MAX_BYTES: usize = 256;

/// The part of the configuration that ingress uses.
pub struct IngressConfig {
    pub(crate) gateway: String,
    /// Who is asking, and what they may use.
    pub(crate) access: Access,
    /// By name and by alias.
    pub(crate) endpoints: HashMap<String, Arc<Endpoint>>,
    /// Those whose name ends with `*`, by what comes before it, the longest first.
    pub(crate) wildcards: Vec<(String, Arc<Endpoint>)>,
    /// The endpoints whose callers may have answers of the Responses API later.
    pub(crate) in_background: HashSet<String>,
    /// Whether the guardrails of teams and keys check requests.
    input_checks: Overrides<bool>,
    /// Endpoint names in the order of the file.
    pub(crate) endpoint_names: Vec<String>,
    /// Full name of `in.<team>` → the team.
    pub(crate) doors: HashMap<String, JobDoor>,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) results_window: Duration,
    /// The longest that a request may live.
    pub(crate) longest_deadline: Duration,
    pub(crate) started_s: i64,
    /// The largest request body, decompressed, in bytes.
    pub(crate) body_max_bytes: usize,
    /// Whose pages may call the API.
    pub(crate) cors: Option<Cors>,
}

/// A team's Kafka door.
pub(crate) struct JobDoor {
    pub(crate) team: String,
    /// Full name of `out.<team>`.
    pub(crate) replies: String,
    /// Places for jobs that wait for an earlier one's answer.
    pub(crate) repeats: Semaphore,
}

impl IngressConfig {
    /// Picks and indexes. When the service began, and what was learnt of token issuers, stays as it was in the `last` one.
    pub(crate) fn of(config: &Arc<Config>, store: Arc<dyn ObjectStore>, last: Option<&Self>) -> Result<Self, Error> {
        let mut endpoints = HashMap::new();
        for endpoint in &config.endpoints {
            let shared = Arc::new(endpoint.clone());
            for name in std::iter::once(&endpoint.name).chain(&endpoint.aliases) {
                endpoints.insert(name.clone(), shared.clone());
            }
        }
        let prefix =
            |endpoint: &Arc<Endpoint>| wildcard(&endpoint.name).map(|prefix| (prefix.to_owned(), endpoint.clone()));
        let mut wildcards: Vec<(String, Arc<Endpoint>)> = endpoints.values().filter_map(prefix).collect();
        wildcards.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let door = |team: &Team| {
            let (requests, replies) = config.team_topics(team)?;
            Some((requests, JobDoor { team: team.name.clone(), replies, repeats: Semaphore::new(JOB_REPEATS_MAX) }))
        };
        let in_background = config.endpoints.iter().filter(|endpoint| config.runs_in_background(endpoint));
        Ok(Self {
            gateway: config.gateway.clone(),
            endpoints,
            wildcards,
            in_background: in_background.map(|endpoint| endpoint.name.clone()).collect(),
            input_checks: Overrides::of(config, |_, _, guardrails| guardrails.input.any()),
            endpoint_names: config.endpoints.iter().map(|e| e.name.clone()).collect(),
            doors: config.teams.iter().filter_map(door).collect(),
            store,
            results_window: config.retention.results.duration(),
            longest_deadline: config.longest_deadline(),
            started_s: last.map_or_else(|| chrono::Utc::now().timestamp(), |last| last.started_s),
            body_max_bytes: config.http.body_max_bytes,
            cors: config.http.cors.clone(),
            access: Access::of(config.clone(), last.map(|last| &last.access)),
        })
    }

    /// The endpoint `model` means, if the caller may use it. One it may not use looks like one that does not exist.
    pub(crate) fn endpoint(&self, caller: &Caller, model: &str) -> Option<&Arc<Endpoint>> {
        let endpoint = self.endpoints.get(model).or_else(|| self.wildcard(model))?;
        self.access.permits(caller, &endpoint.name).then_some(endpoint)
    }

    /// Whether what a caller asks of an endpoint must pass the guardrail.
    pub(crate) fn checks_input(&self, endpoint: &Endpoint, caller: &Caller) -> bool {
        self.input_checks.apply(&endpoint.guardrails.input.any(), caller).any(|is_checked| *is_checked)
    }

    /// The endpoint whose `*` stands for the rest of `model`.
    fn wildcard(&self, model: &str) -> Option<&Arc<Endpoint>> {
        let fits = |prefix: &str| {
            let rest = model.strip_prefix(prefix).unwrap_or_default();
            !rest.is_empty() && rest.len() <= WILDCARD_MAX_BYTES && !rest.contains(char::is_control)
        };
        self.wildcards.iter().find(|(prefix, _)| fits(prefix)).map(|(_, endpoint)| endpoint)
    }

    /// The holder of the key or token in the headers.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Identity, ApiError> {
        self.access.identify(headers).await
    }
}
