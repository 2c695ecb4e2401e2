//! Chat messages as Messages content: roles, parts, tool calls and tool results.
//!
//! System and developer messages move to the top, in order, as Anthropic's own OpenAI compatibility layer does it
//! (<https://platform.claude.com/docs/en/api/openai-sdk>). Neighbouring messages of one role become one, because the
//! results of parallel tool calls must stand together in the message after the calls.

use super::request::inexpressible;
use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// System blocks and messages.
pub(super) fn translate(messages: &Value) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let Some(messages) = messages.as_array() else { return Err(inexpressible("messages", "must be a list")) };
    let (mut system, mut turns) = (Vec::new(), Turns::default());
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let Some(message) = message.as_object() else { return Err(inexpressible(at, "must be an object")) };
        match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => {
                known(&at, message, &["content"])?;
                system.extend(content(&at, message, Side::System)?);
            }
            Some("user") => {
                known(&at, message, &["content"])?;
                turns.add("user", content(&at, message, Side::User)?);
            }
            Some("assistant") => turns.add("assistant", assistant(&at, message)?),
            Some("tool") => turns.add("user", vec![tool_result(&at, message)?]),
            _ => {
                let at = format!("{at}.role");
                return Err(inexpressible(at, "must be `system`, `developer`, `user`, `assistant` or `tool`"));
            }
        }
    }
    Ok((system, turns.0))
}

/// Messages in order, neighbours of one role joined.
#[derive(Default)]
struct Turns(Vec<Value>);

impl Turns {
    fn add(&mut self, role: &str, blocks: Vec<Value>) {
        if let Some(last) = self.0.last_mut().filter(|last| last["role"] == role)
            && let Some(content) = last["content"].as_array_mut()
        {
            content.extend(blocks);
            return;
        }
        if !blocks.is_empty() {
            self.0.push(json!({ "role": role, "content": blocks }));
        }
    }
}

/// Who speaks; it decides which parts may be there.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    System,
    User,
    Assistant,
    Tool,
}

/// Refuses fields of a message that would be lost. `null`s and empty lists say nothing, so they may be there.
fn known(at: &str, message: &Map<String, Value>, fields: &[&str]) -> Result<(), Failure> {
    let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    match message.iter().find(|(name, value)| *name != "role" && !fields.contains(&name.as_str()) && !empty(value)) {
        Some((name, _)) => Err(inexpressible(format!("{at}.{name}"), "cannot be sent to this model's provider")),
        None => Ok(()),
    }
}

fn content(at: &str, message: &Map<String, Value>, side: Side) -> Result<Vec<Value>, Failure> {
    let parts = match message.get("content") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        // The provider refuses empty text blocks.
        Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![json!({ "type": "text", "text": text })]),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(inexpressible(format!("{at}.content"), "must be a string or a list of parts")),
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        let mut block = match (part["type"].as_str(), side) {
            (Some("text"), _) => text(&at, &part["text"])?,
            (Some("refusal"), Side::Assistant) => text(&at, &part["refusal"])?,
            (Some("image_url"), Side::User | Side::Tool) => Some(image(&at, &part["image_url"])?),
            (Some("file"), Side::User | Side::Tool) => Some(file(&at, &part["file"])?),
            _ => {
                return Err(inexpressible(
                    format!("{at}.type"),
                    "is a kind of part this model's provider does not take here",
                ));
            }
        };
        if let (Some(block), Some(cache)) = (&mut block, part.get("cache_control")) {
            block["cache_control"] = cache.clone();
        }
        blocks.extend(block);
    }
    Ok(blocks)
}

fn text(at: &str, value: &Value) -> Result<Option<Value>, Failure> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) => Ok(Some(json!({ "type": "text", "text": text }))),
        None => Err(inexpressible(at, "must hold a string")),
    }
}

/// A `data:` URL's media type and base64 text.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((kind.strip_suffix(";base64")?, data))
}

fn image(at: &str, image: &Value) -> Result<Value, Failure> {
    let url = image["url"].as_str().unwrap_or_default();
    let source = match data_url(url) {
        Some((media_type, data)) => json!({ "type": "base64", "media_type": media_type, "data": data }),
        None if url.starts_with("https://") || url.starts_with("http://") => json!({ "type": "url", "url": url }),
        None => return Err(inexpressible(format!("{at}.image_url.url"), "must be an http(s) or a base64 `data:` URL")),
    };
    // `detail` trades quality for price at OpenAI; `auto` is what happens anyway.
    if image.get("detail").is_some_and(|detail| !detail.is_null() && detail != "auto") {
        return Err(inexpressible(format!("{at}.image_url.detail"), "must be `auto` for this model's provider"));
    }
    Ok(json!({ "type": "image", "source": source }))
}

fn file(at: &str, file: &Value) -> Result<Value, Failure> {
    let Some((media_type @ "application/pdf", data)) = file["file_data"].as_str().and_then(data_url) else {
        return Err(inexpressible(format!("{at}.file"), "must be a PDF in `file_data` as a base64 `data:` URL"));
    };
    let source = json!({ "type": "base64", "media_type": media_type, "data": data });
    let mut block = json!({ "type": "document", "source": source });
    if let Some(name) = file["filename"].as_str() {
        block["title"] = name.into();
    }
    Ok(block)
}

/// Thinking blocks come first, signed as they were given; then text, then tool calls. A bare `reasoning_content` stays
/// behind: without its signature the provider does not take it, and nothing is lost that it would use. The same goes for
/// `extra_content`, another provider's signatures.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let fields =
        ["content", "refusal", "tool_calls", "thinking_blocks", "reasoning_content", "annotations", "extra_content"];
    known(at, message, &fields)?;
    let thinking = message.get("thinking_blocks").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut blocks = thinking;
    blocks.extend(content(at, message, Side::Assistant)?);
    if let Some(refusal) = message.get("refusal").filter(|refusal| !refusal.is_null()) {
        blocks.extend(text(&format!("{at}.refusal"), refusal)?);
    }
    for (index, call) in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        blocks.push(tool_use(&format!("{at}.tool_calls[{index}]"), call)?);
    }
    Ok(blocks)
}

fn tool_use(at: &str, call: &Value) -> Result<Value, Failure> {
    if call["type"] != "function" {
        return Err(inexpressible(format!("{at}.type"), "must be `function` for this model's provider"));
    }
    let (Some(id), Some(name)) = (call["id"].as_str(), call["function"]["name"].as_str()) else {
        return Err(inexpressible(at, "needs an id and a function name"));
    };
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
    let input = match arguments.trim() {
        "" => json!({}),
        json => serde_json::from_str::<Value>(json).ok().filter(Value::is_object).ok_or_else(|| {
            inexpressible(format!("{at}.function.arguments"), "must be a JSON object for this model's provider")
        })?,
    };
    Ok(json!({ "type": "tool_use", "id": id, "name": name, "input": input }))
}

fn tool_result(at: &str, message: &Map<String, Value>) -> Result<Value, Failure> {
    // The call's id already says which tool it was, so a `name` adds nothing.
    known(at, message, &["content", "tool_call_id", "name"])?;
    let Some(id) = message.get("tool_call_id").and_then(Value::as_str) else {
        return Err(inexpressible(format!("{at}.tool_call_id"), "is required"));
    };
    let blocks = content(at, message, Side::Tool)?;
    let mut result = json!({ "type": "tool_result", "tool_use_id": id });
    if !blocks.is_empty() {
        result["content"] = blocks.into();
    }
    Ok(result)
}
