//! Finds the texts of a request or an answer of any of the APIs, shows them, and replaces those that are rewritten.
//!
//! Looked at, of a request: all of it but the words of the API itself (`fields`): prompts of every role, their parts, tool calls and
//! results, definitions of tools, metadata, names. Of an answer: everything below `choices`, a message's `content`, a response's `output`,
//! Google's `candidates` or the `results` of a moderation, and what a provider adds beside them. Arguments of tools, and what functions
//! give back, are read as JSON, so that escapes hide nothing and a replaced number stays valid JSON. Files that are text are
//! decoded and, where they are changed, encoded again (`media`).
//!
//! Told as unreadable: pictures, sound, documents that are no text, what is elsewhere, what a provider has encrypted or kept, and texts that a
//! caller has turned into numbers itself. Not looked at: identifiers and enumerations, where they are a single word, and stand where the API and
//! not a caller has named them.

mod documents;
pub mod event;
mod fields;
mod held;
mod json;
mod media;
mod shape;

pub(crate) use documents::{arguments, setting_mapped, tokens_mapped};
pub(crate) use json::{encode, splice};
pub use media::{Kind, Unread};

use documents::{Whose, arguments_read, is_json, setting_read, tokens_read};
use fields::{NO_TEXT, OF_THE_API, PROMPTS, STORED, is_word};
use held::{About, Fields, Held, text_of};
use json::Node;
use media::{Content, Document};
use serde_json::value::RawValue;
use shape::Shape;
use std::ops::Range;

/// Given (the key it stands under or "", text): the text to put in its place, or `None` to keep it.
pub type MapText<'f> = &'f mut dyn FnMut(&str, &str) -> Option<String>;

/// A text of a body.
#[derive(Debug, Clone, Copy)]
pub struct Part<'p> {
    /// The key it stands under, where that says what it means; else empty.
    pub key: &'p str,
    /// The text.
    pub text: &'p str,
    /// Where it stands.
    pub place: Place<'p>,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'p> {
    /// In a conversation, said by this role. The next text of the same role may go on where it ends.
    Said(&'p str),
    /// By itself.
    Alone,
    /// In a document with others of the same number, such as the definitions of tools.
    Piece(usize),
    /// A single word that names something.
    Name,
}

/// Who is shown a body.
pub trait Reader {
    /// A text. What to put in its place; `None` keeps it.
    fn text(&mut self, part: Part<'_>) -> Option<String>;

    /// Something that is no text.
    fn unread(&mut self, _: Unread<'_>) {}
}

struct Mapped<'m>(MapText<'m>);

impl Reader for Mapped<'_> {
    fn text(&mut self, part: Part<'_>) -> Option<String> {
        (self.0)(part.key, part.text)
    }
}

/// Below this depth everything is text: no API nests deeper on purpose.
const DEPTH_MAX: usize = 16;

/// Shows every text of a request to `map`. The new body, if any text was replaced.
pub fn request(body: &RawValue, map: MapText<'_>) -> Option<String> {
    read_request(body, &mut Mapped(map))
}

/// Shows every text of an answer to `map`. The new body, if any text was replaced.
pub fn answer(body: &RawValue, map: MapText<'_>) -> Option<String> {
    read_answer(body, &mut Mapped(map))
}

/// Whether a field of a request holds neither a prompt nor a word of the API: tools, metadata, what nobody knows.
pub(crate) fn is_setting(name: &str) -> bool {
    !PROMPTS.contains(&name)
}

/// Shows a request. The new body, if any text was replaced.
pub fn read_request(body: &RawValue, reader: &mut dyn Reader) -> Option<String> {
    let mut walk = Walk { is_request: true, ..Walk::new(body, reader) };
    match json::open(body) {
        Node::Object(fields) if fields.iter().any(|(key, _)| PROMPTS.contains(&key.as_ref())) => {
            fields.iter().for_each(|(key, value)| walk.field_of_request(key, value));
        }
        // a shape that is not known: rather look at too much than let it pass unread
        _ => walk.all(body),
    }
    walk.finish(body)
}

/// Shows an answer: a completion's choices, a message's content, a response's output, Google's candidates, the results of a moderation, and
/// what stands beside them; embeddings hold none. The new body, if any text was replaced.
pub fn read_answer(body: &RawValue, reader: &mut dyn Reader) -> Option<String> {
    let mut walk = Walk::new(body, reader);
    match json::open(body) {
        Node::Object(fields) => match Shape::of(&fields) {
            Some(shape) => fields.iter().for_each(|(key, value)| walk.field_of_answer(shape, key, value)),
            None => walk.all(body),
        },
        _ => walk.all(body),
    }
    walk.finish(body)
}

/// Shows every string of a body: keys, ids and whatever else nobody masks are among them, and so are strings of JSON in a text.
pub fn everything(body: &RawValue, each: &mut dyn FnMut(&str)) {
    json::tokens(body.get(), |token| {
        each(&token.text);
        // Without such an escape the text itself has all that its JSON has.
        if token.text.contains("\\u") && is_json(&token.text) {
            json::tokens(&token.text, |inner| each(&inner.text));
        }
    });
}

struct Walk<'r> {
    /// Not of an answer: fields may have names that a caller gave them.
    is_request: bool,
    /// Address of the body's first byte: every value below it is a slice of the same text.
    base: usize,
    reader: &'r mut dyn Reader,
    edits: Vec<(Range<usize>, String)>,
    /// Whose turn it is.
    role: String,
    /// Documents so far.
    documents: usize,
}

