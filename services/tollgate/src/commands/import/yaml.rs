//! The outcome as YAML, laid out as `tollgate.example.yaml` is: what fits stands on one line.
//!
//! By hand rather than by a serialiser, so that prices keep their digits and people can read and go on with the file.

/// Where a line ends at the latest, in bytes, unless one text alone is longer.
const WIDTH: usize = 140;

/// Plain texts that YAML 1.1 or 1.2 takes for something else.
const WORDS: [&str; 12] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Yaml {
    /// Quoted if it needs to be. As Tollgate reads it: `${NAME}` is a variable, `$$` a dollar sign.
    Text(String),
    /// As it is: a number, a duration, a word of Tollgate's own.
    Bare(String),
    /// A list.
    List(Vec<Self>),
    /// A mapping.
    Map(Fields),
}

/// A mapping in its order. Names need no quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, Yaml)>);

impl Fields {
    /// With one more.
    pub(super) fn with(mut self, name: &str, value: Yaml) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    /// With one more, if there is a value.
    pub(super) fn maybe(self, name: &str, value: Option<Yaml>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a whole file: an empty line between sections, and below each its content.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        for (name, section) in &self.0 {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(name);
            out.push_str(":\n");
            section.block(2, &mut out);
        }
        out
    }
}

impl From<Fields> for Yaml {
    fn from(fields: Fields) -> Self {
        Self::Map(fields)
    }
}

impl Yaml {
    /// A text in which nothing is a variable.
    pub(super) fn plain(text: &str) -> Self {
        Self::Text(text.replace('$', "$$"))
    }

    /// A number, a duration or a word of Tollgate's.
    pub(super) fn bare(value: impl ToString) -> Self {
        Self::Bare(value.to_string())
    }

    /// Of milliseconds.
    pub(super) fn duration(ms: u64) -> Self {
        if ms.is_multiple_of(1000) { Self::Bare(format!("{}s", ms / 1000)) } else { Self::Bare(format!("{ms}ms")) }
    }

    fn flow(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Bare(word) => word.clone(),
            Self::List(items) if items.is_empty() => "[]".to_owned(),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::flow).collect();
                format!("[ {} ]", items.join(", "))
            }
            Self::Map(fields) if fields.is_empty() => "{}".to_owned(),
            Self::Map(Fields(fields)) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, value)| format!("{name}: {}", value.flow())).collect();
                format!("{{ {} }}", fields.join(", "))
            }
        }
    }

    /// On one line that begins after so many bytes; `None` if it does not fit.
    fn line(&self, used: usize) -> Option<String> {
        let flow = self.flow();
        let is_whole = matches!(self, Self::Text(_) | Self::Bare(_));
        (is_whole || used + flow.len() <= WIDTH).then_some(flow)
    }

    fn block(&self, indent: usize, out: &mut String) {
        let pad = " ".repeat(indent);
        match self {
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    let content = item.line(indent + 2).unwrap_or_else(|| {
                        let mut lines = String::new();
                        item.block(indent + 2, &mut lines);
                        // Its first line stands behind the dash.
                        lines.trim().to_owned()
                    });
                    out.push_str(&format!("{pad}- {content}\n"));
                }
            }
            Self::Map(Fields(fields)) if !fields.is_empty() => {
                for (name, value) in fields {
                    if let Some(line) = value.line(indent + name.len() + 2) {
                        out.push_str(&format!("{pad}{name}: {line}\n"));
                    } else {
                        out.push_str(&format!("{pad}{name}:\n"));
                        value.block(indent + 2, out);
                    }
                }
            }
            other => out.push_str(&format!("{pad}{}\n", other.flow())),
        }
    }
}

fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    // JSON's strings are YAML's double-quoted ones.
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).expect(text)
    }

    #[test]
    fn texts_stay_texts() {
        let texts =
            ["a-b/c.d", "on", "True", "5", "1e5", "", " a", "a: b", "a #b", "é", "\"'\\", "a\nb", "- a", "*", "null"];
        for text in texts {
            assert_eq!(read(&format!("x: {}", Yaml::plain(text).flow())), json!({ "x": text }), "{text:?}");
        }
        assert_eq!(Yaml::plain("a$b").flow(), "\"a$$b\"");
    }

    #[test]
    fn long_content_goes_below_and_reads_the_same() {
        let item = |n: usize| {
            let name = Yaml::plain(&format!("{n}-{}", "x".repeat(60)));
            Yaml::from(
                Fields::default().with("name", name).with("on", Yaml::List(vec![Yaml::bare(429), Yaml::bare("5xx")])),
            )
        };
        let inner =
            Fields::default().with("short", Yaml::duration(1500)).with("list", Yaml::List((0..3).map(item).collect()));
        let outer = Yaml::List(vec![inner.clone().into(), Yaml::List(Vec::new())]);
        let text = Fields::default().with("a", outer).with("b", Yaml::from(Fields::default())).document();
        let name = |n: usize| format!("{n}-{}", "x".repeat(60));
        let list: Vec<Value> = (0..3).map(|n| json!({ "name": name(n), "on": [429, "5xx"] })).collect();
        assert_eq!(read(&text), json!({ "a": [{ "short": "1500ms", "list": list }, []], "b": {} }), "{text}");
        assert!(text.contains("  - short: 1500ms\n    list:\n      - { name: \"0-"), "{text}");
    }
}
