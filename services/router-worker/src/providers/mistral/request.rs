//! A chat completions body in Mistral's words.

use super::super::{Asked, Fields};
use crate::failure::Failure;
use serde_json::{Map, Value, json, value::RawValue};

const NO_EQUIVALENT: &str = "has no equivalent at this model's provider; leave it out or use another endpoint";
const NOT_SENT: &str = "cannot be sent to this model's provider";

/// The body to send. Errors with the name of the field that cannot be expressed.
pub(super) fn encode(asked: &Asked<'_>) -> Result<Fields, Failure> {
    let mut body = Fields::default();
    body.put("model", asked.upstream_model);
    for (name, raw) in asked.chat.iter() {
        field(&mut body, name, raw)?;
    }
    if asked.stream {
        body.put("stream", &true);
    }
    if body.get("messages").is_none() {
        return Err(Failure::inexpressible("messages", "is required"));
    }
    Ok(body)
}

/// Puts one top-level field into the body. `null` has been filtered out: both APIs take it as absent.
fn field(body: &mut Fields, name: &str, raw: &RawValue) -> Result<(), Failure> {
    let value: Value = serde_json::from_str(raw.get()).map_err(|_| Failure::inexpressible(name, "must be JSON"))?;
    match name {
        "messages" => body.put(name, &messages(&value)?),
        "tools" => {
            let tools = value.as_array().ok_or_else(|| Failure::inexpressible(name, "must be a list"))?;
            let tools =
                tools.iter().enumerate().map(|(at, tool)| self::tool(at, tool)).collect::<Result<Vec<_>, _>>()?;
            if !tools.is_empty() {
                body.put(name, &tools);
            }
        }
        "tool_choice" => body.put(name, &tool_choice(&value)?),
        // `max_completion_tokens` is the newer name and wins, whichever comes first.
        "max_completion_tokens" => body.set("max_tokens", raw.to_owned()),
        "max_tokens" => {
            if body.get(name).is_none() {
                body.set(name, raw.to_owned());
            }
        }
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
        // Set elsewhere (model, stream), or without any effect on the answer: who asks, where it is cached, and usage, which
        // comes anyway. `tollgate` is the gateway's own.
        "model"
        | "stream"
        | "stream_options"
        | "user"
        | "safety_identifier"
        | "prompt_cache_retention"
        | "tollgate" => {}
        _ => neutral(name, &value)?,
    }
    Ok(())
}

/// Lets a field pass whose value says what happens anyway; every other field is refused.
fn neutral(name: &str, value: &Value) -> Result<(), Failure> {
    let harmless = match name {
        "logprobs" | "store" => value == &Value::Bool(false),
        "top_logprobs" => value.as_u64() == Some(0),
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => value == &json!(["text"]),
        "verbosity" => value == "medium",
        "service_tier" => value == "auto" || value == "default",
        "functions" => value.as_array().is_some_and(Vec::is_empty),
        _ => false,
    };
    if harmless { Ok(()) } else { Err(Failure::inexpressible(name, NO_EQUIVALENT)) }
}

