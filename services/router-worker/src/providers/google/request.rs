//! A chat completions body as a GenerateContent body.
//!
//! Sources: <https://ai.google.dev/api/generate-content#v1beta.GenerationConfig>, `…/gemini-api/docs/structured-output`,
//! `…/thinking`, and `…/openai` for what Google itself makes of `reasoning_effort` and of `extra_body`.

use super::{
    super::{
        Asked,
        translate::{idle, read, stop_sequences},
    },
    Google, contents, thinks_by_budget, tools,
};
use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// Fields that only have another name in the generation configuration.
const RENAMED: [(&str, &str); 8] = [
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("presence_penalty", "presencePenalty"),
    ("frequency_penalty", "frequencyPenalty"),
    ("seed", "seed"),
    ("n", "candidateCount"),
    ("logprobs", "responseLogprobs"),
];

/// The body. The model and whether it is a stream are in the path.
pub(super) fn encode(google: &Google, asked: &Asked<'_>) -> Result<Value, Failure> {
    let (mut body, mut config) = (Map::new(), Map::new());
    for (name, raw) in asked.chat.iter() {
        let value: Value = read(name, raw, "JSON")?;
        if name == "messages" {
            let signed = !thinks_by_budget(asked.upstream_model);
            let (system, contents) = contents::translate(google, signed, &value)?;
            if !system.is_empty() {
                body.insert("systemInstruction".into(), json!({ "parts": system }));
            }
            body.insert("contents".into(), contents.into());
        } else {
            field(&mut body, &mut config, name, value)?;
        }
    }
    tools::put(&mut body, asked)?;
    effort(&mut config, asked)?;
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    if body.get("contents").is_none() {
        return Err(Failure::inexpressible("messages", "is required"));
    }
    Ok(Value::Object(body))
}

/// Puts one top-level field into the body or its configuration. `null` has been filtered out: both APIs take it as absent.
fn field(
    body: &mut Map<String, Value>,
    config: &mut Map<String, Value>,
    name: &str,
    value: Value,
) -> Result<(), Failure> {
    if let Some((_, renamed)) = RENAMED.iter().find(|(known, _)| *known == name) {
        config.insert((*renamed).to_owned(), value);
        return Ok(());
    }
    match name {
        // `max_completion_tokens` is the newer name and wins.
        "max_completion_tokens" => drop(config.insert("maxOutputTokens".into(), value)),
        "max_tokens" => drop(config.entry("maxOutputTokens").or_insert(value)),
        "top_logprobs" if value == 0 => {}
        "top_logprobs" => drop(config.insert("logprobs".into(), value)),
        "stop" => drop(config.insert("stopSequences".into(), stop_sequences(value))),
        "response_format" => response_format(config, &value)?,
        "service_tier" => match value.as_str() {
            Some("auto") => {}
            Some("default") => drop(body.insert("serviceTier".into(), "standard".into())),
            Some("flex" | "priority") => drop(body.insert("serviceTier".into(), value)),
            _ => return Err(Failure::inexpressible(name, "must be `auto`, `default`, `flex` or `priority`")),
        },
        "extra_body" => extra_body(body, config, &value)?,
        // Read elsewhere.
        "tools" | "tool_choice" | "parallel_tool_calls" | "reasoning_effort" => {}
        _ => idle(name, &value)?,
    }
    Ok(())
}

/// The provider's own fields, for callers who know what answers them, where Google's compatibility layer takes them. Its parsers
/// read both spellings of a name, `thinking_budget` and `thinkingBudget`, so the values go as they are.
fn extra_body(body: &mut Map<String, Value>, config: &mut Map<String, Value>, extra: &Value) -> Result<(), Failure> {
    let Some(extra) = extra.as_object() else { return Err(Failure::inexpressible("extra_body", "must be an object")) };
    for (whose, own) in extra {
        let at = format!("extra_body.{whose}");
        let Some(own) = own.as_object().filter(|_| whose == "google") else {
            return Err(Failure::inexpressible(at, "must be `google`, an object"));
        };
        for (name, value) in own {
            match name.as_str() {
                "thinking_config" => drop(config.insert("thinkingConfig".into(), value.clone())),
                "cached_content" => drop(body.insert("cachedContent".into(), value.clone())),
                "safety_settings" => drop(body.insert("safetySettings".into(), value.clone())),
                _ => return Err(Failure::no_equivalent(format!("{at}.{name}"))),
            }
        }
    }
    Ok(())
}

fn response_format(config: &mut Map<String, Value>, format: &Value) -> Result<(), Failure> {
    let schema = match format["type"].as_str() {
        Some("text") => return Ok(()),
        Some("json_object") => None,
        Some("json_schema") if format["json_schema"]["schema"].is_object() => Some(&format["json_schema"]),
        Some("json_schema") => {
            return Err(Failure::inexpressible("response_format.json_schema.schema", "must be an object"));
        }
        _ => {
            return Err(Failure::inexpressible(
                "response_format.type",
                "must be `text`, `json_object` or `json_schema`",
            ));
        }
    };
    config.insert("responseMimeType".into(), "application/json".into());
    if let Some(format) = schema {
        let mut schema = format["schema"].clone();
        // What the format is for has its place in the schema itself.
        if schema.get("description").is_none() && format["description"].is_string() {
            schema["description"] = format["description"].clone();
        }
        config.insert("responseJsonSchema".into(), schema);
    }
    Ok(())
}

/// `reasoning_effort` as Google's compatibility layer takes it: a level, and up to Gemini 2.5 a budget in tokens. A model that
/// cannot do without thinking refuses `none` with a message of its own. Thoughts are shown to those who ask for some.
fn effort(config: &mut Map<String, Value>, asked: &Asked<'_>) -> Result<(), Failure> {
    let Some(raw) = asked.chat.get("reasoning_effort") else { return Ok(()) };
    if config.contains_key("thinkingConfig") {
        return Err(Failure::inexpressible(
            "reasoning_effort",
            "and `extra_body.google.thinking_config` exclude each other",
        ));
    }
    let effort: String = read("reasoning_effort", raw, "a string")?;
    let (level, budget) = match effort.as_str() {
        "none" => ("", 0),
        "minimal" => ("MINIMAL", 1024),
        "low" => ("LOW", 1024),
        "medium" => ("MEDIUM", 8192),
        "high" => ("HIGH", 24576),
        _ => {
            let why = "must be `none`, `minimal`, `low`, `medium` or `high` for this model's provider";
            return Err(Failure::inexpressible("reasoning_effort", why));
        }
    };
    let thinking = if level.is_empty() {
        json!({ "thinkingBudget": 0 })
    } else if thinks_by_budget(asked.upstream_model) {
        json!({ "includeThoughts": true, "thinkingBudget": budget })
    } else {
        json!({ "includeThoughts": true, "thinkingLevel": level })
    };
    config.insert("thinkingConfig".into(), thinking);
    Ok(())
}
