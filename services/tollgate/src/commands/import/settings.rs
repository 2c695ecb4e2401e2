//! `litellm_settings`, `router_settings`, `general_settings` and `environment_variables`: what holds for all models.
//!
//! Source: <https://docs.litellm.ai/docs/proxy/config_settings>; where both say it, `router_settings` is stronger.

use super::{
    Work, advice,
    reading::{Notes, Section},
    text::{Text, variable_of},
};
use serde_json::Value;

/// How long answers are kept if the file does not say; LiteLLM's own for its memory. Milliseconds.
const TTL_MS: u64 = 600_000;
/// What Tollgate takes for `cache.ttl`. Milliseconds.
const TTL_RANGE_MS: (u64, u64) = (1_000, 30 * 86_400_000);

/// What holds for every endpoint.
#[derive(Default)]
pub(super) struct Settings {
    /// `routing`; `None`: weighted.
    pub(super) routing: Option<&'static str>,
    /// Calls after the first.
    pub(super) retries: Option<u64>,
    /// Of a call, milliseconds.
    pub(super) timeout_ms: Option<u64>,
    /// Of a stream, milliseconds.
    pub(super) stream_timeout_ms: Option<u64>,
    /// Whether what a provider does not know is left out.
    pub(super) drops: bool,
    /// How answers are kept, if they are.
    pub(super) cache: Option<Cache>,
    /// Who stands in for whom.
    pub(super) rules: Vec<Rule>,
    /// Path, alias and group.
    pub(super) aliases: Vec<(String, String, String)>,
}

/// `cache`.
pub(super) struct Cache {
    /// Milliseconds.
    pub(super) ttl_ms: u64,
    /// `cache.store`; `None`: memory.
    pub(super) store: Option<Text>,
}

/// Groups that stand in for one, or for every one that has nobody else.
pub(super) struct Rule {
    /// Where it stands in the file.
    pub(super) path: String,
    /// `None`: every group without a rule of its own for any failure.
    pub(super) from: Option<String>,
    /// In their order.
    pub(super) to: Vec<String>,
    /// The only failure it is for; `None`: any.
    pub(super) on: Option<&'static str>,
}

/// Takes the sections; names what is not carried over.
pub(super) fn read(root: &mut Section, work: &mut Work) -> Settings {
    let mut section = |name: &str| Section::new(name, root.take(name), &mut work.notes);
    let (mut router, mut litellm) = (section("router_settings"), section("litellm_settings"));
    let (general, environment) = (section("general_settings"), section("environment_variables"));
    let mut settings = Settings { cache: cache(&mut litellm, work), ..Settings::default() };
    let notes = &mut work.notes;
    settings.routing = routing(&mut router, notes);
    // Both are taken, so that neither is named as unknown.
    let retries = [router.whole("num_retries", notes), litellm.whole("num_retries", notes)];
    let timeouts = [router.milliseconds("timeout", notes), litellm.milliseconds("request_timeout", notes)];
    for (both, key) in [(retries, "num_retries"), (timeouts, "request_timeout")] {
        if both.iter().all(Option::is_some) {
            notes.add(
                format!("litellm_settings.{key}"),
                "left out: router_settings says otherwise, which is stronger in LiteLLM",
            );
        }
    }
    settings.retries = retries.into_iter().flatten().next();
    settings.timeout_ms = timeouts.into_iter().flatten().next();
    settings.stream_timeout_ms = router.milliseconds("stream_timeout", notes);
    settings.drops = litellm.flag("drop_params", notes);
    for section in [&mut router, &mut litellm] {
        for (key, on) in [
            ("fallbacks", None),
            ("context_window_fallbacks", Some("context_window")),
            ("content_policy_fallbacks", Some("content_policy")),
        ] {
            rules(section, key, on, &mut settings.rules, notes);
        }
        let path = section.at("default_fallbacks");
        let to = section.list("default_fallbacks", notes);
        let to = names(to, &path, notes);
        if !to.is_empty() {
            settings.rules.push(Rule { path, from: None, to, on: None });
        }
        aliases(section, &mut settings.aliases, notes);
    }
    router.name_rest(advice::ROUTER, advice::UNKNOWN, notes);
    litellm.name_rest(advice::LITELLM, advice::UNKNOWN, notes);
    general.name_rest(advice::GENERAL, advice::UNKNOWN, notes);
    let why = "left out, with its value: if a service of Tollgate needs it, set it in that service's environment";
    environment.name_rest(&[], why, notes);
    settings
}

