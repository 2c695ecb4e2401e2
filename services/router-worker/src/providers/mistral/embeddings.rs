//! Mistral's embeddings: OpenAI's but for the name of the dimensions, and texts only.
//!
//! Source: <https://docs.mistral.ai/api/endpoint/embeddings>. Vectors are asked for as numbers: `base64` is younger than the API, and
//! a server of one's own may not have it.

use super::super::{
    Answer, Asked, Encoded,
    beside::Side,
    embeddings::{Wanted, decode},
};
use crate::failure::Failure;

/// The side.
#[derive(Debug)]
pub(in super::super) struct Embeddings;

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let Wanted { texts, dimensions, own: mut body } = Wanted::of(asked, &["output_dtype"])?;
        body.put("model", asked.upstream_model);
        body.put("input", &texts);
        if let Some(dimensions) = dimensions {
            body.put("output_dimension", &dimensions);
        }
        Ok(Encoded::new("/embeddings", body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        decode(asked, body)
    }
}
