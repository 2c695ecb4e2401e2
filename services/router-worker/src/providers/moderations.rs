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
