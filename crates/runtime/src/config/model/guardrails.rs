//! `guardrails` and `judges`: what is checked, and by whom.

use super::{Config, Destination, Endpoint, Millis, Task};
use crate::Secret;
use serde::{Deserialize, Serialize};

/// What the names of judges' own endpoints in the router begin with; no other endpoint's name does.
pub const JUDGE_ENDPOINT: &str = "judge:";

/// How long all judges of a side may take together, unless `budget` says so.
pub const JUDGES_BUDGET: Millis = Millis(5_000);

/// `endpoints[].guardrails`, `teams[].guardrails`, `keys[].guardrails`, and `guardrails.NAME`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Guardrails {
    pub input: Checks,
    pub output: Checks,
    /// How long all judges of a side may take together.
    #[schema(value_type = Option<String>)]
    pub budget: Option<Millis>,
    pub stream: StreamChecks,
    /// How many characters of a stream judges are shown at a time.
    pub stream_window: Option<u32>,
    pub on_block: OnBlock,
    /// A policy of the section `guardrails`, instead of those above.
    pub policy: Option<String>,
    /// Of a team or a key: it stands in place of what it would else be added to. For administrators alone.
    pub allow_weaker: bool,
}

impl Guardrails {
    /// Whether answers are checked while they are being produced. A score needs the whole of a text, and so does a judge that says
    /// where; what nobody can read is known when all of it is there.
    pub fn streams(&self) -> bool {
        let is_masked_by_judge = |judge: Option<&String>, action: Action| judge.is_some() && action.replaces();
        let output = &self.output;
        let by_judge = output.pii.as_ref().is_some_and(|pii| is_masked_by_judge(pii.judge.as_ref(), pii.action))
            || output.safety.as_ref().is_some_and(|safety| is_masked_by_judge(safety.judge.as_ref(), safety.action))
            || output.topics.as_ref().is_some_and(|topics| topics.action.replaces())
            || output.custom.iter().any(|custom| custom.action.replaces());
        let by_whole = by_judge || output.injection.is_some() || output.unreadable == Some(Unreadable::Block);
        self.stream == StreamChecks::Window && output.any() && !by_whole
    }
}

/// `guardrails.stream`: when a stream that is checked reaches its caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamChecks {
    /// While it is produced, as late as its checks need.
    #[default]
    Window,
    /// When all of it has been checked.
    Whole,
}

/// `guardrails.on_block`: how a stream ends whose beginning has been sent when a check blocks it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBlock {
    /// With the error `guardrail_blocked`.
    #[default]
    Error,
    /// As the API ends one that a content filter has stopped.
    ContentFilter,
}

/// How many characters of a stream judges are shown at a time, unless `stream_window` says so.
pub const STREAM_WINDOW: u32 = 1_000;

/// `guardrails.input` and `.output`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Checks {
    pub pii: Option<Pii>,
    pub keywords: Option<Keywords>,
    pub topics: Option<Topics>,
    pub safety: Option<Judged>,
    pub injection: Option<Injection>,
    pub custom: Vec<Custom>,
    /// What becomes of a body with something in it that no check can read and no judge is shown. `None`: it passes, and nothing is said.
    pub unreadable: Option<Unreadable>,
}

impl Checks {
    /// Whether there is anything to check.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// What each check does, by its name below these.
    pub fn actions(&self) -> Vec<(String, Action)> {
        let Self { pii, keywords, topics, safety, injection, custom, unreadable: _ } = self;
        let one = [
            ("pii", pii.as_ref().map(|it| it.action)),
            ("keywords", keywords.as_ref().map(|it| it.action)),
            ("topics", topics.as_ref().map(|it| it.action)),
            ("safety", safety.as_ref().map(|it| it.action)),
            ("injection", injection.as_ref().map(|it| it.action)),
        ];
        let one = one.into_iter().filter_map(|(name, action)| Some((name.to_owned(), action?)));
        one.chain(custom.iter().enumerate().map(|(at, it)| (format!("custom[{at}]"), it.action))).collect()
    }
}

