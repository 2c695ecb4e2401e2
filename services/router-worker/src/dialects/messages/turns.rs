//! Messages content as chat messages: parts, tool calls and tool results.

use super::super::{Takes, one_or_many, reason, tool_content};
use crate::failure::Failure;
use serde_json::{Value, json};

/// What stands before the result of a tool that failed.
const FAILED: &str = "[error] ";

/// The system prompt: a text, or blocks of text.
pub(super) fn system(system: &Value, marks: bool) -> Result<Option<Value>, Failure> {
    let content = match system {
        Value::String(text) => Value::from(text.as_str()),
        Value::Array(blocks) => {
            let parts = blocks.iter().enumerate().map(|(index, block)| part(&format!("system[{index}]"), block, marks));
            one_or_many(parts.collect::<Result<Vec<Value>, Failure>>()?)
        }
        _ => return Err(Failure::inexpressible("system", "must be a text or a list of text blocks")),
    };
    Ok((content != "" && content != json!([])).then(|| json!({ "role": "system", "content": content })))
}

/// Adds the chat messages that one message becomes.
pub(super) fn add(messages: &mut Vec<Value>, at: &str, message: &Value, takes: Takes) -> Result<(), Failure> {
    let marks = takes.marks;
    let blocks = match &message["content"] {
        Value::String(text) => vec![json!({ "type": "text", "text": text })],
        Value::Array(blocks) => blocks.clone(),
        _ => return Err(Failure::inexpressible(format!("{at}.content"), "must be a text or a list of blocks")),
    };
    match message["role"].as_str() {
        Some("user") => user(messages, at, &blocks, marks),
        Some("assistant") => assistant(messages, at, &blocks, takes),
        Some("system") => {
            let parts = blocks.iter().enumerate().map(|(index, block)| part(&block_at(at, index), block, marks));
            let content = one_or_many(parts.collect::<Result<Vec<Value>, Failure>>()?);
            messages.push(json!({ "role": "system", "content": content }));
            Ok(())
        }
        _ => Err(Failure::inexpressible(format!("{at}.role"), "must be `user`, `assistant` or `system`")),
    }
}

fn block_at(at: &str, index: usize) -> String {
    format!("{at}.content[{index}]")
}

/// Refuses a field of an object that would be lost, by its name; a `null` says nothing.
pub(super) fn known(at: &str, object: &Value, is_known: impl Fn(&str, &Value) -> bool) -> Result<(), Failure> {
    let mut fields = object.as_object().into_iter().flatten();
    match fields.find(|(name, value)| !value.is_null() && !is_known(name, value)) {
        Some((name, _)) => Err(Failure::no_equivalent(format!("{at}.{name}"))),
        None => Ok(()),
    }
}

/// Refuses a field of a block that would be lost. What Claude's answers have in theirs is known, because they come back
/// with the next request.
fn known_in_block(at: &str, block: &Value) -> Result<(), Failure> {
    let kind = block["type"].as_str().unwrap_or_default();
    let source = &block["source"];
    known(at, block, |name, value| match (kind, name) {
        (_, "type" | "cache_control") => true,
        ("text", "text" | "citations") => true,
        ("image" | "document", "source") => true,
        // It is a file's name; a text has none.
        ("document", "title") => source["type"] == "base64",
        ("document", "citations") => value["enabled"] != true,
        ("tool_use", "id" | "name" | "input" | "caller") => true,
        ("tool_result", "tool_use_id" | "content" | "is_error") => true,
        _ => false,
    })?;
    known(&format!("{at}.source"), source, |name, _| matches!(name, "type" | "media_type" | "data" | "url"))
}

/// Results of tools come first, each in a message of its own: they answer the calls of the message before.
fn user(messages: &mut Vec<Value>, at: &str, blocks: &[Value], marks: bool) -> Result<(), Failure> {
    let mut parts = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let at = block_at(at, index);
        if block["type"] == "tool_result" {
            messages.push(tool_result(&at, block, &mut parts, marks)?);
        } else {
            parts.push(part(&at, block, marks)?);
        }
    }
    if !parts.is_empty() {
        messages.push(json!({ "role": "user", "content": one_or_many(parts) }));
    }
    Ok(())
}

