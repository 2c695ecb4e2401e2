//! Reading and changing parts of a JSON text without touching the rest: what is not changed stays as it came, byte for byte.
//!
//! Keys that occur twice are all seen. A parser elsewhere may take the first or the last of them, so both are looked at.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// One JSON value, opened one level deep.
pub(super) enum Node<'a> {
    /// Decoded key and value, in order, repeated keys included.
    Object(Vec<(Cow<'a, str>, &'a RawValue)>),
    /// Elements in order.
    Array(Vec<&'a RawValue>),
    /// A string.
    Text(Cow<'a, str>),
    /// A number, a literal or `null`.
    Other,
}

/// Opens a value one level deep.
pub(super) fn open(raw: &RawValue) -> Node<'_> {
    let text = raw.get().trim_start();
    match text.as_bytes().first() {
        Some(b'{') => {
            serde_json::Deserializer::from_str(text).deserialize_map(Entries).map_or(Node::Other, Node::Object)
        }
        Some(b'[') => serde_json::from_str(text).map_or(Node::Other, Node::Array),
        Some(b'"') => Node::Text(decode(text)),
        _ => Node::Other,
    }
}

/// The content of a JSON string, quotes included in `json`. Lone surrogates become U+FFFD, so that nothing escapes a check.
pub(super) fn decode(json: &str) -> Cow<'_, str> {
    if let Ok(plain) = serde_json::from_str::<&str>(json) {
        return Cow::Borrowed(plain);
    }
    let decoded = serde_json::from_str::<String>(json);
    Cow::Owned(
        decoded
            .unwrap_or_else(|_| serde_json::Deserializer::from_str(json).deserialize_bytes(Lossy).unwrap_or_default()),
    )
}

/// A text as a JSON string, quotes included.
pub(crate) fn encode(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `text` with ranges replaced; the ranges must not overlap.
pub(crate) fn splice(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (range, replacement) in edits {
        out.push_str(&text[done..range.start]);
        out.push_str(&replacement);
        done = range.end;
    }
    out.push_str(&text[done..]);
    out
}

/// A string or number of a JSON text, wherever it is nested.
pub(super) struct Token<'a, 'k> {
    /// Where it stands, quotes included.
    pub(super) span: Range<usize>,
    /// Its decoded text.
    pub(super) text: Cow<'a, str>,
    /// The key it stands under; empty at the top and for keys themselves.
    pub(super) key: &'k str,
    /// How many objects it stands in.
    pub(super) depth: usize,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Text,
    Number,
}

/// Every string (keys too) and number of a valid JSON text, in one pass and without recursion.
pub(super) fn tokens<'a>(json: &'a str, mut each: impl FnMut(Token<'a, '_>)) {
    let bytes = json.as_bytes();
    // Of each open object the key that came last: what an array holds stands under that of the object around it, whatever other
    // objects were in front.
    let (mut keys, mut top) = (Vec::new(), Cow::Borrowed(""));
    let mut at = 0;
    while at < bytes.len() {
        let (start, depth) = (at, keys.len());
        match bytes[at] {
            b'{' => {
                keys.push(std::mem::take(&mut top));
                at += 1;
            }
            b'}' => {
                top = keys.pop().unwrap_or_default();
                at += 1;
            }
            b'"' => {
                at = string_end(bytes, at);
                let (span, text) = (start..at, decode(&json[start..at]));
                if json[at..].trim_start().starts_with(':') {
                    top = text.clone();
                    each(Token { span, text, key: "", depth, kind: Kind::Key });
                } else {
                    each(Token { span, text, key: &top, depth, kind: Kind::Text });
                }
            }
            b'-' | b'0'..=b'9' => {
                while at < bytes.len() && matches!(bytes[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
                    at += 1;
                }
                let text = Cow::Borrowed(&json[start..at]);
                each(Token { span: start..at, text, key: &top, depth, kind: Kind::Number });
            }
            _ => at += 1,
        }
    }
}

fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            entries.push((decode(key.get()), value));
        }
        Ok(entries)
    }
}

struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<String, E> {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_and_lone_surrogates_are_seen() {
        let raw = RawValue::from_string(r#" {"a":1, "\u0061":"x\ud800y"} "#.to_owned()).expect("valid");
        let Node::Object(entries) = open(&raw) else { panic!("an object") };
        assert_eq!(entries.iter().map(|(k, _)| k.as_ref()).collect::<Vec<_>>(), ["a", "a"]);
        let Node::Text(text) = open(entries[1].1) else { panic!("a string") };
        assert!(text.starts_with('x') && text.ends_with('y') && text.contains('\u{fffd}'), "{text}");
    }

    #[test]
    fn tokens_know_their_key() {
        let mut seen = Vec::new();
        tokens(r#"{"to" : ["a\"b", 4e2], "n":-1.5,"x":{"y":null}}"#, |t| seen.push(format!("{}={}", t.key, t.text)));
        assert_eq!(seen, ["=to", "to=a\"b", "to=4e2", "=n", "n=-1.5", "=x", "=y"]);
        let mut seen = Vec::new();
        tokens(r#"[{"x":["a",{"y":[{"z":"b"},"c"]},"d"],"v":"e"},"f"]"#, |t| {
            seen.push(format!("{}{}={}", t.depth, t.key, t.text));
        });
        assert_eq!(seen, ["1=x", "1x=a", "2=y", "3=z", "3z=b", "2y=c", "1x=d", "1=v", "1v=e", "0=f"]);
    }

    #[test]
    fn splicing_keeps_the_rest() {
        assert_eq!(splice("abcdef", vec![(4..5, "X".into()), (0..1, "".into())]), "bcdXf");
    }
}
