//! The texts of a stream's event, of any of the APIs: which of them go on in later events, and which are whole.
//!
//! A text that goes on belongs to a channel, named by where it goes on: a choice, a block, an item's part. What is looked at is what
//! [`super::answer`] looks at in the whole answer; of an event that is not known, all texts go on, so that no value is cut in two unseen.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat/streaming>,
//! <https://platform.openai.com/docs/api-reference/responses-streaming>, <https://platform.claude.com/docs/en/build-with-claude/streaming>,
//! <https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent>.

use super::DEPTH_MAX;
use super::fields::is_word;
use super::held::{About, Fields, Held};
use super::json::{self, Node};
use super::media::{self, Content};
use super::shape::Shape;
use serde_json::value::RawValue;
use std::ops::Range;

/// Where a model thinks, below a choice's delta. It has ended when the model speaks.
const THOUGHTS: [&str; 4] = ["reasoning", "thinking", "content/summary", "content/thinking"];
/// Fields of events that hold no text: random padding, and images on their way.
const PADDING: [&str; 2] = ["obfuscation", "partial_image_b64"];

/// Events of Anthropic's.
const OF_A_MESSAGE: [&str; 7] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
];

/// A text of an event, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// In the event's data, quotes included.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
    /// The text itself; of [`Kind::Setting`], [`Kind::Json`] and [`Kind::Logprobs`] the JSON.
    pub text: String,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The next part of a channel's text.
    Part(String),
    /// The next part of a tool's arguments, by their channel: JSON that cannot be read before it is whole.
    ArgumentsPart(String),
    /// A whole text.
    Whole,
    /// A single word that names something, whole.
    Name,
    /// What a provider adds beside an answer, under this name.
    Setting(String),
    /// A tool's arguments, whole: JSON in a text, or a text.
    Arguments,
    /// Any value, of which all strings and numbers are looked at.
    Json,
    /// Log probabilities, which spell a text again; and what stands there if there are none.
    Logprobs(&'static str),
}

/// An event's texts, in its order.
#[derive(Debug, Default)]
pub struct Read {
    /// The texts.
    pub pieces: Vec<Piece>,
    /// Channels that begin with one of these have ended.
    pub ended: Vec<String>,
    /// There is a file in it that is text, or a part of one: it can be read when all of it is there.
    pub has_file: bool,
}

/// Reads an event's data. `None`: it is not JSON.
pub fn event(data: &str) -> Option<Read> {
    let raw: &RawValue = serde_json::from_str(data).ok()?;
    let mut reading = Reading { base: data.as_ptr().addr(), read: Read::default() };
    reading.event(raw);
    Some(reading.read)
}

struct Reading {
    /// Address of the data's first byte.
    base: usize,
    read: Read,
}

fn get<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
}

fn text_of(value: Option<&RawValue>) -> String {
    match value.map(json::open) {
        Some(Node::Text(text)) => text.into_owned(),
        _ => String::new(),
    }
}

fn number(fields: &Fields<'_>, name: &str) -> Option<u64> {
    get(fields, name).and_then(|value| serde_json::from_str(value.get()).ok())
}

impl Reading {
    fn add(&mut self, raw: &RawValue, kind: Kind, text: String) {
        let start = raw.get().as_ptr().addr() - self.base;
        self.read.pieces.push(Piece { span: start..start + raw.get().len(), kind, text });
    }

    fn ends(&mut self, channel: String) {
        self.read.ended.push(channel);
    }

    fn event(&mut self, raw: &RawValue) {
        let Node::Object(fields) = json::open(raw) else { return self.goes_on(raw, "any", 0, None) };
        let has = |name| get(&fields, name).is_some();
        if has("choices") {
            return fields.iter().for_each(|(key, value)| match key.as_ref() {
                "choices" => self.each(value, Self::choice),
                key => self.beside(Shape::Choices, key, value),
            });
        }
        if has("candidates") || has("promptFeedback") {
            return self.candidates(&fields);
        }
        match text_of(get(&fields, "type")).as_str() {
            name if OF_A_MESSAGE.contains(&name) => self.event_of_message(name, &fields),
            name if name.starts_with("response.") => self.response(name, &fields),
            // Counts alone.
            _ if has("usageMetadata") => self.candidates(&fields),
            _ => self.goes_on(raw, "any", 0, None),
        }
    }

