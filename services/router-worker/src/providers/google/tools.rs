//! Tools as function declarations, and which of them the model may or must call.
//!
//! Source: <https://ai.google.dev/gemini-api/docs/function-calling>.

use super::super::{
    Asked,
    translate::{function, given, given_tools},
};
use crate::failure::Failure;
use serde_json::{Map, Value, json};

/// Puts `tools` and `toolConfig` into the body.
pub(super) fn put(body: &mut Map<String, Value>, asked: &Asked<'_>) -> Result<(), Failure> {
    let tools = given_tools(asked)?;
    let declarations =
        tools.iter().enumerate().map(|(at, tool)| declaration(at, tool)).collect::<Result<Vec<_>, _>>()?;
    let choice = given(asked, "tool_choice")?;
    if !declarations.is_empty() {
        body.insert("tools".into(), json!([{ "functionDeclarations": declarations }]));
        if given(asked, "parallel_tool_calls")? == Some(Value::Bool(false))
            && choice.as_ref().is_none_or(|c| c != "none")
        {
            let why = "must not be false: this model's provider cannot be kept from several calls at once";
            return Err(Failure::inexpressible("parallel_tool_calls", why));
        }
    }
    // What a strict tool promises, its schema to be kept to, is a mode here.
    let strict = tools.iter().any(|tool| tool["function"]["strict"] == true);
    let config = match choice {
        None if strict => Some(json!({ "mode": "VALIDATED" })),
        None => None,
        Some(choice) => Some(config(&choice, strict)?),
    };
    if let Some(config) = config {
        body.insert("toolConfig".into(), json!({ "functionCallingConfig": config }));
    }
    Ok(())
}

fn declaration(index: usize, tool: &Value) -> Result<Value, Failure> {
    let (function, name) = function(&format!("tools[{index}]"), tool)?;
    let mut out = json!({ "name": name });
    if let Some(description) = function["description"].as_str() {
        out["description"] = description.into();
    }
    // The other field for a schema, `parameters`, takes a part of OpenAPI's only.
    if !function["parameters"].is_null() {
        out["parametersJsonSchema"] = function["parameters"].clone();
    }
    Ok(out)
}

fn config(choice: &Value, strict: bool) -> Result<Value, Failure> {
    let auto = if strict { "VALIDATED" } else { "AUTO" };
    match (choice.as_str(), choice["type"].as_str()) {
        (Some("auto"), _) => Ok(json!({ "mode": auto })),
        (Some("none"), _) => Ok(json!({ "mode": "NONE" })),
        (Some("required"), _) => Ok(json!({ "mode": "ANY" })),
        (_, Some("function")) => match choice["function"]["name"].as_str() {
            Some(name) => Ok(json!({ "mode": "ANY", "allowedFunctionNames": [name] })),
            None => Err(Failure::inexpressible("tool_choice.function.name", "is required")),
        },
        (_, Some("allowed_tools")) => allowed(&choice["allowed_tools"]),
        (_, Some(_)) => Err(Failure::inexpressible(
            "tool_choice.type",
            "must be `function` or `allowed_tools` for this model's provider",
        )),
        _ => Err(Failure::inexpressible("tool_choice", "must be `auto`, `none`, `required` or an object")),
    }
}

/// Some of the tools. Names are heeded in the modes `ANY` and `VALIDATED` only.
fn allowed(tools: &Value) -> Result<Value, Failure> {
    let mode = match tools["mode"].as_str() {
        Some("required") => "ANY",
        Some("auto") => "VALIDATED",
        _ => return Err(Failure::inexpressible("tool_choice.allowed_tools.mode", "must be `auto` or `required`")),
    };
    let names: Option<Vec<&str>> = tools["tools"]
        .as_array()
        .and_then(|tools| tools.iter().map(|tool| tool["function"]["name"].as_str()).collect());
    match names {
        Some(names) => Ok(json!({ "mode": mode, "allowedFunctionNames": names })),
        None => Err(Failure::inexpressible("tool_choice.allowed_tools.tools", "must be a list of functions")),
    }
}
