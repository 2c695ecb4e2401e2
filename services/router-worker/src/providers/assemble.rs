//! Puts the chunks of a stream together into the answer they amount to.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat/streaming> and, for choices that have a `text` and no delta,
//! <https://platform.openai.com/docs/api-reference/completions>. A delta's strings are appended, lists whose
//! items carry an `index` are merged by it, other lists grow, names and ids are set once: so fields this gateway has
//! never heard of survive too.

use super::Content;
use serde_json::{Map, Value, json};

/// Largest answer that is assembled, in bytes of text and names, and [`ITEM_BYTES`] for every other value.
pub(super) const ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;
/// What a value is counted as beside its text: so that empty ones are bounded too.
pub(super) const ITEM_BYTES: usize = 64;
/// Most choices of an answer, and how long a list may be for its items to be looked for by their index: OpenAI allows 128 of
/// either. Looking through longer ones would take ever longer.
const INDEXED_MAX: usize = 1024;

/// The answer as far as it came.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    head: Map<String, Value>,
    choices: Vec<Value>,
    chars: usize,
    bytes: usize,
}

impl Assembler {
    /// Sets a top-level field of the answer (`id`, `created`, `usage`, …).
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.head.insert(name.to_owned(), value);
    }

    /// Takes the `choices` of one chunk. Returns what there is to see in them: roles and empty strings are nothing.
    pub(crate) fn choices(&mut self, choices: Vec<Value>) -> Content {
        let mut content = Content::Nothing;
        for choice in choices {
            let Value::Object(mut choice) = choice else { continue };
            let index = choice.remove("index").and_then(|i| i.as_u64()).unwrap_or(0);
            let delta = choice.remove("delta").unwrap_or(Value::Null);
            // That of a text completion; beside a delta it is a field like any other.
            let text = if delta.is_null() { choice.remove("text") } else { None };
            content = content.max(said(&delta)).max(text.as_ref().is_some_and(is_full).into());
            if let Some(reason) = choice.get("finish_reason").filter(|reason| !reason.is_null()) {
                content = content.max(Content::of_end(reason.as_str().unwrap_or_default()));
            }
            // A choice is found by its index; the few there are make a list as good as a map.
            let at = self.choices.iter().position(|known| known["index"] == index).unwrap_or_else(|| {
                self.choices.push(match &text {
                    Some(_) => json!({ "index": index, "text": "" }),
                    None => json!({ "index": index, "message": { "role": "assistant", "content": null } }),
                });
                self.choices.len() - 1
            });
            self.bytes += ITEM_BYTES;
            self.count(&delta);
            if !delta.is_null() {
                merge(&mut self.choices[at]["message"], delta);
            }
            if let Some(text) = text {
                self.count(&text);
                self.chars += text.as_str().map_or(0, |text| text.chars().count());
                merge_value("text", &mut self.choices[at]["text"], text);
            }
            for (name, value) in choice {
                let logprobs = name == "logprobs";
                let Some(field) =
                    self.choices[at].as_object_mut().map(|known| known.entry(name).or_insert(Value::Null))
                else {
                    continue;
                };
                // Log probabilities grow with the text; what else stands beside a delta (Azure's `content_filter_results`)
                // says how things are by now.
                if logprobs { merge_value("logprobs", field, value) } else { overwrite(field, value) }
            }
        }
        content
    }

    /// Characters of text so far.
    pub(crate) fn chars(&self) -> usize {
        self.chars
    }

    /// Whether the answer is past [`ANSWER_MAX_BYTES`].
    pub(crate) fn is_too_large(&self) -> bool {
        self.bytes > ANSWER_MAX_BYTES || self.choices.len() > INDEXED_MAX
    }

    /// The first choice's finish reason.
    pub(crate) fn finish_reason(&self) -> Option<&str> {
        self.choices.first().and_then(|choice| choice["finish_reason"].as_str())
    }

    /// Whether there are choices and each has a finish reason.
    pub(crate) fn all_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice["finish_reason"].is_string())
    }

    /// The `chat.completion` document.
    pub(crate) fn into_completion(self) -> Value {
        let mut choices = self.choices;
        choices.sort_by_key(|choice| choice["index"].as_u64());
        for choice in &mut choices {
            let Some(choice) = choice.as_object_mut() else { continue };
            choice.entry("finish_reason").or_insert(Value::Null);
            choice.entry("logprobs").or_insert(Value::Null);
            if let Some(message) = choice.get_mut("message") {
                tidy_message(message);
            }
        }
        let mut completion = self.head;
        completion.insert("choices".to_owned(), Value::Array(choices));
        if let Some(usage) = completion.remove("usage") {
            completion.insert("usage".to_owned(), usage);
        }
        Value::Object(completion)
    }

    fn count(&mut self, value: &Value) {
        self.bytes += ITEM_BYTES;
        match value {
            Value::String(text) => self.bytes += text.len(),
            Value::Array(items) => items.iter().for_each(|item| self.count(item)),
            Value::Object(map) => {
                // Some servers say the same under both names.
                let is_twice = map.get("reasoning_content").is_some_and(is_full);
                for (key, value) in map {
                    self.bytes += key.len();
                    if let (
                        "content" | "refusal" | "reasoning_content" | "reasoning" | "arguments",
                        Value::String(text),
                    ) = (key.as_str(), value)
                        && !(is_twice && key == "reasoning")
                    {
                        self.chars += text.chars().count();
                    }
                    self.count(value);
                }
            }
            _ => {}
        }
    }
}

