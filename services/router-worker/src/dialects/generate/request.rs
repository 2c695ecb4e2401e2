//! A GenerateContent body as a chat completions body: all but its contents.

use super::{
    super::{Takes, effort, read},
    camel, contents, fields, list,
    schema::json_schema,
    string,
};
use crate::{failure::Failure, providers::Fields};
use serde_json::{Value, json, value::RawValue};

const OF_GOOGLE: &str = "is a tool that Google runs; this model's provider has only those of the caller";

/// Fields of the generation configuration that only have another name.
const RENAMED: [(&str, &str); 7] = [
    ("temperature", "temperature"),
    ("topP", "top_p"),
    ("maxOutputTokens", "max_completion_tokens"),
    ("stopSequences", "stop"),
    ("presencePenalty", "presence_penalty"),
    ("frequencyPenalty", "frequency_penalty"),
    ("seed", "seed"),
];

/// The chat body.
pub(super) fn chat(body: &Fields, takes: Takes) -> Result<Fields, Failure> {
    let mut chat = Fields::default();
    let mut messages = Vec::new();
    let given = |wanted: &'static str| body.iter().filter(move |(name, _)| camel(name) == wanted);
    for (name, raw) in given("systemInstruction") {
        messages.extend(contents::system(name, &read(name, raw)?)?);
    }
    match given("contents").next() {
        Some((name, raw)) => messages.extend(contents::messages(&read::<Vec<Value>>(name, raw)?, takes.reasoning)?),
        None => return Err(Failure::inexpressible("contents", "is required")),
    }
    chat.put("messages", &messages);
    let mut tools = Vec::new();
    for (name, raw) in body.iter() {
        field(&mut chat, &mut tools, name, raw, takes.marks)?;
    }
    for (name, raw) in given("toolConfig") {
        tool_config(&mut chat, &mut tools, name, &read(name, raw)?)?;
    }
    if tools.is_empty() {
        // Chat completions has no place for it then.
        chat.remove("tool_choice");
    } else {
        chat.put("tools", &tools);
    }
    Ok(chat)
}

/// Puts one top-level field into the chat body. One that is refused is named as it came, so that it can be left out.
fn field(chat: &mut Fields, tools: &mut Vec<Value>, name: &str, raw: &RawValue, marks: bool) -> Result<(), Failure> {
    match camel(name).as_str() {
        "contents" | "systemInstruction" | "toolConfig" => {}
        // The path says it; the gateway reads them itself.
        "model" | "labels" => {}
        "tollgate" => chat.set(name, raw.to_owned()),
        "store" if raw.get() == "false" => {}
        "tools" => {
            for (index, tool) in read::<Vec<Value>>(name, raw)?.iter().enumerate() {
                declarations(tools, &format!("{name}[{index}]"), tool)?;
            }
        }
        "generationConfig" => config(chat, name, &read(name, raw)?, marks)?,
        "serviceTier" => match read::<String>(name, raw)?.to_ascii_lowercase().as_str() {
            "unspecified" => {}
            "standard" => chat.put("service_tier", "default"),
            tier @ ("flex" | "priority") => chat.put("service_tier", tier),
            _ => return Err(Failure::inexpressible(name, "must be `standard`, `flex` or `priority`")),
        },
        _ => return Err(Failure::no_equivalent(name)),
    }
    Ok(())
}

fn declarations(tools: &mut Vec<Value>, at: &str, tool: &Value) -> Result<(), Failure> {
    for (name, value) in fields(at, tool)? {
        let at = format!("{at}.{name}");
        if name != "functionDeclarations" {
            return Err(Failure::inexpressible(at, OF_GOOGLE));
        }
        for (index, declaration) in list(&at, value)?.iter().enumerate() {
            tools.push(function(&format!("{at}[{index}]"), declaration)?);
        }
    }
    Ok(())
}

fn function(at: &str, declaration: &Value) -> Result<Value, Failure> {
    let mut function = json!({});
    for (name, value) in fields(at, declaration)? {
        match name.as_str() {
            "name" | "description" => function[&name] = string(at, &name, value)?.into(),
            "parameters" => function["parameters"] = json_schema(value),
            "parametersJsonSchema" => function["parameters"] = value.clone(),
            "response" | "responseJsonSchema" => {}
            "behavior" if value == "BLOCKING" || value == "UNSPECIFIED" => {}
            _ => return Err(Failure::no_equivalent(format!("{at}.{name}"))),
        }
    }
    if function["name"].is_null() {
        return Err(Failure::inexpressible(format!("{at}.name"), "is required"));
    }
    Ok(json!({ "type": "function", "function": function }))
}

