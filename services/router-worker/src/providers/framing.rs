//! How a stream's bytes become events: one parser a framing.

use super::{
    eventstream,
    sse::{self, Frame},
};

/// How the events of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Sse,
    /// Amazon's binary event stream.
    EventStream,
}

/// Why no more events can be told apart: what the provider sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unframed {
    /// More than an event may hold.
    #[error(transparent)]
    TooLarge(#[from] sse::TooLarge),
    /// A binary message that is none.
    #[error(transparent)]
    Message(#[from] eventstream::Broken),
}

/// The state between two pieces of input.
#[derive(Debug)]
pub(crate) enum Parser {
    /// Of server-sent events.
    Sse(sse::Parser),
    /// Of Amazon's binary event stream.
    EventStream(eventstream::Parser),
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
            Framing::EventStream => Self::EventStream(eventstream::Parser::default()),
        }
    }

    /// Takes the next piece of input and appends the events it completes.
    pub(crate) fn push(&mut self, input: &[u8], frames: &mut Vec<Frame>) -> Result<(), Unframed> {
        match self {
            Self::Sse(parser) => Ok(parser.push(input, frames)?),
            Self::EventStream(parser) => Ok(parser.push(input, frames)?),
        }
    }
}
