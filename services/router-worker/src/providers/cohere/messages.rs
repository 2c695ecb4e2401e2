//! Chat messages in Cohere's words: the same roles, but for `developer`, and narrower contents.

use super::super::conversation::{Role, bare_calls, behind, call_id, each, is_empty, not_taken, string_or_parts};
use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// Fields of an assistant's message that are the provider's own words, which go back as they came.
const GIVEN_BACK: [&str; 2] = ["tool_plan", "citations"];

/// All of them, in order.
pub(super) fn translate(messages: &Value) -> Result<Vec<Value>, Failure> {
    each(messages, &[], |at, role, message| {
        let content = || content(at, message.get("content").unwrap_or(&Value::Null), role);
        match role {
            Role::System => Ok(json!({ "role": "system", "content": content()? })),
            Role::User => Ok(json!({ "role": "user", "content": content()? })),
            Role::Tool => {
                let id = call_id(at, message)?;
                Ok(json!({ "role": "tool", "tool_call_id": id, "content": content()? }))
            }
            Role::Assistant => assistant(at, message),
        }
    })
}

/// What the provider said before goes back as it was: `tool_plan` and `citations` by their names, reasoning as the first part.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Value, Failure> {
    let said = match message.get("content").unwrap_or(&Value::Null) {
        Value::Null => message.get("refusal").cloned().unwrap_or_default(),
        said => content(at, said, Role::Assistant)?,
    };
    let thinking = message.get("reasoning_content").filter(|text| text.as_str().is_some_and(|text| !text.is_empty()));
    let thinking = thinking.map(|thinking| json!({ "type": "thinking", "thinking": thinking }));
    let mut out = json!({ "role": "assistant" });
    let content = behind(thinking.into_iter().collect(), said);
    if !content.is_null() {
        out["content"] = content;
    }
    let calls = bare_calls(at, message)?;
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    for name in GIVEN_BACK {
        if let Some(value) = message.get(name).filter(|value| !is_empty(value)) {
            out[name] = value.clone();
        }
    }
    Ok(out)
}

fn content(at: &str, content: &Value, role: Role) -> Result<Value, Failure> {
    string_or_parts(at, content, |at, part| self::part(at, part, role))
}

fn part(at: &str, part: &Value, role: Role) -> Result<Value, Failure> {
    match part["type"].as_str() {
        Some("text") if part["text"].is_string() => Ok(json!({ "type": "text", "text": part["text"] })),
        Some("refusal") if matches!(role, Role::System | Role::Assistant) && part["refusal"].is_string() => {
            Ok(json!({ "type": "text", "text": part["refusal"] }))
        }
        Some("image_url") if role == Role::User && part["image_url"]["url"].is_string() => {
            Ok(json!({ "type": "image_url", "image_url": part["image_url"] }))
        }
        // The provider's own, for callers who know what answers them.
        Some("document") if role == Role::Tool => Ok(part.clone()),
        _ => Err(not_taken(at)),
    }
}
