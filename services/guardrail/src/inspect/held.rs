//! What a field of an object holds, by its key and by what the object says of itself: the same in a body and in the events of a stream.

use super::fields::{ADDRESSES, ARGUMENTS, NAMES, NO_TEXT, WORDS, is_word};
use super::json::{self, Node};
use super::media::Kind;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An object's fields, in order.
pub(super) type Fields<'a> = [(Cow<'a, str>, &'a RawValue)];

/// What an object says of what is in it.
pub(super) struct About<'a> {
    pub(super) kind: Option<Kind>,
    pub(super) media_type: Cow<'a, str>,
    pub(super) is_text: bool,
    is_generated_image: bool,
    is_hidden: bool,
    is_reference: bool,
}

impl<'a> About<'a> {
    /// `outer`: what stands around it says so.
    pub(super) fn of(fields: &Fields<'a>, outer: Option<Kind>) -> Self {
        let texts = |names: &'static [&'static str]| {
            let named = fields.iter().filter(move |(key, _)| names.contains(&key.as_ref()));
            named.filter_map(|(_, value)| text_of(value))
        };
        let is = |name: &str| texts(&["type"]).any(|of| of == name);
        let media_type = texts(&["media_type", "mimeType", "mime_type"]).next_back().unwrap_or_default();
        let of_type = texts(&["type"]).filter_map(|of| Kind::of_type(&of)).next_back();
        // Anthropic's sources are of type `file` whatever they are.
        let of_type = of_type.filter(|kind| *kind != Kind::File || outer.is_none());
        Self {
            kind: Kind::of_media_type(&media_type).or(of_type).or(outer),
            is_text: is("text"),
            is_generated_image: is("image_generation_call"),
            is_reference: is("item_reference"),
            is_hidden: texts(&["type"]).any(|of| of.starts_with("redacted") || of.starts_with("reasoning")),
            media_type,
        }
    }
}

/// What a field of an object holds.
pub(super) enum Held<'a> {
    /// Definitions of tools and the like.
    Setting,
    /// A file, a picture, sound, or where it is.
    Media(Kind),
    /// What nobody can read.
    Unread(Kind),
    /// What a tool is called with, or gave back.
    Arguments,
    /// A name, or words where a single one would be none.
    Words(Cow<'a, str>),
    /// No text.
    Nothing,
    /// A text, or values of which each says what it holds.
    Value(Option<Kind>),
}

impl<'a> Held<'a> {
    /// By its key, and by what the object says.
    pub(super) fn of(key: &str, raw: &'a RawValue, about: &About<'_>) -> Self {
        let is_text = || text_of(raw).is_some();
        match key {
            "tools" => Held::Setting,
            "audio" | "input_audio" => Held::Value(Some(Kind::Audio)),
            "result" if about.is_generated_image => Held::Media(Kind::Image),
            "data" if about.is_hidden => Held::Unread(Kind::Encrypted),
            "data" | "file_data" => Held::Media(about.kind.unwrap_or(Kind::File)),
            "url" if about.kind.is_some() => Held::Media(about.kind.unwrap_or(Kind::File)),
            "file_id" | "fileId" if is_text() => about.kind.map_or(Held::Nothing, Held::Unread),
            "id" if about.is_reference => Held::Unread(Kind::Stored),
            // of sound that a provider has made, and kept
            "id" if about.kind == Some(Kind::Audio) => Held::Unread(Kind::Audio),
            "encrypted_content" if is_text() => Held::Unread(Kind::Encrypted),
            key if ADDRESSES.contains(&key) => {
                let of_key = if key.starts_with("image") { Kind::Image } else { Kind::File };
                Held::Media(about.kind.unwrap_or(of_key))
            }
            key if ARGUMENTS.contains(&key) => Held::Arguments,
            key if NAMES.contains(&key) || WORDS.contains(&key) => match text_of(raw) {
                Some(text) if WORDS.contains(&key) && is_word(&text) => Held::Nothing,
                Some(text) => Held::Words(text),
                None => Held::Value(about.kind),
            },
            key if NO_TEXT.contains(&key) => Held::Nothing,
            _ => Held::Value(about.kind),
        }
    }
}

pub(super) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    match json::open(raw) {
        Node::Text(text) => Some(text),
        _ => None,
    }
}
