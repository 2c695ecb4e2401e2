//! The parts of OpenAI's chat request body that the gateway itself reads.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>.

use super::Fields;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Where prompts stand, in any API.
const PROMPTS: [&str; 9] = [
    "system",
    "instructions",
    "messages",
    "input",
    "prompt",
    "suffix",
    "systemInstruction",
    "system_instruction",
    "contents",
];

/// What a token stands for, where a caller sends its number instead of its text.
const TOKEN_CHARS: usize = 4;

/// Characters of prompt text of any API, for estimates: message texts and tool call arguments; images and files do not count.
pub(super) fn prompt_chars(body: &Fields) -> usize {
    let prompts = PROMPTS.iter().filter_map(|name| body.read::<Value>(name).ok().flatten());
    prompts.map(|prompt| text_chars(&prompt)).sum()
}

fn text_chars(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Number(_) => TOKEN_CHARS,
        Value::Array(items) => items.iter().map(text_chars).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("content" | "text" | "arguments" | "refusal" | "input" | "output", Value::String(text)) => {
                    text.chars().count()
                }
                ("input" | "args" | "response", Value::Object(_)) => value.to_string().chars().count(),
                ("content" | "tool_calls" | "function" | "output" | "parts", nested) => text_chars(nested),
                ("functionCall" | "function_call" | "functionResponse" | "function_response", nested) => {
                    text_chars(nested)
                }
                _ => 0,
            })
            .sum(),
        _ => 0,
    }
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    role: String,
    content: Option<Box<RawValue>>,
}

/// The text of the last user message, parts joined; empty if there is none.
pub(super) fn last_user_text(chat: &Fields) -> String {
    let messages: Vec<Message> = chat.read("messages").ok().flatten().unwrap_or_default();
    let Some(content) = messages.iter().rev().find(|m| m.role == "user").and_then(|m| m.content.as_ref()) else {
        return String::new();
    };
    match serde_json::from_str::<Value>(content.get()) {
        Ok(Value::String(text)) => text,
        Ok(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// The beginning of an answer that is to go on: the assistant's last message, if `continue_final_message` says so.
pub(super) fn beginning(chat: &Fields) -> Option<String> {
    chat.read::<bool>("continue_final_message").ok().flatten().filter(|continues| *continues)?;
    let messages: Vec<Value> = chat.read("messages").ok().flatten()?;
    let last = messages.last().filter(|last| last["role"] == "assistant")?;
    last["content"].as_str().map(str::to_owned)
}
