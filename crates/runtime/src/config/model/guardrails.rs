//! `guardrails` and `judges`: what is checked, and by whom.

use serde::{Deserialize, Serialize};

/// `endpoints[].guardrails`, and `guardrails.NAME`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Guardrails {
    pub input: Checks,
    pub output: Checks,
    /// A policy of the section `guardrails`, instead of the two above.
    pub policy: Option<String>,
}

/// `guardrails.input` and `.output`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(default)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Checks {
    pub pii: Option<Pii>,
    pub keywords: Option<Keywords>,
    pub topics: Option<Topics>,
    pub safety: Option<Judged>,
    pub injection: Option<Judged>,
}

impl Checks {
    /// Whether there is anything to check.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// What a check does when it finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    Block,
    Mask,
    Log,
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
}

/// `guardrails.*.topics`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Topics {
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub deny: Vec<String>,
    pub judge: String,
}

/// `guardrails.*.safety` and `.injection`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Judged {
    pub action: Action,
    #[serde(default)]
    pub judge: Option<String>,
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
    #[serde(default)]
    pub url: Option<String>,
}

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
