//! A JSON object whose values stay the bytes that came in.
//!
//! The gateway changes a few top-level fields of a body (`model`, `stream_options`) and must not disturb the others: a
//! number keeps its digits, a string its escapes. A repeated key keeps only its last value, as JSON parsers do, so that
//! nobody can show one `model` to the gateway and another to a provider.

use crate::failure::Failure;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;

/// Field names with their raw values, in the order they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// Parses a JSON object. Errors if the text is anything else.
    pub(crate) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Parses a provider's whole answer, which must be an object.
    pub(crate) fn of_answer(body: &[u8]) -> Result<Self, Failure> {
        let text = std::str::from_utf8(body).map_err(|_| Failure::malformed("an answer that is not UTF-8"))?;
        Self::parse(text).map_err(|_| Failure::malformed("an answer that is not a JSON object"))
    }

    /// The raw value of a field; `null` counts as absent, as it does in both providers' APIs.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value).filter(|value| value.get() != "null")
    }

    /// A field's value as `T`; `Ok(None)` if it is absent or `null`.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, serde_json::Error> {
        self.get(name).map(|raw| serde_json::from_str(raw.get())).transpose()
    }

    /// Sets a field in place, or at the end if it is new.
    pub(crate) fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Sets a field to a serialised value.
    pub(crate) fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        // Serialisation into memory fails only for maps with keys that are not strings; no caller has one.
        if let Ok(raw) = to_raw_value(value) {
            self.set(name, raw);
        }
    }

    /// Removes a field.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| key != name);
    }

    /// Every field that is not `null`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value)).filter(|(_, value)| value.get() != "null")
    }

    /// The object as JSON text.
    pub(crate) fn to_json(&self) -> String {
        let bytes: usize = self.0.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum();
        let mut out = Vec::with_capacity(bytes + 2);
        // Writing raw JSON into memory cannot fail.
        let _ = serde_json::to_writer(&mut out, self);
        String::from_utf8(out).unwrap_or_default()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.set(&key, value);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_bytes_and_a_repeated_key_its_last_value() {
        let mut fields =
            Fields::parse(r#"{"model":"a","x":1.50e2,"s":"\u00e9","o":{ "b" :1},"model":"b"}"#).expect("json");
        fields.put("model", "c");
        fields.put("new", &true);
        assert_eq!(fields.to_json(), r#"{"model":"c","x":1.50e2,"s":"\u00e9","o":{ "b" :1},"new":true}"#);
        assert_eq!(fields.read::<f64>("x").expect("number"), Some(150.0));
        assert!(Fields::parse("[]").is_err());
        assert!(Fields::parse(r#"{"n":null}"#).expect("json").get("n").is_none());
    }
}
