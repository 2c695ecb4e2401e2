//! Taking LiteLLM's file apart: each key is taken once, and what nobody took is named.

use super::Note;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// What is to be said about the outcome, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Notes(pub(super) Vec<Note>);

impl Notes {
    /// One more.
    pub(super) fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.0.push(Note { path: path.into(), text: text.into() });
    }
}

/// What to say of a key that is known but not carried over. A name that ends with `*` stands for all that begin so.
pub(super) type Advice = &'static [(&'static str, &'static str)];

/// A mapping of the file. Values are never put into notes: they may be secrets.
pub(super) struct Section {
    path: String,
    fields: Map<String, Value>,
}

impl Section {
    /// Of a value that may be missing. One that is no mapping is named, and counts as empty.
    pub(super) fn new(path: impl Into<String>, value: Option<Value>, notes: &mut Notes) -> Self {
        let path = path.into();
        let fields = match value {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                notes.add(&path, "is no mapping, as LiteLLM's reference has it: left out");
                Map::new()
            }
        };
        Self { path, fields }
    }

    /// The path of a key.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether a key is still there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// Fills in what is not there.
    pub(super) fn fill(&mut self, more: &Map<String, Value>) {
        for (key, value) in more {
            if self.fields.get(key).is_none_or(Value::is_null) {
                self.fields.insert(key.clone(), value.clone());
            }
        }
    }

    /// A key's value; `null` is none.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.fields.shift_remove(key).filter(|value| !value.is_null())
    }

    /// A text, or a number as one; an empty text is none.
    pub(super) fn text(&mut self, key: &str, notes: &mut Notes) -> Option<String> {
        let text = match self.take(key)? {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => {
                notes.add(self.at(key), "is no text: left out");
                return None;
            }
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// A switch, off unless said. `yes` and `on` are true to LiteLLM's reader of YAML.
    pub(super) fn flag(&mut self, key: &str, notes: &mut Notes) -> bool {
        match self.take(key) {
            None => false,
            Some(Value::Bool(is_on)) => is_on,
            Some(Value::String(word)) if is_word(&word, &["true", "yes", "on"]) => true,
            Some(Value::String(word)) if is_word(&word, &["false", "no", "off"]) => false,
            Some(_) => {
                notes.add(self.at(key), "is neither true nor false: taken for false");
                false
            }
        }
    }

    /// A number of 0 or more.
    pub(super) fn number(&mut self, key: &str, notes: &mut Notes) -> Option<Decimal> {
        let value = self.take(key)?;
        let number = number(&value).filter(|number| *number >= Decimal::ZERO);
        if number.is_none() {
            let why = "is no number of 0 or more that stands in the file itself: write it into the outcome by hand";
            notes.add(self.at(key), why);
        }
        number
    }

    /// A number of 0 or more, without its fraction.
    pub(super) fn whole(&mut self, key: &str, notes: &mut Notes) -> Option<u64> {
        self.number(key, notes).and_then(|number| u64::try_from(number.trunc()).ok())
    }

    /// Seconds, in milliseconds.
    pub(super) fn milliseconds(&mut self, key: &str, notes: &mut Notes) -> Option<u64> {
        let seconds = self.number(key, notes)?;
        u64::try_from(seconds.checked_mul(Decimal::ONE_THOUSAND)?.round()).ok()
    }

    /// A list's elements; one that is none is named, and counts as empty.
    pub(super) fn list(&mut self, key: &str, notes: &mut Notes) -> Vec<Value> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                notes.add(self.at(key), "is no list, as LiteLLM's reference has it: left out");
                Vec::new()
            }
        }
    }

    /// Names every key that nobody took.
    pub(super) fn name_rest(self, advice: Advice, otherwise: &str, notes: &mut Notes) {
        for key in self.fields.keys() {
            let is_meant = |name: &str| name.strip_suffix('*').map_or(name == key, |start| key.starts_with(start));
            let text = advice.iter().find(|(name, _)| is_meant(name)).map_or(otherwise, |(_, text)| text);
            notes.add(self.at(key), text);
        }
    }

    /// What is left of it.
    pub(super) fn into_fields(self) -> Map<String, Value> {
        self.fields
    }
}

fn is_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// The number that was written, digit by digit; numbers in quotes and with exponents too.
fn number(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    text.parse().or_else(|_| Decimal::from_scientific(&text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_keep_their_digits() {
        let value: Value = serde_saphyr::from_str("[ 0.00000015, 1.5e-7, 3e-06, '2.5E-6', 5, 0.1 ]").expect("YAML");
        let numbers: Vec<String> = value
            .as_array()
            .expect("a list")
            .iter()
            .map(|value| number(value).expect("a number").normalize().to_string())
            .collect();
        assert_eq!(numbers, ["0.00000015", "0.00000015", "0.000003", "0.0000025", "5", "0.1"]);
        assert!([json!("os.environ/X"), json!(true), json!([])].iter().all(|value| number(value).is_none()));
    }

    #[test]
    fn what_is_not_taken_is_named_and_its_value_is_not() {
        let mut notes = Notes::default();
        let value = json!({ "a": "1", "supports_x": true, "odd": "sk-secret", "flag": "On", "list": 5, "t": 1.5 });
        let mut section = Section::new("top", Some(value), &mut notes);
        assert!(section.flag("flag", &mut notes));
        assert_eq!(section.whole("a", &mut notes), Some(1));
        assert_eq!(section.milliseconds("t", &mut notes), Some(1500));
        assert!(section.list("list", &mut notes).is_empty());
        section.name_rest(&[("supports_*", "known")], "unknown", &mut notes);
        let said: Vec<String> = notes.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "top.list: is no list, as LiteLLM's reference has it: left out",
                "top.supports_x: known",
                "top.odd: unknown"
            ]
        );
    }
}
