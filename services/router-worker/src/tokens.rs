//! Token counts in the gateway's own convention, whatever the provider's.

pub(crate) use tollgate_admission::prices::Tokens;
use tollgate_schemas::TokenSource;

/// What a call used, and who says so.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    /// The counts.
    pub tokens: Tokens,
    /// Who counted.
    pub source: TokenSource,
    /// The provider's own usage document, JSON text.
    pub raw: Option<String>,
}

/// Tokens of a text when nobody counted: (characters + 1) / 4, as Databricks documents.
pub(crate) fn estimate(chars: usize) -> u64 {
    (chars as u64 + 1) / 4
}
