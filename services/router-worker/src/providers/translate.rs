//! A chat completions body in another API's words: what is the same for every leaf that translates.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>. A leaf puts the fields that its provider knows; this
//! module reads them, and says which others may be left out. Whatever would be lost is refused with the name of the field, never
//! dropped. Messages are in `conversation`.

use super::{Asked, Fields};
use crate::failure::Failure;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json, value::RawValue};

const FUNCTIONS_ONLY: &str = "must be `function` for this model's provider";

/// A field's value as `T`, or a refusal that says what it must be.
pub(super) fn read<T: DeserializeOwned>(name: &str, raw: &RawValue, what: &str) -> Result<T, Failure> {
    serde_json::from_str(raw.get()).map_err(|_| Failure::inexpressible(name, &format!("must be {what}")))
}

/// What the caller gives in a field; `None` if it is absent or `null`.
pub(super) fn given(asked: &Asked<'_>, name: &str) -> Result<Option<Value>, Failure> {
    asked.chat.get(name).map(|raw| read(name, raw, "JSON")).transpose()
}

/// The caller's tools, as they came.
pub(super) fn given_tools(asked: &Asked<'_>) -> Result<Vec<Value>, Failure> {
    asked.chat.get("tools").map_or(Ok(Vec::new()), |raw| read("tools", raw, "a list"))
}

/// A body that is near enough to OpenAI's to have its fields `model`, `stream` and `messages`; `put` puts every other.
pub(super) fn body(
    asked: &Asked<'_>,
    put: impl Fn(&mut Fields, &str, &RawValue) -> Result<(), Failure>,
) -> Result<Fields, Failure> {
    let mut body = Fields::default();
    body.put("model", asked.upstream_model);
    for (name, raw) in asked.chat.iter() {
        put(&mut body, name, raw)?;
    }
    if asked.stream {
        body.put("stream", &true);
    }
    if body.get("messages").is_none() {
        return Err(Failure::inexpressible("messages", "is required"));
    }
    Ok(body)
}

/// Puts either name of the longest answer into a body that knows `max_tokens` only. `max_completion_tokens` is the newer name and
/// wins, whichever comes first.
pub(super) fn max_tokens(body: &mut Fields, name: &str, raw: &RawValue) {
    if name == "max_completion_tokens" || body.get("max_tokens").is_none() {
        body.set("max_tokens", raw.to_owned());
    }
}

/// `stop` as a list.
pub(super) fn stop_sequences(stop: Value) -> Value {
    if stop.is_string() { json!([stop]) } else { stop }
}

/// Refuses a temperature that is too high for models whose scale ends at 1.
pub(super) fn temperature_to_one(name: &str, raw: &RawValue) -> Result<(), Failure> {
    if read::<f64>(name, raw, "a number")? > 1.0 {
        return Err(Failure::inexpressible(name, "must be at most 1 for this model's provider"));
    }
    Ok(())
}

/// What `response_format` demands of an answer, at a provider that knows schemas and no free-form JSON: a `json_schema` whose
/// `schema` is an object; `None`: any text.
pub(super) fn demanded_schema(format: &Value) -> Result<Option<&Value>, Failure> {
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_schema") if format["json_schema"]["schema"].is_object() => Ok(Some(&format["json_schema"])),
        Some("json_schema") => Err(Failure::inexpressible("response_format.json_schema.schema", "must be an object")),
        _ => Err(Failure::inexpressible(
            "response_format.type",
            "must be `text` or `json_schema` for this model's provider; it has no free-form JSON mode",
        )),
    }
}

/// Lets a field pass that a leaf has no word for and that the answer does not depend on, or whose value says what happens anyway;
/// every other is refused. Fields that a leaf puts or reads do not come here.
pub(super) fn idle(name: &str, value: &Value) -> Result<(), Failure> {
    let harmless = match name {
        // Said elsewhere, in the body or in the path; usage comes anyway.
        "model" | "stream" | "stream_options" => true,
        // Labels, whose end user it is, and cache hints.
        "metadata" | "user" | "safety_identifier" => true,
        "prompt_cache_key" | "prompt_cache_retention" | "prompt_cache_options" => true,
        // The gateway's own.
        "tollgate" => true,
        "n" => value.as_u64() == Some(1),
        "logprobs" | "store" => value == &Value::Bool(false),
        "top_logprobs" => value.as_u64() == Some(0),
        "frequency_penalty" | "presence_penalty" => value.as_f64() == Some(0.0),
        "logit_bias" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => value == &json!(["text"]),
        "verbosity" => value == "medium",
        "service_tier" => value == "auto" || value == "default",
        "parallel_tool_calls" => value == &Value::Bool(true),
        "functions" => value.as_array().is_some_and(Vec::is_empty),
        _ => false,
    };
    if harmless { Ok(()) } else { Err(Failure::no_equivalent(name)) }
}

/// Refuses a tool, or a call of one, that is no function.
pub(super) fn is_function(at: &str, tool: &Value) -> Result<(), Failure> {
    if tool["type"] == "function" {
        return Ok(());
    }
    Err(Failure::inexpressible(format!("{at}.type"), FUNCTIONS_ONLY))
}

/// A tool's function, and its name.
pub(super) fn function<'a>(at: &str, tool: &'a Value) -> Result<(&'a Value, &'a str), Failure> {
    is_function(at, tool)?;
    let function = &tool["function"];
    match function["name"].as_str() {
        Some(name) => Ok((function, name)),
        None => Err(Failure::inexpressible(format!("{at}.function.name"), "is required")),
    }
}

/// The schema of a function's parameters, for providers that demand one.
pub(super) fn parameters(function: &Value) -> Value {
    match &function["parameters"] {
        Value::Null => json!({ "type": "object", "properties": {} }),
        schema => schema.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_name_of_the_longest_answer_wins_in_either_order() {
        for names in [["max_tokens", "max_completion_tokens"], ["max_completion_tokens", "max_tokens"]] {
            let mut body = Fields::default();
            for name in names {
                let raw = if name == "max_tokens" { "1" } else { "2" };
                max_tokens(&mut body, name, serde_json::from_str(raw).expect("raw"));
            }
            assert_eq!(body.to_json(), r#"{"max_tokens":2}"#);
        }
    }

    #[test]
    fn a_field_is_idle_by_its_value() {
        for (name, idles, works) in
            [("n", json!(1), json!(2)), ("modalities", json!(["text"]), json!(["text", "audio"]))]
        {
            assert!(idle(name, &idles).is_ok());
            assert_eq!(idle(name, &works).expect_err("refused").param.as_deref(), Some(name));
        }
        assert!(idle("unheard_of", &Value::Bool(false)).is_err());
    }
}
