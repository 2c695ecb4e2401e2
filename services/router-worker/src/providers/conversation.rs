//! Chat messages on their way into another API's words: who speaks, the parts of what is said, calls of tools and their results.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages>. A leaf says what becomes of a part;
//! which parts may stand where, and what makes no sense in any API, is told here, with the name of the field.

use super::translate::is_function;
use crate::failure::Failure;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The most marks of a cache in one request (<https://platform.claude.com/docs/en/build-with-claude/prompt-caching>; Bedrock's are as many).
const MARKS_MAX: usize = 4;

/// What an answer of any provider may have, beside its role and content: a chat that began at one goes on at another.
/// What a leaf has no use for stays behind, because nobody else could read it: thoughts, which models take with the
/// signature of their maker or not at all, signatures (`extra_content` is Google's), plans and sources of Cohere's, and
/// reasoning under the names that vLLM and OpenRouter (<https://openrouter.ai/docs/use-cases/reasoning-tokens>) have
/// for it.
const ANSWERED: [&str; 10] = [
    "refusal",
    "tool_calls",
    "annotations",
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
    "extra_content",
    "tool_plan",
    "citations",
];

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

/// Each message with its place and its speaker. Fields that would be lost are refused; `own` are those of an assistant
/// that the leaf's provider knows, beside what answers have ([`ANSWERED`]).
pub(super) fn each<T>(
    messages: &Value,
    own: &[&str],
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
            Some("assistant") => (Role::Assistant, own),
            // The call's id already says which tool it was, so a `name` adds nothing as a rule.
            Some("tool") => (Role::Tool, &["tool_call_id", "name"][..]),
            _ => {
                let why = "must be `system`, `developer`, `user`, `assistant` or `tool`";
                return Err(Failure::inexpressible(format!("{at}.role"), why));
            }
        };
        known(&at, role, message, fields)?;
        translate(&at, role, message)
    });
    translated.collect()
}

/// Messages with OpenAI's marks of a beginning that will come again (`prompt_cache_breakpoint` of a part,
/// <https://developers.openai.com/api/docs/guides/prompt-caching>) as Claude's `cache_control`, for leaves that have those. If they are
/// more than Claude takes, the last ones count: each holds what the earlier ones do. How long it is kept is left to Claude's default.
pub(super) fn marked(messages: &Value) -> Cow<'_, Value> {
    fn is_marked(part: &Value) -> bool {
        part["prompt_cache_breakpoint"].is_object()
    }
    let parts =
        || messages.as_array().into_iter().flatten().filter_map(|message| message["content"].as_array()).flatten();
    if !parts().any(is_marked) {
        return Cow::Borrowed(messages);
    }
    let left = MARKS_MAX.saturating_sub(parts().filter(|part| !part["cache_control"].is_null()).count());
    let mut marked = messages.clone();
    let all = marked.as_array_mut().into_iter().flatten();
    let all = all.filter_map(|message| message.get_mut("content")?.as_array_mut()).flatten();
    for part in all.rev().filter(|part| is_marked(part) && part["cache_control"].is_null()).take(left) {
        part["cache_control"] = json!({ "type": "ephemeral" });
    }
    Cow::Owned(marked)
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
fn known(at: &str, role: Role, message: &Map<String, Value>, fields: &[&str]) -> Result<(), Failure> {
    let is_answered = |name: &str| role == Role::Assistant && ANSWERED.contains(&name);
    let is_known = |name: &str| matches!(name, "role" | "content") || fields.contains(&name) || is_answered(name);
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

/// The calls of a message in OpenAI's own words, without what other providers' answers have in them (`extra_content`);
/// or a refusal of one of anything but a function.
pub(super) fn bare_calls(at: &str, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let bare = |call: &Value| {
        let fields = call.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| matches!(name.as_str(), "id" | "type" | "function"));
        Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    calls(at, message).map(|call| call.map(|(_, call)| bare(call))).collect()
}

/// The blocks of thinking of a message, each with its place, for a model that takes them with its signature only: what
/// came without one is another provider's.
pub(super) fn signed<'a>(at: &'a str, message: &'a Map<String, Value>) -> impl Iterator<Item = (String, &'a Value)> {
    let blocks = message.get("thinking_blocks").and_then(Value::as_array).into_iter().flatten().enumerate();
    let has_signature = |block: &Value| block["signature"].as_str().is_some_and(|signature| !signature.is_empty());
    let signed = blocks.filter(move |(_, block)| block["type"] != "thinking" || has_signature(block));
    signed.map(move |(index, block)| (format!("{at}.thinking_blocks[{index}]"), block))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_marks_of_a_cache_count() {
        let part = |marked: bool| match marked {
            true => json!({ "type": "text", "text": "x", "prompt_cache_breakpoint": { "mode": "explicit" } }),
            false => json!({ "type": "text", "text": "x" }),
        };
        let messages = json!([
            { "role": "system", "content": [part(true)] },
            { "role": "user", "content": [{ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } }, part(true)] },
            { "role": "assistant", "content": "x", "tool_calls": [] },
            { "role": "tool", "content": [part(false), part(true)] },
            { "role": "user", "content": [part(true), "odd", part(false)] },
            "odd",
        ]);
        let marked = marked(&messages);
        let is = |at: &str| marked.pointer(at).expect(at)["cache_control"] == json!({ "type": "ephemeral" });
        let found = [
            "/0/content/0",
            "/1/content/0",
            "/1/content/1",
            "/3/content/0",
            "/3/content/1",
            "/4/content/0",
            "/4/content/2",
        ];
        assert_eq!(found.map(is), [false, true, true, false, true, true, false]);
        let plain = json!([{ "role": "user", "content": [part(false)] }, { "role": "user", "content": "x" }]);
        assert!(matches!(super::marked(&plain), Cow::Borrowed(_)));
    }
}
