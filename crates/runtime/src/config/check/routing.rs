//! Wildcards; `endpoints[].routing`, `.sticky`, `.hedge`, `.cache`, `.retry`, `.on_midstream_failure`, `.allow_store`, `.shadows`, and the
//! conditions of destinations.

use super::Checker;
use crate::config::{Destination, Endpoint, OnMidstreamFailure, Provider, Routing, Trigger, wildcard};

/// The longest `hedge.after`.
const HEDGE_AFTER_MAX_MS: u64 = 10 * 60_000;
/// Shadows of an endpoint: each copies the body of every request that it draws.
const SHADOWS_MAX: usize = 8;
/// Fields without which there is no request, that are the gateway's to set, or that a budget caps.
const NEEDED: [&str; 13] = [
    "model",
    "messages",
    "input",
    "prompt",
    "contents",
    "previous_response_id",
    "conversation",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generationConfig",
    "generation_config",
];
/// The longest `cache.ttl`.
const CACHE_TTL_MAX_MS: u64 = 30 * 86_400_000;

impl Checker<'_> {
    /// `*` stands at the end of a name, and in models for what it stood for there.
    pub(super) fn wildcards(&mut self, path: &str, endpoint: &Endpoint) {
        let is_wildcard = wildcard(&endpoint.name).is_some();
        if endpoint.name.trim_end_matches('*').contains('*') || endpoint.name.ends_with("**") {
            self.fatal(format!("{path}.name"), "may have one *, at its end");
        }
        if !endpoint.aliases.is_empty() && (is_wildcard || endpoint.aliases.iter().any(|alias| alias.contains('*'))) {
            self.fatal(
                format!("{path}.aliases"),
                "a name with * has no aliases, and none has a *; make it an endpoint",
            );
        }
        for (place, destination) in endpoint.every_destination() {
            if destination.model.matches('*').count() > usize::from(is_wildcard) {
                let why = "may have one *, for what the * of the endpoint's name stands for";
                self.fatal(format!("{path}.{place}.model"), why);
            }
        }
    }

    pub(super) fn shadows(&mut self, path: &str, endpoint: &Endpoint) {
        if endpoint.shadows.len() > SHADOWS_MAX {
            self.fatal(format!("{path}.shadows"), format!("at most {SHADOWS_MAX}"));
        }
        for (at, shadow) in endpoint.shadows.iter().enumerate() {
            let at = format!("{path}.shadows[{at}]");
            let is_share = shadow.share > 0.0 && shadow.share <= 1.0;
            if !is_share {
                self.fatal(format!("{at}.share"), "must be above 0 and at most 1");
            }
            if shadow.tags.is_empty() {
                self.fatal(format!("{at}.tags"), "needs at least one tag: what its calls are billed to");
            }
            self.tags(&at, &shadow.tags);
            if let Some(team) = shadow.team.as_ref().filter(|team| self.config.team(team).is_none()) {
                self.fatal(format!("{at}.team"), format!("there is no team `{team}`"));
            }
        }
    }

    pub(super) fn unsupported(&mut self, path: &str, destination: &Destination) {
        for (at, name) in destination.unsupported.iter().enumerate() {
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name || NEEDED.contains(&name.as_str()) {
                let why =
                    "must be the name of a top-level field that a request can do without, such as reasoning_effort";
                self.fatal(format!("{path}.unsupported[{at}]"), why);
            }
        }
    }

    pub(super) fn routing(&mut self, path: &str, endpoint: &Endpoint) {
        if endpoint.sticky.is_some() && endpoint.routing != Routing::Weighted {
            self.fatal(format!("{path}.sticky"), "is only for routing: weighted; remove one of them");
        }
        if let Some(hedge) = endpoint.hedge {
            let at = format!("{path}.hedge");
            if !(1..=HEDGE_AFTER_MAX_MS).contains(&hedge.after.0) {
                self.fatal(format!("{at}.after"), "must be above 0 and at most 10m");
            }
            if endpoint.destinations.len() + endpoint.fallbacks.len() < 2 {
                self.fatal(at, "a second call goes to another destination or fallback, and there is only one");
            }
        }
        if endpoint.cache.is_some_and(|cache| !(1_000..=CACHE_TTL_MAX_MS).contains(&cache.ttl.0)) {
            self.fatal(format!("{path}.cache.ttl"), "must be from 1s to 30d");
        }
        for (at, destination) in endpoint.destinations.iter().enumerate() {
            if !destination.on.is_empty() {
                self.fatal(format!("{path}.destinations[{at}].on"), "is only for fallbacks; remove it");
            }
        }
        for (at, fallback) in endpoint.fallbacks.iter().enumerate() {
            if fallback.priority != 0 {
                let why = "is only for destinations; fallbacks are tried in the order of their list";
                self.fatal(format!("{path}.fallbacks[{at}].priority"), why);
            }
        }
        self.midstream(path, endpoint);
        if endpoint.allow_store && endpoint.destinations.len() + endpoint.fallbacks.len() != 1 {
            let why = "is only for an endpoint with one destination and no fallbacks: what a provider has stored is not found at \
                       another; remove it";
            self.fatal(format!("{path}.allow_store"), why);
        }
        let retry = &endpoint.retry;
        if !(1..=10).contains(&retry.attempts) || !(1..=10).contains(&retry.max_attempts) {
            self.fatal(format!("{path}.retry"), "attempts and max_attempts must be from 1 to 10");
        }
        let elsewhere = [Trigger::Refused, Trigger::ContextWindow, Trigger::ContentPolicy];
        for (at, trigger) in retry.on.iter().enumerate().filter(|(_, trigger)| elsewhere.contains(trigger)) {
            let word = serde_json::to_value(trigger).unwrap_or_default();
            let why = format!("{word} would come again from the same destination; name it in `on` of a fallback");
            self.fatal(format!("{path}.retry.on[{at}]"), why);
        }
    }

    /// `resume` that can do nothing is no error: what it stands for is what happens without it.
    fn midstream(&mut self, path: &str, endpoint: &Endpoint) {
        if endpoint.on_midstream_failure != OnMidstreamFailure::Resume {
            return;
        }
        let at = format!("{path}.on_midstream_failure");
        let all = endpoint.destinations.iter().chain(&endpoint.fallbacks);
        let mut providers = all.filter_map(|destination| self.config.providers.get(&destination.provider));
        if !providers.any(Provider::may_continue) {
            let why = "no destination's provider goes on with an answer (docs/providers.md), so it is as error";
            self.warn(at, why);
        } else if endpoint.guardrails.output.any() {
            self.warn(at, "answers that are checked are not seen in part: a broken one is tried again as a whole");
        } else if endpoint.retry.max_attempts < 2 {
            self.warn(at, "going on is another attempt, and retry.max_attempts allows only one, so it is as error");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Role, model_for, parse};

    fn fatal(text: &str) -> Vec<String> {
        let problems = parse(text, Role::RouterWorker, &|_| Ok(None)).expect_err("problems").0;
        problems.into_iter().filter(|problem| problem.fatal).map(|problem| problem.path).collect()
    }

    #[test]
    fn a_wildcard_stands_at_the_end_of_a_name_and_once_in_models() {
        let text = r#"
providers: { demo: { kind: mock } }
endpoints:
  - { name: "openai/*", destinations: [ { name: d, provider: demo, model: "x-*" }, { name: e, provider: demo, model: "*-*" } ] }
  - { name: "a*b", destinations: [ { name: d, provider: demo, model: "m" } ] }
  - { name: "c/*", aliases: [ c ], destinations: [ { name: d, provider: demo, model: "m" } ] }
  - { name: "d", aliases: [ "d/*" ], destinations: [ { name: d, provider: demo, model: "*" } ] }
  - name: "e/*"
    destinations: [ { name: d, provider: demo, model: "*" } ]
    shadows: [ { name: s, provider: demo, model: "**", share: 1, tags: { a: b } } ]
"#;
        let expected = [
            "endpoints[0].destinations[1].model",
            "endpoints[1].name",
            "endpoints[2].aliases",
            "endpoints[3].aliases",
            "endpoints[3].destinations[0].model",
            "endpoints[4].shadows[0].model",
        ];
        assert_eq!(fatal(text), expected);
        assert_eq!(model_for("x-*", "openai/*", "openai/gpt-4o"), "x-gpt-4o");
        assert_eq!(model_for("fixed", "openai/*", "openai/gpt-4o"), "fixed");
        assert_eq!(model_for("m", "chat", "alias"), "m");
    }

    #[test]
    fn resume_without_anybody_who_can_is_pointed_out() {
        let text = r#"
providers:
  demo: { kind: mock }
  openai: { kind: openai }
  vllm: { kind: openai, preset: vllm }
endpoints:
  - { name: a, on_midstream_failure: resume, destinations: [ { name: d, provider: openai, model: m } ] }
  - { name: b, on_midstream_failure: resume, destinations: [ { name: d, provider: openai, model: m } ], fallbacks: [ { name: f, provider: vllm, model: m } ] }
  - { name: c, on_midstream_failure: resume, retry: { max_attempts: 1 }, destinations: [ { name: d, provider: demo, model: m } ] }
  - { name: d, on_midstream_failure: error, destinations: [ { name: d, provider: openai, model: m } ] }
  - name: e
    on_midstream_failure: resume
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails: { output: { keywords: { action: block, words: [ x ] } } }
"#;
        let loaded = parse(text, Role::RouterWorker, &|_| Ok(None)).expect("nothing is fatal");
        let named = loaded.warnings.iter().filter(|warning| warning.path.ends_with(".on_midstream_failure"));
        let named: Vec<&str> = named.map(|warning| &warning.path[..12]).collect();
        assert_eq!(named, ["endpoints[0]", "endpoints[2]", "endpoints[4]"]);
    }

    #[test]
    fn what_a_model_does_not_take_is_a_field_that_a_request_can_do_without() {
        let text = r#"
providers: { demo: { kind: mock } }
endpoints:
  - name: one
    destinations: [ { name: d, provider: demo, model: m, unsupported: [ reasoning_effort, messages, "", "a.b" ] } ]
    fallbacks: [ { name: f, provider: demo, model: m, unsupported: [ max_tokens ] } ]
    shadows: [ { name: s, provider: demo, model: m, share: 1, tags: { a: b }, unsupported: [ temperature, stream ] } ]
"#;
        let expected = [
            "endpoints[0].destinations[0].unsupported[1]",
            "endpoints[0].destinations[0].unsupported[2]",
            "endpoints[0].destinations[0].unsupported[3]",
            "endpoints[0].fallbacks[0].unsupported[0]",
            "endpoints[0].shadows[0].unsupported[1]",
        ];
        assert_eq!(fatal(text), expected);
    }

    #[test]
    fn what_is_stored_is_allowed_where_it_is_found_again() {
        let text = r"
providers: { openai: { kind: openai } }
endpoints:
  - { name: a, allow_store: true, destinations: [ { name: d, provider: openai, model: m } ] }
  - { name: b, allow_store: true, destinations: [ { name: d, provider: openai, model: m }, { name: e, provider: openai, model: n } ] }
  - { name: c, allow_store: true, destinations: [ { name: d, provider: openai, model: m } ], fallbacks: [ { name: f, provider: openai, model: n } ] }
  - { name: d, allow_store: false, destinations: [ { name: d, provider: openai, model: m }, { name: e, provider: openai, model: n } ] }
";
        assert_eq!(fatal(text), ["endpoints[1].allow_store", "endpoints[2].allow_store"]);
    }

    #[test]
    fn rules_that_mean_nothing_are_named() {
        let text = r"
providers: { demo: { kind: mock } }
endpoints:
  - name: one
    routing: fastest
    sticky: key
    hedge: { after: 0ms }
    cache: { ttl: 1ms }
    retry: { attempts: 11, on: [ 429, context_window ] }
    destinations: [ { name: d, provider: demo, model: m, on: [ 429 ] } ]
  - name: two
    routing: cheapest
    hedge: { after: 1s }
    retry: { on: [ connect ] }
    destinations: [ { name: d, provider: demo, model: m, priority: 1 } ]
    fallbacks: [ { name: f, provider: demo, model: m, priority: 1, on: [ context_window, refused, 5xx ] } ]
";
        assert_eq!(
            fatal(text),
            [
                "endpoints[0].sticky",
                "endpoints[0].hedge.after",
                "endpoints[0].hedge",
                "endpoints[0].cache.ttl",
                "endpoints[0].destinations[0].on",
                "endpoints[0].retry",
                "endpoints[0].retry.on[1]",
                "endpoints[1].fallbacks[0].priority",
            ]
        );
    }

    #[test]
    fn a_shadow_has_a_share_a_tag_and_a_name_of_its_own() {
        let text = r"
providers: { demo: { kind: mock } }
teams: [ { name: lab, endpoints: [ one ] } ]
endpoints:
  - name: one
    destinations: [ { name: d, provider: demo, model: m } ]
    shadows:
      - { name: a, provider: demo, model: m, share: 0.5, tags: { experiment: x }, team: lab, concurrency: 4 }
      - { name: d, provider: demo, model: m, share: 1, tags: { experiment: x } }
      - { name: b, provider: gone, model: m, share: 0, tags: {}, team: nobody }
      - { name: c, provider: demo, model: m, share: 1.5, tags: { '': x }, limits: [ { requests: 1 } ] }
";
        assert_eq!(
            fatal(text),
            [
                "endpoints[0].shadows[1].name",
                "endpoints[0].shadows[2].provider",
                "endpoints[0].shadows[2].share",
                "endpoints[0].shadows[2].tags",
                "endpoints[0].shadows[2].team",
                "endpoints[0].shadows[3].share",
                "endpoints[0].shadows[3].tags",
                "endpoints[0].shadows[3].limits[0]",
            ]
        );
    }
}
