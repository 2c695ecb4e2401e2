//! OpenAI's Responses API over chat completions.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/responses>, `…/responses-streaming`, and the types of
//! openai-python (`src/openai/types/responses`). Lost on the way: reasoning of earlier answers, but for providers that
//! demand it, marks of caches in parts, unless it is Claude who answers, and what `include` asks for beyond log
//! probabilities, which belongs to tools and models that only OpenAI has. `store` is false whatever it says, and who
//! says otherwise is told; nothing is kept that a later request could refer to.

mod answer;
mod items;
mod output;
mod request;

use super::{Answering, Dialect, Takes};
use crate::{
    failure::Failure,
    providers::{Asked, Fields, unkept},
};

/// The dialect.
pub(super) struct Responses;

impl Dialect for Responses {
    /// Reasoning comes back unsigned, so of Claude's there are marks of caches alone.
    fn request(&self, body: &Fields, takes: Takes) -> Result<Fields, Failure> {
        request::chat(body, takes)
    }

    fn undone(&self, body: &Fields) -> Vec<&'static str> {
        unkept(body).into_iter().collect()
    }

    fn reads_by(&self) -> &'static [&'static str] {
        &["service_tier"]
    }

    fn answering(&self, asked: &Asked<'_>) -> Box<dyn Answering> {
        Box::new(answer::State::new(asked))
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("messages", "input"),
            ("max_completion_tokens", "max_output_tokens"),
            ("logprobs", "top_logprobs"),
            ("reasoning_effort", "reasoning.effort"),
            ("response_format", "text.format"),
            ("verbosity", "text.verbosity"),
        ]
    }
}
