//! A Responses body as a chat completions body: all but its items.

use super::{
    super::{Takes, read, tidy_choice},
    items,
};
use crate::{failure::Failure, providers::Fields};
use serde_json::{Value, json, value::RawValue};

const NOTHING_STORED: &str = "refers to what OpenAI has stored; send the whole conversation in `input`";
const NOT_A_FUNCTION: &str = "must be `function`: this model's provider has no tools that OpenAI runs or defines";
const LOGPROBS: &str = "message.output_text.logprobs";

/// What may be asked for with an answer and cannot be in this one: it comes of tools that are refused, or is OpenAI's reasoning.
const INCLUDED_IN_VAIN: [&str; 7] = [
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];

/// The chat body.
pub(super) fn chat(body: &Fields, takes: Takes) -> Result<Fields, Failure> {
    let mut chat = Fields::default();
    let mut messages = Vec::new();
    if let Some(raw) = body.get("instructions") {
        let text: String = read("instructions", raw)?;
        messages.push(json!({ "role": "system", "content": text }));
    }
    let input: Value = match body.get("input") {
        Some(raw) => read("input", raw)?,
        None => return Err(without_input(body)),
    };
    messages.extend(items::messages(&input, takes)?);
    chat.put("messages", &messages);
    for (name, raw) in body.iter() {
        field(&mut chat, name, raw)?;
    }
    tidy_choice(&mut chat);
    Ok(chat)
}

/// What a body without `input` refers to instead, or that it needs one.
fn without_input(body: &Fields) -> Failure {
    let stored = ["prompt", "previous_response_id", "conversation"].into_iter().find(|name| body.get(name).is_some());
    match stored {
        Some(name) => Failure::inexpressible(name, NOTHING_STORED),
        None => Failure::inexpressible("input", "is required"),
    }
}

/// Puts one top-level field into the chat body.
fn field(chat: &mut Fields, name: &str, raw: &RawValue) -> Result<(), Failure> {
    match name {
        "input" | "instructions" | "stream" => {}
        "model"
        | "temperature"
        | "top_p"
        | "parallel_tool_calls"
        | "user"
        | "safety_identifier"
        | "service_tier"
        | "prompt_cache_key"
        | "prompt_cache_retention"
        | "prompt_cache_options"
        | "tollgate" => chat.set(name, raw.to_owned()),
        "max_output_tokens" => chat.set("max_completion_tokens", raw.to_owned()),
        // Labels, which the gateway reads itself; Codex' own, of its installation; a bound on tools that are not there; padding that is
        // not made; and what is false anyway.
        "metadata" | "client_metadata" | "max_tool_calls" | "stream_options" | "store" => {}
        "truncation" if raw.get() == "\"disabled\"" => {}
        "background" if raw.get() == "false" => {}
        "previous_response_id" | "conversation" => return Err(Failure::inexpressible(name, NOTHING_STORED)),
        "top_logprobs" => {
            let most: u64 = read(name, raw)?;
            if most > 0 {
                chat.put("logprobs", &true);
                chat.put("top_logprobs", &most);
            }
        }
        "include" => include(chat, &read::<Vec<String>>(name, raw)?)?,
        "tools" => {
            let tools: Vec<Value> = read(name, raw)?;
            let tools = tools.iter().enumerate().map(|(index, tool)| function(&format!("tools[{index}]"), tool));
            let tools = tools.collect::<Result<Vec<Value>, Failure>>()?;
            if !tools.is_empty() {
                chat.put("tools", &tools);
            }
        }
        "tool_choice" => tool_choice(chat, &read(name, raw)?)?,
        "reasoning" => reasoning(chat, &read(name, raw)?)?,
        "text" => text(chat, &read(name, raw)?)?,
        _ => return Err(Failure::no_equivalent(name)),
    }
    Ok(())
}

