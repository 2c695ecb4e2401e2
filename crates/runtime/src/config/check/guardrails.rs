//! `guardrails` and `judges`: whether each check can be answered by whom it names, and each judge can be reached.

use super::{Checker, is_withheld};
use crate::config::{
    Action, Checks, Custom, Endpoint, Guardrails, Injection, JUDGE_ENDPOINT, Judge, JudgeKind, Judged, ProviderKind,
    Task, Topics,
};
use base64::{Engine, engine::general_purpose::STANDARD};

/// `budget`, milliseconds.
const BUDGET_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// `stream_window`, characters.
const STREAM_WINDOW_CHARS: std::ops::RangeInclusive<u32> = 100..=20_000;
/// `judges.NAME.cache.ttl`, milliseconds, and `max_entries`.
const CACHE_TTL_MS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;
const CACHE_ENTRIES_MAX: usize = 1_000_000;
/// Custom checks of a side: each is a call.
const CUSTOM_MAX: usize = 16;
/// Topics and examples, which are all part of each question.
const TOPICS_MAX: usize = 100;

/// Who can answer a check.
fn answers(check: &str, kind: JudgeKind) -> bool {
    use JudgeKind::{BedrockGuardrail, Llm, Presidio, Webhook};
    match check {
        "topics" => kind == Llm,
        "pii" => matches!(kind, Presidio | Webhook),
        "safety" => kind != Presidio,
        _ => matches!(kind, Llm | Webhook | BedrockGuardrail),
    }
}

