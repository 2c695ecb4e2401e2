//! Databricks model serving: OpenAI's format at an endpoint of a workspace, such as the Foundation Model APIs have.
//!
//! Sources: <https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference>,
//! <https://docs.databricks.com/api/workspace/servingendpoints/query>, `…/dev-tools/auth/oauth-m2m` and, for the error document,
//! `databricks/sdk/errors/deserializer.py` of databricks-sdk-py.
//!
//! A credential is a token, or `CLIENT_ID:SECRET` of a service principal. A model that reasons answers with a list in `content`,
//! which becomes what other providers' reasoning becomes here; what of it must go back in a tool loop (`thinking_blocks`) does.

use super::{
    Answer, Asked, Decoded, Encoded, Fields, Frame, Grant, Leaving, StreamDecoder, Wire,
    beside::Side,
    completions::{self, Quirks, parts},
    embeddings, path, token,
};
use crate::failure::Failure;
use base64::Engine;
use serde_json::{Map, Value, json};

/// The leaf.
#[derive(Debug)]
pub(super) struct Databricks {
    /// The workspace, without a `/` at its end.
    host: String,
}

impl Databricks {
    /// For a workspace's address.
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.trim_end_matches('/').to_owned() }
    }
}

impl Wire for Databricks {
    fn otel_name(&self) -> &'static str {
        "databricks"
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = completions::encode(asked, Quirks::default())?;
        // The path names the endpoint; what is behind it is not the caller's to choose.
        body.remove("model");
        if let Some(mut messages) = body.read::<Value>("messages").ok().flatten()
            && give_back_reasoning(&mut messages)
        {
            body.put("messages", &messages);
        }
        Ok(Encoded::new(invocations(asked), body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let mut answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
        if each_choice(&mut answer, "message", parts::flatten) {
            return completions::decode(asked, answer.to_string().as_bytes());
        }
        completions::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(completions::Over(completions::Decoder::new(asked, Quirks::default()), frame))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        let document = serde_json::from_slice::<Value>(body).unwrap_or_default();
        if document["message"].is_string() { failure(status, &document) } else { completions::classify(status, body) }
    }

    fn grant(&self, key: Option<&str>, _: i64) -> Result<Option<Grant>, String> {
        let Some((id, secret)) = key.and_then(|key| key.split_once(':')) else { return Ok(None) };
        if id.is_empty() || secret.is_empty() {
            return Err("the configured key is neither a token nor CLIENT_ID:SECRET".to_owned());
        }
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
        Ok(Some(Grant {
            url: format!("{}/oidc/v1/token", self.host),
            headers: vec![("authorization", format!("Basic {basic}"))],
            form: Some(token::form(&[("grant_type", "client_credentials"), ("scope", "all-apis")])),
        }))
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        Ok(key.map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }
}

/// The side for embeddings. The reference knows no format but numbers.
#[derive(Debug)]
pub(super) struct Embeddings;

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = completions::encode(asked, Quirks::default())?;
        body.remove("model");
        embeddings::ask_for_numbers(&mut body)?;
        Ok(Encoded::new(invocations(asked), body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        embeddings::decode(asked, body)
    }
}

/// An endpoint is asked at the same path, whatever it is for.
fn invocations(asked: &Asked<'_>) -> String {
    format!("/serving-endpoints/{}/invocations", path::segment(asked.upstream_model))
}

/// The failure that an error document stands for. Its code is a word, or the status again.
fn failure(status: u16, document: &Value) -> Failure {
    let message = document["message"].as_str().unwrap_or_default();
    Failure { code: document["error_code"].as_str().map(str::to_owned), ..Failure::of_status(status, message) }
}

/// Puts an assistant's `thinking_blocks` where the model looks for its own reasoning. Says whether there were any.
fn give_back_reasoning(messages: &mut Value) -> bool {
    let mut changed = false;
    for message in messages.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        // The text alone is of no use to the model: other servers of this format ignore it, some refuse it.
        changed |= message.remove("reasoning_content").is_some();
        let Some(Value::Array(blocks)) = message.remove("thinking_blocks") else { continue };
        changed = true;
        let mut content: Vec<Value> = blocks
            .iter()
            // Claude's redacted ones, of another provider, have no text.
            .filter(|block| block["thinking"].is_string())
            .map(|block| {
                let mut summary = json!({ "type": "summary_text", "text": block["thinking"] });
                if block["signature"].is_string() {
                    summary["signature"] = block["signature"].clone();
                }
                json!({ "type": "reasoning", "summary": [summary] })
            })
            .collect();
        match message.get("content") {
            Some(Value::String(text)) if !text.is_empty() => content.push(json!({ "type": "text", "text": text })),
            Some(Value::Array(parts)) => content.extend(parts.iter().cloned()),
            _ => {}
        }
        if !content.is_empty() {
            message.insert("content".into(), content.into());
        }
    }
    changed
}

/// Does something to `message` or `delta` of each choice. Says whether it did to any.
fn each_choice(answer: &mut Value, name: &str, change: fn(&mut Map<String, Value>) -> bool) -> bool {
    let mut changed = false;
    for choice in answer.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        changed |= choice.get_mut(name).and_then(Value::as_object_mut).is_some_and(change);
    }
    changed
}

/// A frame of a stream, whose deltas may have a list in `content` too.
fn frame(inner: &mut completions::Decoder, frame: &Frame) -> Result<Decoded, Failure> {
    let mut chunk = serde_json::from_str::<Value>(&frame.data).unwrap_or_default();
    if chunk["error_code"].is_string() {
        return Err(failure(500, &chunk));
    }
    if each_choice(&mut chunk, "delta", parts::flatten_delta) {
        let fields = Fields::parse(&chunk.to_string()).map_err(|_| Failure::malformed("no JSON object"))?;
        return inner.chunk(fields);
    }
    inner.frame(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_principals_credential_is_exchanged_at_the_workspace() {
        let databricks = Databricks::new("https://x.cloud.databricks.com/");
        let grant = databricks.grant(Some("id:s:x"), 0).expect("well formed").expect("a grant");
        assert_eq!(grant.url, "https://x.cloud.databricks.com/oidc/v1/token");
        assert_eq!(grant.headers, [("authorization", "Basic aWQ6czp4".to_owned())]);
        assert_eq!(grant.form.as_deref(), Some("grant_type=client_credentials&scope=all-apis"));
        assert!(databricks.grant(Some("dapi0123"), 0).expect("a token").is_none());
        assert!(databricks.grant(Some(":sk-secret"), 0).is_err_and(|reason| !reason.contains("secret")));
    }
}
