//! The Responses API for callers who speak it: bodies pass through but for `model` and `store`, and answers but for `model`.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/responses>, `…/responses-streaming`,
//! <https://platform.openai.com/docs/guides/migrate-to-responses> (what `store: false` demands of reasoning), and
//! <https://learn.microsoft.com/azure/ai-foundry/openai/how-to/responses> for Azure.
//!
//! The API can keep a conversation at the provider. That is left to the caller where the endpoint allows it, which has one
//! destination then, so that the next request comes to the same provider; elsewhere nothing is stored, what refers to it is refused,
//! and who asked for it is told. Nothing runs in the background of a provider: where a caller may ask for that, ingress lets it have
//! its answer later, and what comes here does not say so.

mod answer;
mod stream;

use super::{Answer, Asked, Encoded, Fields, StreamDecoder, beside::Side};
use crate::failure::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

const STORED: &str = "refers to what a provider has stored, which this endpoint does not allow; send the whole conversation in \
                      `input`, or ask an administrator for `allow_store: true` at an endpoint with one destination";
const IN_BACKGROUND: &str = "is only for an endpoint with one destination, which speaks this API itself; leave it out, or submit a job \
                             to your team's topic";

/// The side for callers of the same API.
#[derive(Debug)]
pub(super) struct Responses {
    /// Below the base URL.
    pub path: &'static str,
}

impl Side for Responses {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = asked.passed_on();
        if asked.stream {
            body.put("stream", &true);
        } else {
            body.remove("stream");
            body.remove("stream_options");
        }
        if let Some(failure) = asks_for_later(&body) {
            return Err(failure);
        }
        let mut undone = Vec::new();
        if !asked.may_store {
            if let Some(failure) = refers_to_stored(&body) {
                return Err(failure);
            }
            undone.extend(unkept(&body));
            body.put("store", &false);
        }
        if body.get("store").is_some_and(|store| store.get() == "false") {
            readable_only(&mut body);
        }
        Ok(Encoded { undone, ..Encoded::new(self.path, body.to_json()) })
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        answer::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::new(asked))
    }
}

/// Refuses a body that goes on with what a provider has stored, for where nothing is.
pub(crate) fn refers_to_stored(body: &Fields) -> Option<Failure> {
    let name = ["previous_response_id", "conversation"].into_iter().find(|name| body.get(name).is_some())?;
    Some(Failure::inexpressible(name, STORED))
}

/// Refuses a body that asks for its answer in the background. Where that is possible, ingress has left the field out.
pub(crate) fn asks_for_later(body: &Fields) -> Option<Failure> {
    let asks = body.get("background").is_some_and(|background| background.get() == "true");
    asks.then(|| Failure::inexpressible("background", IN_BACKGROUND))
}

/// The field by which a body asks that the answer be stored, for where it is not.
pub(crate) fn unkept(body: &Fields) -> Option<&'static str> {
    body.get("store").is_some_and(|store| store.get() == "true").then_some("store")
}

/// Leaves out reasoning that its model cannot read again: nothing of it is stored, and it is not in the item. The gateway shows
/// other providers' reasoning so, and OpenAI refuses it.
fn readable_only(body: &mut Fields) {
    #[derive(Deserialize)]
    struct Item {
        #[serde(rename = "type")]
        kind: String,
        encrypted_content: Option<String>,
    }
    let is_readable = |item: &RawValue| match serde_json::from_str::<Item>(item.get()) {
        Ok(item) => item.kind != "reasoning" || item.encrypted_content.is_some_and(|content| !content.is_empty()),
        Err(_) => true,
    };
    let Ok(Some(mut items)) = body.read::<Vec<Box<RawValue>>>("input") else { return };
    let before = items.len();
    items.retain(|item| is_readable(item));
    if items.len() < before {
        body.put("input", &items);
    }
}
