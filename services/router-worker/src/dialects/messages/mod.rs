//! Anthropic's Messages API over chat completions.
//!
//! Source: <https://platform.claude.com/docs/en/api/messages>. Lost on the way, because no other provider has a use for
//! it: `cache_control` (other providers cache by themselves) and signed or redacted thinking of earlier answers, which
//! only the model that wrote it can read; both are kept for a provider that takes them, and so is unsigned thinking for
//! one that demands it. So are wishes to clear such thinking lost. A tool's `is_error` becomes the word in front of its
//! result. An image in a tool's result follows it as a user's part: chat's tool messages hold text only.

mod answer;
mod request;
mod stream;
mod turns;

use super::{Answering, Dialect, Takes};
use crate::{
    failure::Failure,
    providers::{Asked, Fields},
};

/// The dialect.
pub(super) struct Messages;

impl Dialect for Messages {
    fn request(&self, body: &Fields, takes: Takes) -> Result<Fields, Failure> {
        request::chat(body, takes)
    }

    fn answering(&self, asked: &Asked<'_>) -> Box<dyn Answering> {
        Box::new(stream::State::new(asked.shown_model))
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            // Of a chat's messages the places are others: the system prompt and results of tools are messages there.
            ("messages", "messages"),
            ("max_completion_tokens", "max_tokens"),
            ("stop", "stop_sequences"),
            ("reasoning_effort", "output_config.effort"),
            ("reasoning_effort", "thinking"),
            ("response_format", "output_config.format"),
            ("parallel_tool_calls", "tool_choice.disable_parallel_tool_use"),
            ("user", "metadata.user_id"),
        ]
    }
}
