//! Chat messages on their way into another API's words: who speaks, the parts of what is said, calls of tools and their results.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages>. A leaf says what becomes of a part;
//! which parts may stand where, and what makes no sense in any API, is told here, with the name of the field.

use super::translate::is_function;
use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// Who speaks; it decides which parts may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `system` or `developer`.
    System,
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
    /// `tool`: the result of a call.
    Tool,
}

/// Each message with its place and its speaker. Fields that would be lost are refused; `answered` are those of an assistant that
/// the leaf knows.
pub(super) fn each<T>(
    messages: &Value,
    answered: &[&str],
    mut translate: impl FnMut(&str, Role, &Map<String, Value>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let Some(messages) = messages.as_array() else {
        return Err(Failure::inexpressible("messages", "must be a list"));
    };
    let translated = messages.iter().enumerate().map(|(index, message)| {
        let at = format!("messages[{index}]");
        let Some(message) = message.as_object() else { return Err(Failure::inexpressible(at, "must be an object")) };
        let (role, fields) = match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => (Role::System, &[][..]),
            Some("user") => (Role::User, &[][..]),
            Some("assistant") => (Role::Assistant, answered),
            // The call's id already says which tool it was, so a `name` adds nothing as a rule.
            Some("tool") => (Role::Tool, &["tool_call_id", "name"][..]),
            _ => {
                let why = "must be `system`, `developer`, `user`, `assistant` or `tool`";
                return Err(Failure::inexpressible(format!("{at}.role"), why));
            }
        };
        known(&at, message, fields)?;
        translate(&at, role, message)
    });
    translated.collect()
}

/// The system's blocks, and the turns of everybody else: neighbours of one role become one, because turns must alternate and the
/// results of parallel calls must stand together behind the calls. `assistant` is the provider's name for that role, `blocks` for
/// what a turn consists of.
pub(super) fn turns(spoken: Vec<(Role, Vec<Value>)>, assistant: &str, blocks: &str) -> (Vec<Value>, Vec<Value>) {
    let (mut system, mut turns) = (Vec::new(), Vec::<Value>::new());
    for (role, said) in spoken {
        let role = match role {
            Role::System => {
                system.extend(said);
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => assistant,
        };
        let last = turns.last_mut().filter(|last| last["role"] == role);
        match last.and_then(|last| last[blocks].as_array_mut()) {
            Some(known) => known.extend(said),
            None if said.is_empty() => {}
            None => turns.push(json!({ "role": role, blocks: said })),
        }
    }
    (system, turns)
}

/// Whether a value says nothing: `null`, or an empty list.
pub(super) fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Refuses fields of a message that would be lost.
fn known(at: &str, message: &Map<String, Value>, fields: &[&str]) -> Result<(), Failure> {
    let is_known = |name: &str| matches!(name, "role" | "content") || fields.contains(&name);
    match message.iter().find(|(name, value)| !is_known(name) && !is_empty(value)) {
        Some((name, _)) => {
            Err(Failure::inexpressible(format!("{at}.{name}"), "cannot be sent to this model's provider"))
        }
        None => Ok(()),
    }
}

/// A part of a message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    /// A text that is not empty, of a refusal too.
    Text(&'a str),
    /// An `image_url`, of a user or a tool.
    Image(&'a Value),
    /// A `file`, of a user or a tool.
    File(&'a Value),
    /// An `input_audio`, of a user.
    Audio(&'a Value),
}

/// What becomes of each part of a message, and of an assistant's `refusal` behind them. `block` gets a part's place, the part and
/// its `cache_control`. Empty texts are left out: providers refuse them.
pub(super) fn content<T>(
    at: &str,
    role: Role,
    message: &Map<String, Value>,
    mut block: impl FnMut(&str, Part<'_>, Option<&Value>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut blocks = Vec::new();
    match message.get("content") {
        None | Some(Value::Null) => {}
        Some(Value::String(said)) if said.is_empty() => {}
        Some(Value::String(said)) => blocks.push(block(at, Part::Text(said), None)?),
        Some(Value::Array(parts)) => {
            for (index, part) in parts.iter().enumerate() {
                let at = format!("{at}.content[{index}]");
                if let Some(read) = self::part(&at, role, part)? {
                    blocks.push(block(&at, read, part.get("cache_control"))?);
                }
            }
        }
        Some(_) => return Err(no_content(at)),
    }
    if let Some(refusal) = message.get("refusal").filter(|refusal| role == Role::Assistant && !refusal.is_null()) {
        let at = format!("{at}.refusal");
        if let Some(refusal) = text(&at, refusal)? {
            blocks.push(block(&at, refusal, None)?);
        }
    }
    Ok(blocks)
}

fn part<'a>(at: &str, role: Role, part: &'a Value) -> Result<Option<Part<'a>>, Failure> {
    match (part["type"].as_str(), role) {
        (Some("text"), _) => text(at, &part["text"]),
        (Some("refusal"), Role::Assistant) => text(at, &part["refusal"]),
        (Some("image_url"), Role::User | Role::Tool) => Ok(Some(Part::Image(&part["image_url"]))),
        (Some("file"), Role::User | Role::Tool) => Ok(Some(Part::File(&part["file"]))),
        (Some("input_audio"), Role::User) => Ok(Some(Part::Audio(&part["input_audio"]))),
        _ => Err(not_taken(at)),
    }
}

fn text<'a>(at: &str, value: &'a Value) -> Result<Option<Part<'a>>, Failure> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) => Ok(Some(Part::Text(text))),
        None => Err(Failure::inexpressible(at, "must hold a string")),
    }
}

