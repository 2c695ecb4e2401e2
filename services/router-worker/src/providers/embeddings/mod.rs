//! OpenAI's embeddings: a side for servers of the format, and what is the same for every leaf that translates them.
//!
//! Source: <https://platform.openai.com/docs/api-reference/embeddings>. At servers of the format requests and answers pass through
//! but for `model` and the gateway's own field. There is no stream.
//!
//! The official SDKs ask for `base64` unless they are told otherwise, and that of JavaScript reads nothing else then. Not every
//! server has it: numbers that come all the same are written so here, as 32-bit floats with the least significant byte first.

pub(super) mod cohere;

use super::{
    Answer, Asked, Encoded, Fields,
    beside::Side,
    completions::{self, Quirks, usage},
    prompt_estimate, raw,
    translate::{idle, read},
};
use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Serialize, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};
use tollgate_schemas::TokenSource;

const TEXTS: &str = "a text or a list of texts for this model's provider, which takes no tokens";
const FORMAT: &str = "encoding_format";

/// The side for servers of the format.
#[derive(Debug)]
pub(super) struct Embeddings;

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = completions::encode(asked, Quirks::default())?;
        Ok(Encoded::new("/embeddings", body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        decode(asked, body)
    }
}

/// An answer of a server of the format.
pub(super) fn decode(asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let mut fields = Fields::of_answer(body)?;
    let without = || Failure::malformed("an answer without embeddings");
    if wants_base64(asked) {
        let mut data: Vec<Fields> = fields.read("data").ok().flatten().ok_or_else(without)?;
        if pack(&mut data)? {
            fields.put("data", &data);
        }
    } else if !matches!(fields.read::<Vec<IgnoredAny>>("data"), Ok(Some(_))) {
        return Err(without());
    }
    let usage = fields.get("usage").and_then(usage);
    Ok(Answer { usage, ..Answer::passed_on(fields, asked.shown_model) })
}

/// Asks a server of the format for numbers, whatever the caller is to get; [`decode`] sees to that.
pub(super) fn ask_for_numbers(body: &mut Fields) -> Result<(), Failure> {
    if let Some(format) = body.get(FORMAT) {
        is_known(format)?;
    }
    body.remove(FORMAT);
    Ok(())
}

/// What a caller asks of a provider whose API is another.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// What to make vectors of; at least one.
    pub texts: Vec<String>,
    /// How long a vector is to be.
    pub dimensions: Option<u64>,
    /// Fields of the provider's own, as they came.
    pub own: Fields,
}

impl Wanted {
    /// Reads a body. `own`: names of the provider's own fields, for callers who know what answers them.
    pub(super) fn of(asked: &Asked<'_>, own: &[&str]) -> Result<Self, Failure> {
        let mut wanted = Self::default();
        for (name, raw) in asked.chat.iter() {
            match name {
                "input" => wanted.texts = texts(raw)?,
                "dimensions" => wanted.dimensions = Some(read(name, raw, "a whole number")?),
                FORMAT => is_known(raw)?,
                _ if own.contains(&name) => wanted.own.set(name, raw.to_owned()),
                _ => idle(name, &read(name, raw, "JSON")?)?,
            }
        }
        if wanted.texts.is_empty() {
            return Err(Failure::inexpressible("input", "must hold at least one text"));
        }
        Ok(wanted)
    }

    /// The only text, for a provider that takes one per call.
    pub(super) fn text(&self) -> Result<&str, Failure> {
        match self.texts.as_slice() {
            [text] => Ok(text.as_str()),
            _ => Err(Failure::inexpressible("input", "must be one text for this model, which takes one per call")),
        }
    }

    /// A field of the provider's own.
    pub(super) fn own(&self, name: &str) -> Option<Value> {
        self.own.read(name).ok().flatten()
    }
}

/// The caller's answer of vectors in the order of their texts, each a list of numbers as it came.
pub(super) fn answer(asked: &Asked<'_>, vectors: Vec<Box<RawValue>>, usage: Option<Usage>) -> Result<Answer, Failure> {
    #[derive(Serialize)]
    struct Item {
        object: &'static str,
        index: usize,
        embedding: Box<RawValue>,
    }
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: Vec<Item>,
        model: &'a str,
        usage: Value,
    }
    let is_packed = wants_base64(asked);
    let item = |(index, vector): (usize, Box<RawValue>)| {
        if !is_list(&vector) {
            return Err(Failure::malformed("an embedding that is not a list"));
        }
        let embedding = if is_packed { raw(&packed(&vector)?) } else { vector };
        Ok(Item { object: "embedding", index, embedding })
    };
    let data = vectors.into_iter().enumerate().map(item).collect::<Result<Vec<_>, Failure>>()?;
    // Clients read the counts unasked, so there are some even if the provider gives none.
    let counted = usage.as_ref().map(|usage| usage.tokens.input);
    let tokens = counted.unwrap_or_else(|| prompt_estimate(asked).tokens.input);
    let shown = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    let body = raw(&List { object: "list", data, model: asked.shown_model, usage: shown });
    Ok(Answer { usage, ..Answer::bare(body) })
}

