//! Chat messages as contents: roles, parts, function calls and their responses.
//!
//! Sources: <https://ai.google.dev/api/caching#Content>, `…/gemini-api/docs/function-calling`, `…/thought-signatures`.
//! System and developer messages become the system instruction, in order. Neighbouring messages of one role become one, because
//! the responses to parallel calls must stand together in the content after the calls.

use super::{Google, inexpressible, media, response::is_own_id};
use crate::failure::Failure;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What Google's page on thought signatures gives for calls that another model made: Gemini 3 refuses the first call of a step
/// that has no signature, so that without this no conversation could move here from another provider.
const NOT_SIGNED: &str = "skip_thought_signature_validator";

/// The system instruction's parts, and the contents. `signed`: the model demands a signature of calls.
pub(super) fn translate(google: &Google, signed: bool, messages: &Value) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let Some(messages) = messages.as_array() else { return Err(inexpressible("messages", "must be a list")) };
    let (mut system, mut turns, mut names) = (Vec::new(), Turns::default(), HashMap::new());
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let Some(message) = message.as_object() else { return Err(inexpressible(at, "must be an object")) };
        match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => {
                known(&at, message, &["content"])?;
                system.extend(content(google, &at, message, Side::System)?);
            }
            Some("user") => {
                known(&at, message, &["content"])?;
                turns.add("user", content(google, &at, message, Side::User)?);
            }
            Some("assistant") => turns.add("model", assistant(google, &at, message, signed, &mut names)?),
            Some("tool") => turns.add("user", vec![function_response(google, &at, message, &names)?]),
            _ => {
                let at = format!("{at}.role");
                return Err(inexpressible(at, "must be `system`, `developer`, `user`, `assistant` or `tool`"));
            }
        }
    }
    Ok((system, turns.0))
}

/// Contents in order, neighbours of one role joined.
#[derive(Default)]
struct Turns(Vec<Value>);

impl Turns {
    fn add(&mut self, role: &str, parts: Vec<Value>) {
        if let Some(last) = self.0.last_mut().filter(|last| last["role"] == role)
            && let Some(known) = last["parts"].as_array_mut()
        {
            known.extend(parts);
            return;
        }
        if !parts.is_empty() {
            self.0.push(json!({ "role": role, "parts": parts }));
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

fn content(google: &Google, at: &str, message: &Map<String, Value>, side: Side) -> Result<Vec<Value>, Failure> {
    let parts = match message.get("content") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        // An empty text part is refused by the provider.
        Some(Value::String(text)) if text.is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => return Ok(vec![json!({ "text": text })]),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(inexpressible(format!("{at}.content"), "must be a string or a list of parts")),
    };
    let mut out = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}.content[{index}]");
        match (part["type"].as_str(), side) {
            (Some("text"), _) => out.extend(text(&at, &part["text"])?),
            (Some("refusal"), Side::Assistant) => out.extend(text(&at, &part["refusal"])?),
            (Some("image_url"), Side::User | Side::Tool) => out.push(media::image(google, &at, &part["image_url"])?),
            (Some("file"), Side::User | Side::Tool) => out.push(media::file(&at, &part["file"])?),
            (Some("input_audio"), Side::User) => out.push(media::audio(&at, &part["input_audio"])?),
            _ => {
                return Err(inexpressible(
                    format!("{at}.type"),
                    "is a kind of part this model's provider does not take here",
                ));
            }
        }
    }
    Ok(out)
}

fn text(at: &str, value: &Value) -> Result<Option<Value>, Failure> {
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) => Ok(Some(json!({ "text": text }))),
        None => Err(inexpressible(at, "must hold a string")),
    }
}

/// A signature of Google's own, where its compatibility layer puts it.
fn signature(of: &Value) -> Option<&Value> {
    Some(&of["google"]["thought_signature"]).filter(|signature| signature.is_string())
}

