//! APIs beside chat at the same servers: a side says what goes out and what comes back, the server's chat leaf all else.
//!
//! Deliberately absent: a way from a side to its leaf. What it must know of its server stands in its own fields.

use super::{Answer, Asked, Assembler, Decoded, Encoded, Frame, Framing, Grant, Leaving, StreamDecoder, Wire, raw};
use crate::failure::Failure;

/// What an API beside chat needs of its own.
pub(super) trait Side: Send + Sync {
    /// The request in the server's format, or the field that it cannot express.
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure>;
    /// A whole answer (status 2xx).
    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure>;
    /// A decoder for one stream. Most of these APIs have none.
    fn decoder(&self, _asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// A side at the servers of a chat leaf, which has the name, the credentials, the headers and the errors.
#[derive(Debug)]
pub(super) struct Beside<W, S> {
    /// The leaf for chat.
    pub of: W,
    /// The API beside it.
    pub side: S,
}

impl<W: Wire, S: Side> Wire for Beside<W, S> {
    fn otel_name(&self) -> &'static str {
        self.of.otel_name()
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        self.side.encode(asked)
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        self.side.decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        self.side.decoder(asked)
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        self.of.classify(status, body)
    }

    fn framing(&self) -> Framing {
        self.of.framing()
    }

    fn grant(&self, key: Option<&str>, now_s: i64) -> Result<Option<Grant>, String> {
        self.of.grant(key, now_s)
    }

    fn headers(&self, key: Option<&str>, leaving: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        self.of.headers(key, leaving)
    }

    fn request_id_header(&self) -> &'static str {
        self.of.request_id_header()
    }
}

/// For an API without a stream; admission lets none be asked for.
struct NoStream;

impl StreamDecoder for NoStream {
    fn frame(&mut self, _: &Frame) -> Result<Decoded, Failure> {
        Err(Failure::malformed("a stream where there is none"))
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        false
    }

    fn answer(self: Box<Self>) -> Answer {
        Answer::bare(raw(&Assembler::default().into_completion()))
    }
}
