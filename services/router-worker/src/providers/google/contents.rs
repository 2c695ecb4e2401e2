//! Chat messages as contents: roles, parts, function calls and their responses.
//!
//! Sources: <https://ai.google.dev/api/caching#Content>, `…/gemini-api/docs/function-calling`, `…/thought-signatures`.
//! System and developer messages become the system instruction, in order. Neighbouring messages of one role become one, because
//! the responses to parallel calls must stand together in the content after the calls.

use super::{
    super::conversation::{Part, Role, call, call_id, calls, content, each, turns},
    Google, media,
    response::is_own_id,
};
use crate::failure::Failure;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What Google's page on thought signatures gives for calls that another model made: Gemini 3 refuses the first call of a step
/// that has no signature, so that without this no conversation could move here from another provider.
pub(super) const NOT_SIGNED: &str = "skip_thought_signature_validator";

/// The system instruction's parts, and the contents. `signed`: the model demands a signature of calls.
pub(super) fn translate(google: &Google, signed: bool, messages: &Value) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let mut names = HashMap::new();
    let spoken = each(messages, &[], |at, role, message| {
        let said = match role {
            Role::System | Role::User => parts(google, at, role, message)?,
            Role::Assistant => assistant(google, at, message, signed, &mut names)?,
            Role::Tool => vec![function_response(google, at, message, &names)?],
        };
        Ok((role, said))
    })?;
    Ok(turns(spoken, "model", "parts"))
}

fn parts(google: &Google, at: &str, role: Role, message: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    content(at, role, message, |at, part, _| match part {
        Part::Text(text) => Ok(json!({ "text": text })),
        Part::Image(image) => media::image(google, at, image),
        Part::File(file) => media::file(at, file),
        Part::Audio(audio) => media::audio(at, audio),
    })
}

/// A signature of Google's own, where its compatibility layer puts it.
fn signature(of: &Value) -> Option<&Value> {
    Some(&of["google"]["thought_signature"]).filter(|signature| signature.is_string())
}

/// Text first, then calls. Thoughts stay behind: what the provider uses of them is in the signatures.
fn assistant(
    google: &Google,
    at: &str,
    message: &Map<String, Value>,
    signed: bool,
    names: &mut HashMap<String, String>,
) -> Result<Vec<Value>, Failure> {
    let mut parts = parts(google, at, Role::Assistant, message)?;
    if let Some(signature) = message.get("extra_content").and_then(signature) {
        match parts.last_mut() {
            Some(last) => last["thoughtSignature"] = signature.clone(),
            None => parts.push(json!({ "text": "", "thoughtSignature": signature })),
        }
    }
    let first = parts.len();
    for asked in calls(at, message) {
        let (at, asked) = asked?;
        parts.push(function_call(&at, asked, names)?);
    }
    if signed
        && parts[first..].iter().all(|call| call.get("thoughtSignature").is_none())
        && let Some(call) = parts.get_mut(first)
    {
        call["thoughtSignature"] = NOT_SIGNED.into();
    }
    Ok(parts)
}

fn function_call(at: &str, asked: &Value, names: &mut HashMap<String, String>) -> Result<Value, Failure> {
    let (id, name, args) = call(at, asked)?;
    names.insert(id.to_owned(), name.to_owned());
    let mut part = json!({ "functionCall": { "name": name, "args": args } });
    if !is_own_id(id) {
        part["functionCall"]["id"] = id.into();
    }
    if let Some(signature) = signature(&asked["extra_content"]) {
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
    let id = call_id(at, message)?;
    let Some(name) = names.get(id).map(String::as_str).or_else(|| message.get("name").and_then(Value::as_str)) else {
        let why = "must be the id of a call before it, because this model's provider asks for the function's name";
        return Err(Failure::inexpressible(format!("{at}.tool_call_id"), why));
    };
    let parts = parts(google, at, Role::Tool, message)?;
    let (texts, media): (Vec<Value>, Vec<Value>) = parts.into_iter().partition(|part| part.get("text").is_some());
    if matches!(google, Google::Gemini) && media.iter().any(|part| part.get("fileData").is_some()) {
        let why = "must hold images as base64 `data:` URLs: this model's provider takes no others of a tool";
        return Err(Failure::inexpressible(format!("{at}.content"), why));
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