fn include(chat: &mut Fields, wanted: &[String]) -> Result<(), Failure> {
    for (index, wanted) in wanted.iter().enumerate() {
        if wanted == LOGPROBS {
            chat.put("logprobs", &true);
        } else if !INCLUDED_IN_VAIN.contains(&wanted.as_str()) {
            return Err(Failure::no_equivalent(format!("include[{index}]")));
        }
    }
    Ok(())
}

/// A tool whose fields stand beside its type, as one whose fields stand in `function`.
fn function(at: &str, tool: &Value) -> Result<Value, Failure> {
    if tool["type"] != "function" {
        return Err(Failure::inexpressible(format!("{at}.type"), NOT_A_FUNCTION));
    }
    let mut function = json!({});
    for (name, value) in tool.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "type" => {}
            "name" | "description" | "parameters" | "strict" => function[name] = value.clone(),
            "defer_loading" if value == false => {}
            "allowed_callers" if *value == json!(["direct"]) => {}
            _ => return Err(Failure::no_equivalent(format!("{at}.{name}"))),
        }
    }
    if !function["name"].is_string() {
        return Err(Failure::inexpressible(format!("{at}.name"), "is required"));
    }
    Ok(json!({ "type": "function", "function": function }))
}

fn tool_choice(chat: &mut Fields, choice: &Value) -> Result<(), Failure> {
    let named = |choice: &Value| json!({ "type": "function", "function": { "name": choice["name"] } });
    match (choice.as_str(), choice["type"].as_str()) {
        (Some("auto" | "none" | "required"), _) => chat.put("tool_choice", choice),
        (_, Some("function")) => chat.put("tool_choice", &named(choice)),
        (_, Some("allowed_tools")) => {
            let tools = choice["tools"].as_array().into_iter().flatten();
            if tools.clone().any(|tool| tool["type"] != "function") {
                return Err(Failure::inexpressible(
                    "tool_choice.tools",
                    "may hold functions only for this model's provider",
                ));
            }
            let allowed = json!({ "mode": choice["mode"], "tools": tools.map(named).collect::<Vec<Value>>() });
            chat.put("tool_choice", &json!({ "type": "allowed_tools", "allowed_tools": allowed }));
        }
        (_, Some(_)) => return Err(Failure::inexpressible("tool_choice.type", NOT_A_FUNCTION)),
        _ => return Err(Failure::inexpressible("tool_choice", "must be `auto`, `none`, `required` or a function")),
    }
    Ok(())
}

/// A summary is not asked for: whatever reasoning a provider shows is shown.
fn reasoning(chat: &mut Fields, reasoning: &Value) -> Result<(), Failure> {
    for (name, value) in object("reasoning", reasoning)? {
        match name.as_str() {
            "effort" => chat.put("reasoning_effort", value),
            "summary" | "generate_summary" => {}
            _ => return Err(Failure::no_equivalent(format!("reasoning.{name}"))),
        }
    }
    Ok(())
}

fn text(chat: &mut Fields, text: &Value) -> Result<(), Failure> {
    for (name, value) in object("text", text)? {
        match (name.as_str(), value["type"].as_str()) {
            ("verbosity", _) => chat.put(name, value),
            ("format", Some("text")) => {}
            ("format", Some("json_object")) => chat.put("response_format", value),
            ("format", Some("json_schema")) => {
                let mut schema = value.clone();
                schema.as_object_mut().map(|schema| schema.remove("type"));
                chat.put("response_format", &json!({ "type": "json_schema", "json_schema": schema }));
            }
            ("format", _) => {
                let why = "must be `text`, `json_object` or `json_schema` for this model's provider";
                return Err(Failure::inexpressible("text.format.type", why));
            }
            _ => return Err(Failure::no_equivalent(format!("text.{name}"))),
        }
    }
    Ok(())
}

/// What an object gives.
fn object<'a>(name: &str, value: &'a Value) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, Failure> {
    match value.as_object() {
        Some(map) => Ok(map.iter().filter(|(_, value)| !value.is_null())),
        None => Err(Failure::inexpressible(name, "must be an object")),
    }
}
