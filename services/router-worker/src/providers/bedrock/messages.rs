//! Chat messages as Converse content: roles, parts, tool calls and tool results.
//!
//! System and developer messages move to the top, in order. Neighbouring messages of one role become one, because turns must
//! alternate and the results of parallel tool calls must stand together in the message after the calls. A `cache_control` becomes
//! a cache point behind what it stands at. Images and files come with their bytes: Converse fetches nothing from the web.

use super::super::conversation::{
    Part, Role, call, call_id, calls, content, data_url, each, marked, no_detail, not_taken, signed, turns,
};
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
    let spoken = each(&marked(messages), &[], |at, role, message| {
        let said = match role {
            Role::System | Role::User => blocks(at, role, message)?,
            Role::Assistant => assistant(at, message)?,
            Role::Tool => tool_result(at, message)?,
        };
        Ok((role, said))
    })?;
    Ok(turns(spoken, "assistant", "content"))
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

fn blocks(at: &str, role: Role, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let blocks = content(at, role, message, |at, part, cache| {
        let block = match part {
            Part::Text(text) => json!({ "text": text }),
            Part::Image(image) => self::image(at, image)?,
            Part::File(file) => self::file(at, file)?,
            Part::Audio(_) => return Err(not_taken(at)),
        };
        let point = cache.filter(|cache| !cache.is_null()).map(cache_point);
        Ok(std::iter::once(block).chain(point))
    })?;
    Ok(blocks.into_iter().flatten().collect())
}

fn image(at: &str, image: &Value) -> Result<Value, Failure> {
    let (format, data) = match image["url"].as_str().and_then(data_url) {
        Some(("image/png", data)) => ("png", data),
        Some(("image/jpeg" | "image/jpg", data)) => ("jpeg", data),
        Some(("image/gif", data)) => ("gif", data),
        Some(("image/webp", data)) => ("webp", data),
        _ => {
            return Err(Failure::inexpressible(
                format!("{at}.image_url.url"),
                "must be a base64 `data:` URL of a PNG, JPEG, GIF or WebP image for this model's provider",
            ));
        }
    };
    no_detail(at, image)?;
    Ok(json!({ "image": { "format": format, "source": { "bytes": data } } }))
}

fn file(at: &str, file: &Value) -> Result<Value, Failure> {
    let found = file["file_data"].as_str().and_then(data_url);
    let known = |media_type: &str| DOCUMENTS.iter().find(|(known, _)| *known == media_type);
    let Some((format, data)) = found.and_then(|(media_type, data)| Some((known(media_type)?.1, data))) else {
        return Err(Failure::inexpressible(
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

/// Thinking blocks come first, signed as they were given; then text, then tool calls. Thoughts without a signature stay
/// behind: the provider does not take them.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let mut said = Vec::new();
    for (at, block) in signed(at, message) {
        said.push(thinking(&at, block)?);
    }
    said.extend(blocks(at, Role::Assistant, message)?);
    for asked in calls(at, message) {
        let (at, asked) = asked?;
        let (id, name, input) = call(&at, asked)?;
        said.push(json!({ "toolUse": { "toolUseId": id, "name": name, "input": input } }));
    }
    Ok(said)
}

fn thinking(at: &str, block: &Value) -> Result<Value, Failure> {
    let content = match (block["type"].as_str(), &block["thinking"], &block["signature"], &block["data"]) {
        (Some("thinking"), Value::String(text), Value::String(signature), _) => {
            json!({ "reasoningText": { "text": text, "signature": signature } })
        }
        (Some("redacted_thinking"), _, _, Value::String(data)) => json!({ "redactedContent": data }),
        _ => {
            return Err(Failure::inexpressible(
                at,
                "must be a `thinking` block with its signature, or `redacted_thinking`",
            ));
        }
    };
    Ok(json!({ "reasoningContent": content }))
}

/// The result, and behind it the cache points of its parts: inside there may be none.
fn tool_result(at: &str, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let id = call_id(at, message)?;
    let (points, blocks): (Vec<Value>, Vec<Value>) =
        blocks(at, Role::Tool, message)?.into_iter().partition(is_cache_point);
    let result = json!({ "toolResult": { "toolUseId": id, "content": blocks } });
    // One is enough: they would stand at the same place.
    Ok(std::iter::once(result).chain(points.into_iter().next_back()).collect())
}