/// What a provider says that it read; `None` if it does not say. Counts are written as floats now and then.
pub(super) fn counted(count: Option<f64>, document: &Value) -> Option<Usage> {
    let tokens = Tokens { input: count? as u64, ..Tokens::default() };
    Some(Usage { tokens, source: TokenSource::Provider, raw: Some(document.to_string()) })
}

fn texts(input: &RawValue) -> Result<Vec<String>, Failure> {
    if is_list(input) {
        return read("input", input, TEXTS);
    }
    read("input", input, TEXTS).map(|text: String| vec![text])
}

fn is_known(format: &RawValue) -> Result<(), Failure> {
    match read::<String>(FORMAT, format, "a string")?.as_str() {
        "float" | "base64" => Ok(()),
        _ => Err(Failure::inexpressible(FORMAT, "must be `float` or `base64`")),
    }
}

fn wants_base64(asked: &Asked<'_>) -> bool {
    asked.chat.read::<String>(FORMAT).is_ok_and(|format| format.as_deref() == Some("base64"))
}

/// Packs the vectors that came as numbers. Says whether there were any.
fn pack(data: &mut [Fields]) -> Result<bool, Failure> {
    let mut any = false;
    for item in data {
        let numbers = item.get("embedding").filter(|vector| is_list(vector));
        if let Some(text) = numbers.map(packed).transpose()? {
            item.put("embedding", &text);
            any = true;
        }
    }
    Ok(any)
}

fn packed(vector: &RawValue) -> Result<String, Failure> {
    let numbers: Vec<f32> = serde_json::from_str(vector.get())
        .map_err(|_| Failure::malformed("an embedding that does not hold numbers"))?;
    let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
    Ok(STANDARD.encode(bytes))
}

fn is_list(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(body: &Value) -> Result<Wanted, Failure> {
        let body = Fields::parse(&body.to_string()).expect("an object");
        Wanted::of(&Asked::of(&body), &["title"])
    }

    #[test]
    fn a_body_is_read_and_what_is_not_known_is_refused_by_name() {
        let body = json!({
            "model": "m", "input": "a", "dimensions": 2, "encoding_format": "base64", "user": "u", "title": "t",
        });
        let wanted = asked_for(&body).expect("known");
        assert_eq!((wanted.text().expect("one"), wanted.dimensions), ("a", Some(2)));
        assert_eq!((wanted.own.to_json().as_str(), wanted.own("title")), (r#"{"title":"t"}"#, Some(json!("t"))));
        let several = asked_for(&json!({ "input": ["a", "b"] })).expect("known");
        assert_eq!(several.texts, ["a", "b"]);
        assert_eq!(several.text().expect_err("two").param.as_deref(), Some("input"));
        for (name, value) in [
            ("input", json!([1, 2])),
            ("input", json!([[1], [2]])),
            ("input", json!([])),
            ("input", json!({})),
            ("dimensions", json!("2")),
            ("encoding_format", json!("int8")),
            ("unheard_of", json!(1)),
        ] {
            let mut body = json!({ "input": "a" });
            body[name] = value;
            assert_eq!(asked_for(&body).expect_err("refused").param.as_deref(), Some(name), "{body}");
        }
    }

    #[test]
    fn numbers_become_base64_for_those_who_ask() {
        let of = |format: &str, embedding: Value| {
            let body = json!({ "input": "a", "encoding_format": format });
            let body = Fields::parse(&body.to_string()).expect("an object");
            let document = json!({ "model": "m-1", "data": [{ "index": 0, "embedding": embedding }] });
            let answer = decode(&Asked::of(&body), document.to_string().as_bytes()).expect("decodes");
            assert_eq!(answer.response_model.as_deref(), Some("m-1"));
            serde_json::from_str::<Value>(answer.body.get()).expect("JSON")["data"][0]["embedding"].clone()
        };
        // 0.25 is 0x3E800000, -0.5 is 0xBF000000.
        assert_eq!(of("base64", json!([0.25, -0.5])), "AACAPgAAAL8=");
        assert_eq!(of("float", json!([0.25, -0.5])), json!([0.25, -0.5]));
        assert_eq!(of("base64", json!("AACAPgAAAL8=")), "AACAPgAAAL8=");
        assert!(packed(&raw(&json!(["x"]))).is_err());
    }
}
