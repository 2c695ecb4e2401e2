//! Cohere's chat API, version 2, translated both ways.
//!
//! Sources: <https://docs.cohere.com/reference/chat>, <https://docs.cohere.com/reference/chat-stream>,
//! <https://docs.cohere.com/docs/streaming>, <https://docs.cohere.com/docs/tool-use-streaming>,
//! <https://docs.cohere.com/reference/errors> and the types of `cohere-ai/cohere-python`. What the API cannot express is refused
//! with the name of the field. What it says beside OpenAI's shape stays under its own names: `tool_plan` and `citations`.

mod embeddings;
mod messages;
mod request;
mod response;
mod stream;

use super::{Answer, Asked, Encoded, Leaving, StreamDecoder, Wire};
use crate::failure::Failure;
use serde_json::Value;

pub(super) use embeddings::Embeddings;

/// The leaf.
#[derive(Debug)]
pub(super) struct Cohere;

impl Wire for Cohere {
    fn otel_name(&self) -> &'static str {
        "cohere"
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        Ok(Encoded::new("/chat", request::encode(asked)?.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        response::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::new(asked))
    }

    /// An error document is `{"message": TEXT, "id": …}`.
    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = document["message"].as_str().map(str::to_owned);
        let message = message.unwrap_or_else(|| format!("the provider answered with status {status}"));
        let request_id = document["id"].as_str().map(str::to_owned);
        Failure { request_id, ..Failure::of_status(status, message) }
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        Ok(key.map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        "x-debug-trace-id"
    }
}
