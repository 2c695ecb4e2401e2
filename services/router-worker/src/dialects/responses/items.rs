//! Input items as chat messages: what was said, calls of tools and their results.

use super::super::{Takes, one_or_many, reason, tool_content};
use crate::failure::Failure;
use serde_json::{Value, json};

const MARK: &str = "prompt_cache_breakpoint";
const NOT_TAKEN: &str = "is a kind of item that this model's provider does not take";
const NOT_THAT_PART: &str = "is a kind of part that this model's provider does not take here";
const NO_FILES: &str = "is kept at OpenAI, where this model's provider cannot read it; send the data itself";

/// The chat messages that `input` becomes: a text, or a list of items.
pub(super) fn messages(input: &Value, takes: Takes) -> Result<Vec<Value>, Failure> {
    let mut turns = Turns { takes, messages: Vec::new(), beside: Vec::new(), reasoning: String::new() };
    match input {
        Value::String(text) => turns.messages.push(json!({ "role": "user", "content": text })),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                turns.add(&format!("input[{index}]"), item)?;
            }
        }
        _ => return Err(Failure::inexpressible("input", "must be a text or a list of items")),
    }
    turns.seen();
    Ok(turns.messages)
}

struct Turns {
    messages: Vec<Value>,
    /// Images and files in results of tools: a tool's message holds text only, so they follow as a user's.
    beside: Vec<Value>,
    takes: Takes,
    /// What the assistant thought before it says or calls what comes next.
    reasoning: String,
}

impl Turns {
    fn add(&mut self, at: &str, item: &Value) -> Result<(), Failure> {
        match item["type"].as_str() {
            Some("function_call_output") => self.result(at, item),
            Some("reasoning") => {
                self.think(item);
                Ok(())
            }
            Some("function_call") => {
                self.seen();
                self.call(at, item)
            }
            Some("message") | None => {
                self.seen();
                self.message(at, item)
            }
            Some(_) => Err(Failure::inexpressible(format!("{at}.type"), NOT_TAKEN)),
        }
    }

    /// The results that stand together have come.
    fn seen(&mut self) {
        let parts = std::mem::take(&mut self.beside);
        if !parts.is_empty() {
            self.messages.push(json!({ "role": "user", "content": parts }));
        }
    }

    /// Keeps reasoning for what comes next, if it is to go back: a summary, or what there is instead. Of OpenAI's,
    /// which is encrypted, nobody else's model has thought a word.
    fn think(&mut self, item: &Value) {
        if !self.takes.reasoning || item["encrypted_content"].is_string() {
            return;
        }
        let texts = |name: &str| -> String {
            item[name].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect()
        };
        let summary = texts("summary");
        self.reasoning.push_str(&if summary.is_empty() { texts("content") } else { summary });
    }

    /// The last message has the reasoning that has come.
    fn reasoned(&mut self) {
        let reasoning = std::mem::take(&mut self.reasoning);
        if let Some(last) = self.messages.last_mut().filter(|_| self.takes.reasoning) {
            reason(last, &reasoning);
        }
    }

    fn message(&mut self, at: &str, item: &Value) -> Result<(), Failure> {
        let role = match item["role"].as_str() {
            Some(role @ ("user" | "assistant" | "system")) => role,
            // What servers of the chat format know that do not know OpenAI's newer name.
            Some("developer") => "system",
            _ => {
                let why = "must be `user`, `assistant`, `system` or `developer`";
                return Err(Failure::inexpressible(format!("{at}.role"), why));
            }
        };
        let parts = parts(&format!("{at}.content"), &item["content"], self.takes.marks)?;
        if let Some(part) = parts.iter().position(|part| role != "user" && part["type"] != "text") {
            return Err(Failure::inexpressible(format!("{at}.content[{part}].type"), NOT_THAT_PART));
        }
        if !parts.is_empty() {
            self.messages.push(json!({ "role": role, "content": one_or_many(parts) }));
            if role == "assistant" {
                self.reasoned();
            }
        }
        if role != "assistant" {
            self.reasoning.clear();
        }
        Ok(())
    }

