//! Anthropic's counts, whole and as a stream tells them.
//!
//! Sources: <https://platform.claude.com/docs/en/api/messages> and `…/build-with-claude/streaming`.

use crate::tokens::{Tokens, Usage, estimate};
use serde_json::{Map, Value};
use tollgate_schemas::TokenSource;

/// Reads a usage document, whose `input_tokens` leave cache reads and writes out. `None` if it has no counts.
pub(super) fn usage(document: &Value) -> Option<Usage> {
    let count = |name: &str| document[name].as_u64();
    let (read, write) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
    let tokens = Tokens {
        input: count("input_tokens")?.saturating_add(read.unwrap_or(0)).saturating_add(write.unwrap_or(0)),
        output: count("output_tokens").unwrap_or(0),
        cache_read: read,
        cache_write: write,
        cache_write_1h: document["cache_creation"]["ephemeral_1h_input_tokens"].as_u64(),
        reasoning: document["output_tokens_details"]["thinking_tokens"].as_u64(),
    };
    Some(Usage { tokens, source: TokenSource::Provider, raw: Some(document.to_string()) })
}

/// The counts that the events of a stream have told. They are cumulative: later values replace earlier ones, `null`s say nothing.
#[derive(Default)]
pub(super) struct Told(Map<String, Value>);

impl Told {
    /// Takes the counts of one event.
    pub(super) fn learn(&mut self, document: &Value) {
        for (name, value) in document.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            self.0.insert(name.clone(), value.clone());
        }
    }

    /// What a whole answer used.
    pub(super) fn whole(&self) -> Option<Usage> {
        usage(&self.document())
    }

    /// What an answer used that was cut off behind that many characters. Before the end the output count is a placeholder: the
    /// input is known, the output is estimated.
    pub(super) fn cut_off(&self, chars: usize) -> Option<Usage> {
        let mut usage = self.whole()?;
        usage.tokens.output = usage.tokens.output.max(estimate(chars));
        usage.source = TokenSource::Estimated;
        Some(usage)
    }

    /// All that was told, the tier included, as the provider writes it.
    pub(super) fn document(&self) -> Value {
        Value::Object(self.0.clone())
    }
}
