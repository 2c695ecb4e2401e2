//! OpenAI's moderations, spoken by OpenAI and, with categories of its own, by Mistral.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/moderations> and <https://docs.mistral.ai/api/endpoint/classifiers>.
//! Requests and answers pass through but for `model` and the gateway's own field. There is no stream, and OpenAI counts nothing.
//!
//! Beside it, what services of another format need that are put into this one: the parts of one input, and an answer of what was found.

use super::{Answer, Asked, Encoded, Fields, beside::Side, completions::usage, raw};
use crate::failure::Failure;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

/// The side for servers of the format.
#[derive(Debug)]
pub(super) struct Moderations;

impl Side for Moderations {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = asked.passed_on();
        body.remove("stream");
        Ok(Encoded::new("/moderations", body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let fields = Fields::of_answer(body)?;
        if !matches!(fields.read::<Vec<IgnoredAny>>("results"), Ok(Some(_))) {
            return Err(Failure::malformed("an answer without results"));
        }
        let usage = fields.get("usage").and_then(usage);
        Ok(Answer { usage, ..Answer::passed_on(fields, asked.shown_model) })
    }
}

/// The texts of the one input of a request: itself, or its parts. Services that take one input at a time, and no images.
pub(super) fn parts(asked: &Asked<'_>) -> Result<Vec<String>, Failure> {
    let why = "may be one text, or the parts of one that are texts, at this provider";
    let refused = || Failure::inexpressible("input", why);
    let text_of = |part: Value| match part["type"].as_str() {
        Some("text") => part["text"].as_str().map(str::to_owned).ok_or_else(refused),
        _ => Err(refused()),
    };
    match asked.chat.read::<Value>("input").ok().flatten() {
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(mut items)) => match items.pop() {
            Some(Value::String(text)) if items.is_empty() => Ok(vec![text]),
            Some(last) => items.into_iter().chain([last]).map(text_of).collect(),
            None => Err(refused()),
        },
        _ => Err(refused()),
    }
}

/// Something that a service looked for.
#[derive(Debug)]
pub(super) struct Finding {
    pub category: String,
    /// From 0 to 1; a half or more is a find.
    pub score: f64,
}

/// An answer about one input, in OpenAI's shape.
pub(super) fn found(asked: &Asked<'_>, is_flagged: bool, findings: Vec<Finding>) -> Answer {
    let (mut categories, mut scores) = (Map::new(), Map::new());
    for Finding { category, score } in findings {
        categories.insert(category.clone(), (score >= 0.5).into());
        scores.insert(category, score.into());
    }
    let result = json!({ "flagged": is_flagged, "categories": categories, "category_scores": scores });
    let id = format!("modr-{}", asked.request_id);
    Answer::bare(raw(&json!({ "id": id, "model": asked.shown_model, "results": [result] })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_answers_pass_but_for_the_model() {
        let body = r#"{"input":[{"type":"text","text":"1234567"}],"stream":true,"yet_unknown":1.50,"model":"shown"}"#;
        let chat = Fields::parse(body).expect("an object");
        let asked = Asked { upstream_model: "omni", shown_model: "shown", ..Asked::of(&chat) };
        let sent = Moderations.encode(&asked).expect("expressible");
        let passed = r#"{"input":[{"type":"text","text":"1234567"}],"yet_unknown":1.50,"model":"omni"}"#;
        assert_eq!((sent.path.as_str(), sent.body.as_str()), ("/moderations", passed));
        let answer =
            r#"{"id":"modr-1","model":"omni-2024","results":[{"flagged":true,"category_scores":{"hate":1.0e-7}}]}"#;
        let decoded = Moderations.decode(&asked, answer.as_bytes()).expect("decodes");
        assert_eq!(decoded.body.get(), answer.replace("omni-2024", "shown"));
        assert_eq!(decoded.response_model.as_deref(), Some("omni-2024"));
        // Nobody counts, and nothing is written: what was read is estimated.
        let usage = decoded.usage_or_estimate(&asked);
        assert_eq!((usage.tokens.input, usage.tokens.output), (2, 0));
        for nonsense in ["{}", "[]", r#"{"results":7}"#, "<html>"] {
            assert!(Moderations.decode(&asked, nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn one_input_is_its_parts_or_a_text() {
        let of = |body: &str| {
            let chat = Fields::parse(body).expect("an object");
            parts(&Asked::of(&chat)).map_err(|failure| failure.param)
        };
        assert_eq!(of(r#"{"input":"a"}"#), Ok(vec!["a".to_owned()]));
        assert_eq!(of(r#"{"input":["a"]}"#), Ok(vec!["a".to_owned()]));
        let two = r#"{"input":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#;
        assert_eq!(of(two), Ok(vec!["a".to_owned(), "b".to_owned()]));
        for bad in
            ["{}", r#"{"input":[]}"#, r#"{"input":["a","b"]}"#, r#"{"input":[{"type":"image_url"}]}"#, r#"{"input":7}"#]
        {
            assert_eq!(of(bad), Err(Some("input".to_owned())), "{bad}");
        }
    }
}
