//! Embeddings on Cohere's own API.
//!
//! Source: <https://docs.cohere.com/reference/embed>.

use super::{
    super::{
        Answer, Asked, Encoded,
        beside::Side,
        embeddings::{answer, cohere},
    },
    response::usage,
};
use crate::failure::Failure;

/// The side.
#[derive(Debug)]
pub(in super::super) struct Embeddings;

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = cohere::body(asked)?;
        body.put("model", asked.upstream_model);
        Ok(Encoded::new("/embed", body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let (vectors, meta) = cohere::vectors(body)?;
        answer(asked, vectors, usage(&meta))
    }
}
