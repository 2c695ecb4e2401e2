//! OpenAI's embeddings, spoken by OpenAI and by most servers of its format.
//!
//! Source: <https://platform.openai.com/docs/api-reference/embeddings>. Requests and answers pass through but for `model` and the
//! gateway's own field. There is no stream.

use super::{
    Answer, Asked, Encoded, Fields,
    beside::Side,
    completions::{self, Quirks, usage},
};
use crate::failure::Failure;
use serde::de::IgnoredAny;

/// The side for servers of the format.
#[derive(Debug)]
pub(super) struct Embeddings;

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = completions::encode(asked, Quirks::default())?;
        Ok(Encoded::new("/embeddings", body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let fields = Fields::of_answer(body)?;
        if !matches!(fields.read::<Vec<IgnoredAny>>("data"), Ok(Some(_))) {
            return Err(Failure::malformed("an answer without embeddings"));
        }
        let usage = fields.get("usage").and_then(usage);
        Ok(Answer { usage, ..Answer::passed_on(fields, asked.shown_model) })
    }
}
