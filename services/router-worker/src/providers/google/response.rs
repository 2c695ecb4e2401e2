//! The parts of a GenerateContentResponse in OpenAI's words.
//!
//! Source: `google/ai/generativelanguage/v1beta/generative_service.proto` in googleapis/googleapis (candidates, finish reasons,
//! usage, log probabilities).

use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use serde_json::{Map, Value, json};
use tollgate_schemas::TokenSource;

/// How an id begins that the gateway gave to a call, because Gemini gave none.
const OWN_ID: &str = "tg_";
/// OpenAI takes ids of 40 characters at most, and a conversation may move there.
const RESPONSE_ID_MAX_CHARS: usize = 24;

/// Whether a call's id means nothing to the provider.
pub(super) fn is_own_id(id: &str) -> bool {
    id.starts_with(OWN_ID)
}

/// What is particular to an answer among the calls of a conversation.
pub(super) fn id_stem(response_id: &Value, created: i64) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let id: String =
        response_id.as_str().unwrap_or_default().chars().filter(plain).take(RESPONSE_ID_MAX_CHARS).collect();
    if id.is_empty() { created.to_string() } else { id }
}

/// What parts of a candidate amount to.
#[derive(Default)]
pub(super) struct Piece {
    /// Text of the answer.
    pub text: String,
    /// Text of thoughts.
    pub reasoning: String,
    /// Tool calls with their `index`.
    pub calls: Vec<Value>,
    /// A signature that stands with no call.
    pub signature: Option<String>,
}

impl Piece {
    /// Reads `parts`; the candidate has made `before` calls, whose ids begin with `id`. Errors if there is something in them that
    /// chat has no place for.
    pub(super) fn read(parts: &Value, before: usize, id: &str) -> Result<Self, Failure> {
        let mut piece = Self::default();
        for part in parts.as_array().into_iter().flatten() {
            let signature = part["thoughtSignature"].as_str().filter(|signature| !signature.is_empty());
            if part["functionCall"].is_object() {
                let index = before + piece.calls.len();
                piece.calls.push(call(&part["functionCall"], signature, index, id));
                continue;
            }
            if part.get("inlineData").is_some() || part.get("fileData").is_some() {
                return Err(Failure::malformed("an image or a file, which the chat format has no place for"));
            }
            let text = part["text"].as_str().unwrap_or_default();
            if part["thought"] == true {
                piece.reasoning.push_str(text)
            } else {
                piece.text.push_str(text)
            }
            if let Some(signature) = signature {
                piece.signature = Some(signature.to_owned());
            }
        }
        Ok(piece)
    }
}

fn call(call: &Value, signature: Option<&str>, index: usize, id: &str) -> Value {
    let given = call["id"].as_str().filter(|id| !id.is_empty());
    let id = given.map_or_else(|| format!("{OWN_ID}{id}_{index}"), str::to_owned);
    let arguments = if call["args"].is_object() { call["args"].to_string() } else { "{}".to_owned() };
    let function = json!({ "name": call["name"].as_str().unwrap_or_default(), "arguments": arguments });
    let mut out = json!({ "index": index, "id": id, "type": "function", "function": function });
    if let Some(signature) = signature {
        out["extra_content"] = extra_content(signature);
    }
    out
}

/// Where a signature is in an answer.
pub(super) fn extra_content(signature: &str) -> Value {
    json!({ "google": { "thought_signature": signature } })
}

/// How an answer ended, and why if the rest of it was withheld: for safety, for what it recites, for a call that made no sense, …
pub(super) fn finish(candidate: &Value, calls: bool) -> Option<(&'static str, Option<String>)> {
    match candidate["finishReason"].as_str()? {
        "STOP" | "FINISH_REASON_UNSPECIFIED" if calls => Some(("tool_calls", None)),
        "STOP" | "FINISH_REASON_UNSPECIFIED" => Some(("stop", None)),
        "MAX_TOKENS" => Some(("length", None)),
        reason => {
            let message = candidate["finishMessage"].as_str().filter(|message| !message.is_empty());
            let message = message.map_or_else(|| format!("the provider ended the answer: {reason}"), str::to_owned);
            Some(("content_filter", Some(message)))
        }
    }
}

/// Why a prompt got no answer at all.
pub(super) fn block(feedback: &Value) -> Option<String> {
    let reason = feedback["blockReason"].as_str()?;
    let message = feedback["blockReasonMessage"].as_str().filter(|message| !message.is_empty());
    Some(message.map_or_else(|| format!("the provider blocked the prompt: {reason}"), str::to_owned))
}

/// Log probabilities of the chosen tokens, with the likeliest at each step.
pub(super) fn logprobs(result: &Value) -> Value {
    let Some(chosen) = result["chosenCandidates"].as_array() else { return Value::Null };
    let token = |of: &Value| json!({ "token": of["token"], "logprob": of["logProbability"], "bytes": null });
    let content: Vec<Value> = chosen
        .iter()
        .enumerate()
        .map(|(step, chosen)| {
            let top = result["topCandidates"][step]["candidates"].as_array();
            let mut out = token(chosen);
            out["top_logprobs"] = top.into_iter().flatten().map(token).collect::<Vec<_>>().into();
            out
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

/// The tier that served the call, in the provider's words in small letters; `None` if it does not say. Vertex AI speaks of a kind
/// of traffic; its paid tiers have the names there that they have in a request.
pub(super) fn tier(usage: &Map<String, Value>) -> Option<String> {
    let word = usage.get("serviceTier").or_else(|| usage.get("trafficType"))?.as_str()?.to_lowercase();
    let word = word.trim_start_matches("service_tier_");
    Some(match word {
        "on_demand_priority" => "priority".to_owned(),
        "on_demand_flex" => "flex".to_owned(),
        word => word.to_owned(),
    })
}

/// A tier in OpenAI's words.
pub(super) fn openai_tier(tier: &str) -> &str {
    if matches!(tier, "standard" | "on_demand" | "unspecified") { "default" } else { tier }
}

/// Reads Google's usage document, which counts thoughts beside the candidates. `None` if it has no counts.
pub(super) fn usage(document: &Map<String, Value>) -> Option<Usage> {
    let count = |name: &str| document.get(name).and_then(Value::as_u64);
    let (prompt, total) = (count("promptTokenCount"), count("totalTokenCount"));
    prompt.or(total)?;
    let input = prompt.unwrap_or(0).saturating_add(count("toolUsePromptTokenCount").unwrap_or(0));
    let (candidates, thoughts) = (count("candidatesTokenCount").unwrap_or(0), count("thoughtsTokenCount"));
    // A server that counts thoughts among the candidates has a total that says so.
    let among =
        total == Some(input.saturating_add(candidates)) && thoughts.is_some_and(|thoughts| thoughts <= candidates);
    let tokens = Tokens {
        input,
        output: if among { candidates } else { candidates.saturating_add(thoughts.unwrap_or(0)) },
        cache_read: count("cachedContentTokenCount"),
        cache_write: None,
        cache_write_1h: None,
        reasoning: thoughts,
    };
    let raw = Some(Value::Object(document.clone()).to_string());
    Some(Usage { tokens, source: TokenSource::Provider, raw })
}
