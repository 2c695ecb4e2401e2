//! Finds the texts of a request or an answer of any of the APIs, and replaces those that a check rewrites.
//!
//! Looked at: everything below `messages` (all roles, string content and parts, tool calls, tool results), `system`, `prediction`,
//! `input`, `prompt`, `suffix`, Google's `contents` and `systemInstruction`, and the fields by which other API shapes carry a prompt;
//! of an answer, everything below `choices`, a message's `content`, a response's `output`, Google's `candidates` or the `results` of
//! a moderation. Arguments of tools, and what functions give back, are read as JSON, so that escapes hide nothing and a replaced
//! number stays valid JSON.
//!
//! Not looked at: ids, names, roles, tool definitions, binary content (images, audio, files), and texts that a caller has turned
//! into numbers itself (token ids as the input of embeddings; as a prompt the door takes none where requests are checked).

pub mod event;
mod json;

pub(crate) use json::{encode, splice};

use json::Node;
use serde_json::value::RawValue;
use std::ops::Range;

/// Given (the key it stands under or "", text): the text to put in its place, or `None` to keep it.
pub type MapText<'f> = &'f mut dyn FnMut(&str, &str) -> Option<String>;

/// Fields of a request that carry a prompt, here or in another API shape that a provider might understand.
const PROMPTS: &[&str] = &[
    "messages",
    "prediction",
    "system",
    "instructions",
    "prompt",
    "suffix",
    "input",
    "contents",
    "systemInstruction",
    "system_instruction",
];

/// Fields that hold what a tool is called with, or gave back: JSON, or JSON in a text.
const ARGUMENTS: &[&str] = &["arguments", "input", "args", "response"];

/// Fields that hold no text: enumerations, identifiers, and binary data with its address.
const NO_TEXT: &[&str] = &[
    "role",
    "type",
    "id",
    "tool_call_id",
    "call_id",
    "item_id",
    "status",
    "name",
    "index",
    "finish_reason",
    "stop_reason",
    "tool_use_id",
    "url",
    "image_url",
    "file_url",
    "input_audio",
    "file_data",
    "file_id",
    "data",
    "format",
    "detail",
    "media_type",
    "cache_control",
    "signature",
    "encrypted_content",
    // Google's, whose parsers take both spellings.
    "thoughtSignature",
    "thought_signature",
    "mimeType",
    "mime_type",
    "fileUri",
    "file_uri",
    "uri",
    "finishReason",
    "blockReason",
    "safetyRatings",
];

/// Below this depth everything is text: no API nests deeper on purpose.
const DEPTH_MAX: usize = 16;

/// Shows every text of a request to `map`. The new body, if any text was replaced.
pub fn request(body: &RawValue, map: MapText<'_>) -> Option<String> {
    let mut walk = Walk::new(body, map);
    match json::open(body) {
        Node::Object(fields) if fields.iter().any(|(key, _)| PROMPTS.contains(&key.as_ref())) => {
            for (_, value) in fields.iter().filter(|(key, _)| PROMPTS.contains(&key.as_ref())) {
                walk.value(value, 0);
            }
        }
        // a shape that is not known: rather look at too much than let it pass unread
        _ => walk.all(body),
    }
    walk.finish(body)
}

/// Shows every text of an answer to `map`: of a completion's choices, of a message's content, of a response's output, of Google's
/// candidates; embeddings hold none, and the results of a moderation are names and numbers. The new body, if any text was replaced.
pub fn answer(body: &RawValue, map: MapText<'_>) -> Option<String> {
    let mut walk = Walk::new(body, map);
    let Node::Object(fields) = json::open(body) else {
        walk.all(body);
        return walk.finish(body);
    };
    let of = |name: &'static str| fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| *value);
    let is = |name: &'static str, word: &str| of(name).all(|value| value.get() == word) && of(name).next().is_some();
    if of("choices").next().is_some() {
        for value in of("choices") {
            match json::open(value) {
                Node::Array(choices) => choices.iter().for_each(|choice| walk.choice(choice)),
                _ => walk.value(value, 0),
            }
        }
    } else if is("type", "\"message\"") {
        of("content").for_each(|value| walk.value(value, 0));
    } else if is("object", "\"response\"") {
        of("output").for_each(|value| walk.output(value));
    } else if of("results").next().is_some() {
        of("results").for_each(|value| walk.value(value, 0));
    } else if of("candidates").chain(of("promptFeedback")).next().is_some() {
        for value in of("candidates") {
            match json::open(value) {
                Node::Array(candidates) => candidates.iter().for_each(|candidate| walk.candidate(candidate)),
                _ => walk.value(value, 0),
            }
        }
        // A prompt that was blocked has no candidates, and may have a message.
        of("promptFeedback").for_each(|value| walk.value(value, 0));
    } else if !is("object", "\"list\"") {
        walk.all(body);
    }
    walk.finish(body)
}