/// Whether a prompt has numbers in it, or lists of them.
fn has_tokens(raw: &RawValue, lists: usize) -> bool {
    let Node::Array(items) = json::open(raw) else { return false };
    items.iter().any(|item| match item.get().trim_start().as_bytes().first() {
        Some(b'0'..=b'9') => true,
        Some(b'[') => lists > 0 && has_tokens(item, lists - 1),
        _ => false,
    })
}

impl<'r> Walk<'r> {
    fn new(body: &RawValue, reader: &'r mut dyn Reader) -> Self {
        let base = body.get().as_ptr().addr();
        Self { is_request: false, base, reader, edits: Vec::new(), role: String::new(), documents: 0 }
    }

    fn finish(self, body: &RawValue) -> Option<String> {
        (!self.edits.is_empty()).then(|| json::splice(body.get(), self.edits))
    }

    fn replace(&mut self, raw: &RawValue, replacement: String) {
        let start = raw.get().as_ptr().addr() - self.base;
        self.edits.push((start..start + raw.get().len(), replacement));
    }

    fn unread(&mut self, kind: Kind) {
        self.reader.unread(Unread { kind, inline: None });
    }

    fn field_of_request(&mut self, key: &str, raw: &RawValue) {
        self.role.clear();
        match key {
            key if PROMPTS.contains(&key) => {
                if matches!(key, "prompt" | "input") && has_tokens(raw, 1) {
                    self.unread(Kind::Tokens);
                }
                self.value(raw, 0, None);
            }
            key if STORED.contains(&key) && !matches!(raw.get(), "null" | "\"\"") => self.unread(Kind::Stored),
            key if STORED.contains(&key) || OF_THE_API.contains(&key) => {}
            _ => self.setting(key, raw),
        }
    }

    fn field_of_answer(&mut self, shape: Shape, key: &str, raw: &RawValue) {
        match (shape, key) {
            (Shape::Choices, "choices") => self.each(raw, Self::choice),
            (Shape::Candidates, "candidates") => self.each(raw, Self::candidate),
            (Shape::Response, "output") => self.output(raw),
            // A prompt that was blocked has no candidates, and may have a message.
            (Shape::Message, "content") | (Shape::Results, "results") | (Shape::Candidates, "promptFeedback") => {
                self.value(raw, 0, None);
            }
            (shape, key) if shape.knows(key) => {}
            // what some providers add, such as where a text comes from
            (_, key) => self.setting(key, raw),
        }
    }

    fn each(&mut self, raw: &RawValue, visit: fn(&mut Self, &RawValue)) {
        match json::open(raw) {
            Node::Array(elements) => elements.iter().for_each(|element| visit(self, element)),
            _ => self.value(raw, 0, None),
        }
    }

    /// Definitions of tools, metadata and the like: every string, keys too, but the words that are in all of them.
    fn setting(&mut self, key: &str, raw: &RawValue) {
        if let Node::Text(text) = json::open(raw) {
            return self.word_or(raw, key, &text);
        }
        self.documents += 1;
        let whose = if self.is_request { Whose::in_request(key) } else { Whose::in_answer(key) };
        if let Some(json) = setting_read(whose, raw.get(), self.reader, Place::Piece(self.documents)) {
            self.replace(raw, json);
        }
    }

    fn value(&mut self, raw: &RawValue, depth: usize, kind: Option<Kind>) {
        if depth > DEPTH_MAX {
            return self.all(raw);
        }
        match json::open(raw) {
            Node::Text(text) => self.said(raw, &text, depth),
            Node::Array(elements) => elements.iter().for_each(|element| self.value(element, depth + 1, kind)),
            Node::Object(fields) => {
                if depth == 1 {
                    let role = fields.iter().rfind(|(key, _)| key == "role").and_then(|(_, value)| text_of(value));
                    self.role = role.unwrap_or_default().into_owned();
                }
                self.fields(&fields, depth, kind);
            }
            Node::Other => {}
        }
    }

    fn fields(&mut self, fields: &Fields<'_>, depth: usize, kind: Option<Kind>) {
        let about = About::of(fields, kind);
        fields.iter().for_each(|(key, value)| self.field(key, value, depth, &about));
    }

