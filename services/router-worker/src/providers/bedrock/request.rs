//! A chat completions body as a Converse body.

use super::{
    super::{
        Asked,
        translate::{
            demanded_schema, function, given, given_tools, idle, parameters, read, stop_sequences, temperature_to_one,
        },
    },
    messages,
};
use crate::failure::Failure;
use serde_json::{Map, Value, json, value::RawValue};

/// The Converse body; the model is in the path. A maximum that the caller leaves out is the model's own there.
pub(super) fn encode(asked: &Asked<'_>) -> Result<Value, Failure> {
    let mut body = Map::new();
    for (name, raw) in asked.chat.iter() {
        field(&mut body, name, raw)?;
    }
    tool_config(&mut body, asked)?;
    if body.get("messages").is_none() {
        return Err(Failure::inexpressible("messages", "is required"));
    }
    Ok(Value::Object(body))
}

/// The object of that name in the body.
fn within<'a>(body: &'a mut Map<String, Value>, name: &str) -> &'a mut Value {
    body.entry(name).or_insert_with(|| json!({}))
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
        "max_completion_tokens" => within(body, "inferenceConfig")["maxTokens"] = value,
        "max_tokens" => {
            let max = &mut within(body, "inferenceConfig")["maxTokens"];
            if max.is_null() {
                *max = value;
            }
        }
        "temperature" => {
            temperature_to_one(name, raw)?;
            within(body, "inferenceConfig")["temperature"] = value;
        }
        "top_p" => within(body, "inferenceConfig")["topP"] = value,
        "stop" => within(body, "inferenceConfig")["stopSequences"] = stop_sequences(value),
        "response_format" => {
            if let Some(demanded) = demanded_schema(&value)? {
                let structure = json!({ "jsonSchema": schema(demanded) });
                let format = json!({ "type": "json_schema", "structure": structure });
                within(body, "outputConfig")["textFormat"] = format;
            }
        }
        "reasoning_effort" => within(body, "outputConfig")["effort"] = effort(&value)?.into(),
        "service_tier" => match value.as_str() {
            Some("auto") => {}
            Some(tier @ ("default" | "flex" | "priority" | "reserved")) => {
                body.insert("serviceTier".into(), json!({ "type": tier }));
            }
            _ => {
                return Err(Failure::inexpressible(
                    name,
                    "must be `auto`, `default`, `flex`, `priority` or `reserved`",
                ));
            }
        },
        // Parameters that models have beyond Converse's own, for callers who know what answers them.
        "thinking" | "top_k" => within(body, "additionalModelRequestFields")[name] = value,
        "additionalModelRequestFields" => {
            let fields: Map<String, Value> = read(name, raw, "an object")?;
            for (name, value) in fields {
                within(body, "additionalModelRequestFields")[name] = value;
            }
        }
        // Read elsewhere.
        "tools" | "tool_choice" | "parallel_tool_calls" => {}
        _ => idle(name, &value)?,
    }
    Ok(())
}

/// `outputConfig.effort`. Without thinking, which a caller asks for with `thinking`, the model's provider caps it at `high`.
fn effort(value: &Value) -> Result<&str, Failure> {
    match value.as_str() {
        Some("minimal") => Ok("low"),
        Some(level @ ("low" | "medium" | "high" | "xhigh" | "max")) => Ok(level),
        _ => Err(Failure::inexpressible(
            "reasoning_effort",
            "must be `minimal`, `low`, `medium`, `high`, `xhigh` or `max` for this model's provider",
        )),
    }
}

/// The schema is text there.
fn schema(demanded: &Value) -> Value {
    let mut schema = json!({ "schema": demanded["schema"].to_string() });
    for name in ["name", "description"] {
        if demanded[name].is_string() {
            schema[name] = demanded[name].clone();
        }
    }
    schema
}

/// Tools and how they are chosen. Choices that cannot be said matter only where there is something to choose.
fn tool_config(body: &mut Map<String, Value>, asked: &Asked<'_>) -> Result<(), Failure> {
    let choice = given(asked, "tool_choice")?.map(|choice| tool_choice(&choice)).transpose()?;
    let tools = given_tools(asked)?;
    if tools.is_empty() {
        return Ok(());
    }
    if given(asked, "parallel_tool_calls")?.is_some_and(|parallel| parallel == false) {
        return Err(Failure::inexpressible("parallel_tool_calls", "cannot be false for this model's provider"));
    }
    let mut listed = Vec::with_capacity(tools.len());
    for (index, asked) in tools.iter().enumerate() {
        listed.push(tool(index, asked)?);
        let cache = [&asked["cache_control"], &asked["function"]["cache_control"]];
        listed.extend(cache.into_iter().find(|cache| !cache.is_null()).map(messages::cache_point));
    }
    let config = within(body, "toolConfig");
    config["tools"] = listed.into();
    match choice {
        Some(Choice::Nothing) => {
            return Err(Failure::inexpressible("tool_choice", "cannot be `none` for this model's provider"));
        }
        Some(Choice::Of(choice)) => config["toolChoice"] = choice,
        None => {}
    }
    Ok(())
}

enum Choice {
    /// `none`, which Converse has no word for.
    Nothing,
    /// As Converse writes it.
    Of(Value),
}

fn tool_choice(choice: &Value) -> Result<Choice, Failure> {
    Ok(match (choice.as_str(), choice["type"].as_str(), choice["function"]["name"].as_str()) {
        (Some("auto"), ..) => Choice::Of(json!({ "auto": {} })),
        (Some("required"), ..) => Choice::Of(json!({ "any": {} })),
        (Some("none"), ..) => Choice::Nothing,
        (Some(_), ..) => {
            return Err(Failure::inexpressible("tool_choice", "must be `auto`, `none`, `required` or a function"));
        }
        (None, Some("function"), Some(name)) => Choice::Of(json!({ "tool": { "name": name } })),
        _ => return Err(Failure::inexpressible("tool_choice.type", "must be `function` for this model's provider")),
    })
}

fn tool(index: usize, tool: &Value) -> Result<Value, Failure> {
    let at = format!("tools[{index}]");
    let (function, name) = function(&at, tool)?;
    let mut spec = json!({ "name": name, "inputSchema": { "json": parameters(function) } });
    if let Some(description) = function["description"].as_str().filter(|description| !description.is_empty()) {
        spec["description"] = description.into();
    }
    if function["strict"] == true {
        spec["strict"] = true.into();
    }
    Ok(json!({ "toolSpec": spec }))
}