fn routing(router: &mut Section, notes: &mut Notes) -> Option<&'static str> {
    let strategy = router.text("routing_strategy", notes)?;
    let (word, why) = match strategy.as_str() {
        "simple-shuffle" => (None, None),
        "least-busy" => (Some("least_busy"), None),
        "latency-based-routing" => (Some("fastest"), None),
        "cost-based-routing" => (Some("cheapest"), None),
        "usage-based-routing" | "usage-based-routing-v2" => (
            None,
            Some("became weighted, by rpm or tpm where all have it: no destination is chosen by what it has left"),
        ),
        _ => (None, Some("is not known to this import: it became weighted")),
    };
    if let Some(why) = why {
        notes.add(router.at("routing_strategy"), why);
    }
    word
}

/// A list of mappings from a group to those that stand in for it.
fn rules(section: &mut Section, key: &str, on: Option<&'static str>, all: &mut Vec<Rule>, notes: &mut Notes) {
    for (at, value) in section.list(key, notes).into_iter().enumerate() {
        let path = format!("{}[{at}]", section.at(key));
        for (from, to) in Section::new(path.as_str(), Some(value), notes).into_fields() {
            let path = format!("{path}.{from}");
            let Value::Array(to) = to else {
                notes.add(path, "is no list of model names: left out");
                continue;
            };
            let to = names(to, &path, notes);
            // LiteLLM's `*` is for every group that is not named.
            match (from.as_str(), on) {
                ("*", Some(_)) => {
                    notes.add(path, "left out: write such fallbacks at the endpoints that should have them")
                }
                ("*", None) => all.push(Rule { path, from: None, to, on }),
                _ => all.push(Rule { path, from: Some(from), to, on }),
            }
        }
    }
}

fn names(values: Vec<Value>, path: &str, notes: &mut Notes) -> Vec<String> {
    let mut names = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        match value {
            Value::String(name) => names.push(name),
            _ => notes.add(
                format!("{path}[{at}]"),
                "is not only a model's name: left out. A fallback gets the request as it is; give its settings to an endpoint",
            ),
        }
    }
    names
}

/// `model_group_alias`: to a name, or to a mapping with one.
fn aliases(section: &mut Section, all: &mut Vec<(String, String, String)>, notes: &mut Notes) {
    let key = "model_group_alias";
    let value = section.take(key);
    for (alias, to) in Section::new(section.at(key), value, notes).into_fields() {
        let path = format!("{}.{alias}", section.at(key));
        match to {
            Value::String(group) => all.push((path, alias, group)),
            other => {
                let mut to = Section::new(path.as_str(), Some(other), notes);
                match to.text("model", notes) {
                    Some(group) => all.push((path, alias, group)),
                    None => notes.add(path, "names no model: left out"),
                }
                to.name_rest(&[("hidden", "left out: aliases are in the list of models")], advice::UNKNOWN, notes);
            }
        }
    }
}