/// Text first, then calls. Thoughts stay behind: what the provider uses of them is in the signatures. So do another provider's
/// signed ones, which nobody else can read.
fn assistant(
    google: &Google,
    at: &str,
    message: &Map<String, Value>,
    signed: bool,
    names: &mut HashMap<String, String>,
) -> Result<Vec<Value>, Failure> {
    let fields =
        ["content", "refusal", "tool_calls", "extra_content", "reasoning_content", "thinking_blocks", "annotations"];
    known(at, message, &fields)?;
    let mut parts = content(google, at, message, Side::Assistant)?;
    if let Some(refusal) = message.get("refusal").filter(|refusal| !refusal.is_null()) {
        parts.extend(text(&format!("{at}.refusal"), refusal)?);
    }
    if let Some(signature) = message.get("extra_content").and_then(signature) {
        match parts.last_mut() {
            Some(last) => last["thoughtSignature"] = signature.clone(),
            None => parts.push(json!({ "text": "", "thoughtSignature": signature })),
        }
    }
    let first = parts.len();
    for (index, call) in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        parts.push(function_call(&format!("{at}.tool_calls[{index}]"), call, names)?);
    }
    if signed
        && parts[first..].iter().all(|call| call.get("thoughtSignature").is_none())
        && let Some(call) = parts.get_mut(first)
    {
        call["thoughtSignature"] = NOT_SIGNED.into();
    }
    Ok(parts)
}

fn function_call(at: &str, call: &Value, names: &mut HashMap<String, String>) -> Result<Value, Failure> {
    if call["type"] != "function" {
        return Err(inexpressible(format!("{at}.type"), "must be `function` for this model's provider"));
    }
    let (Some(id), Some(name)) = (call["id"].as_str(), call["function"]["name"].as_str()) else {
        return Err(inexpressible(at, "needs an id and a function name"));
    };
    let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
    let args = match arguments.trim() {
        "" => json!({}),
        json => serde_json::from_str::<Value>(json).ok().filter(Value::is_object).ok_or_else(|| {
            inexpressible(format!("{at}.function.arguments"), "must be a JSON object for this model's provider")
        })?,
    };
    names.insert(id.to_owned(), name.to_owned());
    let mut part = json!({ "functionCall": { "name": name, "args": args } });
    if !is_own_id(id) {
        part["functionCall"]["id"] = id.into();
    }
    if let Some(signature) = signature(&call["extra_content"]) {
        part["thoughtSignature"] = signature.clone();
    }
    Ok(part)
}

/// The result is text in `output`, not what the text may say as JSON: numbers would become floating point on the way.
fn function_response(
    google: &Google,
    at: &str,
    message: &Map<String, Value>,
    names: &HashMap<String, String>,
) -> Result<Value, Failure> {
    known(at, message, &["content", "tool_call_id", "name"])?;
    let Some(id) = message.get("tool_call_id").and_then(Value::as_str) else {
        return Err(inexpressible(format!("{at}.tool_call_id"), "is required"));
    };
    let Some(name) = names.get(id).map(String::as_str).or_else(|| message.get("name").and_then(Value::as_str)) else {
        let why = "must be the id of a call before it, because this model's provider asks for the function's name";
        return Err(inexpressible(format!("{at}.tool_call_id"), why));
    };
    let parts = content(google, at, message, Side::Tool)?;
    let (texts, media): (Vec<Value>, Vec<Value>) = parts.into_iter().partition(|part| part.get("text").is_some());
    if matches!(google, Google::Gemini) && media.iter().any(|part| part.get("fileData").is_some()) {
        let why = "must hold images as base64 `data:` URLs: this model's provider takes no others of a tool";
        return Err(inexpressible(format!("{at}.content"), why));
    }
    let output: String = texts.iter().filter_map(|part| part["text"].as_str()).collect();
    let mut response = json!({ "name": name, "response": { "output": output } });
    if !is_own_id(id) {
        response["id"] = id.into();
    }
    if !media.is_empty() {
        response["parts"] = media.into();
    }
    Ok(json!({ "functionResponse": response }))
}
