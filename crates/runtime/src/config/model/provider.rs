//! `providers`.

use super::super::Preset;
use crate::Secret;
use serde::{Deserialize, Serialize};

/// `providers.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[allow(missing_docs, reason = "documented in tollgate.example.yaml")]
pub struct Provider {
    pub kind: ProviderKind,
    #[serde(default)]
    pub base_url: Option<String>,
    /// Resolved for the router-worker only; elsewhere it holds the reference as written.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub api_key: Option<Secret>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub api_keys: Vec<Secret>,
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
    /// Which of the servers that speak OpenAI's format it is.
    #[serde(default)]
    pub preset: Option<String>,
    /// `azure`.
    #[serde(default)]
    pub api_version: Option<String>,
    /// `vertex`.
    #[serde(default)]
    pub project: Option<String>,
    /// `vertex`.
    #[serde(default)]
    pub location: Option<String>,
    /// `bedrock`.
    #[serde(default)]
    pub region: Option<String>,
}

impl Provider {
    /// One of that kind, with nothing else set.
    pub fn of(kind: ProviderKind) -> Self {
        Self {
            kind,
            base_url: None,
            api_key: None,
            api_keys: Vec::new(),
            concurrency: default_concurrency(),
            preset: None,
            api_version: None,
            project: None,
            location: None,
            region: None,
        }
    }

    /// Which of the servers of OpenAI's format it is, if the file says.
    pub fn preset(&self) -> Option<&'static Preset> {
        self.preset.as_deref().and_then(Preset::named)
    }

    /// Its name in the built-in price list.
    pub fn price_name(&self) -> &'static str {
        self.preset().map_or(self.kind.as_str(), |preset| preset.price_name)
    }

    /// Whether it serves OpenAI's Responses API itself. Of the servers of OpenAI's format only those whose preset says so are known to, and
    /// OpenAI; at Azure only versions without a date do.
    pub fn serves_responses(&self) -> bool {
        match self.kind {
            ProviderKind::Openai => {
                let is_own = || self.base_url.as_deref().is_none_or(is_openais_own);
                self.preset().map_or_else(is_own, |preset| preset.responses)
            }
            ProviderKind::Azure => self.api_version.is_none(),
            _ => false,
        }
    }

    /// Whether some of its models go on with the beginning of an answer (`on_midstream_failure: resume`).
    pub fn may_continue(&self) -> bool {
        match self.kind {
            ProviderKind::Anthropic | ProviderKind::Bedrock | ProviderKind::Mistral | ProviderKind::Mock => true,
            ProviderKind::Openai => self.preset().is_some_and(|preset| preset.continues.is_some()),
            ProviderKind::Azure
            | ProviderKind::Gemini
            | ProviderKind::Vertex
            | ProviderKind::Cohere
            | ProviderKind::Databricks => false,
        }
    }
}

/// Whether an address is one of OpenAI's own, that of a region (`eu.api.openai.com`) included.
fn is_openais_own(base_url: &str) -> bool {
    const HOST: &str = "api.openai.com";
    let url = reqwest::Url::parse(base_url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
    host == HOST || host.strip_suffix(HOST).is_some_and(|region| region.ends_with('.'))
}

fn default_concurrency() -> usize {
    256
}

/// `providers.NAME.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ProviderKind {
    Openai,
    Azure,
    Anthropic,
    Gemini,
    Vertex,
    Bedrock,
    Cohere,
    Mistral,
    Databricks,
    Mock,
}

impl ProviderKind {
    /// Whether a call costs nothing.
    pub fn is_free(self) -> bool {
        self == Self::Mock
    }

    /// As written in the file; also OpenTelemetry's `gen_ai.provider.name` where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Azure => "azure",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
            Self::Mistral => "mistral",
            Self::Databricks => "databricks",
            Self::Mock => "mock",
        }
    }
}

/// A provider's credential that an administrator gave: the object of kind `credential` on `control`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct Credential {
    /// The provider it is for.
    pub provider: String,
    /// The credential, encrypted under the key of the environment; base64.
    #[schema(value_type = String)]
    pub sealed: Secret,
}

impl Credential {
    /// What the seal of a credential is bound to.
    pub fn purpose(provider: &str, name: &str) -> String {
        // Names hold no control characters, so the parts cannot run into each other.
        format!("tollgate.credential\n{provider}\n{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_openais_own_by_its_host() {
        for own in ["https://api.openai.com/v1", "https://eu.api.openai.com/v1/"] {
            assert!(is_openais_own(own), "{own}");
        }
        for other in
            ["http://127.0.0.1:8000/v1", "https://notapi.openai.com.test/api.openai.com", "https://xapi.openai.com"]
        {
            assert!(!is_openais_own(other), "{other}");
        }
    }

    #[test]
    fn who_serves_responses() {
        let of = |kind, set: fn(&mut Provider)| {
            let mut provider = Provider::of(kind);
            set(&mut provider);
            provider.serves_responses()
        };
        let server = |provider: &mut Provider| provider.base_url = Some("http://127.0.0.1:8000/v1".to_owned());
        assert!(of(ProviderKind::Openai, |_| {}) && !of(ProviderKind::Openai, server));
        assert!(of(ProviderKind::Openai, |provider| provider.preset = Some("xai".to_owned())));
        assert!(!of(ProviderKind::Openai, |provider| provider.preset = Some("groq".to_owned())));
        assert!(of(ProviderKind::Azure, |_| {}));
        assert!(!of(ProviderKind::Azure, |provider| provider.api_version = Some("2024-10-21".to_owned())));
        assert!(!of(ProviderKind::Anthropic, |_| {}) && !of(ProviderKind::Mock, |_| {}));
    }
}
