//! OpenAI's moderations, spoken by OpenAI and, with categories of its own, by Mistral.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/moderations> and <https://docs.mistral.ai/api/endpoint/classifiers>.
//! Requests and answers pass through but for `model` and the gateway's own field. There is no stream, and OpenAI counts nothing.

use super::{Answer, Asked, Encoded, Fields, beside::Side, completions::usage};
use crate::failure::Failure;
use serde::de::IgnoredAny;

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
}