    /// Calls join what the assistant said before them: results must follow the message with their calls.
    fn call(&mut self, at: &str, item: &Value) -> Result<(), Failure> {
        let function = json!({ "name": needed(at, item, "name")?, "arguments": needed(at, item, "arguments")? });
        let call = json!({ "id": needed(at, item, "call_id")?, "type": "function", "function": function });
        match self.messages.last_mut().filter(|last| last["role"] == "assistant") {
            Some(last) => match last["tool_calls"].as_array_mut() {
                Some(calls) => calls.push(call),
                None => last["tool_calls"] = json!([call]),
            },
            None => self.messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] })),
        }
        self.reasoned();
        Ok(())
    }

    fn result(&mut self, at: &str, item: &Value) -> Result<(), Failure> {
        let call = needed(at, item, "call_id")?;
        let parts = parts(&format!("{at}.output"), &item["output"], self.takes.marks)?;
        let (texts, others): (Vec<Value>, Vec<Value>) = parts.into_iter().partition(|part| part["type"] == "text");
        self.messages.push(json!({ "role": "tool", "tool_call_id": call, "content": tool_content(texts) }));
        self.beside.extend(others);
        Ok(())
    }
}

/// A field that must be a text.
fn needed<'a>(at: &str, item: &'a Value, name: &str) -> Result<&'a Value, Failure> {
    let value = &item[name];
    if value.is_string() { Ok(value) } else { Err(Failure::inexpressible(format!("{at}.{name}"), "must be a text")) }
}

/// A text, or a list of parts, as chat's parts.
fn parts(at: &str, content: &Value, marks: bool) -> Result<Vec<Value>, Failure> {
    match content {
        Value::String(text) => Ok(vec![json!({ "type": "text", "text": text })]),
        Value::Array(parts) => {
            parts.iter().enumerate().map(|(index, part)| self::part(&format!("{at}[{index}]"), part, marks)).collect()
        }
        _ => Err(Failure::inexpressible(at, "must be a text or a list of parts")),
    }
}

/// With its mark of a cache, where that is Claude's to heed.
fn part(at: &str, part: &Value, marks: bool) -> Result<Value, Failure> {
    let mut out = unmarked(at, part)?;
    let mark = &part[MARK];
    if marks && !mark.is_null() {
        out[MARK] = mark.clone();
    }
    Ok(out)
}

fn unmarked(at: &str, part: &Value) -> Result<Value, Failure> {
    let given = |name: &str| !part[name].is_null();
    let no_file = |name: &str| Err(Failure::inexpressible(format!("{at}.{name}"), NO_FILES));
    match part["type"].as_str() {
        Some("input_text" | "output_text") => Ok(json!({ "type": "text", "text": needed(at, part, "text")? })),
        Some("refusal") => Ok(json!({ "type": "text", "text": needed(at, part, "refusal")? })),
        Some("input_image") if given("file_id") => no_file("file_id"),
        Some("input_image") => {
            let mut image = json!({ "url": needed(at, part, "image_url")? });
            if given("detail") && part["detail"] != "auto" {
                image["detail"] = part["detail"].clone();
            }
            Ok(json!({ "type": "image_url", "image_url": image }))
        }
        Some("input_file") if given("file_id") => no_file("file_id"),
        Some("input_file") if given("file_url") => {
            Err(Failure::inexpressible(format!("{at}.file_url"), "cannot be fetched from here; send `file_data`"))
        }
        Some("input_file") => {
            let name = part["filename"].as_str().unwrap_or("document.pdf");
            let file = json!({ "filename": name, "file_data": needed(at, part, "file_data")? });
            Ok(json!({ "type": "file", "file": file }))
        }
        Some("input_audio") => Ok(json!({ "type": "input_audio", "input_audio": part["input_audio"] })),
        _ => Err(Failure::inexpressible(format!("{at}.type"), NOT_THAT_PART)),
    }
}
