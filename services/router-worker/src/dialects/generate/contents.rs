//! Contents as chat messages: what was said, calls of functions and their responses.

use super::{
    super::{one_or_many, reason, tool_content},
    fields, list, string,
};
use crate::failure::{Failure, NO_EQUIVALENT};
use serde_json::{Value, json};

const NOT_HERE: &str = "is a kind of part that cannot stand here";
const NO_FILES: &str = "is kept at Google, where this model's provider cannot read it; send the data itself";

/// A system instruction's message, if it says anything.
pub(super) fn system(at: &str, content: &Value) -> Result<Option<Value>, Failure> {
    let mut texts = Vec::new();
    for (at, part) in parts(at, content)?.1 {
        match part {
            Part::Nothing | Part::Thought(_) => {}
            Part::Content(text) if text["type"] == "text" => texts.push(text),
            _ => return Err(Failure::inexpressible(at, NOT_HERE)),
        }
    }
    Ok((!texts.is_empty()).then(|| json!({ "role": "system", "content": one_or_many(texts) })))
}

/// The chat messages that contents become. `reasoning`: thoughts go back with what they led to.
pub(super) fn messages(contents: &[Value], reasoning: bool) -> Result<Vec<Value>, Failure> {
    let mut turns = Turns { reasoning, ..Turns::default() };
    for (index, content) in contents.iter().enumerate() {
        let at = format!("contents[{index}]");
        let (role, parts) = parts(&at, content)?;
        match role {
            // What holds responses only was `function` once.
            None | Some("user" | "function") => turns.user(parts)?,
            Some("model") => turns.model(parts)?,
            Some(_) => return Err(Failure::inexpressible(format!("{at}.role"), "must be `user` or `model`")),
        }
    }
    Ok(turns.messages)
}

/// A part of a content.
enum Part<'a> {
    /// A signature alone, or a thought that Google has signed.
    Nothing,
    /// What the model thought.
    Thought(Value),
    /// A text, an image, a file or sound, as chat's part.
    Content(Value),
    /// A call of a function.
    Call(&'a Value),
    /// What a function gave back.
    Response(&'a Value),
}

/// Each with its place.
type Parts<'a> = Vec<(String, Part<'a>)>;

/// A content's role and parts.
fn parts<'a>(at: &str, content: &'a Value) -> Result<(Option<&'a str>, Parts<'a>), Failure> {
    let (mut role, mut parts) = (None, Vec::new());
    for (name, value) in fields(at, content)? {
        match name.as_str() {
            "role" => role = Some(string(at, &name, value)?),
            "parts" => {
                for (index, value) in list(&format!("{at}.parts"), value)?.iter().enumerate() {
                    let at = format!("{at}.parts[{index}]");
                    let part = part(&at, value)?;
                    parts.push((at, part));
                }
            }
            _ => return Err(Failure::inexpressible(format!("{at}.{name}"), NO_EQUIVALENT)),
        }
    }
    Ok((role, parts))
}

fn part<'a>(at: &str, part: &'a Value) -> Result<Part<'a>, Failure> {
    let (mut found, mut is_thought, mut is_signed) = (Part::Nothing, false, false);
    for (name, value) in fields(at, part)? {
        match name.as_str() {
            "thought" => is_thought = *value == true,
            "thoughtSignature" => is_signed = true,
            "text" => {
                let text = string(at, &name, value)?;
                if !text.is_empty() {
                    found = Part::Content(json!({ "type": "text", "text": text }));
                }
            }
            "functionCall" => found = Part::Call(value),
            "functionResponse" => found = Part::Response(value),
            _ => found = Part::Content(media(at, &name, value)?),
        }
    }
    Ok(match found {
        Part::Content(mut said) if is_thought && !is_signed => Part::Thought(said["text"].take()),
        _ if is_thought => Part::Nothing,
        found => found,
    })
}

/// An image, a file or sound: its bytes, or where an image is.
fn media(at: &str, name: &str, value: &Value) -> Result<Value, Failure> {
    let at = format!("{at}.{name}");
    let (source, is_inline) = match name {
        "inlineData" => ("data", true),
        "fileData" => ("fileUri", false),
        _ => return Err(Failure::inexpressible(at, NO_EQUIVALENT)),
    };
    let (mut mime_type, mut given) = ("", "");
    for (name, value) in fields(&at, value)? {
        match name.as_str() {
            "mimeType" => mime_type = string(&at, &name, value)?,
            "displayName" => {}
            _ if name == source => given = string(&at, &name, value)?,
            _ => return Err(Failure::inexpressible(format!("{at}.{name}"), NO_EQUIVALENT)),
        }
    }
    let is_image = mime_type.starts_with("image/");
    if !is_inline {
        let is_elsewhere = ["https://", "http://"].iter().any(|scheme| given.starts_with(scheme));
        if !is_elsewhere || given.contains("googleapis.com/") {
            return Err(Failure::inexpressible(format!("{at}.fileUri"), NO_FILES));
        }
        if is_image {
            return Ok(json!({ "type": "image_url", "image_url": { "url": given } }));
        }
    }
    let data = || format!("data:{mime_type};base64,{}", standard(given));
    match mime_type {
        _ if is_image => Ok(json!({ "type": "image_url", "image_url": { "url": data() } })),
        "application/pdf" if is_inline => {
            Ok(json!({ "type": "file", "file": { "filename": "document.pdf", "file_data": data() } }))
        }
        "audio/wav" | "audio/x-wav" | "audio/wave" if is_inline => Ok(sound(given, "wav")),
        "audio/mp3" | "audio/mpeg" if is_inline => Ok(sound(given, "mp3")),
        _ => Err(Failure::inexpressible(
            format!("{at}.mimeType"),
            "is a kind of data that this model's provider does not take here",
        )),
    }
}