/// `cache` and `cache_params` (<https://docs.litellm.ai/docs/proxy/caching>).
fn cache(litellm: &mut Section, work: &mut Work) -> Option<Cache> {
    let is_on = litellm.flag("cache", &mut work.notes);
    let (path, params) = (litellm.at("cache_params"), litellm.take("cache_params"));
    if !is_on {
        if params.is_some() {
            work.notes.add(path, "left out: without `cache: true` LiteLLM keeps no answers");
        }
        return None;
    }
    let mut params = Section::new(path, params, &mut work.notes);
    let kind = params.text("type", &mut work.notes).unwrap_or_else(|| "redis".to_owned());
    let mode = params.text("mode", &mut work.notes);
    let ttl_ms = ttl(&mut params, &mut work.notes);
    let store = match kind.as_str() {
        "redis" => store(&mut params, work),
        "local" => None,
        "s3" | "gcs" | "disk" | "azure-blob" => {
            work.notes
                .add(params.at("type"), "left out: answers are kept in memory, or in a Valkey or Redis (cache.store)");
            None
        }
        _ => {
            let why = "left out: only the same request gets the same answer again, not a similar one. No endpoint has a cache";
            work.notes.add(params.at("type"), why);
            params.name_rest(advice::CACHE, advice::UNKNOWN, &mut work.notes);
            return None;
        }
    };
    if mode.is_some_and(|mode| mode != "default_on") {
        let why =
            "left out: callers do not ask for a cache, endpoints have one. None has; write `cache` where one is wanted";
        work.notes.add(params.at("mode"), why);
        params.name_rest(advice::CACHE, advice::UNKNOWN, &mut work.notes);
        return None;
    }
    params.name_rest(advice::CACHE, advice::UNKNOWN, &mut work.notes);
    let scope = "became a `cache` of each endpoint with scope: everyone, as in LiteLLM, whose keys share answers; scope: team or \
                 key gives a caller only answers of its own";
    work.notes.add("litellm_settings.cache", scope);
    Some(Cache { ttl_ms, store })
}

fn ttl(params: &mut Section, notes: &mut Notes) -> u64 {
    let Some(ttl) = params.milliseconds("ttl", notes) else {
        notes.add(params.at("ttl"), "is missing: 10 minutes in the outcome");
        return TTL_MS;
    };
    let (least, most) = TTL_RANGE_MS;
    let bounded = ttl.clamp(least, most);
    if bounded != ttl {
        notes.add(params.at("ttl"), "is not from 1 second to 30 days, which a ttl must be: the nearest in the outcome");
    }
    bounded
}

/// The address of Redis. LiteLLM takes what is not said from `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD`.
fn store(params: &mut Section, work: &mut Work) -> Option<Text> {
    let Work { notes, variables, .. } = work;
    if params.has("redis_startup_nodes") || params.has("sentinel_nodes") {
        return None;
    }
    for key in ["url", "redis_url"] {
        let Some(url) = params.text(key, notes) else { continue };
        let is_open = variable_of(&url).is_some() || !url.contains('@');
        let path = params.at(key);
        return Some(if is_open { variables.open(&url) } else { variables.secret(&url, "cache", "url", path, notes) });
    }
    let scheme = if params.flag("ssl", notes) { "rediss" } else { "redis" };
    let (host, port) = match (params.text("host", notes), params.text("port", notes)) {
        (Some(host), Some(port)) => (variables.open(&host), variables.open(&port)),
        (Some(host), None) => (variables.open(&host), Text::plain("6379")),
        (None, port) => {
            let why = "is missing: the outcome takes REDIS_HOST, as LiteLLM does; with a password write \
                       redis://:${REDIS_PASSWORD}@${REDIS_HOST}:6379";
            notes.add(params.at("host"), why);
            let port = port.map(|port| variables.open(&port));
            (variables.named("REDIS_HOST"), port.unwrap_or_else(|| Text::variable_or("REDIS_PORT", "6379")))
        }
    };
    let user = params.text("username", notes).map(|user| variables.open(&user));
    let path = params.at("password");
    let password = params.text("password", notes).map(|given| {
        notes.add(path.as_str(), "is part of a URL in the outcome: percent-encode what is not a letter or a digit");
        variables.secret(&given, "cache", "password", path.clone(), notes)
    });
    let credential = match (user, password) {
        (Some(user), Some(password)) => format!("{user}:{password}@"),
        (Some(user), None) => format!("{user}@"),
        (None, Some(password)) => format!(":{password}@"),
        (None, None) => String::new(),
    };
    Some(Text::written(format!("{scheme}://{credential}{host}:{port}")))
}