    fn field(&mut self, key: &str, raw: &RawValue, depth: usize, about: &About<'_>) {
        match key {
            "metadata" | "labels" if self.is_request => return self.setting(key, raw),
            "variables" if self.is_request => return self.variables(raw, depth + 1),
            key if self.is_request && NO_TEXT.contains(&key) => return self.value(raw, depth + 1, about.kind),
            _ => {}
        }
        match Held::of(key, raw, about) {
            Held::Setting => self.setting(key, raw),
            Held::Media(kind) => self.media(raw, depth, kind, about),
            Held::Unread(kind) => self.unread(kind),
            Held::Arguments => self.arguments(raw),
            Held::Words(text) => self.word_or(raw, "", &text),
            Held::Nothing => {}
            Held::Value(kind) => self.value(raw, depth + 1, kind),
        }
    }

    /// What stands in the gaps of a prompt that is kept elsewhere, by names that say nothing of it: texts, and parts of messages.
    fn variables(&mut self, raw: &RawValue, depth: usize) {
        match json::open(raw) {
            Node::Object(fields) => fields.iter().for_each(|(_, value)| self.value(value, depth + 1, None)),
            _ => self.value(raw, depth, None),
        }
    }

    /// A text of a conversation; at the top, in a list of texts that have nothing to do with each other.
    fn said(&mut self, raw: &RawValue, text: &str, depth: usize) {
        let place = if depth > 1 { Place::Said(&self.role) } else { Place::Alone };
        if let Some(text) = self.reader.text(Part { key: "", text, place }) {
            self.replace(raw, json::encode(&text));
        }
    }

    /// A name, if it is a single word; else a text.
    fn word_or(&mut self, raw: &RawValue, key: &str, text: &str) {
        let place = if is_word(text) { Place::Name } else { Place::Alone };
        if let Some(text) = self.reader.text(Part { key, text, place }) {
            self.replace(raw, json::encode(&text));
        }
    }

    /// A file, a picture, sound, or where it is.
    fn media(&mut self, raw: &RawValue, depth: usize, kind: Kind, about: &About<'_>) {
        let Some(field) = text_of(raw) else { return self.value(raw, depth + 1, Some(kind)) };
        if about.is_text || field.trim().is_empty() {
            return self.said(raw, &field, depth);
        }
        let of = |media_type: &str| Kind::of_media_type(media_type).filter(|of| *of != Kind::File).unwrap_or(kind);
        match media::content(&field, &about.media_type) {
            Content::Words => self.said(raw, &field, depth),
            Content::Elsewhere => self.unread(kind),
            Content::Bytes(media_type, data) => {
                self.reader.unread(Unread { kind: of(media_type), inline: Some((media_type, data)) });
            }
            Content::Text(document, (media_type, data)) => {
                // A drawing in letters is a picture all the same.
                if of(media_type) != Kind::File {
                    self.reader.unread(Unread { kind: of(media_type), inline: Some((media_type, data)) });
                }
                self.document(raw, &document);
            }
        }
    }

    /// A file that is text, or JSON.
    fn document(&mut self, raw: &RawValue, document: &Document<'_>) {
        let text = document.text.as_str();
        let replaced = match text.trim_start().starts_with(['{', '[']) && is_json(text) {
            true => {
                self.documents += 1;
                tokens_read(text, self.reader, Place::Piece(self.documents))
            }
            false => self.reader.text(Part { key: "", text, place: Place::Alone }),
        };
        if let Some(text) = replaced {
            self.replace(raw, json::encode(&document.encoded(&text)));
        }
    }

    /// A tool's arguments: JSON inside a string, as the API has it, or JSON itself.
    fn arguments(&mut self, raw: &RawValue) {
        let Node::Text(text) = json::open(raw) else { return self.all(raw) };
        if let Some(text) = arguments_read(&text, self.reader) {
            self.replace(raw, json::encode(&text));
        }
    }

    /// Every string and number of a value, whatever it is.
    fn all(&mut self, raw: &RawValue) {
        if let Some(text) = tokens_read(raw.get(), self.reader, Place::Alone) {
            self.replace(raw, text);
        }
    }

    /// The items of a response. Each part of a message has log-probabilities of its own.
    fn output(&mut self, raw: &RawValue) {
        let Node::Array(items) = json::open(raw) else { return self.value(raw, 0, None) };
        for item in items {
            let Node::Object(fields) = json::open(item) else {
                self.value(item, 0, None);
                continue;
            };
            let is_message = fields.iter().any(|(key, value)| key == "type" && value.get() == "\"message\"");
            let about = About::of(&fields, None);
            for (key, value) in &fields {
                match (key.as_ref(), json::open(value)) {
                    ("content", Node::Array(parts)) if is_message => {
                        parts.iter().for_each(|part| self.spelled(part, "logprobs", "[]"));
                    }
                    (key, _) => self.field(key, value, 0, &about),
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
        let Node::Object(fields) = json::open(raw) else { return self.value(raw, 0, None) };
        let (before, about) = (self.edits.len(), About::of(&fields, None));
        for (key, value) in fields.iter().filter(|(key, _)| key != logprobs) {
            self.field(key, value, 0, &about);
        }
        let changed = self.edits.len() > before;
        for (_, spelt) in fields.iter().filter(|(key, value)| changed && key == logprobs && value.get() != "null") {
            self.replace(spelt, none.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
