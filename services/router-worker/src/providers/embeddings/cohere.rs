//! Cohere's embeddings, which are the same on its own API and on Amazon Bedrock.
//!
//! Sources: <https://docs.cohere.com/reference/embed> and
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html>. Vectors are asked for as numbers, which every
//! model has.

use super::{
    super::{Asked, Fields},
    Wanted,
};
use crate::failure::Failure;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// What the texts are for, if the caller does not say: the API demands a word.
const INPUT_TYPE: &str = "search_document";

/// The body, but for the model.
pub(in super::super) fn body(asked: &Asked<'_>) -> Result<Fields, Failure> {
    let Wanted { texts, dimensions, own: mut body } =
        Wanted::of(asked, &["input_type", "truncate", "max_tokens", "priority"])?;
    if body.get("input_type").is_none() {
        body.put("input_type", INPUT_TYPE);
    }
    body.put("texts", &texts);
    body.put("embedding_types", &["float"]);
    if let Some(dimensions) = dimensions {
        body.put("output_dimension", &dimensions);
    }
    Ok(body)
}

/// The vectors of an answer, and what it says beside them.
pub(in super::super) fn vectors(body: &[u8]) -> Result<(Vec<Box<RawValue>>, Value), Failure> {
    #[derive(Deserialize)]
    struct Document {
        embeddings: ByType,
        #[serde(default)]
        meta: Value,
    }
    #[derive(Deserialize)]
    struct ByType {
        float: Vec<Box<RawValue>>,
    }
    let document: Document =
        serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer without embeddings"))?;
    Ok((document.embeddings.float, document.meta))
}
