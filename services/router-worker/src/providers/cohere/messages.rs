//! Chat messages in Cohere's words: the same roles, but for `developer`, and narrower contents.

use crate::failure::Failure;
use serde_json::{Map, Value, json};

const NOT_SENT: &str = "cannot be sent to this model's provider";

/// All of them, in order.
pub(super) fn translate(messages: &Value) -> Result<Vec<Value>, Failure> {
    let Some(messages) = messages.as_array() else {
        return Err(Failure::inexpressible("messages", "must be a list"));
    };
    messages.iter().enumerate().map(|(at, message)| self::message(&format!("messages[{at}]"), message)).collect()
}

fn message(at: &str, message: &Value) -> Result<Value, Failure> {
    let Some(fields) = message.as_object() else { return Err(Failure::inexpressible(at, "must be an object")) };
    let content = |side| content(at, &message["content"], side);
    match message["role"].as_str() {
        Some("system" | "developer") => {
            known(at, fields, &[])?;
            Ok(json!({ "role": "system", "content": content(Side::Text)? }))
        }
        Some("user") => {
            known(at, fields, &[])?;
            Ok(json!({ "role": "user", "content": content(Side::User)? }))
        }
        Some("tool") => {
            // The call's id already says which tool it was, so a `name` adds nothing.
            known(at, fields, &["tool_call_id", "name"])?;
            if !message["tool_call_id"].is_string() {
                return Err(Failure::inexpressible(format!("{at}.tool_call_id"), "is required"));
            }
            let content = content(Side::Tool)?;
            Ok(json!({ "role": "tool", "tool_call_id": message["tool_call_id"], "content": content }))
        }
        Some("assistant") => assistant(at, fields),
        _ => Err(Failure::inexpressible(
            format!("{at}.role"),
            "must be `system`, `developer`, `user`, `assistant` or `tool`",
        )),
    }
}

/// What the provider said before goes back as it was: `tool_plan` and `citations` by their names, reasoning as the first part.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Value, Failure> {
    let own = ["tool_calls", "tool_plan", "citations"];
    known(at, message, &[&own[..], &["refusal", "reasoning_content", "annotations"]].concat())?;
    let mut out = json!({ "role": "assistant" });
    let said = match message.get("content").unwrap_or(&Value::Null) {
        Value::Null => message.get("refusal").cloned().unwrap_or_default(),
        said => content(at, said, Side::Text)?,
    };
    match (message.get("reasoning_content").filter(|text| text.as_str().is_some_and(|text| !text.is_empty())), said) {
        (Some(thinking), said) => {
            let mut list = vec![json!({ "type": "thinking", "thinking": thinking })];
            match said {
                Value::String(text) if !text.is_empty() => list.push(json!({ "type": "text", "text": text })),
                Value::Array(parts) => list.extend(parts),
                _ => {}
            }
            out["content"] = list.into();
        }
        (None, Value::Null) => {}
        (None, said) => out["content"] = said,
    }
    for (index, call) in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if call["type"] != "function" {
            let at = format!("{at}.tool_calls[{index}].type");
            return Err(Failure::inexpressible(at, "must be `function` for this model's provider"));
        }
    }
    for name in own {
        if let Some(value) = message.get(name).filter(|value| !is_empty(value)) {
            out[name] = value.clone();
        }
    }
    Ok(out)
}

/// Whose content it is; it decides which parts may be there.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Text,
    User,
    Tool,
}

fn content(at: &str, content: &Value, side: Side) -> Result<Value, Failure> {
    match content {
        Value::String(_) => Ok(content.clone()),
        Value::Array(parts) => parts
            .iter()
            .enumerate()
            .map(|(index, part)| self::part(&format!("{at}.content[{index}]"), part, side))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::from),
        _ => Err(Failure::inexpressible(format!("{at}.content"), "must be a string or a list of parts")),
    }
}

fn part(at: &str, part: &Value, side: Side) -> Result<Value, Failure> {
    match part["type"].as_str() {
        Some("text") if part["text"].is_string() => Ok(json!({ "type": "text", "text": part["text"] })),
        Some("refusal") if side == Side::Text && part["refusal"].is_string() => {
            Ok(json!({ "type": "text", "text": part["refusal"] }))
        }
        Some("image_url") if side == Side::User && part["image_url"]["url"].is_string() => {
            Ok(json!({ "type": "image_url", "image_url": part["image_url"] }))
        }
        // The provider's own, for callers who know what answers them.
        Some("document") if side == Side::Tool => Ok(part.clone()),
        _ => Err(Failure::inexpressible(
            format!("{at}.type"),
            "is a kind of part this model's provider does not take here",
        )),
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Refuses fields of a message that would be lost. `null`s and empty lists say nothing, so they may be there.
fn known(at: &str, message: &Map<String, Value>, fields: &[&str]) -> Result<(), Failure> {
    let is_known = |name: &str| matches!(name, "role" | "content") || fields.contains(&name);
    match message.iter().find(|(name, value)| !is_known(name) && !is_empty(value)) {
        Some((name, _)) => Err(Failure::inexpressible(format!("{at}.{name}"), NOT_SENT)),
        None => Ok(()),
    }
}
