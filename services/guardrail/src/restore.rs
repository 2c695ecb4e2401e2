//! Puts back what masking took: placeholders of a request become its values again in the answer, and nothing else does.
//!
//! A [`Restorer`] is made of what one request's record holds and lives as long as that record is handled, so that no request can meet another's
//! values. What it puts back is not read again: a value that looks like a placeholder stays as it is. [`Restoring`] does the same to a stream.
//!
//! Deliberately absent: placeholders that nobody has handed out, and those that a model has written in another way (in another case, with
//! an escape or an emphasis between their letters). They stay as they are.

mod events;

pub use events::Restoring;

use crate::inspect;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
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
    fn inside_json(&self) -> Self {
        let written = |value: &str| {
            let quoted = inspect::encode(value);
            quoted[1..quoted.len() - 1].to_owned()
        };
        let pairs = self.originals.0.iter().map(|(placeholder, value)| (placeholder.clone(), written(value)));
        Self { originals: Originals(pairs.collect::<BTreeMap<_, _>>()), longest: self.longest }
    }

    /// A whole text with its values; `None`: it has none.
    pub fn text(&self, text: &str) -> Option<String> {
        let (mut restored, mut done) = (String::new(), 0);
        self.scan(text, |place, value| {
            restored.push_str(&text[done..place.start]);
            restored.push_str(value);
            done = place.end;
        });
        if done == 0 {
            return None;
        }
        restored.push_str(&text[done..]);
        Some(restored)
    }

    /// A whole answer of any API with its values; `None`: it has none.
    pub fn answer(&self, body: &RawValue) -> Option<Box<RawValue>> {
        let restored = inspect::answer(body, &mut |_, text| self.text(text))?;
        // Splicing strings into JSON gives JSON; if it ever did not, the placeholders stay.
        RawValue::from_string(restored).ok()
    }

    /// Shows each placeholder and its value. Where the text may still become one; its end, if it may not.
    fn scan(&self, text: &str, mut found: impl FnMut(Range<usize>, &str)) -> usize {
        let mut done = 0;
        while let Some(open) = text[done..].find('[').map(|at| done + at) {
            let reach = &text.as_bytes()[open + 1..text.len().min(open + self.longest.max(1))];
            done = match reach.iter().position(|byte| matches!(byte, b'[' | b']')) {
                Some(at) if reach[at] == b']' => {
                    let place = open..open + at + 2;
                    if let Some(value) = self.originals.0.get(&text[place.clone()]) {
                        found(place.clone(), value);
                    }
                    place.end
                }
                // What is opened in between may be one.
                Some(at) => open + 1 + at,
                None if self.may_become(&text[open..]) => return open,
                None => open + 1,
            };
        }
        text.len()
    }

    /// Whether a placeholder begins so.
    fn may_become(&self, beginning: &str) -> bool {
        let from = self.originals.0.range::<str, _>((Bound::Included(beginning), Bound::Unbounded)).next();
        from.is_some_and(|(placeholder, _)| placeholder.starts_with(beginning))
    }
}

#[cfg(test)]
mod tests;
