//! Where an answer's bytes come from: the network, or the mock.

use super::{Asked, BODY_MAX_BYTES, Encoded, Http, Wire, credentials::Turn, http, mock};
use crate::failure::Failure;
use bytes::Bytes;
use std::time::Duration;

/// The head of an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// HTTP status.
    pub status: u16,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// The provider's id of the call.
    pub request_id: Option<String>,
    /// The provider's credential that the call was made with.
    pub credential: Option<Turn>,
}

/// How a provider is reached.
pub(crate) enum Transport {
    /// By HTTP.
    Http(Http),
    /// Not at all: the answer is made here.
    Mock,
}

/// An answer that has begun.
pub(crate) struct Incoming {
    /// Its head.
    pub head: Head,
    source: Source,
}

enum Source {
    Http(reqwest::Response),
    Mock(mock::Script),
}

impl Transport {
    /// Sends a request and waits for the answer's head.
    pub(crate) async fn call(
        &self,
        wire: &dyn Wire,
        asked: &Asked<'_>,
        request: Encoded,
        connect: Duration,
    ) -> Result<Incoming, Failure> {
        match self {
            Transport::Http(http) => {
                let (head, response) = http.send(wire, request, connect).await?;
                Ok(Incoming { head, source: Source::Http(response) })
            }
            Transport::Mock => {
                let (head, script) = mock::respond(asked, &request).await;
                Ok(Incoming { head, source: Source::Mock(script) })
            }
        }
    }

    /// Notes what a call with a credential failed of, and whether another one may be used at once.
    pub(crate) fn refused(&self, credential: Option<Turn>, failure: Failure) -> Failure {
        match self {
            Transport::Http(http) => http.refused(credential, failure),
            Transport::Mock => failure,
        }
    }

    /// Takes the provider's credentials out of a text of its own, which may go to callers: some quote the key that they were shown.
    pub(crate) fn hide_credentials(&self, text: &mut String) {
        match self {
            Transport::Http(http) => http.hide_credentials(text),
            Transport::Mock => {}
        }
    }
}

impl Incoming {
    /// The next piece of the body. A call that is dropped loses nothing.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match &mut self.source {
            Source::Http(response) => http::chunk(response).await,
            Source::Mock(script) => Ok(script.chunk().await),
        }
    }

    /// The rest of the body, at most [`BODY_MAX_BYTES`].
    pub(crate) async fn body(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.chunk().await? {
            if body.len() + piece.len() > BODY_MAX_BYTES {
                return Err(Failure::malformed("an answer that is too large"));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}