/// A refusal of a part, by its kind.
pub(super) fn not_taken(at: &str) -> Failure {
    Failure::inexpressible(format!("{at}.type"), "is a kind of part this model's provider does not take here")
}

fn no_content(at: &str) -> Failure {
    Failure::inexpressible(format!("{at}.content"), "must be a string or a list of parts")
}

/// Content that stays what it is, a string or a list, for providers that have both; `part` gets each part with its place.
pub(super) fn string_or_parts(
    at: &str,
    content: &Value,
    part: impl Fn(&str, &Value) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    match content {
        Value::String(_) => Ok(content.clone()),
        Value::Array(parts) => {
            let parts = parts.iter().enumerate().map(|(index, it)| part(&format!("{at}.content[{index}]"), it));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.into())
        }
        _ => Err(no_content(at)),
    }
}

/// What an assistant said, with its thoughts before it as parts of the same list, if there are any.
pub(super) fn behind(mut thoughts: Vec<Value>, said: Value) -> Value {
    if thoughts.is_empty() {
        return said;
    }
    match said {
        Value::String(text) if !text.is_empty() => thoughts.push(json!({ "type": "text", "text": text })),
        Value::Array(parts) => thoughts.extend(parts),
        _ => {}
    }
    thoughts.into()
}

/// A `data:` URL's media type and base64 text.
pub(super) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((kind.strip_suffix(";base64")?, data))
}

/// Refuses an image's `detail`, which trades quality for price at OpenAI; `auto` is what happens anyway.
pub(super) fn no_detail(at: &str, image: &Value) -> Result<(), Failure> {
    if image.get("detail").is_some_and(|detail| !detail.is_null() && detail != "auto") {
        let at = format!("{at}.image_url.detail");
        return Err(Failure::inexpressible(at, "must be `auto` for this model's provider"));
    }
    Ok(())
}

/// The calls of a message, each with its place; or a refusal of one of anything but a function.
pub(super) fn calls<'a>(
    at: &str,
    message: &'a Map<String, Value>,
) -> impl Iterator<Item = Result<(String, &'a Value), Failure>> {
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate();
    calls.map(move |(index, call)| {
        let at = format!("{at}.tool_calls[{index}]");
        is_function(&at, call).map(|()| (at, call))
    })
}

/// A call's id, its function's name, and the arguments as an object.
pub(super) fn call<'a>(at: &str, call: &'a Value) -> Result<(&'a str, &'a str, Value), Failure> {
    let (Some(id), Some(name)) = (call["id"].as_str(), call["function"]["name"].as_str()) else {
        return Err(Failure::inexpressible(at, "needs an id and a function name"));
    };
    let arguments = match call["function"]["arguments"].as_str().unwrap_or_default().trim() {
        "" => json!({}),
        json => serde_json::from_str::<Value>(json).ok().filter(Value::is_object).ok_or_else(|| {
            let at = format!("{at}.function.arguments");
            Failure::inexpressible(at, "must be a JSON object for this model's provider")
        })?,
    };
    Ok((id, name, arguments))
}

/// The id of the call that a message is the result of.
pub(super) fn call_id<'a>(at: &str, message: &'a Map<String, Value>) -> Result<&'a str, Failure> {
    let id = message.get("tool_call_id").and_then(Value::as_str);
    id.ok_or_else(|| Failure::inexpressible(format!("{at}.tool_call_id"), "is required"))
}
