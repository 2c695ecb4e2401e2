//! How many tokens a message has, as its model counts them.
//!
//! Source: <https://platform.claude.com/docs/en/build-with-claude/token-counting>: bodies are those of the Messages API, and counting
//! is free of charge, so that nothing is used by it. Bodies and answers pass through but for the model.

use super::{
    super::{Answer, Asked, Encoded, Fields, beside::Side, raw},
    native::{beta, signed_only},
};
use crate::{
    failure::Failure,
    tokens::{Tokens, Usage},
};
use tollgate_schemas::TokenSource;

/// The side for callers who count.
#[derive(Debug)]
pub(in super::super) struct Count;

impl Side for Count {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = signed_only(asked.passed_on());
        // What other APIs have beside the same prompt, and this one refuses.
        body.remove("stream");
        Ok(Encoded { headers: beta(asked), ..Encoded::new("/messages/count_tokens", body.to_json()) })
    }

    fn decode(&self, _: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let fields = Fields::of_answer(body)?;
        if !matches!(fields.read::<u64>("input_tokens"), Ok(Some(_))) {
            return Err(Failure::malformed("an answer without a count"));
        }
        let nothing = Usage { tokens: Tokens::default(), source: TokenSource::Provider, raw: None };
        Ok(Answer { usage: Some(nothing), ..Answer::bare(raw(&fields)) })
    }
}
