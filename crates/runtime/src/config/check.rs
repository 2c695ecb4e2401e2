//! What can be wrong with a configuration that parsed: references, duplicates, ranges, and what this version cannot do.

mod governance;
mod guardrails;
mod kafka;
mod limits;
mod routing;

use super::{Config, Endpoint, Preset, Problem, Provider, ProviderKind};
use crate::seal::Sealer;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Whether a secret is not known here: it stands as it is written in the file, because this service does not resolve it, or as it is
/// printed.
fn is_withheld(text: &str) -> bool {
    text.contains("${") || text == "***"
}

/// Twice as long as storage may be away.
const REPLIES_MIN_MS: u64 = 2 * 3_600_000;

struct Checker<'a> {
    config: &'a Config,
    problems: Vec<Problem>,
}

/// Everything found, fatal or not.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let mut checker = Checker { config, problems: Vec::new() };
    checker.basics();
    checker.retention();
    checker.kafka();
    checker.resolved_secrets();
    checker.providers();
    checker.endpoints();
    checker.judges();
    checker.hash_key();
    checker.policies();
    checker.teams();
    checker.limits();
    checker.budgets();
    checker.keys();
    checker.governance();
    checker.problems
}

impl Checker<'_> {
    fn fatal(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into(), fatal: true });
    }

    fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into(), fatal: false });
    }

    fn unique<'n>(&mut self, what: &str, names: impl Iterator<Item = (String, &'n str)>) {
        let mut seen: HashMap<&str, String> = HashMap::new();
        for (path, name) in names {
            if let Some(first) = seen.get(name) {
                self.fatal(path, format!("{what} `{name}` is already used at {first}; names must be unique"));
            } else {
                seen.insert(name, path);
            }
        }
    }

    fn basics(&mut self) {
        let config = self.config;
        if config.listen.parse::<std::net::SocketAddr>().is_err() {
            self.fatal(
                "listen",
                format!(
                    "`{}` is not an address; write host:port with a numeric host, as in 127.0.0.1:8080",
                    config.listen
                ),
            );
        }
        if config.usage.flush.rows == 0 || config.usage.flush.rows > 1_000_000 {
            self.fatal("usage.flush.rows", "must be from 1 to 1000000");
        }
        if !(100..=3_600_000).contains(&config.usage.flush.after.0) {
            self.fatal("usage.flush.after", "must be from 100ms to 1h");
        }
        if config.shutdown.unready.0 > 120_000 {
            self.fatal("shutdown.unready", "must be at most 2m");
        }
        if !(1000..=600_000).contains(&config.shutdown.drain.0) {
            self.fatal("shutdown.drain", "must be from 1s to 10m");
        }
        for (at, origin) in config.http.cors.iter().flat_map(|cors| &cors.origins).enumerate() {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let is_host =
                |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'*');
            if origin != "*" && !host.is_some_and(is_host) {
                let why = "must be * or an origin as browsers send it: scheme, host and port, without a path, such as https://app.example.com";
                self.fatal(format!("http.cors.origins[{at}]"), why);
            }
        }
        if config.usage.delta {
            self.fatal("usage.delta", "Delta tables are not in this version; remove it and read the Parquet files");
        }
        let schemes = ["redis://", "rediss://", "valkey://", "valkeys://"];
        for (path, store) in [("admission.store", &config.admission.store), ("cache.store", &config.cache.store)] {
            let store = store.expose();
            if store != "memory" && !is_withheld(store) && !schemes.iter().any(|scheme| store.starts_with(scheme)) {
                self.fatal(path, format!("must be memory or begin with one of {}", schemes.join(", ")));
            }
        }
        if config.admission.store.expose() == "memory" && config.admission.replicas > 1 {
            self.warn(
                "admission.store",
                format!(
                    "with memory each of the {} ingress replicas counts by itself, so that limits and budgets allow so many times as much; name a Valkey or Redis that they share",
                    config.admission.replicas
                ),
            );
        }
    }

    /// An end is on `replies` alone until storage takes it, and storage may be away for an hour.
    fn retention(&mut self) {
        let replies = self.config.retention.replies;
        if replies.0 < REPLIES_MIN_MS {
            self.warn(
                "retention.replies",
                "below 2h: answers wait there until object storage takes them, so an hour without storage may lose what callers fetch by id or repeat by key; leave it out for 4h",
            );
        }
    }

    /// Secrets that another service resolves are references here, and webhooks' addresses.
    fn resolved_secrets(&mut self) {
        let admin = &self.config.admin;
        let keys = admin.key_encryption_key.iter().chain(&admin.retired_encryption_keys);
        if keys.clone().all(|key| !is_withheld(key.expose()))
            && let Err(error) = Sealer::of(admin)
        {
            self.fatal("admin.key_encryption_key", error.to_string());
        }
        for (name, webhook) in &self.config.webhooks {
            if !(webhook.url.starts_with("http://") || webhook.url.starts_with("https://")) {
                self.fatal(format!("webhooks.{name}.url"), "must begin with http:// or https://");
            }
            let secret = webhook.secret.expose();
            let is_good = secret.strip_prefix("whsec_").is_some_and(|key| STANDARD.decode(key).is_ok());
            if !is_withheld(secret) && !is_good {
                self.fatal(format!("webhooks.{name}.secret"), "must be whsec_ and base64");
            }
        }
    }

    fn providers(&mut self) {
        for (name, provider) in &self.config.providers {
            let path = format!("providers.{name}");
            self.provider_fields(&path, provider);
            if let Some(url) = &provider.base_url
                && !(url.starts_with("http://") || url.starts_with("https://"))
            {
                self.fatal(format!("{path}.base_url"), "must begin with http:// or https://");
            }
            if provider.api_key.is_some() && !provider.api_keys.is_empty() {
                self.fatal(format!("{path}.api_keys"), "set either api_key or api_keys");
            }
            if !(1..=100_000).contains(&provider.concurrency) {
                self.fatal(format!("{path}.concurrency"), "must be from 1 to 100000");
            }
        }
    }

    /// Fields that only one kind has, and those that a kind cannot do without.
    fn provider_fields(&mut self, path: &str, provider: &Provider) {
        use ProviderKind::{Azure, Bedrock, Databricks, Openai, Vertex};
        let kind = provider.kind;
        for (field, value, of) in [
            ("preset", &provider.preset, Openai),
            ("api_version", &provider.api_version, Azure),
            ("project", &provider.project, Vertex),
            ("location", &provider.location, Vertex),
            ("region", &provider.region, Bedrock),
        ] {
            match value.as_deref() {
                Some("") => self.fatal(format!("{path}.{field}"), "must not be empty"),
                Some(_) if kind != of => {
                    self.fatal(format!("{path}.{field}"), format!("is only for kind {}; remove it", of.as_str()));
                }
                _ => {}
            }
        }
        if let Some(name) = provider.preset.as_deref().filter(|name| !name.is_empty() && Preset::named(name).is_none())
        {
            let known = format!("there is no preset `{name}`; known are {}", Preset::names());
            self.fatal(format!("{path}.preset"), known);
        }
        let needed = match kind {
            Azure => vec![("base_url", &provider.base_url, "https://NAME.openai.azure.com")],
            Databricks => vec![("base_url", &provider.base_url, "https://NAME.cloud.databricks.com")],
            Vertex => vec![
                ("project", &provider.project, "the Google Cloud project"),
                ("location", &provider.location, "such as global or europe-west4"),
            ],
            Bedrock => vec![("region", &provider.region, "such as us-east-1")],
            _ => vec![],
        };
        for (field, value, example) in needed {
            if value.is_none() {
                self.fatal(format!("{path}.{field}"), format!("kind {} needs it: {example}", kind.as_str()));
            }
        }
    }

    fn endpoints(&mut self) {
        let endpoints = &self.config.endpoints;
        let names = endpoints.iter().enumerate().flat_map(|(i, e)| {
            let own = std::iter::once((format!("endpoints[{i}].name"), e.name.as_str()));
            own.chain(
                e.aliases
                    .iter()
                    .enumerate()
                    .map(move |(j, alias)| (format!("endpoints[{i}].aliases[{j}]"), alias.as_str())),
            )
        });
        self.unique("endpoint name or alias", names);
        for (i, endpoint) in endpoints.iter().enumerate() {
            self.endpoint(&format!("endpoints[{i}]"), endpoint);
        }
    }

    fn endpoint(&mut self, path: &str, endpoint: &Endpoint) {
        if endpoint.name.is_empty() || endpoint.name.len() > 256 {
            self.fatal(format!("{path}.name"), "must have 1 to 256 characters");
        }
        self.own_names(path, endpoint);
        if endpoint.destinations.is_empty() {
            self.fatal(format!("{path}.destinations"), "needs at least one destination");
        } else if endpoint.destinations.iter().map(|d| u64::from(d.weight)).sum::<u64>() == 0 {
            self.fatal(format!("{path}.destinations"), "at least one weight must be above 0");
        }
        self.destinations(path, endpoint);
        self.wildcards(path, endpoint);
        self.routing(path, endpoint);
        self.shadows(path, endpoint);
        let timeout = &endpoint.timeout;
        if timeout.total.0 == 0 || timeout.total.0 > 86_400_000 {
            self.fatal(format!("{path}.timeout.total"), "must be above 0 and at most 24h");
        }
        if timeout.total > self.config.retention.requests {
            self.fatal(
                format!("{path}.timeout.total"),
                "must be below retention.requests, or a waiting request could be forgotten",
            );
        }
        if endpoint.payload_log.is_some_and(|log| log.enabled) {
            self.warn(format!("{path}.payload_log"), "payload logs are not in this version: nothing is logged yet");
        }
        self.not_weaker(&format!("{path}.guardrails"), &endpoint.guardrails);
        self.guardrails(&format!("{path}.guardrails"), &endpoint.guardrails);
    }

    fn destinations(&mut self, path: &str, endpoint: &Endpoint) {
        let all: Vec<_> =
            endpoint.every_destination().map(|(place, destination)| (format!("{path}.{place}"), destination)).collect();
        self.unique("destination name", all.iter().map(|(at, d)| (format!("{at}.name"), d.name.as_str())));
        for (at, destination) in &all {
            if !self.config.providers.contains_key(&destination.provider) {
                self.fatal(format!("{at}.provider"), format!("there is no provider `{}`", destination.provider));
            }
            self.unsupported(at, destination);
        }
    }

    fn teams(&mut self) {
        let teams = &self.config.teams;
        self.unique("team", teams.iter().enumerate().map(|(i, t)| (format!("teams[{i}].name"), t.name.as_str())));
        let mut topics: BTreeMap<&str, String> = BTreeMap::new();
        let endpoints: HashSet<&str> = self.config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        for (i, team) in teams.iter().enumerate() {
            let path = format!("teams[{i}]");
            if let Some(guardrails) = &team.guardrails {
                self.guardrails(&format!("{path}.guardrails"), guardrails);
            }
            for (j, endpoint) in team.endpoints.iter().enumerate() {
                if !endpoints.contains(endpoint.as_str()) {
                    self.fatal(format!("{path}.endpoints[{j}]"), format!("there is no endpoint `{endpoint}`"));
                }
            }
            let Some(kafka) = &team.kafka else { continue };
            for (field, topic, start) in [("requests", &kafka.requests, "in."), ("replies", &kafka.replies, "out.")] {
                let at = format!("{path}.kafka.{field}");
                if !topic.starts_with(start)
                    || topic.len() < start.len() + 1
                    || topic.len() > 100
                    || !topic.chars().all(is_topic_char)
                {
                    self.fatal(
                        &at,
                        format!("must begin with `{start}` and hold letters, digits, `.`, `_` and `-`, at most 100"),
                    );
                }
                if let Some(first) = topics.insert(topic, at.clone()) {
                    self.fatal(
                        at,
                        format!("topic `{topic}` is already used at {first}; the topic is the team's identity"),
                    );
                }
            }
        }
    }

    fn keys(&mut self) {
        let (keys, admins) = (&self.config.keys, &self.config.admin.keys);
        self.unique("key name", keys.iter().enumerate().map(|(i, k)| (format!("keys[{i}].name"), k.name.as_str())));
        self.unique("key hash", keys.iter().enumerate().map(|(i, k)| (format!("keys[{i}].sha256"), k.sha256.as_str())));
        self.unique(
            "admin key name",
            admins.iter().enumerate().map(|(i, k)| (format!("admin.keys[{i}].name"), k.name.as_str())),
        );
        let teams: HashSet<&str> = self.config.teams.iter().map(|team| team.name.as_str()).collect();
        for (i, key) in keys.iter().enumerate() {
            if !teams.contains(key.team.as_str()) {
                self.fatal(format!("keys[{i}].team"), format!("there is no team `{}`", key.team));
            }
            if let Some(guardrails) = &key.guardrails {
                self.guardrails(&format!("keys[{i}].guardrails"), guardrails);
            }
        }
        let hashes = keys.iter().enumerate().map(|(i, k)| (format!("keys[{i}].sha256"), &k.sha256));
        let hashes =
            hashes.chain(admins.iter().enumerate().map(|(i, k)| (format!("admin.keys[{i}].sha256"), &k.sha256)));
        for (path, hash) in hashes.collect::<Vec<_>>() {
            if hash.len() != 64 || !hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
                self.fatal(
                    path,
                    "must be 64 lower-case hex digits: the SHA-256 of the whole key; `tollgate keys new` prints both",
                );
            }
        }
    }
}

fn is_topic_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// librdkafka properties that Tollgate sets itself.
const RESERVED: [&str; 10] = [
    "bootstrap.servers",
    "group.id",
    "acks",
    "request.required.acks",
    "enable.idempotence",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "partition.assignment.strategy",
    "partitioner",
    "group.protocol",
];