impl Checker<'_> {
    /// Names that no endpoint may have, because judges' own have them.
    pub(super) fn own_names(&mut self, path: &str, endpoint: &Endpoint) {
        let aliases = endpoint.aliases.iter().enumerate().map(|(at, alias)| (format!("{path}.aliases[{at}]"), alias));
        let names = std::iter::once((format!("{path}.name"), &endpoint.name)).chain(aliases);
        for (at, _) in names.filter(|(_, name)| name.starts_with(JUDGE_ENDPOINT)) {
            self.fatal(at, format!("must not begin with `{JUDGE_ENDPOINT}`, which is for judges"));
        }
    }

    /// Named policies; what they check is looked at where they are referred to.
    pub(super) fn policies(&mut self) {
        let config = self.config;
        for (name, policy) in &config.guardrails {
            self.not_weaker(&format!("guardrails.{name}"), policy);
        }
    }

    /// Refuses what only the policy of a team or a key can be.
    pub(super) fn not_weaker(&mut self, path: &str, guardrails: &Guardrails) {
        if guardrails.allow_weaker {
            self.fatal(format!("{path}.allow_weaker"), "is for the guardrails of a team or a key; remove it");
        }
    }

    pub(super) fn guardrails(&mut self, path: &str, guardrails: &Guardrails) {
        if let Some(policy) = guardrails.policy.as_ref().filter(|name| !self.config.guardrails.contains_key(*name)) {
            self.fatal(format!("{path}.policy"), format!("there is no policy `{policy}` under guardrails"));
        }
        if guardrails.budget.is_some_and(|budget| !BUDGET_MS.contains(&budget.0)) {
            self.fatal(format!("{path}.budget"), "must be from 100ms to 1m");
        }
        if guardrails.stream_window.is_some_and(|window| !STREAM_WINDOW_CHARS.contains(&window)) {
            self.fatal(format!("{path}.stream_window"), "must be from 100 to 20000 characters");
        }
        self.checks(&format!("{path}.input"), &guardrails.input);
        self.checks(&format!("{path}.output"), &guardrails.output);
    }

    fn checks(&mut self, path: &str, checks: &Checks) {
        if let Some(keywords) = &checks.keywords
            && (keywords.words.is_empty() || keywords.words.len() > 100_000)
        {
            self.fatal(format!("{path}.keywords.words"), "needs 1 to 100000 words");
        }
        if let Some(pii) = &checks.pii
            && let Some(judge) = &pii.judge
        {
            self.judged(&format!("{path}.pii"), "pii", pii.action, judge);
        }
        if let Some(topics) = &checks.topics {
            self.topics(&format!("{path}.topics"), topics);
        }
        if let Some(Judged { action, judge, .. }) = &checks.safety {
            let path = format!("{path}.safety");
            match judge {
                Some(judge) => self.judged(&path, "safety", *action, judge),
                None => self.fatal(format!("{path}.judge"), "is needed: who says what is safe"),
            }
        }
        if let Some(injection) = &checks.injection {
            self.injection(&format!("{path}.injection"), injection);
        }
        let custom = &checks.custom;
        if custom.len() > CUSTOM_MAX {
            self.fatal(format!("{path}.custom"), format!("at most {CUSTOM_MAX}"));
        }
        let names = custom.iter().enumerate().map(|(i, it)| (format!("{path}.custom[{i}].name"), it.name.as_str()));
        self.unique("custom check", names);
        for (at, check) in custom.iter().enumerate() {
            self.custom(&format!("{path}.custom[{at}]"), check);
        }
    }

    fn topics(&mut self, path: &str, topics: &Topics) {
        if topics.allow.is_empty() && topics.deny.is_empty() {
            self.fatal(path, "needs topics in allow, in deny, or in both");
        }
        if topics.allow.len() + topics.deny.len() + topics.examples.len() > TOPICS_MAX {
            self.fatal(path, format!("at most {TOPICS_MAX} topics and examples"));
        }
        self.judged(path, "topics", topics.action, &topics.judge);
    }

    fn injection(&mut self, path: &str, injection: &Injection) {
        if !(0.0..=1.0).contains(&injection.threshold) {
            self.fatal(format!("{path}.threshold"), "must be from 0 to 1");
        }
        if injection.action == Action::Mask {
            self.fatal(format!("{path}.action"), "must be block or log: there is no part of a text to mask");
        } else if let Some(judge) = &injection.judge {
            self.judged(path, "injection", injection.action, judge);
        }
    }

    fn custom(&mut self, path: &str, check: &Custom) {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if check.name.is_empty() || check.name.len() > 64 || !check.name.chars().all(is_name) {
            self.fatal(format!("{path}.name"), "must have 1 to 64 of a to z, 0 to 9, - and _");
        }
        let is_read = self.config.judges.get(&check.judge).is_some_and(|judge| judge.kind == JudgeKind::Llm);
        if is_read && check.policy.trim().is_empty() {
            self.fatal(format!("{path}.policy"), "is needed: what the judge is to look for");
        }
        self.judged(path, "custom", check.action, &check.judge);
    }

    fn judged(&mut self, path: &str, check: &str, action: Action, name: &str) {
        let Some(judge) = self.config.judges.get(name) else {
            return self.fatal(format!("{path}.judge"), format!("there is no judge `{name}`"));
        };
        let kind = judge.kind;
        if !answers(check, kind) {
            let who = match check {
                "topics" => "an llm",
                "pii" => "presidio or a webhook",
                "safety" => "any but presidio",
                _ => "an llm, a webhook or a bedrock_guardrail",
            };
            let why = format!("`{name}` is a {} judge, which cannot answer this check; it needs {who}", kind.as_str());
            self.fatal(format!("{path}.judge"), why);
        } else if action == Action::Mask && !matches!(kind, JudgeKind::Presidio | JudgeKind::Webhook) {
            self.fatal(format!("{path}.action"), "mask needs a judge that says where (presidio, webhook)");
        }
    }

    pub(super) fn judges(&mut self) {
        let config = self.config;
        for (name, judge) in &config.judges {
            let path = format!("judges.{name}");
            if judge.kind.is_routed() {
                self.routed(&path, judge);
            } else {
                self.called(&path, judge);
            }
            self.judge_fields(&path, judge);
        }
    }

    /// A judge that is a model behind the router.
    fn routed(&mut self, path: &str, judge: &Judge) {
        if judge.url.is_some() {
            self.fatal(format!("{path}.url"), "is only for presidio and webhook; the provider has the address");
        }
        if let Some(endpoint) = &judge.endpoint {
            if !judge.kind.chats() {
                self.fatal(format!("{path}.endpoint"), "is only for llm and llama_guard; name a provider");
            } else if judge.provider.is_some() || judge.model.is_some() {
                self.fatal(format!("{path}.endpoint"), "set either endpoint or provider and model");
            }
            let known = self.config.endpoints.iter().find(|known| known.name == *endpoint);
            if known.is_none_or(|known| known.task != Task::Chat || endpoint.contains('*')) {
                let why = format!("there is no endpoint `{endpoint}` for chats, or it has no model of its own");
                self.fatal(format!("{path}.endpoint"), why);
            }
            return;
        }
        let Some(name) = &judge.provider else {
            return self.fatal(format!("{path}.provider"), "is needed: who has the model");
        };
        let Some(provider) = self.config.providers.get(name) else {
            return self.fatal(format!("{path}.provider"), format!("there is no provider `{name}`"));
        };
        let fits = match judge.kind {
            JudgeKind::OpenaiModeration => {
                matches!(provider.kind, ProviderKind::Openai | ProviderKind::Mistral | ProviderKind::Mock)
            }
            JudgeKind::BedrockGuardrail => provider.kind == ProviderKind::Bedrock,
            JudgeKind::AzureContentSafety => provider.kind == ProviderKind::Azure,
            _ => true,
        };
        if !fits {
            let why = format!("a provider of kind {} cannot be a {}", provider.kind.as_str(), judge.kind.as_str());
            self.fatal(format!("{path}.provider"), why);
        }
        let model = judge.model.as_deref().unwrap_or_default();
        match judge.kind {
            JudgeKind::BedrockGuardrail if !model.contains('/') => {
                self.fatal(
                    format!("{path}.model"),
                    "must be the guardrail: ID/VERSION, as in abc123/1 or abc123/DRAFT",
                );
            }
            JudgeKind::AzureContentSafety => {}
            _ if model.is_empty() => self.fatal(format!("{path}.model"), "is needed"),
            _ => {}
        }
    }

    /// A judge that the guardrail calls itself.
    fn called(&mut self, path: &str, judge: &Judge) {
        for (field, value) in [("provider", &judge.provider), ("model", &judge.model), ("endpoint", &judge.endpoint)] {
            if value.is_some() {
                let why = format!("is not for {}, which is called at its url; remove it", judge.kind.as_str());
                self.fatal(format!("{path}.{field}"), why);
            }
        }
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if !judge.url.as_ref().is_some_and(is_url) {
            self.fatal(format!("{path}.url"), "is needed, and must begin with http:// or https://");
        }
        if judge.kind != JudgeKind::Webhook {
            return;
        }
        let secret = judge.secret.as_ref().map_or("", |secret| secret.expose());
        let is_good = secret.strip_prefix("whsec_").is_some_and(|key| STANDARD.decode(key).is_ok());
        if !is_withheld(secret) && !is_good {
            self.fatal(format!("{path}.secret"), "is needed: whsec_ and base64");
        }
    }

    /// Fields that a kind has no use for, and ranges.
    fn judge_fields(&mut self, path: &str, judge: &Judge) {
        use JudgeKind::{Llm, Presidio, Webhook};
        let kind = judge.kind;
        let fields = [
            ("secret", judge.secret.is_some(), kind == Webhook),
            ("allow_private", judge.allow_private, kind == Webhook),
            ("entities", !judge.entities.is_empty(), kind == Presidio),
            ("categories", !judge.categories.is_empty(), !matches!(kind, Llm | Presidio | Webhook)),
            ("threshold", judge.threshold.is_some(), !matches!(kind, Llm | JudgeKind::LlamaGuard | Webhook)),
        ];
        for (field, _, _) in fields.iter().filter(|(_, is_set, is_used)| *is_set && !is_used) {
            self.fatal(format!("{path}.{field}"), format!("means nothing for a {} judge; remove it", kind.as_str()));
        }
        if judge.threshold.is_some_and(|threshold| !(0.0..=1.0).contains(&threshold)) {
            self.fatal(format!("{path}.threshold"), "must be from 0 to 1");
        }
        if let Some(cache) = judge.cache {
            if !CACHE_TTL_MS.contains(&cache.ttl.0) {
                self.fatal(format!("{path}.cache.ttl"), "must be from 1s to 1d");
            }
            if cache.max_entries == 0 || cache.max_entries > CACHE_ENTRIES_MAX {
                self.fatal(format!("{path}.cache.max_entries"), format!("must be from 1 to {CACHE_ENTRIES_MAX}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Role, parse};

    fn fatal(text: &str) -> Vec<String> {
        match parse(text, Role::Guardrail, &|_| Ok(None)) {
            Ok(_) => Vec::new(),
            Err(problems) => {
                problems.0.into_iter().filter(|problem| problem.fatal).map(|problem| problem.path).collect()
            }
        }
    }

    const PROVIDERS: &str = "
providers:
  openai: { kind: openai }
  claude: { kind: anthropic }
  demo: { kind: mock }
  bedrock: { kind: bedrock, region: us-east-1 }
  azure: { kind: azure, base_url: 'https://x.test' }
";

    #[test]
    fn a_judge_that_cannot_answer_its_check_is_refused() {
        let text = format!(
            "{PROVIDERS}
judges:
  moderator: {{ kind: openai_moderation, provider: openai, model: omni-moderation-latest }}
  reader: {{ kind: llm, provider: claude, model: m }}
  engine: {{ kind: presidio, url: 'http://presidio:3000' }}
  own: {{ kind: webhook, url: 'https://x.test', secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw }}
endpoints:
  - name: chat
    destinations: [ {{ name: d, provider: demo, model: m }} ]
    guardrails:
      budget: 1ms
      input:
        topics: {{ allow: [ support ], judge: moderator }}
        safety: {{ action: mask, judge: reader }}
        injection: {{ action: block, threshold: 2, judge: engine }}
        pii: {{ action: mask, judge: engine }}
        custom: [ {{ name: A, action: block, judge: reader }}, {{ name: b, action: mask, judge: own }}, {{ name: b, action: log, judge: none }} ]
      output:
        safety: {{ action: block }}
        topics: {{ judge: reader }}
        injection: {{ action: mask }}
"
        );
        assert_eq!(
            fatal(&text),
            [
                "endpoints[0].guardrails.budget",
                "endpoints[0].guardrails.input.topics.judge",
                "endpoints[0].guardrails.input.safety.action",
                "endpoints[0].guardrails.input.injection.threshold",
                "endpoints[0].guardrails.input.injection.judge",
                "endpoints[0].guardrails.input.custom[2].name",
                "endpoints[0].guardrails.input.custom[0].name",
                "endpoints[0].guardrails.input.custom[0].policy",
                "endpoints[0].guardrails.input.custom[2].judge",
                "endpoints[0].guardrails.output.topics",
                "endpoints[0].guardrails.output.safety.judge",
                "endpoints[0].guardrails.output.injection.action",
            ]
        );
    }

    #[test]
    fn a_judge_that_cannot_be_reached_is_refused() {
        let text = format!(
            "{PROVIDERS}
judges:
  a: {{ kind: openai_moderation, provider: claude, model: m }}
  b: {{ kind: llm, endpoint: gone }}
  c: {{ kind: bedrock_guardrail, provider: bedrock, model: abc }}
  d: {{ kind: azure_content_safety, provider: azure, threshold: 1.5 }}
  e: {{ kind: presidio, provider: demo }}
  f: {{ kind: webhook, url: 'https://x.test', secret: none, threshold: 0.5 }}
  g: {{ kind: llama_guard, endpoint: chat, categories: [ S1 ], cache: {{ ttl: 1ms, max_entries: 0 }} }}
  h: {{ kind: llm, provider: nobody }}
endpoints:
  - {{ name: chat, destinations: [ {{ name: d, provider: demo, model: m }} ] }}
  - {{ name: 'judge:x', destinations: [ {{ name: d, provider: demo, model: m }} ] }}
"
        );
        assert_eq!(
            fatal(&text),
            [
                "endpoints[1].name",
                "judges.a.provider",
                "judges.b.endpoint",
                "judges.c.model",
                "judges.d.threshold",
                "judges.e.provider",
                "judges.e.url",
                "judges.f.secret",
                "judges.f.threshold",
                "judges.g.cache.ttl",
                "judges.g.cache.max_entries",
                "judges.h.provider",
            ]
        );
    }

    #[test]
    fn guardrails_of_teams_and_keys_are_checked_as_those_of_endpoints_are() {
        let text = format!(
            "{PROVIDERS}
guardrails: {{ strict: {{ allow_weaker: true }} }}
endpoints:
  - name: chat
    destinations: [ {{ name: d, provider: demo, model: m }} ]
    guardrails: {{ allow_weaker: true }}
teams: [ {{ name: search, guardrails: {{ allow_weaker: true, input: {{ safety: {{ action: block }} }} }} }} ]
keys: [ {{ name: web, team: search, sha256: '{}', guardrails: {{ policy: gone }} }} ]
",
            "0".repeat(64)
        );
        assert_eq!(
            fatal(&text),
            [
                "endpoints[0].guardrails.allow_weaker",
                "guardrails.strict.allow_weaker",
                "teams[0].guardrails.input.safety.judge",
                "keys[0].guardrails.policy",
            ]
        );
    }

    #[test]
    fn a_judges_own_endpoint_is_one_that_no_caller_can_name() {
        let text = format!(
            "{PROVIDERS}
judges:
  moderator: {{ kind: openai_moderation, provider: openai, model: omni-moderation-latest }}
  guard: {{ kind: llama_guard, endpoint: chat }}
  engine: {{ kind: presidio, url: 'http://presidio:3000' }}
endpoints: [ {{ name: chat, destinations: [ {{ name: d, provider: demo, model: m }} ] }} ]
"
        );
        let config = parse(&text, Role::RouterWorker, &|_| Ok(None)).expect("valid").config;
        let own = config.judge_endpoints();
        assert_eq!(own.len(), 1);
        let (name, endpoint) = &own[0];
        assert_eq!((*name, endpoint.name.as_str()), ("moderator", "judge:moderator"));
        assert_eq!(endpoint.destinations[0].model, "omni-moderation-latest");
        assert_eq!(config.judges["guard"].asks("guard"), "chat");
        assert!(config.endpoint("judge:moderator").is_none());
    }
}
