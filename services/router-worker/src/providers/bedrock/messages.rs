//! Chat messages as Converse content: roles, parts, tool calls and tool results.
//!
//! System and developer messages move to the top, in order. Neighbouring messages of one role become one, because turns must
//! alternate and the results of parallel tool calls must stand together in the message after the calls. A `cache_control` becomes
//! a cache point behind what it stands at. Images and files come with their bytes: Converse fetches nothing from the web.

use super::request::inexpressible;
use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// Media types of the documents that Converse reads, and its names for them.
const DOCUMENTS: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("text/html", "html"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
];
const DOCUMENT_NAME_MAX_CHARS: usize = 200;

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
            Some("tool") => turns.add("user", tool_result(&at, message)?),
            _ => {
                let at = format!("{at}.role");
                return Err(inexpressible(at, "must be `system`, `developer`, `user`, `assistant` or `tool`"));
            }
        }
    }
    Ok((system, turns.0))
}

/// The cache point that a `cache_control` stands for; it may say how long the cache lives.
pub(super) fn cache_point(control: &Value) -> Value {
    let mut point = json!({ "type": "default" });
    if control["ttl"].is_string() {
        point["ttl"] = control["ttl"].clone();
    }
    json!({ "cachePoint": point })
}

fn is_cache_point(block: &Value) -> bool {
    !block["cachePoint"].is_null()
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
        Some(Value::String(text)) => return Ok(vec![json!({ "text": text })]),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(inexpressible(format!("{at}.content"), "must be a string or a list of parts")),
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        let block = match (part["type"].as_str(), side) {
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
        let cache = part.get("cache_control").filter(|cache| block.is_some() && !cache.is_null());
        blocks.extend(block.into_iter().chain(cache.map(cache_point)));
    }
    Ok(blocks)
}

fn text(at: &str, value: &Value) -> Result<Option<Value>, Failure> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) => Ok(Some(json!({ "text": text }))),
        None => Err(inexpressible(at, "must hold a string")),
    }
}

/// A `data:` URL's media type and base64 text.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((kind.strip_suffix(";base64")?, data))
}

fn image(at: &str, image: &Value) -> Result<Value, Failure> {
    let (format, data) = match image["url"].as_str().and_then(data_url) {
        Some(("image/png", data)) => ("png", data),
        Some(("image/jpeg" | "image/jpg", data)) => ("jpeg", data),
        Some(("image/gif", data)) => ("gif", data),
        Some(("image/webp", data)) => ("webp", data),
        _ => {
            return Err(inexpressible(
                format!("{at}.image_url.url"),
                "must be a base64 `data:` URL of a PNG, JPEG, GIF or WebP image for this model's provider",
            ));
        }
    };
    // `detail` trades quality for price at OpenAI; `auto` is what happens anyway.
    if image.get("detail").is_some_and(|detail| !detail.is_null() && detail != "auto") {
        return Err(inexpressible(format!("{at}.image_url.detail"), "must be `auto` for this model's provider"));
    }
    Ok(json!({ "image": { "format": format, "source": { "bytes": data } } }))
}

fn file(at: &str, file: &Value) -> Result<Value, Failure> {
    let found = file["file_data"].as_str().and_then(data_url);
    let known = |media_type: &str| DOCUMENTS.iter().find(|(known, _)| *known == media_type);
    let Some((format, data)) = found.and_then(|(media_type, data)| Some((known(media_type)?.1, data))) else {
        return Err(inexpressible(
            format!("{at}.file"),
            "must be a PDF, text, Markdown, HTML, CSV, Word or Excel document in `file_data` as a base64 `data:` URL",
        ));
    };
    let name = document_name(file["filename"].as_str().unwrap_or_default(), at);
    Ok(json!({ "document": { "format": format, "name": name, "source": { "bytes": data } } }))
}

/// A document's name in the characters that Converse takes: letters, digits, hyphens, brackets and single blanks. One without a
/// name is named after its place, because two documents of a request must not have the same.
fn document_name(filename: &str, at: &str) -> String {
    let stem = filename.rsplit_once('.').map_or(filename, |(stem, _)| stem);
    let named = if stem.is_empty() { at } else { stem };
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-()[]".contains(letter);
    let words: Vec<&str> = named.split(|letter| !allowed(letter)).filter(|word| !word.is_empty()).collect();
    let name: String = words.join(" ").chars().take(DOCUMENT_NAME_MAX_CHARS).collect();
    if name.is_empty() { "document".to_owned() } else { name }
}

/// Thinking blocks come first, signed as they were given; then text, then tool calls. A bare `reasoning_content` stays behind:
/// the provider takes it only with its signature.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    known(at, message, &["content", "refusal", "tool_calls", "thinking_blocks", "reasoning_content", "annotations"])?;
    let list = |name: &str| message.get(name).and_then(Value::as_array).into_iter().flatten().enumerate();
    let mut blocks = Vec::new();
    for (index, block) in list("thinking_blocks") {
        blocks.push(thinking(&format!("{at}.thinking_blocks[{index}]"), block)?);
    }
    blocks.extend(content(at, message, Side::Assistant)?);
    if let Some(refusal) = message.get("refusal").filter(|refusal| !refusal.is_null()) {
        blocks.extend(text(&format!("{at}.refusal"), refusal)?);
    }
    for (index, call) in list("tool_calls") {
        blocks.push(tool_use(&format!("{at}.tool_calls[{index}]"), call)?);
    }
    Ok(blocks)
}

fn thinking(at: &str, block: &Value) -> Result<Value, Failure> {
    let content = match (block["type"].as_str(), &block["thinking"], &block["signature"], &block["data"]) {
        (Some("thinking"), Value::String(text), Value::String(signature), _) => {
            json!({ "reasoningText": { "text": text, "signature": signature } })
        }
        (Some("redacted_thinking"), _, _, Value::String(data)) => json!({ "redactedContent": data }),
        _ => return Err(inexpressible(at, "must be a `thinking` block with its signature, or `redacted_thinking`")),
    };
    Ok(json!({ "reasoningContent": content }))
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
    Ok(json!({ "toolUse": { "toolUseId": id, "name": name, "input": input } }))
}

/// The result, and behind it the cache points of its parts: inside there may be none.
fn tool_result(at: &str, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    // The call's id already says which tool it was, so a `name` adds nothing.
    known(at, message, &["content", "tool_call_id", "name"])?;
    let Some(id) = message.get("tool_call_id").and_then(Value::as_str) else {
        return Err(inexpressible(format!("{at}.tool_call_id"), "is required"));
    };
    let (points, blocks): (Vec<Value>, Vec<Value>) =
        content(at, message, Side::Tool)?.into_iter().partition(is_cache_point);
    let result = json!({ "toolResult": { "toolUseId": id, "content": blocks } });
    // One is enough: they would stand at the same place.
    Ok(std::iter::once(result).chain(points.into_iter().next_back()).collect())
}
