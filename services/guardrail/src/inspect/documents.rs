//! JSON within a body that is no prompt: what tools are called with, definitions of tools, metadata and the like.
//!
//! Of arguments everything is shown. Of a definition the words that are in all of them are not; but what a caller has named is text, whatever its
//! name: an `id` of `metadata` is no identifier of the API's.

use super::fields::{CREDENTIALS, DEFINITIONS, MAPS, PROPERTIES, VALUES, VOCABULARY, WORDS, is_word};
use super::json::{self, Kind, Token};
use super::{MapText, Mapped, Part, Place, Reader};

pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// What a tool is called with, as it stands in a string. The new text, if any of its texts was replaced.
pub(crate) fn arguments(text: &str, map: MapText<'_>) -> Option<String> {
    arguments_read(text, &mut Mapped(map))
}

pub(super) fn arguments_read(text: &str, reader: &mut dyn Reader) -> Option<String> {
    match is_json(text) {
        true => tokens_read(text, reader, Place::Alone),
        false => reader.text(Part { key: "", text, place: Place::Alone }),
    }
}

/// Shows every string and number of a JSON text. The new text, if any was replaced.
pub(crate) fn tokens_mapped(text: &str, map: MapText<'_>) -> Option<String> {
    tokens_read(text, &mut Mapped(map), Place::Alone)
}

pub(super) fn tokens_read(text: &str, reader: &mut dyn Reader, place: Place<'_>) -> Option<String> {
    read(text, reader, place, |_| true)
}

/// Shows a JSON text of a field of an answer that holds none of what was said. The new text, if any was replaced.
pub(crate) fn setting_mapped(name: &str, json: &str, map: MapText<'_>) -> Option<String> {
    setting_read(Whose::in_answer(name), json, &mut Mapped(map), Place::Alone)
}

/// Shows what says something of a JSON text: strings, keys too, and no numbers.
pub(super) fn setting_read(whose: Whose, json: &str, reader: &mut dyn Reader, place: Place<'_>) -> Option<String> {
    // Whose words the keys of each open object are, from the outermost.
    let mut around = vec![whose];
    read(json, reader, place, |token| {
        let is_key = token.kind == Kind::Key;
        around.truncate(if is_key { token.depth } else { token.depth + 1 });
        let last = around.last().copied().unwrap_or(whose);
        if is_key {
            around.push(last.below(&token.text));
        }
        match (token.kind, last) {
            (Kind::Number, _) | (_, Whose::Secret) => false,
            (_, Whose::Caller) => true,
            (Kind::Key, _) => !VOCABULARY.contains(&token.text.as_ref()),
            (Kind::Text, Whose::Names | Whose::Name) => true,
            (Kind::Text, Whose::Tool | Whose::Api) => !(WORDS.contains(&token.key) && is_word(&token.text)),
        }
    })
}

fn read(
    json: &str,
    reader: &mut dyn Reader,
    place: Place<'_>,
    mut is_shown: impl FnMut(&Token<'_, '_>) -> bool,
) -> Option<String> {
    let mut edits = Vec::new();
    json::tokens(json, |token| {
        if !is_shown(&token) {
            return;
        }
        if let Some(text) = reader.text(Part { key: token.key, text: &token.text, place }) {
            edits.push((token.span, json::encode(&text)));
        }
    });
    (!edits.is_empty()).then(|| json::splice(json, edits))
}

/// What a key is, and so what the keys below it are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A list of tools or of servers of tools: below it their own fields.
    Tool,
    /// A word of the API, or of JSON Schema.
    Api,
    /// One below which everything has a name.
    Names,
    /// A name that a caller has given to a schema.
    Name,
    /// The caller's, with all below it.
    Caller,
    /// A credential, with all below it.
    Secret,
}

impl Whose {
    /// Of a field of a request.
    pub(super) fn in_request(name: &str) -> Self {
        if DEFINITIONS.contains(&name) { Self::in_answer(name) } else { Whose::Caller }
    }

    /// Of a field of an answer: the names are the provider's, unless it gives back what it was given.
    pub(super) fn in_answer(name: &str) -> Self {
        match name {
            "tools" | "mcp_servers" => Whose::Tool,
            name if MAPS.contains(&name) => Whose::Caller,
            _ => Whose::Api,
        }
    }

    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Whose::Caller | Whose::Secret, _) => self,
            (Whose::Names, _) => Whose::Name,
            (Whose::Tool, "tools") => Whose::Tool,
            (Whose::Tool, key) if CREDENTIALS.iter().any(|name| name.eq_ignore_ascii_case(key)) => Whose::Secret,
            (_, key) if MAPS.contains(&key) || VALUES.contains(&key) => Whose::Caller,
            (_, key) if PROPERTIES.contains(&key) => Whose::Names,
            _ => Whose::Api,
        }
    }
}