/// A delta's tool calls and blocks carry an index and its text begins empty; a whole message has neither.
fn tidy_message(message: &mut Value) {
    for list in ["tool_calls", "thinking_blocks"] {
        for item in message.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            item.as_object_mut().map(|item| item.remove("index"));
        }
    }
    if message.get("tool_calls").is_some_and(Value::is_array) && message["content"] == "" {
        message["content"] = Value::Null;
    }
}

fn is_full(text: &Value) -> bool {
    text.as_str().is_some_and(|text| !text.is_empty())
}

fn said(delta: &Value) -> Content {
    let of_field = |(key, value): (&String, &Value)| match value {
        Value::String(text) if key == "refusal" && !text.is_empty() => Content::Refusal,
        Value::String(text) => (key != "role" && !text.is_empty()).into(),
        Value::Array(items) => (!items.is_empty()).into(),
        Value::Object(map) => (!map.is_empty()).into(),
        _ => Content::Nothing,
    };
    delta.as_object().into_iter().flatten().map(of_field).max().unwrap_or_default()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                match into.get_mut(&name) {
                    Some(old) => merge_value(&name, old, value),
                    None => merge_value(&name, into.entry(name.clone()).or_insert(Value::Null), value),
                }
            }
        }
        (into, from) => merge_value("", into, from),
    }
}

/// Later values replace earlier ones, field by field; a `null` says nothing.
fn overwrite(into: &mut Value, from: Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                overwrite(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn merge_value(name: &str, old: &mut Value, new: Value) {
    match (old, new) {
        (_, Value::Null) => {}
        (Value::String(old), Value::String(new)) => match name {
            "role" | "id" | "type" | "name" | "finish_reason" | "signature" => {
                if !new.is_empty() {
                    *old = new;
                }
            }
            _ => old.push_str(&new),
        },
        (Value::Array(old), Value::Array(new)) => merge_list(old, new),
        (old @ Value::Object(_), new @ Value::Object(_)) => merge(old, new),
        (old @ Value::Null, Value::Array(new)) => {
            let mut list = Vec::new();
            merge_list(&mut list, new);
            *old = Value::Array(list);
        }
        (old, new) => *old = new,
    }
}

fn merge_list(old: &mut Vec<Value>, new: Vec<Value>) {
    for item in new {
        let index = item.get("index").filter(|index| index.is_u64() && old.len() <= INDEXED_MAX).cloned();
        match index.and_then(|index| old.iter().position(|known| known.get("index") == Some(&index))) {
            Some(at) => merge(&mut old[at], item),
            None => old.push(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_an_answer() {
        let seen = |delta: Value, reason: Value| {
            Assembler::default().choices(vec![json!({ "index": 0, "delta": delta, "finish_reason": reason })])
        };
        let role = || json!({ "role": "assistant", "content": "", "refusal": null, "tool_calls": [] });
        for (delta, reason, expected) in [
            (role(), json!(null), Content::Nothing),
            (json!({ "refusal": "No." }), json!(null), Content::Refusal),
            (json!({}), json!("content_filter"), Content::Refusal),
            (json!({ "refusal": "No." }), json!("content_filter"), Content::Refusal),
            (json!({ "refusal": "No." }), json!("stop"), Content::Answer),
            (json!({ "content": "Well," }), json!("content_filter"), Content::Answer),
            (json!({ "tool_calls": [{ "index": 0 }] }), json!(null), Content::Answer),
            (role(), json!("length"), Content::Answer),
        ] {
            assert_eq!(seen(delta.clone(), reason.clone()), expected, "{delta} {reason}");
        }
        let filtered = |text: &str| json!({ "index": 0, "text": text, "finish_reason": "content_filter" });
        assert_eq!(Assembler::default().choices(vec![filtered("")]), Content::Refusal);
        assert_eq!(Assembler::default().choices(vec![filtered(""), filtered("a")]), Content::Answer);
    }

    #[test]
    fn empty_items_are_bounded_too() {
        let mut assembler = Assembler::default();
        let delta = |index: usize| json!({ "index": 0, "delta": { "tool_calls": [{ "index": index }] } });
        let taken = (0..ANSWER_MAX_BYTES).take_while(|index| {
            assembler.choices(vec![delta(*index)]);
            !assembler.is_too_large()
        });
        assert!(taken.count() < ANSWER_MAX_BYTES / ITEM_BYTES);
        let mut assembler = Assembler::default();
        assembler.choices((0..=INDEXED_MAX).map(|index| json!({ "index": index, "delta": {} })).collect());
        assert!(assembler.is_too_large());
    }
}
