//! How much of a document has been sent in deltas, and what is left of it.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/streaming>. Deltas add up as clients put them together, and
//! the router, which wrote the whole: texts are appended, items of a list that carry an index are merged by it, other lists grow.

use super::{Beginning, NOT_ITS_BEGINNING};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Names of texts that a later delta says anew; all others go on.
const SAID_ANEW: [&str; 6] = ["role", "id", "type", "name", "finish_reason", "signature"];
/// The list whose items carry an index in deltas and none in a whole message.
const CALLS: &str = "tool_calls";
const OUT_OF_ORDER: &str = "it was cut within a list whose items came in another order";

/// A value as far as it was sent: lengths and hashes, no text.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of a text; of a number or a truth value what it is written as.
    text: Beginning,
    /// Of an object.
    fields: BTreeMap<String, Seen>,
    /// Of a list.
    items: Vec<Item>,
    /// An item had another index than its place in the list.
    is_out_of_order: bool,
}

#[derive(Debug)]
enum Item {
    /// It came in one piece: what it is written as.
    Whole(Beginning),
    /// It has an index, so more of it may come.
    Grows(Seen),
}

impl Seen {
    /// Takes a delta of the value that is called `name`.
    pub(super) fn add(&mut self, name: &str, delta: &Value) {
        match delta {
            Value::Null => {}
            Value::String(text) if !SAID_ANEW.contains(&name) => self.text.add(text),
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => self.text = Beginning::of(text),
            Value::Bool(_) | Value::Number(_) => self.text = Beginning::of(&delta.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.add_item(item)),
            Value::Object(fields) => fields.iter().for_each(|(name, delta)| self.add_field(name, delta)),
        }
    }

    fn add_field(&mut self, name: &str, delta: &Value) {
        match self.fields.get_mut(name) {
            Some(field) => field.add(name, delta),
            None if delta.is_null() => {}
            None => self.fields.entry(name.to_owned()).or_default().add(name, delta),
        }
    }

    fn add_item(&mut self, item: &Value) {
        let (Some(index), Some(fields)) = (item["index"].as_u64(), item.as_object()) else {
            self.items.push(Item::Whole(Beginning::of(&item.to_string())));
            return;
        };
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        if place == self.items.len() {
            self.items.push(Item::Grows(Self::default()));
        }
        match self.items.get_mut(place) {
            Some(Item::Grows(seen)) => {
                fields
                    .iter()
                    .filter(|(name, _)| *name != "index")
                    .for_each(|(name, delta)| seen.add_field(name, delta));
            }
            _ => self.is_out_of_order = true,
        }
    }

    /// What is left of the value `whole`, which is called `name`, as one more delta; `None`: nothing. Errors if what was sent
    /// is not its beginning, or cannot be gone on with.
    pub(super) fn rest(&self, name: &str, whole: &Value) -> Result<Option<Value>, &'static str> {
        match whole {
            Value::Null if self.is_empty() => Ok(None),
            Value::Null => Err(NOT_ITS_BEGINNING),
            Value::String(text) => {
                let rest = self.text.rest(text)?;
                if SAID_ANEW.contains(&name) && !rest.is_empty() && self.text.bytes > 0 {
                    return Err(NOT_ITS_BEGINNING);
                }
                Ok((!rest.is_empty()).then(|| rest.into()))
            }
            Value::Bool(_) | Value::Number(_) if self.is_empty() => Ok(Some(whole.clone())),
            Value::Bool(_) | Value::Number(_) => self.text.is_all_of(&whole.to_string()).map(|()| None),
            Value::Array(items) => {
                let rest = self.rest_of_items(name, items)?;
                Ok((!rest.is_empty()).then(|| rest.into()))
            }
            Value::Object(fields) => {
                let rest = self.rest_of_fields(fields)?;
                Ok((!rest.is_empty()).then(|| rest.into()))
            }
        }
    }

    fn rest_of_fields(&self, whole: &Map<String, Value>) -> Result<Map<String, Value>, &'static str> {
        let is_in_vain = |(name, sent): (&String, &Seen)| !sent.is_empty() && !whole.contains_key(name);
        if self.fields.iter().any(is_in_vain) {
            return Err(NOT_ITS_BEGINNING);
        }
        let mut rest = Map::new();
        for (name, value) in whole {
            let left = match self.fields.get(name) {
                Some(sent) => sent.rest(name, value)?,
                None => Some(value).filter(|value| !value.is_null()).map(|value| first_delta(name, value)),
            };
            if let Some(left) = left {
                rest.insert(name.clone(), left);
            }
        }
        Ok(rest)
    }

    fn rest_of_items(&self, name: &str, whole: &[Value]) -> Result<Vec<Value>, &'static str> {
        if self.is_out_of_order {
            return Err(OUT_OF_ORDER);
        }
        if whole.len() < self.items.len() {
            return Err(NOT_ITS_BEGINNING);
        }
        let is_indexed = name == CALLS || self.items.iter().any(|item| matches!(item, Item::Grows(_)));
        let mut rest = Vec::new();
        for (place, item) in whole.iter().enumerate() {
            let mut left = match self.items.get(place) {
                None => item.clone(),
                Some(Item::Whole(sent)) => {
                    sent.is_all_of(&item.to_string())?;
                    continue;
                }
                Some(Item::Grows(sent)) => {
                    let mut left = sent.rest_of_fields(item.as_object().ok_or(NOT_ITS_BEGINNING)?)?;
                    left.remove("index");
                    if left.is_empty() {
                        continue;
                    }
                    left.into()
                }
            };
            if is_indexed {
                number(&mut left, place);
            }
            rest.push(left);
        }
        Ok(rest)
    }

    fn is_empty(&self) -> bool {
        self.text.bytes == 0
            && self.items.is_empty()
            && !self.is_out_of_order
            && self.fields.values().all(Seen::is_empty)
    }
}

/// A value of which nothing was sent, as a delta.
pub(super) fn first_delta(name: &str, whole: &Value) -> Value {
    let mut delta = whole.clone();
    if let Some(calls) = delta.as_array_mut().filter(|_| name == CALLS) {
        calls.iter_mut().enumerate().for_each(|(place, call)| number(call, place));
    }
    delta
}

fn number(item: &mut Value, place: usize) {
    if let Some(fields) = item.as_object_mut() {
        fields.insert("index".to_owned(), place.into());
    }
}
