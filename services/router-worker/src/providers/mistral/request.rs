//! A chat completions body in Mistral's words.

use super::super::{
    Asked, Fields,
    conversation::{Role, bare_calls, behind, each, is_empty, string_or_parts},
    translate::{body, function, idle, max_tokens, parameters, read},
};
use crate::failure::Failure;
use serde_json::{Map, Value, json, value::RawValue};

/// The body to send. Errors with the name of the field that cannot be expressed.
pub(super) fn encode(asked: &Asked<'_>) -> Result<Fields, Failure> {
    body(asked, field)
}

/// Puts one top-level field into the body. `null` has been filtered out: both APIs take it as absent.
fn field(body: &mut Fields, name: &str, raw: &RawValue) -> Result<(), Failure> {
    let value: Value = read(name, raw, "JSON")?;
    match name {
        "messages" => body.put(name, &each(&value, &["prefix"], message)?),
        "tools" => {
            let tools = value.as_array().ok_or_else(|| Failure::inexpressible(name, "must be a list"))?;
            let tools =
                tools.iter().enumerate().map(|(at, tool)| self::tool(at, tool)).collect::<Result<Vec<_>, _>>()?;
            if !tools.is_empty() {
                body.put(name, &tools);
            }
        }
        "tool_choice" => body.put(name, &tool_choice(&value)?),
        "max_completion_tokens" | "max_tokens" => max_tokens(body, name, raw),
        "seed" => body.set("random_seed", raw.to_owned()),
        "prediction" => {
            if !value["content"].is_string() {
                return Err(Failure::inexpressible("prediction.content", "must be a string for this model's provider"));
            }
            body.set(name, raw.to_owned());
        }
        // The same in both; the last line has the provider's own fields, for callers who know what answers them.
        "temperature"
        | "top_p"
        | "stop"
        | "n"
        | "presence_penalty"
        | "frequency_penalty"
        | "response_format"
        | "parallel_tool_calls"
        | "reasoning_effort"
        | "metadata"
        | "prompt_cache_key"
        | "random_seed"
        | "prompt_mode"
        | "safe_prompt"
        | "guardrails" => body.set(name, raw.to_owned()),
        _ => idle(name, &value)?,
    }
    Ok(())
}

fn tool(at: usize, tool: &Value) -> Result<Value, Failure> {
    let (asked, name) = function(&format!("tools[{at}]"), tool)?;
    let mut function = json!({ "name": name, "parameters": parameters(asked) });
    for name in ["description", "strict"] {
        if !asked[name].is_null() {
            function[name] = asked[name].clone();
        }
    }
    Ok(json!({ "type": "function", "function": function }))
}

fn tool_choice(choice: &Value) -> Result<Value, Failure> {
    match choice.as_str() {
        Some("required") => Ok("any".into()),
        Some("auto" | "none" | "any") => Ok(choice.clone()),
        Some(_) => Err(Failure::inexpressible("tool_choice", "must be `auto`, `none`, `required` or a function")),
        None if choice["type"] == "function" => Ok(choice.clone()),
        None => Err(Failure::inexpressible("tool_choice.type", "must be `function` for this model's provider")),
    }
}

fn message(at: &str, role: Role, message: &Map<String, Value>) -> Result<Value, Failure> {
    let content = || parts(at, message.get("content").unwrap_or(&Value::Null));
    match role {
        Role::System => Ok(json!({ "role": "system", "content": content()? })),
        Role::User => Ok(json!({ "role": "user", "content": content()? })),
        Role::Tool => {
            let mut out = json!({ "role": "tool", "content": content()? });
            for name in ["tool_call_id", "name"] {
                if let Some(value) = message.get(name).filter(|value| !value.is_null()) {
                    out[name] = value.clone();
                }
            }
            Ok(out)
        }
        Role::Assistant => assistant(at, message),
    }
}

/// Reasoning goes back as it came, in `thinking_blocks`: a bare `reasoning_content` stays behind, for it is their text.
/// So do those of Claude's that hold no text to read.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Value, Failure> {
    let blocks = message.get("thinking_blocks").and_then(Value::as_array).into_iter().flatten();
    let blocks = blocks.filter(|block| block["thinking"].is_string()).map(|block| {
        let mut chunk = json!({ "type": "thinking", "thinking": [{ "type": "text", "text": block["thinking"] }] });
        if block["signature"].is_string() {
            chunk["signature"] = block["signature"].clone();
        }
        chunk
    });
    let said = match message.get("content").unwrap_or(&Value::Null) {
        Value::Null => message.get("refusal").cloned().unwrap_or_default(),
        said => parts(at, said)?,
    };
    let mut out = json!({ "role": "assistant", "content": behind(blocks.collect(), said) });
    let calls = bare_calls(at, message)?;
    if !calls.is_empty() {
        out["tool_calls"] = calls.into();
    }
    if let Some(prefix) = message.get("prefix").filter(|prefix| !is_empty(prefix)) {
        out["prefix"] = prefix.clone();
    }
    Ok(out)
}

fn parts(at: &str, content: &Value) -> Result<Value, Failure> {
    if content.is_null() { Ok(Value::Null) } else { string_or_parts(at, content, part) }
}

fn part(at: &str, part: &Value) -> Result<Value, Failure> {
    match part["type"].as_str() {
        Some("text") if part["text"].is_string() => Ok(json!({ "type": "text", "text": part["text"] })),
        Some("refusal") if part["refusal"].is_string() => Ok(json!({ "type": "text", "text": part["refusal"] })),
        Some("image_url") if part["image_url"].is_object() || part["image_url"].is_string() => {
            Ok(json!({ "type": "image_url", "image_url": part["image_url"] }))
        }
        // The format is in the data itself.
        Some("input_audio") if part["input_audio"]["data"].is_string() => {
            Ok(json!({ "type": "input_audio", "input_audio": part["input_audio"]["data"] }))
        }
        Some("file") if part["file"]["file_id"].is_string() => {
            Ok(json!({ "type": "file", "file_id": part["file"]["file_id"] }))
        }
        Some("file") => Err(Failure::inexpressible(
            format!("{at}.file"),
            "must have the `file_id` of a file at this model's provider",
        )),
        // The provider's own, for callers who know what answers them.
        Some("document_url" | "thinking" | "reference") => Ok(part.clone()),
        _ => Err(Failure::inexpressible(format!("{at}.type"), "is a kind of part this model's provider does not take")),
    }
}