fn sound(data: &str, format: &str) -> Value {
    json!({ "type": "input_audio", "input_audio": { "data": standard(data), "format": format } })
}

/// Base64 in the alphabet that others take, and padded: Google takes the URL's too, which its SDK for Python writes (RFC 4648, 5).
fn standard(data: &str) -> String {
    let mut data = data.replace('-', "+").replace('_', "/");
    while !data.len().is_multiple_of(4) {
        data.push('=');
    }
    data
}

#[derive(Default)]
struct Turns {
    messages: Vec<Value>,
    /// Calls without a response so far: their ids and functions.
    open: Vec<(String, String)>,
    calls: usize,
    reasoning: bool,
}

impl Turns {
    /// Responses come first, each in a message of its own: they answer the calls of the message before.
    fn user(&mut self, parts: Parts<'_>) -> Result<(), Failure> {
        let mut said = Vec::new();
        for (at, part) in parts {
            match part {
                Part::Nothing | Part::Thought(_) => {}
                Part::Content(content) => said.push(content),
                Part::Response(response) => self.response(&format!("{at}.functionResponse"), response, &mut said)?,
                Part::Call(_) => return Err(Failure::inexpressible(format!("{at}.functionCall"), NOT_HERE)),
            }
        }
        if !said.is_empty() {
            self.messages.push(json!({ "role": "user", "content": one_or_many(said) }));
        }
        Ok(())
    }

    fn model(&mut self, parts: Parts<'_>) -> Result<(), Failure> {
        let (mut said, mut calls, mut reasoning) = (Vec::new(), Vec::new(), String::new());
        for (at, part) in parts {
            match part {
                Part::Nothing => {}
                Part::Thought(thought) => reasoning.push_str(thought.as_str().unwrap_or_default()),
                Part::Content(text) if text["type"] == "text" => said.push(text),
                Part::Call(call) => calls.push(self.call(&format!("{at}.functionCall"), call)?),
                Part::Content(_) | Part::Response(_) => return Err(Failure::inexpressible(at, NOT_HERE)),
            }
        }
        if said.is_empty() && calls.is_empty() {
            return Ok(());
        }
        let content = if said.is_empty() { Value::Null } else { one_or_many(said) };
        let mut message = json!({ "role": "assistant", "content": content });
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        if self.reasoning {
            reason(&mut message, &reasoning);
        }
        self.messages.push(message);
        Ok(())
    }

    fn call(&mut self, at: &str, call: &Value) -> Result<Value, Failure> {
        let (mut id, mut function, mut arguments) = (None, None, "{}".to_owned());
        for (name, value) in fields(at, call)? {
            match name.as_str() {
                "id" => id = Some(string(at, &name, value)?.to_owned()).filter(|id| !id.is_empty()),
                "name" => function = Some(string(at, &name, value)?),
                "args" if value.is_object() => arguments = value.to_string(),
                _ => return Err(Failure::inexpressible(format!("{at}.{name}"), NO_EQUIVALENT)),
            }
        }
        let Some(function) = function else { return Err(Failure::inexpressible(format!("{at}.name"), "is required")) };
        let id = id.unwrap_or_else(|| format!("call_{}", self.calls));
        self.calls += 1;
        let call = json!({ "id": id, "type": "function", "function": { "name": function, "arguments": arguments } });
        self.open.push((id, function.to_owned()));
        Ok(call)
    }

    /// A response names its call, or the function: then it is the first call of it that has none. An image in it follows as a user's.
    fn response(&mut self, at: &str, response: &Value, beside: &mut Vec<Value>) -> Result<(), Failure> {
        let (mut id, mut function, mut texts) = (None, "", Vec::new());
        for (name, value) in fields(at, response)? {
            match name.as_str() {
                "id" => id = Some(string(at, &name, value)?).filter(|id| !id.is_empty()),
                "name" => function = string(at, &name, value)?,
                "response" => texts.push(json!({ "type": "text", "text": output(value) })),
                "parts" => {
                    for (index, value) in list(&format!("{at}.parts"), value)?.iter().enumerate() {
                        let at = format!("{at}.parts[{index}]");
                        match part(&at, value)? {
                            Part::Content(content) => beside.push(content),
                            _ => return Err(Failure::inexpressible(at, NOT_HERE)),
                        }
                    }
                }
                "willContinue" if *value == false => {}
                _ => return Err(Failure::inexpressible(format!("{at}.{name}"), NO_EQUIVALENT)),
            }
        }
        let is_it = |(known, name): &(String, String)| id.map_or(name == function, |id| known == id);
        let Some(place) = self.open.iter().position(is_it) else {
            return Err(Failure::inexpressible(format!("{at}.name"), "must be that of a call before it"));
        };
        let (call, _) = self.open.remove(place);
        self.messages.push(json!({ "role": "tool", "tool_call_id": call, "content": tool_content(texts) }));
        Ok(())
    }
}

/// What a function gave back, as text: a single text under one of the names that Google has for it, or the JSON.
fn output(response: &Value) -> String {
    let fields = response.as_object().filter(|fields| fields.len() == 1);
    let text = fields.and_then(|fields| fields.get("output").or_else(|| fields.get("result"))?.as_str());
    text.map_or_else(|| response.to_string(), str::to_owned)
}