fn tool(at: usize, tool: &Value) -> Result<Value, Failure> {
    if tool["type"] != "function" {
        let at = format!("tools[{at}].type");
        return Err(Failure::inexpressible(at, "must be `function` for this model's provider"));
    }
    let Some(name) = tool["function"]["name"].as_str() else {
        return Err(Failure::inexpressible(format!("tools[{at}].function.name"), "is required"));
    };
    let mut function = json!({ "name": name, "parameters": { "type": "object", "properties": {} } });
    for name in ["description", "parameters", "strict"] {
        if !tool["function"][name].is_null() {
            function[name] = tool["function"][name].clone();
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

fn messages(messages: &Value) -> Result<Vec<Value>, Failure> {
    let Some(messages) = messages.as_array() else {
        return Err(Failure::inexpressible("messages", "must be a list"));
    };
    messages.iter().enumerate().map(|(at, message)| self::message(&format!("messages[{at}]"), message)).collect()
}

fn message(at: &str, message: &Value) -> Result<Value, Failure> {
    let Some(fields) = message.as_object() else { return Err(Failure::inexpressible(at, "must be an object")) };
    let content = || parts(at, &message["content"]);
    match message["role"].as_str() {
        Some("system" | "developer") => {
            known(at, fields, &[])?;
            Ok(json!({ "role": "system", "content": content()? }))
        }
        Some("user") => {
            known(at, fields, &[])?;
            Ok(json!({ "role": "user", "content": content()? }))
        }
        Some("tool") => {
            known(at, fields, &["tool_call_id", "name"])?;
            let mut out = json!({ "role": "tool", "content": content()? });
            for name in ["tool_call_id", "name"] {
                if let Some(value) = fields.get(name).filter(|value| !value.is_null()) {
                    out[name] = value.clone();
                }
            }
            Ok(out)
        }
        Some("assistant") => assistant(at, fields),
        _ => Err(Failure::inexpressible(
            format!("{at}.role"),
            "must be `system`, `developer`, `user`, `assistant` or `tool`",
        )),
    }
}

/// Reasoning goes back as it came, in `thinking_blocks`; a bare `reasoning_content` stays behind, for it is the same text.
fn assistant(at: &str, message: &Map<String, Value>) -> Result<Value, Failure> {
    let taken = ["refusal", "tool_calls", "prefix", "thinking_blocks", "reasoning_content", "annotations"];
    known(at, message, &taken)?;
    let blocks = message.get("thinking_blocks").and_then(Value::as_array).into_iter().flatten().map(|block| {
        let mut chunk = json!({ "type": "thinking", "thinking": [{ "type": "text", "text": block["thinking"] }] });
        if block["signature"].is_string() {
            chunk["signature"] = block["signature"].clone();
        }
        chunk
    });
    let mut list: Vec<Value> = blocks.collect();
    let said = match message.get("content").unwrap_or(&Value::Null) {
        Value::Null => message.get("refusal").cloned().unwrap_or_default(),
        said => parts(at, said)?,
    };
    let content = if list.is_empty() {
        said
    } else {
        match said {
            Value::String(text) if !text.is_empty() => list.push(json!({ "type": "text", "text": text })),
            Value::Array(parts) => list.extend(parts),
            _ => {}
        }
        list.into()
    };
    let mut out = json!({ "role": "assistant", "content": content });
    for name in ["tool_calls", "prefix"] {
        if let Some(value) = message.get(name).filter(|value| !is_empty(value)) {
            out[name] = value.clone();
        }
    }
    for (index, call) in out.get("tool_calls").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if call["type"] != "function" {
            let at = format!("{at}.tool_calls[{index}].type");
            return Err(Failure::inexpressible(at, "must be `function` for this model's provider"));
        }
    }
    Ok(out)
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Refuses fields of a message that would be lost. `null`s and empty lists say nothing, so they may be there.
fn known(at: &str, message: &Map<String, Value>, fields: &[&str]) -> Result<(), Failure> {
    let is_known = |name: &str| matches!(name, "role" | "content") || fields.contains(&name);
    match message.iter().find(|(name, value)| !is_known(name) && !is_empty(value)) {
        Some((name, _)) => Err(Failure::inexpressible(format!("{at}.{name}"), NOT_SENT)),
        None => Ok(()),
    }
}

fn parts(at: &str, content: &Value) -> Result<Value, Failure> {
    match content {
        Value::Null | Value::String(_) => Ok(content.clone()),
        Value::Array(parts) => parts
            .iter()
            .enumerate()
            .map(|(index, part)| self::part(&format!("{at}.content[{index}]"), part))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::from),
        _ => Err(Failure::inexpressible(format!("{at}.content"), "must be a string or a list of parts")),
    }
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
