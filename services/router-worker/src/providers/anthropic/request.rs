//! A chat completions body as a Messages body.

use super::{
    super::{
        Asked,
        translate::{demanded_schema, function, given, idle, parameters, read, stop_sequences, temperature_to_one},
    },
    messages,
};
use crate::failure::Failure;
use serde_json::{Map, Value, json, value::RawValue};

/// The Messages body.
pub(super) fn encode(asked: &Asked<'_>) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.insert("model".into(), asked.upstream_model.into());
    for (name, raw) in asked.chat.iter() {
        field(&mut body, name, raw)?;
    }
    if body.get("max_tokens").is_none() {
        body.insert("max_tokens".into(), asked.default_max_tokens.into());
    }
    if asked.stream {
        body.insert("stream".into(), true.into());
    }
    tool_choice(&mut body, asked)?;
    effort(&mut body, asked)?;
    if body.get("messages").is_none() {
        return Err(Failure::inexpressible("messages", "is required"));
    }
    Ok(Value::Object(body))
}

/// Puts one top-level field into the body. `null` has been filtered out: both APIs take it as absent.
fn field(body: &mut Map<String, Value>, name: &str, raw: &RawValue) -> Result<(), Failure> {
    let value: Value = read(name, raw, "JSON")?;
    match name {
        "messages" => {
            let (system, messages) = messages::translate(&value)?;
            if !system.is_empty() {
                body.insert("system".into(), system.into());
            }
            body.insert("messages".into(), messages.into());
        }
        // `max_completion_tokens` is the newer name and wins.
        "max_completion_tokens" => drop(body.insert("max_tokens".into(), value)),
        "max_tokens" => drop(body.entry("max_tokens").or_insert(value)),
        "temperature" => {
            temperature_to_one(name, raw)?;
            body.insert(name.into(), value);
        }
        "top_p" => drop(body.insert(name.into(), value)),
        "stop" => drop(body.insert("stop_sequences".into(), stop_sequences(value))),
        "tools" => {
            let tools: Vec<Value> = read(name, raw, "a list")?;
            let tools = tools.iter().enumerate().map(|(i, tool)| self::tool(i, tool)).collect::<Result<Vec<_>, _>>()?;
            if !tools.is_empty() {
                body.insert("tools".into(), tools.into());
            }
        }
        "response_format" => {
            if let Some(demanded) = demanded_schema(&value)? {
                let format = json!({ "type": "json_schema", "schema": demanded["schema"] });
                body.entry("output_config").or_insert_with(|| json!({}))["format"] = format;
            }
        }
        // An opaque id of the end user, which both providers use against abuse only. The newer name wins.
        "safety_identifier" => drop(body.insert("metadata".into(), json!({ "user_id": value }))),
        "user" => drop(body.entry("metadata").or_insert_with(|| json!({ "user_id": value }))),
        "service_tier" => {
            let tier = match value.as_str() {
                Some("auto") => "auto",
                Some("default" | "standard_only") => "standard_only",
                _ => return Err(Failure::inexpressible(name, "must be `auto` or `default` for this model's provider")),
            };
            body.insert(name.into(), tier.into());
        }
        // The provider's own fields, for callers who know what answers them.
        "thinking" | "top_k" | "cache_control" => drop(body.insert(name.into(), value)),
        // Read elsewhere.
        "tool_choice" | "parallel_tool_calls" | "reasoning_effort" => {}
        _ => idle(name, &value)?,
    }
    Ok(())
}

fn tool(index: usize, tool: &Value) -> Result<Value, Failure> {
    let at = format!("tools[{index}]");
    let (function, name) = function(&at, tool)?;
    let mut out = json!({ "name": name, "input_schema": parameters(function) });
    if let Some(description) = function["description"].as_str() {
        out["description"] = description.into();
    }
    if function["strict"] == true {
        out["strict"] = true.into();
    }
    for cache in [&tool["cache_control"], &function["cache_control"]] {
        if !cache.is_null() {
            out["cache_control"] = cache.clone();
        }
    }
    Ok(out)
}

fn tool_choice(body: &mut Map<String, Value>, asked: &Asked<'_>) -> Result<(), Failure> {
    let serial = given(asked, "parallel_tool_calls")?.is_some_and(|parallel| parallel == false);
    let mut choice = match given(asked, "tool_choice")? {
        None if serial && body.contains_key("tools") => json!({ "type": "auto" }),
        None => return Ok(()),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => json!({ "type": "auto" }),
            "none" => json!({ "type": "none" }),
            "required" => json!({ "type": "any" }),
            _ => return Err(Failure::inexpressible("tool_choice", "must be `auto`, `none`, `required` or a function")),
        },
        Some(choice) => match (choice["type"].as_str(), choice["function"]["name"].as_str()) {
            (Some("function"), Some(name)) => json!({ "type": "tool", "name": name }),
            _ => {
                return Err(Failure::inexpressible("tool_choice.type", "must be `function` for this model's provider"));
            }
        },
    };
    if serial && choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    body.insert("tool_choice".into(), choice);
    Ok(())
}

/// `reasoning_effort` becomes the effort and adaptive thinking. Models that take only a thinking budget refuse it with a
/// message of their own; their callers send `thinking` themselves.
fn effort(body: &mut Map<String, Value>, asked: &Asked<'_>) -> Result<(), Failure> {
    let Some(raw) = asked.chat.get("reasoning_effort") else { return Ok(()) };
    let effort: String = read("reasoning_effort", raw, "a string")?;
    let (level, thinking) = match effort.as_str() {
        "none" => (None, Some("disabled")),
        "minimal" => (Some("low"), None),
        level @ ("low" | "medium" | "high" | "xhigh" | "max") => (Some(level), Some("adaptive")),
        _ => {
            return Err(Failure::inexpressible(
                "reasoning_effort",
                "must be `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`",
            ));
        }
    };
    if let Some(level) = level {
        body.entry("output_config").or_insert_with(|| json!({}))["effort"] = level.into();
    }
    if let Some(kind) = thinking {
        body.entry("thinking").or_insert_with(|| json!({ "type": kind }));
    }
    Ok(())
}