/// What a check does when it finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    Block,
    Mask,
    MaskAndRestore,
    Hash,
    Log,
}

impl Action {
    /// Whether something stands in the place of what is found.
    pub fn replaces(self) -> bool {
        matches!(self, Self::Mask | Self::MaskAndRestore | Self::Hash)
    }
}

/// `guardrails.*.unreadable`: pictures, sound, files that are no text, what is elsewhere, encrypted or kept by a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Unreadable {
    Allow,
    Block,
}

/// `on_judge_failure`: what becomes of a text that a judge could not judge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum OnJudgeFailure {
    #[default]
    Block,
    Allow,
}

/// `guardrails.*.pii`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Pii {
    pub action: Action,
    /// `None`: the default set.
    #[serde(default)]
    pub entities: Option<Vec<String>>,
    /// ISO 3166 region codes for numbers written without a country code.
    #[serde(default)]
    pub phone_regions: Vec<String>,
    /// Who looks for what needs a model, such as names.
    #[serde(default)]
    pub judge: Option<String>,
    #[serde(default)]
    pub on_judge_failure: OnJudgeFailure,
    /// Patterns of one's own, beside the entities.
    #[serde(default)]
    pub patterns: Vec<PiiPattern>,
    /// What is never a finding.
    #[serde(default)]
    pub allow: Vec<PiiAllow>,
}

/// `guardrails.*.pii.patterns[]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct PiiPattern {
    pub name: String,
    pub regex: String,
    /// Words of which one must stand near; none: it counts anywhere.
    #[serde(default)]
    pub context: Vec<String>,
}

/// `guardrails.*.pii.allow[]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PiiAllow {
    /// This value.
    Value(String),
    /// Every value that the expression matches from end to end.
    Regex(String),
}

/// `guardrails.*.keywords`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Keywords {
    pub action: Action,
    pub words: Vec<String>,
    /// Phrases in which the words may stand.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// `guardrails.*.topics`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Topics {
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub deny: Vec<String>,
    #[serde(default)]
    pub examples: Vec<TopicExample>,
    #[serde(default = "block")]
    pub action: Action,
    pub judge: String,
    #[serde(default)]
    pub on_judge_failure: OnJudgeFailure,
}

fn block() -> Action {
    Action::Block
}

/// `guardrails.*.topics.examples[]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct TopicExample {
    pub text: String,
    /// Whether such a text may pass.
    pub allowed: bool,
}

/// `guardrails.*.safety`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Judged {
    pub action: Action,
    #[serde(default)]
    pub judge: Option<String>,
    #[serde(default)]
    pub on_judge_failure: OnJudgeFailure,
}

/// `guardrails.*.injection`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Injection {
    pub action: Action,
    /// The score of the heuristics from which on a text counts as an injection, 0 to 1.
    #[serde(default = "injection_threshold")]
    pub threshold: f64,
    /// Asked about what the heuristics let pass.
    #[serde(default)]
    pub judge: Option<String>,
    #[serde(default)]
    pub on_judge_failure: OnJudgeFailure,
}

fn injection_threshold() -> f64 {
    0.6
}

/// `guardrails.*.custom[]`: a policy in one's own words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Custom {
    pub name: String,
    /// What violates it, for a judge that reads. Others have policies of their own.
    #[serde(default)]
    pub policy: String,
    pub action: Action,
    pub judge: String,
    #[serde(default)]
    pub on_judge_failure: OnJudgeFailure,
}

