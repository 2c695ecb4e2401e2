//! Chat messages as Messages content: roles, parts, tool calls and tool results.
//!
//! System and developer messages move to the top, in order, as Anthropic's own OpenAI compatibility layer does it
//! (<https://platform.claude.com/docs/en/api/openai-sdk>). Neighbouring messages of one role become one, because the
//! results of parallel tool calls must stand together in the message after the calls.

use super::super::conversation::{
    Part, Role, call, call_id, calls, content, data_url, each, marked, no_detail, not_taken, signed, turns,
};
use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// System blocks and messages.
pub(super) fn translate(messages: &Value) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let spoken = each(&marked(messages), &[], |at, role, message| {
        let said = match role {
            Role::System | Role::User => blocks(at, role, message)?,
            Role::Assistant => assistant(at, message)?,
            Role::Tool => vec![tool_result(at, message)?],
        };
        Ok((role, said))
    })?;
    Ok(turns(spoken, "assistant", "content"))
}

fn blocks(at: &str, role: Role, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    content(at, role, message, |at, part, cache| {
        let mut block = match part {
            Part::Text(text) => json!({ "type": "text", "text": text }),
            Part::Image(image) => self::image(at, image)?,
            Part::File(file) => self::file(at, file)?,
            Part::Audio(_) => return Err(not_taken(at)),
        };
        if let Some(cache) = cache {
            block["cache_control"] = cache.clone();
        }
        Ok(block)
    })
}

fn image(at: &str, image: &Value) -> Result<Value, Failure> {
    let url = image["url"].as_str().unwrap_or_default();
    let source = match data_url(url) {
        Some((media_type, data)) => json!({ "type": "base64", "media_type": media_type, "data": data }),
        None if url.starts_with("https://") || url.starts_with("http://") => json!({ "type": "url", "url": url }),
        None => {
            return Err(Failure::inexpressible(
                format!("{at}.image_url.url"),
                "must be an http(s) or a base64 `data:` URL",
            ));
        }
    };
    no_detail(at, image)?;
    Ok(json!({ "type": "image", "source": source }))
}

fn file(at: &str, file: &Value) -> Result<Value, Failure> {
    let Some((media_type @ "application/pdf", data)) = file["file_data"].as_str().and_then(data_url) else {
        return Err(Failure::inexpressible(
            format!("{at}.file"),
            "must be a PDF in `file_data` as a base64 `data:` URL",
        ));
    };
    let source = json!({ "type": "base64", "media_type": media_type, "data": data });
    let mut block = json!({ "type": "document", "source": source });
    if let Some(name) = file["filename"].as_str() {
        block["title"] = name.into();
    }
    Ok(block)
}

/// Thinking blocks come first, signed as they were given; then text, then tool calls. Thoughts without a signature stay
/// behind: the provider does not take them, and nothing is lost that it would use.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let mut said: Vec<Value> = signed(at, message).map(|(_, block)| block.clone()).collect();
    said.extend(blocks(at, Role::Assistant, message)?);
    for asked in calls(at, message) {
        let (at, asked) = asked?;
        let (id, name, input) = call(&at, asked)?;
        said.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
    }
    Ok(said)
}

fn tool_result(at: &str, message: &Map<String, Value>) -> Result<Value, Failure> {
    let mut result = json!({ "type": "tool_result", "tool_use_id": call_id(at, message)? });
    let content = blocks(at, Role::Tool, message)?;
    if !content.is_empty() {
        result["content"] = content.into();
    }
    Ok(result)
}
