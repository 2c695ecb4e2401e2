//! `guardrails` and `judges`: whether each check can be answered by whom it names, and each judge can be reached.

use super::{Checker, is_withheld};
use crate::config::{
    ANOTHER_HAZARD, Action, Checks, Custom, Endpoint, Guardrails, Injection, JUDGE_ENDPOINT, Judge, JudgeKind, Judged,
    LLAMA_GUARD_HAZARDS, ProviderKind, Task, Topics,
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
/// `guardrails.hash_key`: telephone numbers can all be tried, so it must not be possible to try all keys.
const HASH_KEY_MIN_CHARS: usize = 32;

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
        for (at, _) in guardrails.output.actions().iter().filter(|(_, action)| *action == Action::MaskAndRestore) {
            let why = "mask_and_restore is only for input: what an answer loses is put back by nobody; use mask";
            self.fatal(format!("{path}.output.{at}.action"), why);
        }
        for (side, checks) in [("input", &guardrails.input), ("output", &guardrails.output)] {
            let hashing = checks.actions().into_iter().filter(|(_, action)| *action == Action::Hash);
            for (at, _) in hashing.filter(|_| self.config.hash_key.is_none()).collect::<Vec<_>>() {
                let why = "hash needs guardrails.hash_key: make one with `openssl rand -base64 32`, put it into the \
                           environment, and write hash_key: \"${TOLLGATE_HASH_KEY}\"";
                self.fatal(format!("{path}.{side}.{at}.action"), why);
            }
        }
    }

    pub(super) fn hash_key(&mut self) {
        let key = self.config.hash_key.as_ref().map(|key| key.expose()).filter(|key| !is_withheld(key));
        if key.is_some_and(|key| key.len() < HASH_KEY_MIN_CHARS) {
            let why = format!(
                "must have at least {HASH_KEY_MIN_CHARS} characters: `openssl rand -base64 32` makes one of 44"
            );
            self.fatal("guardrails.hash_key", why);
        }
    }

    fn checks(&mut self, path: &str, checks: &Checks) {
        if let Some(keywords) = &checks.keywords
            && (keywords.words.is_empty() || keywords.words.len() > 100_000)
        {
            self.fatal(format!("{path}.keywords.words"), "needs 1 to 100000 words");
        }
        if checks.keywords.as_ref().is_some_and(|keywords| keywords.allow.len() > 100_000) {
            self.fatal(format!("{path}.keywords.allow"), "at most 100000 phrases");
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
        if injection.action.replaces() {
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
        } else if action.replaces() && !matches!(kind, JudgeKind::Presidio | JudgeKind::Webhook) {
            let why = "what replaces a find needs a judge that says where (presidio, webhook)";
            self.fatal(format!("{path}.action"), why);
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
        use JudgeKind::{Llm, OpenaiModeration, Presidio, Webhook};
        let kind = judge.kind;
        let provider = judge.provider.as_ref().and_then(|name| self.config.providers.get(name));
        let takes_images = match kind {
            // Mistral's takes text alone.
            OpenaiModeration => provider.is_none_or(|provider| provider.kind != ProviderKind::Mistral),
            kind => kind == Llm,
        };
        let fields = [
            ("secret", judge.secret.is_some(), kind == Webhook),
            ("allow_private", judge.allow_private, kind == Webhook),
            ("entities", !judge.entities.is_empty(), kind == Presidio),
            ("images", judge.images, takes_images),
            ("categories", !judge.categories.is_empty(), !matches!(kind, Llm | Presidio | Webhook)),
            ("threshold", judge.threshold.is_some(), !matches!(kind, Llm | JudgeKind::LlamaGuard | Webhook)),
        ];
        for (field, _, _) in fields.iter().filter(|(_, is_set, is_used)| *is_set && !is_used) {
            self.fatal(format!("{path}.{field}"), format!("means nothing for this {} judge; remove it", kind.as_str()));
        }
        if kind == JudgeKind::LlamaGuard {
            self.hazards(path, &judge.categories);
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

    /// A hazard that the model does not name would never be found, and everything would pass.
    fn hazards(&mut self, path: &str, categories: &[String]) {
        let is_code = |category: &str| (1..=LLAMA_GUARD_HAZARDS.len()).any(|number| category == format!("S{number}"));
        let is_name = |category: &str| LLAMA_GUARD_HAZARDS.contains(&category) || category == ANOTHER_HAZARD;
        for (at, category) in
            categories.iter().enumerate().filter(|(_, it)| !is_code(it.as_str()) && !is_name(it.as_str()))
        {
            let why = format!(
                "`{category}` is no hazard of Llama Guard's: S1 to S{}, as {}, or {ANOTHER_HAZARD} for those of \
                 newer versions",
                LLAMA_GUARD_HAZARDS.len(),
                LLAMA_GUARD_HAZARDS.join(", ")
            );
            self.fatal(format!("{path}.categories[{at}]"), why);
        }
    }
}

#[cfg(test)]
mod tests;
