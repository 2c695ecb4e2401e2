//! A chat completions body as one of Cohere's.

use super::{
    super::{
        Asked, Fields,
        translate::{body, function, idle, max_tokens, parameters, read, stop_sequences},
    },
    messages,
};
use crate::failure::Failure;
use serde_json::{Value, json, value::RawValue};

/// The body to send. Errors with the name of the field that cannot be expressed.
pub(super) fn encode(asked: &Asked<'_>) -> Result<Fields, Failure> {
    body(asked, field)
}

/// Puts one top-level field into the body. `null` has been filtered out: both APIs take it as absent.
fn field(body: &mut Fields, name: &str, raw: &RawValue) -> Result<(), Failure> {
    let value: Value = read(name, raw, "JSON")?;
    match name {
        "messages" => body.put(name, &messages::translate(&value)?),
        "tools" => tools(body, &value)?,
        "tool_choice" => match value.as_str() {
            // Leaving it out is the provider's word for `auto`.
            Some("auto") => {}
            Some("required") => body.put(name, "REQUIRED"),
            Some("none") => body.put(name, "NONE"),
            _ => {
                let why = "must be `auto`, `none` or `required` for this model's provider";
                return Err(Failure::inexpressible(name, why));
            }
        },
        "response_format" => response_format(body, &value)?,
        "max_completion_tokens" | "max_tokens" => max_tokens(body, name, raw),
        "stop" => body.put("stop_sequences", &stop_sequences(value)),
        "top_p" => {
            within(name, &value, 0.01, 0.99)?;
            body.set("p", raw.to_owned());
        }
        "frequency_penalty" | "presence_penalty" => {
            within(name, &value, 0.0, 1.0)?;
            body.set(name, raw.to_owned());
        }
        "reasoning_effort" => reasoning_effort(body, &value)?,
        // The same in both; then the provider's own fields, for callers who know what answers them.
        "temperature" | "seed" | "logprobs" | "documents" | "citation_options" | "safety_mode" | "strict_tools"
        | "thinking" | "k" | "p" | "priority" => body.set(name, raw.to_owned()),
        "top_k" => body.set("k", raw.to_owned()),
        _ => idle(name, &value)?,
    }
    Ok(())
}

fn within(name: &str, value: &Value, least: f64, most: f64) -> Result<(), Failure> {
    if value.as_f64().is_some_and(|value| (least..=most).contains(&value)) {
        return Ok(());
    }
    Err(Failure::inexpressible(name, &format!("must be from {least} to {most} for this model's provider")))
}

/// Strictness is of all tools or of none.
fn tools(body: &mut Fields, tools: &Value) -> Result<(), Failure> {
    let tools = tools.as_array().ok_or_else(|| Failure::inexpressible("tools", "must be a list"))?;
    let is_strict = tools.first().is_some_and(|tool| tool["function"]["strict"] == true);
    let mut out = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        let at = format!("tools[{at}]");
        let (function, name) = function(&at, tool)?;
        if (function["strict"] == true) != is_strict {
            let at = format!("{at}.function.strict");
            return Err(Failure::inexpressible(at, "must be the same for all tools at this model's provider"));
        }
        let mut function_out = json!({ "name": name, "parameters": parameters(function) });
        if function["description"].is_string() {
            function_out["description"] = function["description"].clone();
        }
        out.push(json!({ "type": "function", "function": function_out }));
    }
    if !out.is_empty() {
        body.put("tools", &out);
    }
    if is_strict {
        body.put("strict_tools", &true);
    }
    Ok(())
}

fn response_format(body: &mut Fields, format: &Value) -> Result<(), Failure> {
    let out = match format["type"].as_str() {
        Some("text") => return Ok(()),
        // A schema beside `json_object` is the provider's own way, for callers who know what answers them.
        Some("json_object") => format.clone(),
        Some("json_schema") if format["json_schema"]["schema"].is_object() => {
            json!({ "type": "json_object", "json_schema": format["json_schema"]["schema"] })
        }
        Some("json_schema") => {
            return Err(Failure::inexpressible("response_format.json_schema.schema", "must be an object"));
        }
        _ => {
            let why = "must be `text`, `json_object` or `json_schema`";
            return Err(Failure::inexpressible("response_format.type", why));
        }
    };
    body.put("response_format", &out);
    Ok(())
}

/// Reasoning is on or off: `none` and `high`, as the provider's own compatibility API has it
/// (<https://docs.cohere.com/docs/compatibility-api>). A `thinking` of the caller's own is stronger.
fn reasoning_effort(body: &mut Fields, effort: &Value) -> Result<(), Failure> {
    let kind = match effort.as_str() {
        Some("none") => "disabled",
        Some("high") => "enabled",
        _ => {
            return Err(Failure::inexpressible(
                "reasoning_effort",
                "must be `none` or `high` for this model's provider",
            ));
        }
    };
    if body.get("thinking").is_none() {
        body.put("thinking", &json!({ "type": kind }));
    }
    Ok(())
}
