//! Texts of the outcome: LiteLLM's `os.environ/NAME` becomes `${NAME}`, and a secret that stands in the file becomes a variable.

use super::{reading::Notes, yaml::Yaml};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// A text as Tollgate reads it: `${NAME}` is a variable, `$$` a dollar sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text(String);

impl Text {
    /// In which nothing is a variable.
    pub(super) fn plain(text: &str) -> Self {
        Self(text.replace('$', "$$"))
    }

    /// The content of a file. `None` if its path cannot be written so.
    pub(super) fn file(path: &str) -> Option<Self> {
        let is_writable = !path.contains('}') && !path.contains(":-");
        is_writable.then(|| Self(format!("${{file:{path}}}")))
    }

    /// A variable, or a value if it is not set.
    pub(super) fn variable_or(name: &str, default: &str) -> Self {
        Self(format!("${{{name}:-{default}}}"))
    }

    /// Put together from texts of this kind.
    pub(super) fn written(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Text> for Yaml {
    fn from(text: Text) -> Self {
        Self::Text(text.0)
    }
}

/// The NAME of `os.environ/NAME`.
pub(super) fn variable_of(text: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.strip_prefix("os.environ/").filter(|name| !name.is_empty() && name.chars().all(is_part))
}

/// The variables of the outcome.
#[derive(Default)]
pub(super) struct Variables {
    /// Those of the file, whose names no new one takes.
    taken: BTreeSet<String>,
    /// Those that the outcome names.
    used: BTreeSet<String>,
    /// Those made for secrets, by the secret itself, which goes nowhere from here.
    made: BTreeMap<String, String>,
}

impl Variables {
    /// With the names that the file uses.
    pub(super) fn of(file: &Value) -> Self {
        let mut variables = Self::default();
        variables.find(file);
        variables
    }

    fn find(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.taken.extend(variable_of(text).map(str::to_owned)),
            Value::Array(items) => items.iter().for_each(|item| self.find(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.find(field)),
            _ => {}
        }
    }

    /// That variable.
    pub(super) fn named(&mut self, name: &str) -> Text {
        self.used.insert(name.to_owned());
        Text(format!("${{{name}}}"))
    }

    /// A setting that is no secret.
    pub(super) fn open(&mut self, value: &str) -> Text {
        match variable_of(value) {
            Some(name) => self.named(name),
            None => Text::plain(value),
        }
    }

    /// A secret: `what` of `whose`, as in `api_key` of `openai`. One that stands in the file is named, not copied.
    pub(super) fn secret(&mut self, value: &str, whose: &str, what: &str, path: String, notes: &mut Notes) -> Text {
        if let Some(name) = variable_of(value) {
            return self.named(name);
        }
        let name = match self.made.get(value) {
            Some(name) => name.clone(),
            None => self.make(value, whose, what),
        };
        notes.add(path, format!("holds a secret, which was not copied: set the environment variable {name} to it"));
        self.named(&name)
    }

    fn make(&mut self, value: &str, whose: &str, what: &str) -> String {
        let name = format!("IMPORTED_{}_{}", upper(whose), upper(what));
        let more = (2_u32..).map(|n| format!("{name}_{n}"));
        let free = std::iter::once(name.clone()).chain(more).find(|name| !self.taken.contains(name));
        let name = free.unwrap_or(name);
        self.taken.insert(name.clone());
        self.made.insert(value.to_owned(), name.clone());
        name
    }

    /// Those that must be set for the outcome to work.
    pub(super) fn used(&self) -> impl Iterator<Item = &str> {
        self.used.iter().map(String::as_str)
    }
}

fn upper(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Letters, digits, `.`, `_` and `-` of a text; what lies between is one `-`.
pub(super) fn slug(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
    let parts: Vec<&str> = text.split(|c| !is_part(c)).filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// `name`, or with the first number behind it that makes it a new one; remembered.
pub(super) fn unique(name: &str, seen: &mut BTreeSet<String>) -> String {
    let more = (2_u32..).map(|n| format!("{name}-{n}"));
    let free = std::iter::once(name.to_owned()).chain(more).find(|name| !seen.contains(name));
    let free = free.unwrap_or_else(|| name.to_owned());
    seen.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_becomes_one_variable_of_a_new_name() {
        let mut variables = Variables::of(&json!({ "a": ["os.environ/IMPORTED_OPENAI_API_KEY"] }));
        let mut notes = Notes::default();
        let mut secret = |value: &str| variables.secret(value, "openai", "api_key", "p".into(), &mut notes).to_string();
        assert_eq!(secret("os.environ/KEY"), "${KEY}");
        assert_eq!(secret("sk-1"), "${IMPORTED_OPENAI_API_KEY_2}");
        assert_eq!(secret("sk-1"), "${IMPORTED_OPENAI_API_KEY_2}");
        assert_eq!(secret("os.environ/not a name"), "${IMPORTED_OPENAI_API_KEY_3}");
        assert_eq!(variables.used().count(), 3);
        assert!(notes.0.len() == 3 && notes.0.iter().all(|note| !note.text.contains("sk-1")));
    }

    #[test]
    fn names_are_made_of_what_may_stand_in_them() {
        assert_eq!(slug("us.anthropic.claude-3:0/x"), "us.anthropic.claude-3-0-x");
        let mut seen = BTreeSet::new();
        assert_eq!([unique("a", &mut seen), unique("a", &mut seen), unique("a", &mut seen)], ["a", "a-2", "a-3"]);
    }
}
