//! Puts back what masking took: placeholders of a request become its values again in the answer, and nothing else does.
//!
//! A [`Restorer`] is made of what one request's record holds and lives as long as that record is handled, so that no request can meet another's
//! values. What it puts back is not read again: a value that looks like a placeholder stays as it is.
//!
//! Deliberately absent: placeholders that nobody has handed out, and those that a model has written in another way (in another case, with
//! an escape or an emphasis between their letters). They stay as they are.

use crate::inspect;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::Bound;
use tollgate_schemas::Originals;

/// Knows the values of one request.
#[derive(Debug, Default)]
pub struct Restorer {
    originals: Originals,
    /// The longest placeholder, in bytes.
    longest: usize,
}

impl Restorer {
    /// Of a request's originals.
    pub fn new(originals: Originals) -> Self {
        let longest = originals.0.keys().map(String::len).max().unwrap_or(0);
        Self { originals, longest }
    }

    /// For text that stands inside a JSON string as it is written, such as a part of a tool's arguments in a stream.
    #[must_use]
    pub fn inside_json(&self) -> Self {
        let written = |value: &str| {
            let quoted = inspect::encode(value);
            quoted[1..quoted.len() - 1].to_owned()
        };
        let pairs = self.originals.0.iter().map(|(placeholder, value)| (placeholder.clone(), written(value)));
        Self { originals: Originals(pairs.collect::<BTreeMap<_, _>>()), longest: self.longest }
    }

    /// A whole text with its values; `None`: it has none.
    pub fn text(&self, text: &str) -> Option<String> {
        if !text.contains('[') {
            return None;
        }
        let mut restored = String::with_capacity(text.len());
        let end = self.scan(text, &mut restored);
        // Whatever could still have become a placeholder is none.
        restored.push_str(&text[end..]);
        (restored != text).then_some(restored)
    }

    /// A whole answer of any API with its values; `None`: it has none.
    pub fn answer(&self, body: &RawValue) -> Option<Box<RawValue>> {
        let restored = inspect::answer(body, &mut |_, text| self.text(text))?;
        // Splicing strings into JSON gives JSON; if it ever did not, the placeholders stay.
        RawValue::from_string(restored).ok()
    }

    /// Appends the text up to where it may still become a placeholder, with its values. Where that is; the end, if nothing may.
    fn scan(&self, text: &str, out: &mut String) -> usize {
        let mut done = 0;
        while let Some(open) = text[done..].find('[').map(|at| done + at) {
            out.push_str(&text[done..open]);
            done = open;
            let rest = &text.as_bytes()[open..];
            let reach = &rest[1..rest.len().min(self.longest.max(1))];
            match reach.iter().position(|byte| matches!(byte, b'[' | b']')).map(|at| open + 1 + at) {
                Some(end) => {
                    // A placeholder ends with its bracket; what is opened in between may be one.
                    let end = if rest[end - open] == b']' { end + 1 } else { end };
                    let written = &text[open..end];
                    out.push_str(self.originals.0.get(written).map_or(written, String::as_str));
                    done = end;
                }
                None if self.may_become(&text[open..]) => return open,
                None => {
                    out.push('[');
                    done = open + 1;
                }
            }
        }
        out.push_str(&text[done..]);
        text.len()
    }

    /// Whether a placeholder begins so.
    fn may_become(&self, beginning: &str) -> bool {
        let from = self.originals.0.range::<str, _>((Bound::Included(beginning), Bound::Unbounded)).next();
        from.is_some_and(|(placeholder, _)| placeholder.starts_with(beginning))
    }
}

/// One text that comes in parts. Holds back no more than what may still become a placeholder, from its bracket on.
#[derive(Debug, Default)]
pub struct Restoring {
    held: String,
}

impl Restoring {
    /// Takes the next part. What may go out.
    pub fn push(&mut self, restorer: &Restorer, part: &str) -> String {
        self.held.push_str(part);
        let mut out = String::new();
        let end = restorer.scan(&self.held, &mut out);
        self.held.drain(..end);
        out
    }

    /// How much is held back, in bytes.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The text has ended. What was held back was no placeholder.
    pub fn end(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests;
