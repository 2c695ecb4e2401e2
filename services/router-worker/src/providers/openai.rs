//! OpenAI, and by a preset or an address any other server of its chat completions format (vLLM, Ollama, TGI, …).
//!
//! Sources: those of `completions`, and for each preset the reference that stands beside it in the configuration's table.
//! No idempotency key is sent: the reference documents none, and the official SDKs make one but send no header with it.

use super::{
    Answer, Asked, Encoded, Leaving, StreamDecoder, Wire,
    completions::{self, Quirks},
};
use crate::failure::Failure;
use tollgate_runtime::config::Preset;

const HOST: &str = "api.openai.com";

/// The leaf.
#[derive(Debug)]
pub(super) struct OpenAi {
    otel_name: &'static str,
    /// What the server does otherwise, whichever of its APIs is called.
    pub(super) quirks: Quirks,
}

impl OpenAi {
    /// For one of the servers that are known, else for OpenAI itself or one like it.
    pub(super) fn new(preset: Option<&Preset>) -> Self {
        let quirks = preset.map_or(Quirks::default(), |preset| Quirks {
            no_stream_options: preset.no_stream_options,
            max_tokens_only: preset.max_tokens_only,
        });
        Self { otel_name: preset.map_or("openai", |preset| preset.otel_name), quirks }
    }
}

/// Whether an address is one of OpenAI's own, that of a region (`eu.api.openai.com`) included.
pub(super) fn is_own(base_url: &str) -> bool {
    let url = reqwest::Url::parse(base_url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
    host == HOST || host.strip_suffix(HOST).is_some_and(|region| region.ends_with('.'))
}

impl Wire for OpenAi {
    fn otel_name(&self) -> &'static str {
        self.otel_name
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = completions::encode(asked, self.quirks)?;
        Ok(Encoded::new("/chat/completions", body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        completions::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(completions::Decoder::new(asked, self.quirks))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        completions::classify(status, body)
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        Ok(key.map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_openais_own_by_its_host() {
        for own in ["https://api.openai.com/v1", "https://eu.api.openai.com/v1/"] {
            assert!(is_own(own), "{own}");
        }
        for other in
            ["http://127.0.0.1:8000/v1", "https://notapi.openai.com.test/api.openai.com", "https://xapi.openai.com"]
        {
            assert!(!is_own(other), "{other}");
        }
    }
}
