//! Google's Gemini models, on the Gemini API and on Vertex AI: one wire format at two addresses, with chat translated both ways.
//!
//! Sources: <https://ai.google.dev/api/generate-content>, `…/gemini-api/docs/function-calling`, `…/thinking`,
//! `…/thought-signatures`, `…/openai` and `…/troubleshooting`; `google/ai/generativelanguage/v1beta/generative_service.proto` in
//! googleapis/googleapis; `google/genai/types.py`, `models.py` and `_api_client.py` in googleapis/python-genai, which also say where
//! the two differ. What the format cannot express is refused with the name of the field, never dropped. No idempotency key is sent:
//! the reference documents none.
//!
//! A thought's signature travels as it does in Google's own OpenAI compatibility layer, in `extra_content.google.thought_signature`
//! of a tool call, or of the message where no call carries it; a caller sends both back as they came.

mod contents;
mod embeddings;
mod errors;
mod media;
mod native;
mod request;
mod response;
mod service_account;
mod stream;
mod tools;

use super::{Answer, Asked, Encoded, Grant, Leaving, StreamDecoder, Wire};
use crate::failure::Failure;

pub(super) use embeddings::Embeddings;
pub(super) use native::Native;

/// The leaf, by where the models are.
#[derive(Debug, Clone)]
pub(super) enum Google {
    /// The Gemini API, with an API key.
    Gemini,
    /// Vertex AI, with a service account.
    Vertex {
        /// The Google Cloud project that is billed.
        project: String,
        /// Where the models run: a region, `us`, `eu` or `global`.
        location: String,
    },
}

impl Google {
    /// Vertex AI and its address. Errors with what is missing or no name of a location, which becomes part of a host's name.
    pub(super) fn vertex(project: Option<&str>, location: Option<&str>) -> Result<(Self, String), String> {
        let (Some(project), Some(location)) = (project, location) else {
            return Err("kind `vertex` needs `project` and `location`".to_owned());
        };
        if location.is_empty() || !location.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err("`location` is no location of Vertex AI, such as `global` or `europe-west4`".to_owned());
        }
        let host = match location {
            "global" => "aiplatform.googleapis.com".to_owned(),
            "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
            _ => format!("{location}-aiplatform.googleapis.com"),
        };
        Ok((Self::Vertex { project: project.to_owned(), location: location.to_owned() }, format!("https://{host}/v1")))
    }

    fn path(&self, model: &str, stream: bool) -> String {
        self.place(model, if stream { "streamGenerateContent?alt=sse" } else { "generateContent" })
    }

    /// The path of a model's method. A name with a slash in it is a whole resource's: a tuned model, an endpoint, another
    /// publisher's.
    fn place(&self, model: &str, method: &str) -> String {
        let name = match self {
            _ if model.contains('/') => model.split('/').map(segment).collect::<Vec<_>>().join("/"),
            Self::Gemini => format!("models/{}", segment(model)),
            Self::Vertex { .. } => format!("publishers/google/models/{}", segment(model)),
        };
        let parent = match self {
            Self::Gemini => String::new(),
            Self::Vertex { project, location } => format!("/projects/{}/locations/{location}", segment(project)),
        };
        format!("{parent}/{name}:{method}")
    }
}

impl Wire for Google {
    fn otel_name(&self) -> &'static str {
        match self {
            Self::Gemini => "gcp.gemini",
            Self::Vertex { .. } => "gcp.vertex_ai",
        }
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = request::encode(self, asked)?.to_string();
        Ok(Encoded::new(self.path(asked.upstream_model, asked.stream), body))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        stream::whole(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::new(asked))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        errors::classify(status, body)
    }

    fn grant(&self, key: Option<&str>, now_s: i64) -> Result<Option<Grant>, String> {
        match (self, key) {
            (Self::Gemini, _) => Ok(None),
            (Self::Vertex { .. }, None) => Ok(Some(service_account::of_the_machine())),
            (Self::Vertex { .. }, Some(key)) => service_account::of_a_key_file(key, now_s).map(Some),
        }
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        let header = |key: &str| match self {
            Self::Gemini => ("x-goog-api-key", key.to_owned()),
            Self::Vertex { .. } => ("authorization", format!("Bearer {key}")),
        };
        Ok(key.map(header).into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        // The reference names none; a proxy on the way may set this one.
        "x-request-id"
    }
}

/// A model up to Gemini 2.5: it thinks by a budget in tokens, and demands no signatures.
fn thinks_by_budget(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.starts_with("gemini-1.") || name.starts_with("gemini-2.")
}

/// A path's segment, percent-encoded (RFC 3986, 3.3).
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte);
    let byte = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_path() {
        let vertex = |location| Google::vertex(Some("p 1"), Some(location)).expect("a location");
        assert_eq!(Google::Gemini.path("gemini-3.5-flash", false), "/models/gemini-3.5-flash:generateContent");
        assert_eq!(Google::Gemini.path("a b?", true), "/models/a%20b%3F:streamGenerateContent?alt=sse");
        assert_eq!(Google::Gemini.path("tunedModels/mine", false), "/tunedModels/mine:generateContent");
        let path = "/projects/p%201/locations/global/publishers/google/models/m@001:generateContent";
        assert_eq!(vertex("global").0.path("m@001", false), path);
        let path = "/projects/p%201/locations/us-east1/endpoints/77:streamGenerateContent?alt=sse";
        assert_eq!(vertex("us-east1").0.path("endpoints/77", true), path);
    }

    #[test]
    fn the_host_is_the_locations() {
        let host = |location| Google::vertex(Some("p"), Some(location)).map(|(_, url)| url);
        assert_eq!(host("global").as_deref(), Ok("https://aiplatform.googleapis.com/v1"));
        assert_eq!(host("eu").as_deref(), Ok("https://aiplatform.eu.rep.googleapis.com/v1"));
        assert_eq!(host("europe-west4").as_deref(), Ok("https://europe-west4-aiplatform.googleapis.com/v1"));
        assert!(host("x.example.com/").is_err() && host("").is_err());
        assert!(Google::vertex(None, Some("global")).is_err() && Google::vertex(Some("p"), None).is_err());
    }
}
