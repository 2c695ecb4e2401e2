//! How a stream's bytes become events: one parser a framing.

use super::sse::{self, Frame};

/// How the events of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Sse,
}

/// Why no more events can be told apart: what the provider sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unframed {
    /// More than an event may hold.
    #[error(transparent)]
    TooLarge(#[from] sse::TooLarge),
}

/// The state between two pieces of input.
#[derive(Debug)]
pub(crate) enum Parser {
    /// Of server-sent events.
    Sse(sse::Parser),
}

impl Default for Parser {
    fn default() -> Self {
        Self::new(Framing::Sse)
    }
}

impl Parser {
    /// At a stream's beginning.
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Sse => Self::Sse(sse::Parser::default()),
        }
    }

    /// Takes the next piece of input and appends the events it completes.
    pub(crate) fn push(&mut self, input: &[u8], frames: &mut Vec<Frame>) -> Result<(), Unframed> {
        match self {
            Self::Sse(parser) => Ok(parser.push(input, frames)?),
        }
    }
}