/// Shows every string of a body: keys, ids and whatever else nobody masks are among them, and so are strings of JSON in a text.
pub fn everything(body: &RawValue, each: &mut dyn FnMut(&str)) {
    json::tokens(body.get(), |token| {
        each(&token.text);
        // Without such an escape the text itself has all that its JSON has.
        if token.text.contains("\\u") && serde_json::from_str::<serde::de::IgnoredAny>(&token.text).is_ok() {
            json::tokens(&token.text, |inner| each(&inner.text));
        }
    });
}

struct Walk<'f> {
    /// Address of the body's first byte: every value below it is a slice of the same text.
    base: usize,
    map: MapText<'f>,
    edits: Vec<(Range<usize>, String)>,
}

impl<'f> Walk<'f> {
    fn new(body: &RawValue, map: MapText<'f>) -> Self {
        Self { base: body.get().as_ptr().addr(), map, edits: Vec::new() }
    }

    fn finish(self, body: &RawValue) -> Option<String> {
        (!self.edits.is_empty()).then(|| json::splice(body.get(), self.edits))
    }

    fn replace(&mut self, raw: &RawValue, replacement: String) {
        let start = raw.get().as_ptr().addr() - self.base;
        self.edits.push((start..start + raw.get().len(), replacement));
    }

    fn value(&mut self, raw: &RawValue, depth: usize) {
        if depth > DEPTH_MAX {
            return self.all(raw);
        }
        match json::open(raw) {
            Node::Text(text) => {
                if let Some(text) = (self.map)("", &text) {
                    self.replace(raw, json::encode(&text));
                }
            }
            Node::Array(elements) => elements.iter().for_each(|element| self.value(element, depth + 1)),
            Node::Object(fields) => {
                for (key, value) in &fields {
                    match key.as_ref() {
                        key if ARGUMENTS.contains(&key) => self.arguments(value),
                        key if NO_TEXT.contains(&key) => {}
                        _ => self.value(value, depth + 1),
                    }
                }
            }
            Node::Other => {}
        }
    }

    /// A tool's arguments: JSON inside a string, as the API has it, or JSON itself.
    fn arguments(&mut self, raw: &RawValue) {
        let Node::Text(text) = json::open(raw) else { return self.all(raw) };
        if let Some(text) = arguments(&text, self.map) {
            self.replace(raw, json::encode(&text));
        }
    }

    /// Every string and number of a value, whatever it is.
    fn all(&mut self, raw: &RawValue) {
        if let Some(text) = tokens_mapped(raw.get(), self.map) {
            self.replace(raw, text);
        }
    }

    /// The items of a response. Each part of a message has log-probabilities of its own.
    fn output(&mut self, raw: &RawValue) {
        let Node::Array(items) = json::open(raw) else { return self.value(raw, 0) };
        for item in items {
            let Node::Object(fields) = json::open(item) else {
                self.value(item, 0);
                continue;
            };
            let is_message = fields.iter().any(|(key, value)| key == "type" && value.get() == "\"message\"");
            for (key, value) in &fields {
                match (key.as_ref(), json::open(value)) {
                    ("content", Node::Array(parts)) if is_message => {
                        parts.iter().for_each(|part| self.spelled(part, "logprobs", "[]"));
                    }
                    ("arguments" | "input", _) => self.arguments(value),
                    (key, _) if NO_TEXT.contains(&key) => {}
                    _ => self.value(value, 0),
                }
            }
        }
    }

    /// One choice of an answer.
    fn choice(&mut self, raw: &RawValue) {
        self.spelled(raw, "logprobs", "null");
    }

    /// One of Google's.
    fn candidate(&mut self, raw: &RawValue) {
        self.spelled(raw, "logprobsResult", "null");
    }

    /// Texts with the log-probabilities of their tokens, which spell them again: they become `none` when a text is changed.
    fn spelled(&mut self, raw: &RawValue, logprobs: &str, none: &str) {
        let Node::Object(fields) = json::open(raw) else { return self.value(raw, 0) };
        let before = self.edits.len();
        for (key, value) in fields.iter().filter(|(key, _)| key != logprobs && !NO_TEXT.contains(&key.as_ref())) {
            match key.as_ref() {
                "arguments" => self.arguments(value),
                _ => self.value(value, 0),
            }
        }
        let changed = self.edits.len() > before;
        for (_, spelt) in fields.iter().filter(|(key, value)| changed && key == logprobs && value.get() != "null") {
            self.replace(spelt, none.to_owned());
        }
    }
}

/// What a tool is called with, as it stands in a string. The new text, if any of its texts was replaced.
pub(crate) fn arguments(text: &str, map: MapText<'_>) -> Option<String> {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if is_json { tokens_mapped(text, map) } else { map("", text) }
}

/// Shows every string and number of a JSON text. The new text, if any was replaced.
pub(crate) fn tokens_mapped(text: &str, map: &mut dyn FnMut(&str, &str) -> Option<String>) -> Option<String> {
    let mut edits = Vec::new();
    json::tokens(text, |token| {
        if let Some(replacement) = map(&token.key, &token.text) {
            edits.push((token.span, json::encode(&replacement)));
        }
    });
    (!edits.is_empty()).then(|| json::splice(text, edits))
}

#[cfg(test)]
mod tests;
