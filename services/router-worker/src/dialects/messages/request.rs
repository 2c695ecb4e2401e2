//! A Messages body as a chat completions body: all but its messages.

use super::{
    super::{Takes, effort, read, tidy_choice},
    turns,
};
use crate::{failure::Failure, providers::Fields};
use serde_json::{Value, json, value::RawValue};

/// The chat body.
pub(super) fn chat(body: &Fields, takes: Takes) -> Result<Fields, Failure> {
    let mut chat = Fields::default();
    let mut messages = Vec::new();
    if let Some(system) = body.get("system") {
        messages.extend(turns::system(&read("system", system)?, takes.marks)?);
    }
    let turns: Vec<Value> = match body.get("messages") {
        Some(raw) => read("messages", raw)?,
        None => return Err(Failure::inexpressible("messages", "is required")),
    };
    for (index, message) in turns.iter().enumerate() {
        turns::add(&mut messages, &format!("messages[{index}]"), message, takes)?;
    }
    chat.put("messages", &messages);
    for (name, raw) in body.iter() {
        field(&mut chat, name, raw, takes.marks)?;
    }
    tidy_choice(&mut chat);
    Ok(chat)
}

/// Puts one top-level field into the chat body.
fn field(chat: &mut Fields, name: &str, raw: &RawValue, marks: bool) -> Result<(), Failure> {
    match name {
        // A mark of the whole body is as idle as those within it, and where those are known this one is not.
        "system" | "messages" | "stream" | "cache_control" => {}
        "model" | "temperature" | "top_p" => chat.set(name, raw.to_owned()),
        "max_tokens" => chat.set("max_completion_tokens", raw.to_owned()),
        "stop_sequences" => chat.set("stop", raw.to_owned()),
        "tools" => {
            let tools: Vec<Value> = read(name, raw)?;
            let tools = tools.iter().enumerate().map(|(index, tool)| function(index, tool, marks));
            let tools = tools.collect::<Result<Vec<Value>, Failure>>()?;
            if !tools.is_empty() {
                chat.put("tools", &tools);
            }
        }
        "tool_choice" => tool_choice(chat, &read(name, raw)?)?,
        "metadata" => {
            let metadata: Value = read(name, raw)?;
            if metadata["user_id"].is_string() {
                chat.put("user", &metadata["user_id"]);
            }
        }
        "service_tier" => {
            let tier: Value = read(name, raw)?;
            chat.put(name, if tier == "standard_only" { "default" } else { "auto" });
        }
        "thinking" | "top_k" if marks => chat.set(name, raw.to_owned()),
        "thinking" => thinking(chat, &read(name, raw)?),
        "output_config" => output_config(chat, &read(name, raw)?, marks)?,
        "context_management" => context_management(&read(name, raw)?)?,
        _ => return Err(Failure::no_equivalent(name)),
    }
    Ok(())
}

fn function(index: usize, tool: &Value, marks: bool) -> Result<Value, Failure> {
    let at = format!("tools[{index}]");
    if !(tool["type"].is_null() || tool["type"] == "custom") {
        let why = "is a tool that Anthropic runs; this model's provider has only those of the caller";
        return Err(Failure::inexpressible(format!("{at}.type"), why));
    }
    let is_known = |name: &str, value: &Value| match name {
        "type" | "name" | "description" | "input_schema" | "strict" | "cache_control" | "eager_input_streaming" => true,
        // What is so anyway.
        "defer_loading" => *value == false,
        "allowed_callers" => *value == json!(["direct"]),
        "input_examples" => *value == json!([]),
        _ => false,
    };
    turns::known(&at, tool, is_known)?;
    let mut function = json!({ "name": tool["name"], "parameters": tool["input_schema"] });
    for name in ["description", "strict"] {
        if !tool[name].is_null() {
            function[name] = tool[name].clone();
        }
    }
    let mut out = json!({ "type": "function", "function": function });
    if marks && !tool["cache_control"].is_null() {
        out["cache_control"] = tool["cache_control"].clone();
    }
    Ok(out)
}

fn tool_choice(chat: &mut Fields, choice: &Value) -> Result<(), Failure> {
    match choice["type"].as_str() {
        Some("auto") => chat.put("tool_choice", "auto"),
        Some("any") => chat.put("tool_choice", "required"),
        Some("none") => chat.put("tool_choice", "none"),
        Some("tool") => {
            chat.put("tool_choice", &json!({ "type": "function", "function": { "name": choice["name"] } }));
        }
        _ => return Err(Failure::inexpressible("tool_choice.type", "must be `auto`, `any`, `tool` or `none`")),
    }
    if choice["disable_parallel_tool_use"] == true {
        chat.put("parallel_tool_calls", &false);
    }
    Ok(())
}

/// A budget becomes an effort. `adaptive` and `disabled` ask for nothing: what a model does by itself is its provider's default.
fn thinking(chat: &mut Fields, thinking: &Value) {
    let Some(budget) = thinking["budget_tokens"].as_u64().filter(|_| thinking["type"] == "enabled") else { return };
    if chat.get("reasoning_effort").is_none() {
        chat.put("reasoning_effort", effort(budget));
    }
}

/// Edits that clear thoughts of earlier answers, as Claude Code asks for with each request, change nothing for a model that is not
/// shown any. Others would change what it is shown.
fn context_management(management: &Value) -> Result<(), Failure> {
    let clears_thoughts = |edit: &Value| edit["type"].as_str().is_some_and(|kind| kind.starts_with("clear_thinking_"));
    let is_idle = |(name, value): (&String, &Value)| {
        value.is_null() || name == "edits" && value.as_array().is_some_and(|edits| edits.iter().all(clears_thoughts))
    };
    if management.as_object().is_some_and(|fields| fields.iter().all(is_idle)) {
        return Ok(());
    }
    let why =
        "may only clear thinking (`clear_thinking_…`) for this model's provider; leave it out or use another endpoint";
    Err(Failure::inexpressible("context_management", why))
}

fn output_config(chat: &mut Fields, config: &Value, marks: bool) -> Result<(), Failure> {
    for (name, value) in config.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            // The one word that OpenAI does not have is its highest; Claude has it wherever it runs.
            "effort" => {
                let effort = value.as_str().unwrap_or_default();
                chat.put("reasoning_effort", if effort == "max" && !marks { "xhigh" } else { effort });
            }
            "format" if value["type"] == "json_schema" => {
                let schema = json!({ "name": "answer", "schema": value["schema"], "strict": true });
                chat.put("response_format", &json!({ "type": "json_schema", "json_schema": schema }));
            }
            _ => return Err(Failure::no_equivalent(format!("output_config.{name}"))),
        }
    }
    Ok(())
}
