//! Embeddings by Amazon Bedrock's InvokeModel, which takes each model family's own body: Amazon Titan's and Cohere's.
//!
//! Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>,
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html> and those of `embeddings::cohere`.
//! Titan takes one text per call. Cohere's counts are in a header only and so are estimated here.

use super::{
    super::{
        Answer, Asked, Encoded,
        beside::Side,
        embeddings::{Wanted, answer, cohere, counted},
    },
    sigv4,
};
use crate::failure::Failure;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

const FAMILIES: &str = "must mean one of Titan's text embeddings or of Cohere's at this provider, by its id";

/// The side.
#[derive(Debug)]
pub(in super::super) struct Embeddings;

/// Whose words a model takes.
enum Family {
    Titan,
    Cohere,
}

impl Family {
    /// By the model's id, which may have a region before it; the ARN of an inference profile of one's own does not tell.
    fn of(model: &str) -> Result<Self, Failure> {
        if model.contains("amazon.titan-embed-text") {
            Ok(Self::Titan)
        } else if model.contains("cohere.embed") {
            Ok(Self::Cohere)
        } else {
            Err(Failure::inexpressible("model", FAMILIES))
        }
    }
}

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = match Family::of(asked.upstream_model)? {
            Family::Titan => {
                let wanted = Wanted::of(asked, &["normalize"])?;
                let mut body = wanted.own.clone();
                body.put("inputText", wanted.text()?);
                if let Some(dimensions) = wanted.dimensions {
                    body.put("dimensions", &dimensions);
                }
                body
            }
            Family::Cohere => cohere::body(asked)?,
        };
        let path = format!("/model/{}/invoke", sigv4::encode(asked.upstream_model, b""));
        Ok(Encoded::new(path, body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Titan {
            embedding: Box<RawValue>,
            #[serde(default)]
            input_text_token_count: Value,
        }
        match Family::of(asked.upstream_model)? {
            Family::Titan => {
                let titan: Titan =
                    serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer without an embedding"))?;
                let count = titan.input_text_token_count;
                let usage = counted(count.as_f64(), &json!({ "inputTextTokenCount": count }));
                answer(asked, vec![titan.embedding], usage)
            }
            Family::Cohere => answer(asked, cohere::vectors(body)?.0, None),
        }
    }
}