/// `judges.NAME`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Judge {
    pub kind: JudgeKind,
    #[serde(default)]
    pub provider: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    /// Instead of `provider` and `model`: an endpoint for chats.
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub url: Option<String>,
    /// `webhook`: `whsec_` and base64.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
    /// `webhook`: whether its host may be on loopback or in a private network.
    #[serde(default)]
    pub allow_private: bool,
    /// Those that count; none: all.
    #[serde(default)]
    pub categories: Vec<String>,
    /// The score from which on something counts, 0 to 1; else what the judge itself says.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// `presidio`.
    #[serde(default = "english")]
    pub language: String,
    /// `presidio`: what is looked for; none: all that it knows.
    #[serde(default)]
    pub entities: Vec<String>,
    /// `llm`: whether the endpoint is asked for an answer by schema.
    #[serde(default = "yes")]
    pub json_schema: bool,
    /// `openai_moderation`, `llm`: whether it is shown pictures.
    #[serde(default)]
    pub images: bool,
    /// Verdicts that are given again.
    #[serde(default)]
    pub cache: Option<JudgeCache>,
}

fn english() -> String {
    "en".to_owned()
}

fn yes() -> bool {
    true
}

/// `judges.NAME.cache`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct JudgeCache {
    #[schema(value_type = String)]
    pub ttl: Millis,
    #[serde(default = "cache_entries")]
    pub max_entries: usize,
}

fn cache_entries() -> usize {
    10_000
}

/// The hazards of Llama Guard, versions 3 and 4, from S1 on (<https://www.llama.com/docs/model-cards-and-prompt-formats/llama-guard-3/>).
pub const LLAMA_GUARD_HAZARDS: [&str; 14] = [
    "violent_crimes",
    "non_violent_crimes",
    "sex_related_crimes",
    "child_sexual_exploitation",
    "defamation",
    "specialized_advice",
    "privacy",
    "intellectual_property",
    "indiscriminate_weapons",
    "hate",
    "suicide_and_self_harm",
    "sexual_content",
    "elections",
    "code_interpreter_abuse",
];
/// The name of a hazard that is none of them.
pub const ANOTHER_HAZARD: &str = "another_hazard";

/// `judges.NAME.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
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

impl JudgeKind {
    /// As written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenaiModeration => "openai_moderation",
            Self::LlamaGuard => "llama_guard",
            Self::Llm => "llm",
            Self::Presidio => "presidio",
            Self::Webhook => "webhook",
            Self::BedrockGuardrail => "bedrock_guardrail",
            Self::AzureContentSafety => "azure_content_safety",
        }
    }

    /// Whether it is asked through the router, rather than called by the guardrail itself.
    pub fn is_routed(self) -> bool {
        !matches!(self, Self::Presidio | Self::Webhook)
    }

    /// Whether it chats, so that an endpoint for chats can be it.
    pub fn chats(self) -> bool {
        matches!(self, Self::LlamaGuard | Self::Llm)
    }
}

impl Judge {
    /// The endpoint of the router that is asked: one of the configuration, or the judge's own.
    pub fn asks(&self, name: &str) -> String {
        self.endpoint.clone().unwrap_or_else(|| format!("{JUDGE_ENDPOINT}{name}"))
    }

    /// Its own endpoint, if it is asked through the router and has one: a single destination, and no rules.
    fn own_endpoint(&self, name: &str) -> Option<Endpoint> {
        let (Some(provider), None) = (&self.provider, &self.endpoint) else { return None };
        if !self.kind.is_routed() {
            return None;
        }
        // Content Safety has no models; prices and rows need a name.
        let model = self.model.clone().unwrap_or_else(|| "content-safety".to_owned());
        let task = if self.kind.chats() { Task::Chat } else { Task::Moderations };
        Some(Endpoint::single(self.asks(name), task, Destination::new(name, provider, &model)))
    }
}

impl Config {
    /// The endpoints that judges bring with them, by the judge's name. No caller may use or see them. One whose provider is gone
    /// has none: what is asked of it fails.
    pub fn judge_endpoints(&self) -> Vec<(&str, Endpoint)> {
        let known = |judge: &&Judge| judge.provider.as_ref().is_some_and(|name| self.providers.contains_key(name));
        let own = self.judges.iter().filter(|(_, judge)| known(judge));
        own.filter_map(|(name, judge)| Some((name.as_str(), judge.own_endpoint(name)?))).collect()
    }
}
