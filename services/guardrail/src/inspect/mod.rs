//! Finds the texts of a request or an answer of any of the APIs, shows them, and replaces those that are rewritten.
//!
//! Looked at, of a request: all of it but the words of the API itself (`fields`): prompts of every role, their parts, tool calls and
//! results, definitions of tools, metadata, names. Of an answer: everything below `choices`, a message's `content`, a response's `output`,
//! Google's `candidates` or the `results` of a moderation, and what a provider adds beside them. Arguments of tools, and what functions
//! give back, are read as JSON, so that escapes hide nothing and a replaced number stays valid JSON. Files that are text are
//! decoded and, where they are changed, encoded again (`media`).
//!
//! Told as unreadable: pictures, sound, documents that are no text, what is elsewhere, what a provider has encrypted or kept, and texts that a
//! caller has turned into numbers itself. Not looked at: identifiers and enumerations, where they are a single word.

pub mod event;
mod fields;
mod held;
mod json;
mod media;

pub(crate) use json::{encode, splice};
pub use media::{Kind, Unread};

use fields::{NO_TEXT, OF_THE_API, PROMPTS, STORED, VOCABULARY, WORDS, is_word};
use held::{About, Fields, Held, text_of};
use json::Node;
use media::{Content, Document};
use serde_json::value::RawValue;
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
    let mut walk = Walk::new(body, reader);
    match json::open(body) {
        Node::Object(fields) if fields.iter().any(|(key, _)| PROMPTS.contains(&key.as_ref())) => {
            fields.iter().for_each(|(key, value)| walk.field_of_request(key, value));
        }
        // a shape that is not known: rather look at too much than let it pass unread
        _ => walk.all(body),
    }
    walk.finish(body)
}

/// Shows an answer: a completion's choices, a message's content, a response's output, Google's candidates; embeddings hold none, and the
/// results of a moderation are names and numbers. The new body, if any text was replaced.
pub fn read_answer(body: &RawValue, reader: &mut dyn Reader) -> Option<String> {
    let mut walk = Walk::new(body, reader);
    let Node::Object(fields) = json::open(body) else {
        walk.all(body);
        return walk.finish(body);
    };
    let of = |name: &'static str| fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| *value);
    let is = |name: &'static str, word: &str| of(name).all(|value| value.get() == word) && of(name).next().is_some();
    if of("choices").next().is_some() {
        for (key, value) in &fields {
            match (key.as_ref(), json::open(value)) {
                ("choices", Node::Array(choices)) => choices.iter().for_each(|choice| walk.choice(choice)),
                ("choices", _) => walk.value(value, 0, None),
                (key, _) if OF_THE_API.contains(&key) => {}
                // what some providers add, such as where a text comes from
                (key, _) => walk.setting(key, value),
            }
        }
    } else if is("type", "\"message\"") {
        of("content").for_each(|value| walk.value(value, 0, None));
    } else if is("object", "\"response\"") {
        of("output").for_each(|value| walk.output(value));
    } else if of("results").next().is_some() {
        of("results").for_each(|value| walk.value(value, 0, None));
    } else if of("candidates").chain(of("promptFeedback")).next().is_some() {
        for value in of("candidates") {
            match json::open(value) {
                Node::Array(candidates) => candidates.iter().for_each(|candidate| walk.candidate(candidate)),
                _ => walk.value(value, 0, None),
            }
        }
        // A prompt that was blocked has no candidates, and may have a message.
        of("promptFeedback").for_each(|value| walk.value(value, 0, None));
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
        if token.text.contains("\\u") && is_json(&token.text) {
            json::tokens(&token.text, |inner| each(&inner.text));
        }
    });
}

struct Walk<'r> {
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
        Self { base: body.get().as_ptr().addr(), reader, edits: Vec::new(), role: String::new(), documents: 0 }
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

    /// Definitions of tools, metadata and the like: every string, keys too, but the words that are in all of them.
    fn setting(&mut self, key: &str, raw: &RawValue) {
        if let Node::Text(text) = json::open(raw) {
            return self.word_or(raw, key, &text);
        }
        self.documents += 1;
        if let Some(json) = setting_read(raw.get(), self.reader, Place::Piece(self.documents)) {
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

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// What a tool is called with, as it stands in a string. The new text, if any of its texts was replaced.
pub(crate) fn arguments(text: &str, map: MapText<'_>) -> Option<String> {
    arguments_read(text, &mut Mapped(map))
}

fn arguments_read(text: &str, reader: &mut dyn Reader) -> Option<String> {
    match is_json(text) {
        true => tokens_read(text, reader, Place::Alone),
        false => reader.text(Part { key: "", text, place: Place::Alone }),
    }
}

/// Shows every string and number of a JSON text. The new text, if any was replaced.
pub(crate) fn tokens_mapped(text: &str, map: MapText<'_>) -> Option<String> {
    tokens_read(text, &mut Mapped(map), Place::Alone)
}

/// Shows a JSON text of a field that holds no prompt, as [`Walk::setting`] does. The new text, if any was replaced.
pub(crate) fn setting_mapped(json: &str, map: MapText<'_>) -> Option<String> {
    setting_read(json, &mut Mapped(map), Place::Alone)
}

fn setting_read(json: &str, reader: &mut dyn Reader, place: Place<'_>) -> Option<String> {
    let mut edits = Vec::new();
    json::tokens(json, |token| {
        let is_key = token.key.is_empty();
        let is_number = !json[token.span.start..].starts_with('"');
        let says_nothing = match is_key {
            true => VOCABULARY.contains(&token.text.as_ref()),
            false => {
                (WORDS.contains(&token.key.as_ref()) && is_word(&token.text))
                    || NO_TEXT.iter().any(|name| name.eq_ignore_ascii_case(&token.key))
            }
        };
        if is_number || says_nothing {
            return;
        }
        if let Some(text) = reader.text(Part { key: &token.key, text: &token.text, place }) {
            edits.push((token.span, json::encode(&text)));
        }
    });
    (!edits.is_empty()).then(|| json::splice(json, edits))
}

fn tokens_read(text: &str, reader: &mut dyn Reader, place: Place<'_>) -> Option<String> {
    let mut edits = Vec::new();
    json::tokens(text, |token| {
        if let Some(replacement) = reader.text(Part { key: &token.key, text: &token.text, place }) {
            edits.push((token.span, json::encode(&replacement)));
        }
    });
    (!edits.is_empty()).then(|| json::splice(text, edits))
}

#[cfg(test)]
mod tests;