fn tool_result(at: &str, block: &Value, beside: &mut Vec<Value>, marks: bool) -> Result<Value, Failure> {
    known_in_block(at, block)?;
    let mut texts = Vec::new();
    match &block["content"] {
        Value::Null => {}
        Value::String(text) => texts.push(json!({ "type": "text", "text": text })),
        Value::Array(blocks) => {
            for (index, block) in blocks.iter().enumerate() {
                let part = part(&block_at(at, index), block, marks)?;
                if part["type"] == "text" { texts.push(part) } else { beside.push(part) }
            }
        }
        _ => return Err(Failure::inexpressible(format!("{at}.content"), "must be a text or a list of blocks")),
    }
    if block["is_error"] == true {
        match texts.first_mut() {
            Some(first) => first["text"] = format!("{FAILED}{}", first["text"].as_str().unwrap_or_default()).into(),
            None => texts.push(json!({ "type": "text", "text": FAILED.trim_end() })),
        }
    }
    Ok(json!({ "role": "tool", "tool_call_id": block["tool_use_id"], "content": tool_content(texts) }))
}

fn assistant(messages: &mut Vec<Value>, at: &str, blocks: &[Value], takes: Takes) -> Result<(), Failure> {
    let (mut parts, mut calls, mut thinking, mut reasoning) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    for (index, block) in blocks.iter().enumerate() {
        match block["type"].as_str() {
            // Without a signature it came from another provider's model than Claude.
            Some("thinking" | "redacted_thinking") => {
                if takes.marks && block["signature"] != "" {
                    thinking.push(block.clone());
                }
                if block["signature"].as_str().unwrap_or_default().is_empty() {
                    reasoning.push_str(block["thinking"].as_str().unwrap_or_default());
                }
            }
            Some("tool_use") => {
                known_in_block(&block_at(at, index), block)?;
                let function = json!({ "name": block["name"], "arguments": block["input"].to_string() });
                calls.push(json!({ "id": block["id"], "type": "function", "function": function }));
            }
            _ => parts.push(part(&block_at(at, index), block, takes.marks)?),
        }
    }
    // A turn of thoughts alone says nothing to who does not take them, and a message without content is refused.
    if parts.is_empty() && calls.is_empty() && thinking.is_empty() {
        return Ok(());
    }
    let content = if parts.is_empty() { Value::Null } else { one_or_many(parts) };
    let mut message = json!({ "role": "assistant", "content": content });
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    if !thinking.is_empty() {
        message["thinking_blocks"] = thinking.into();
    }
    if takes.reasoning {
        reason(&mut message, &reasoning);
    }
    messages.push(message);
    Ok(())
}

/// A block of text, image or document as a part.
fn part(at: &str, block: &Value, marks: bool) -> Result<Value, Failure> {
    let source = &block["source"];
    let data_url = || {
        let (media_type, data) = (source["media_type"].as_str(), source["data"].as_str());
        Some(format!("data:{};base64,{}", media_type?, data?))
    };
    let part = match (block["type"].as_str(), source["type"].as_str()) {
        (Some("text"), _) if block["text"].is_string() => Some(json!({ "type": "text", "text": block["text"] })),
        (Some("image"), Some("base64")) => {
            data_url().map(|url| json!({ "type": "image_url", "image_url": { "url": url } }))
        }
        (Some("image"), Some("url")) => Some(json!({ "type": "image_url", "image_url": { "url": source["url"] } })),
        (Some("document"), Some("base64")) => data_url().map(|data| {
            let name = block["title"].as_str().unwrap_or("document.pdf");
            json!({ "type": "file", "file": { "filename": name, "file_data": data } })
        }),
        (Some("document"), Some("text")) => Some(json!({ "type": "text", "text": source["data"] })),
        _ => None,
    };
    let Some(mut part) = part else {
        return Err(Failure::inexpressible(
            format!("{at}.type"),
            "is a block that this model's provider does not take here",
        ));
    };
    known_in_block(at, block)?;
    if marks && !block["cache_control"].is_null() {
        part["cache_control"] = block["cache_control"].clone();
    }
    Ok(part)
}