    /// What a provider adds beside what is said, such as where a text comes from.
    fn beside(&mut self, shape: Shape, key: &str, value: &RawValue) {
        match json::open(value) {
            _ if shape.knows(key) || PADDING.contains(&key) => {}
            Node::Text(text) => self.words(value, text.into_owned()),
            Node::Other => {}
            _ => self.add(value, Kind::Setting(key.to_owned()), value.get().to_owned()),
        }
    }

    /// A name, if it is a single word; else a text.
    fn words(&mut self, raw: &RawValue, text: String) {
        let kind = if is_word(&text) { Kind::Name } else { Kind::Whole };
        self.add(raw, kind, text);
    }

    /// Shows the elements of a list, each with its `index`.
    fn each(&mut self, list: &RawValue, mut visit: impl FnMut(&mut Self, &Fields<'_>, u64)) {
        let Node::Array(elements) = json::open(list) else { return self.whole(list, 0, None) };
        for (at, element) in elements.into_iter().enumerate() {
            match json::open(element) {
                Node::Object(fields) => {
                    let index = number(&fields, "index").unwrap_or(u64::try_from(at).unwrap_or(u64::MAX));
                    visit(self, &fields, index);
                }
                _ => self.whole(element, 0, None),
            }
        }
    }

    /// Of a chat completion, or of a text completion.
    fn choice(&mut self, fields: &Fields<'_>, index: u64) {
        let (before, about) = (self.read.pieces.len(), About::of(fields, None));
        for (key, value) in fields {
            match key.as_ref() {
                "logprobs" => self.logprobs(value, "null"),
                "finish_reason" if value.get() != "null" => self.ends(format!("c{index}/")),
                key => self.grows(key, value, &format!("c{index}"), (0, &about)),
            }
        }
        let delta = format!("c{index}/delta/");
        let speaks = |piece: &Piece| match &piece.kind {
            Kind::Part(channel) | Kind::ArgumentsPart(channel) => {
                let field = channel.strip_prefix(&delta).unwrap_or_default();
                !piece.text.is_empty() && !THOUGHTS.iter().any(|thought| field.starts_with(thought))
            }
            _ => false,
        };
        if self.read.pieces[before..].iter().any(speaks) {
            THOUGHTS.iter().for_each(|thought| self.ends(format!("{delta}{thought}")));
        }
    }

    /// Of Google's.
    fn candidates(&mut self, fields: &Fields<'_>) {
        for (key, value) in fields {
            match key.as_ref() {
                "candidates" => self.each(value, Self::candidate),
                "promptFeedback" => self.whole(value, 0, None),
                key => self.beside(Shape::Candidates, key, value),
            }
        }
    }

    /// One of them.
    fn candidate(&mut self, fields: &Fields<'_>, index: u64) {
        let about = About::of(fields, None);
        for (key, value) in fields {
            match (key.as_ref(), json::open(value)) {
                ("logprobsResult", _) => self.logprobs(value, "null"),
                ("finishReason", _) if value.get() != "null" => self.ends(format!("g{index}/")),
                ("content", Node::Object(content)) => {
                    let about = About::of(&content, None);
                    for (key, value) in &content {
                        match key.as_ref() {
                            "parts" => self.each(value, |reading, part, _| reading.part_of(part, index)),
                            key => self.field(key, value, 1, &about),
                        }
                    }
                }
                (key, _) => self.field(key, value, 0, &about),
            }
        }
    }

    fn part_of(&mut self, part: &Fields<'_>, index: u64) {
        let is_thought = get(part, "thought").is_some_and(|value| value.get() == "true");
        let about = About::of(part, None);
        for (key, value) in part {
            match (key.as_ref(), json::open(value)) {
                ("text", Node::Text(text)) => {
                    if !is_thought && !text.is_empty() {
                        self.ends(format!("g{index}/thought"));
                    }
                    let channel = format!("g{index}/{}", if is_thought { "thought" } else { "text" });
                    self.add(value, Kind::Part(channel), text.into_owned());
                }
                (key, _) => self.field(key, value, 0, &about),
            }
        }
    }

    /// Of a message: its beginning, the next part of it, why it ended, and counts.
    fn event_of_message(&mut self, name: &str, fields: &Fields<'_>) {
        let index = number(fields, "index").unwrap_or(0);
        for (key, value) in fields {
            match (name, key.as_ref(), json::open(value)) {
                ("content_block_start", "content_block", Node::Object(block))
                | ("content_block_delta", "delta", Node::Object(block)) => self.block(&block, index),
                ("message_start", "message", Node::Object(message)) => {
                    message.iter().for_each(|(key, value)| match key.as_ref() {
                        "content" => self.whole(value, 0, None),
                        key => self.beside(Shape::Message, key, value),
                    });
                }
                ("message_delta", "delta", Node::Object(delta)) => {
                    delta.iter().for_each(|(key, value)| self.beside(Shape::Message, key, value));
                }
                (_, key, _) => self.beside(Shape::Message, key, value),
            }
        }
        if name == "content_block_stop" {
            self.ends(format!("m{index}/"));
        }
    }

    fn block(&mut self, block: &Fields<'_>, index: u64) {
        let about = About::of(block, None);
        for (key, value) in block {
            match (key.as_ref(), json::open(value)) {
                ("text" | "thinking", Node::Text(text)) => {
                    self.add(value, Kind::Part(format!("m{index}/text")), text.into_owned());
                }
                ("partial_json", Node::Text(text)) => {
                    self.add(value, Kind::ArgumentsPart(format!("m{index}/json")), text.into_owned());
                }
                (key, _) => self.field(key, value, 0, &about),
            }
        }
    }

    /// An event of a response. What is done is told whole once more.
    fn response(&mut self, name: &str, fields: &Fields<'_>) {
        let (base, is_delta) = match name.strip_suffix(".delta") {
            Some(base) => (base, true),
            None => (name.strip_suffix(".done").unwrap_or(name), false),
        };
        let place = number(fields, "content_index").or(number(fields, "summary_index")).unwrap_or(0);
        let channel = format!("r{}/{place}/{base}", number(fields, "output_index").unwrap_or(0));
        let is_call = base.ends_with("arguments") || base.ends_with("input");
        let about = About::of(fields, None);
        for (key, value) in fields {
            match (key.as_ref(), json::open(value)) {
                ("logprobs", _) => self.logprobs(value, "[]"),
                ("delta", Node::Text(text)) if is_delta => {
                    let kind = if is_call { Kind::ArgumentsPart } else { Kind::Part };
                    self.add(value, kind(channel.clone()), text.into_owned());
                }
                ("item", Node::Object(item)) => self.item(&item),
                ("part", Node::Object(part)) => self.part(&part),
                ("response", Node::Object(response)) => {
                    response.iter().for_each(|(key, value)| match key.as_ref() {
                        "output" => self.each(value, |reading, item, _| reading.item(item)),
                        key => self.beside(Shape::Response, key, value),
                    });
                }
                (key, _) if PADDING.contains(&key) => {}
                (key, _) => self.field(key, value, 0, &about),
            }
        }
        if !is_delta && name.ends_with(".done") {
            self.ends(channel);
        }
    }

    /// An item of a response's output.
    fn item(&mut self, item: &Fields<'_>) {
        let (is_message, about) = (text_of(get(item, "type")) == "message", About::of(item, None));
        for (key, value) in item {
            match key.as_ref() {
                "content" if is_message => self.each(value, |reading, part, _| reading.part(part)),
                key => self.field(key, value, 0, &about),
            }
        }
    }

    fn part(&mut self, part: &Fields<'_>) {
        let about = About::of(part, None);
        for (key, value) in part {
            match key.as_ref() {
                "logprobs" => self.logprobs(value, "[]"),
                key => self.field(key, value, 0, &about),
            }
        }
    }

    fn logprobs(&mut self, value: &RawValue, none: &'static str) {
        if value.get() != "null" && value.get() != none {
            self.add(value, Kind::Logprobs(none), value.get().to_owned());
        }
    }

    /// A field whose texts are whole.
    fn field(&mut self, key: &str, value: &RawValue, depth: usize, about: &About<'_>) {
        match Held::of(key, value, about) {
            Held::Nothing | Held::Unread(_) => {}
            Held::Setting => self.add(value, Kind::Setting(key.to_owned()), value.get().to_owned()),
            Held::Media(kind) => self.media(value, depth, kind, about),
            Held::Arguments => match json::open(value) {
                Node::Text(text) => self.add(value, Kind::Arguments, text.into_owned()),
                _ => self.json(value),
            },
            Held::Words(text) => self.words(value, text.into_owned()),
            Held::Value(kind) => self.whole(value, depth + 1, kind),
        }
    }

    /// A file, a picture, sound, or where it is.
    fn media(&mut self, value: &RawValue, depth: usize, kind: media::Kind, about: &About<'_>) {
        let Node::Text(field) = json::open(value) else { return self.whole(value, depth + 1, Some(kind)) };
        let is_text = about.is_text || field.trim().is_empty();
        match media::content(&field, &about.media_type) {
            Content::Text(..) if !is_text => self.read.has_file = true,
            Content::Bytes(..) | Content::Elsewhere if !is_text => {}
            _ => self.add(value, Kind::Whole, field.to_string()),
        }
    }

    fn json(&mut self, value: &RawValue) {
        self.add(value, Kind::Json, value.get().to_owned());
    }

    fn whole(&mut self, raw: &RawValue, depth: usize, kind: Option<media::Kind>) {
        if depth > DEPTH_MAX {
            return self.json(raw);
        }
        match json::open(raw) {
            Node::Text(text) => self.add(raw, Kind::Whole, text.into_owned()),
            Node::Array(elements) => elements.iter().for_each(|element| self.whole(element, depth + 1, kind)),
            Node::Object(fields) => {
                let about = About::of(&fields, kind);
                fields.iter().for_each(|(key, value)| self.field(key, value, depth, &about));
            }
            Node::Other => {}
        }
    }

    /// Texts that later events go on with, by the way to them; elements of a list that have an `index` go on apart.
    fn goes_on(&mut self, raw: &RawValue, way: &str, depth: usize, kind: Option<media::Kind>) {
        if depth > DEPTH_MAX {
            return self.json(raw);
        }
        match json::open(raw) {
            Node::Text(text) => self.add(raw, Kind::Part(way.to_owned()), text.into_owned()),
            Node::Array(elements) => {
                for element in elements {
                    let index = match json::open(element) {
                        Node::Object(fields) => number(&fields, "index"),
                        _ => None,
                    };
                    match index {
                        Some(index) => self.goes_on(element, &format!("{way}/{index}"), depth + 1, kind),
                        None => self.goes_on(element, way, depth + 1, kind),
                    }
                }
            }
            Node::Object(fields) => {
                let about = About::of(&fields, kind);
                fields.iter().for_each(|(key, value)| self.grows(key, value, way, (depth, &about)));
            }
            Node::Other => {}
        }
    }

    /// A field whose texts go on. Names come whole.
    fn grows(&mut self, key: &str, value: &RawValue, way: &str, (depth, about): (usize, &About<'_>)) {
        match (Held::of(key, value, about), json::open(value)) {
            (Held::Arguments, Node::Text(text)) => {
                self.add(value, Kind::ArgumentsPart(format!("{way}/{key}")), text.into_owned());
            }
            (Held::Words(text), _) if !is_word(&text) => {
                self.add(value, Kind::Part(format!("{way}/{key}")), text.into_owned());
            }
            (Held::Value(kind), _) => self.goes_on(value, &format!("{way}/{key}"), depth + 1, kind),
            _ => self.field(key, value, depth, about),
        }
    }
}

#[cfg(test)]
mod tests;