/// Which functions may be called, and whether one must be. Those that may not be are not shown: every provider knows that.
fn tool_config(chat: &mut Fields, tools: &mut Vec<Value>, at: &str, config: &Value) -> Result<(), Failure> {
    for (name, value) in fields(at, config)? {
        let at = format!("{at}.{name}");
        if name != "functionCallingConfig" {
            return Err(Failure::no_equivalent(at));
        }
        let (mut mode, mut allowed) = (String::new(), None);
        for (name, value) in fields(&at, value)? {
            match name.as_str() {
                "mode" => mode = string(&at, &name, value)?.to_ascii_uppercase(),
                "allowedFunctionNames" => {
                    allowed = Some(list(&format!("{at}.{name}"), value)?).filter(|names| !names.is_empty());
                }
                "streamFunctionCallArguments" if value == false => {}
                _ => return Err(Failure::no_equivalent(format!("{at}.{name}"))),
            }
        }
        let choice = match mode.as_str() {
            "" | "MODE_UNSPECIFIED" | "AUTO" | "VALIDATED" => "auto",
            "ANY" => "required",
            "NONE" => "none",
            _ => {
                let why = "must be `AUTO`, `ANY`, `VALIDATED` or `NONE`";
                return Err(Failure::inexpressible(format!("{at}.mode"), why));
            }
        };
        // Names are heeded in these modes only.
        if let Some(allowed) = allowed.filter(|_| matches!(mode.as_str(), "ANY" | "VALIDATED")) {
            tools.retain(|tool| allowed.contains(&tool["function"]["name"]));
            if tools.is_empty() {
                let at = format!("{at}.allowedFunctionNames");
                return Err(Failure::inexpressible(at, "must name functions that are declared"));
            }
        }
        chat.put("tool_choice", choice);
    }
    Ok(())
}

fn config(chat: &mut Fields, at: &str, config: &Value, marks: bool) -> Result<(), Failure> {
    let (mut mime_type, mut schema) = (None, None);
    for (name, value) in fields(at, config)? {
        if let Some((_, renamed)) = RENAMED.iter().find(|(known, _)| *known == name) {
            chat.put(renamed, value);
            continue;
        }
        match name.as_str() {
            "topK" if marks => chat.put("top_k", value),
            "candidateCount" if *value == 1 => {}
            "candidateCount" => chat.put("n", value),
            "responseLogprobs" => chat.put("logprobs", value),
            "logprobs" => chat.put("top_logprobs", value),
            "responseMimeType" => mime_type = Some(string(at, &name, value)?),
            "responseSchema" => schema = Some(json_schema(value)),
            "responseJsonSchema" => schema = Some(value.clone()),
            "responseModalities" if *value == json!(["TEXT"]) => {}
            "thinkingConfig" => thinking(chat, &format!("{at}.{name}"), value)?,
            _ => return Err(Failure::no_equivalent(format!("{at}.{name}"))),
        }
    }
    match (mime_type, schema) {
        (None | Some("application/json"), Some(schema)) => {
            let schema = json!({ "name": "answer", "schema": schema });
            chat.put("response_format", &json!({ "type": "json_schema", "json_schema": schema }));
        }
        (Some("application/json"), None) => chat.put("response_format", &json!({ "type": "json_object" })),
        (None | Some("text/plain"), None) => {}
        (Some(_), _) => {
            let why = "must be `text/plain` or, with or without a schema, `application/json` for this model's provider";
            return Err(Failure::inexpressible(format!("{at}.responseMimeType"), why));
        }
    }
    Ok(())
}

/// A level, or a budget, becomes an effort. Whether thoughts are shown is for the answer to say.
fn thinking(chat: &mut Fields, at: &str, thinking: &Value) -> Result<(), Failure> {
    for (name, value) in fields(at, thinking)? {
        match (name.as_str(), value.as_i64()) {
            ("includeThoughts", _) => {}
            ("thinkingLevel", _) => {
                let level = string(at, &name, value)?.to_ascii_lowercase();
                if level != "thinking_level_unspecified" {
                    chat.put("reasoning_effort", &level);
                }
            }
            ("thinkingBudget", Some(0)) => chat.put("reasoning_effort", "none"),
            // As the model likes.
            ("thinkingBudget", Some(-1)) => {}
            ("thinkingBudget", Some(budget @ 1..)) => chat.put("reasoning_effort", effort(budget.unsigned_abs())),
            _ => return Err(Failure::no_equivalent(format!("{at}.{name}"))),
        }
    }
    Ok(())
}
