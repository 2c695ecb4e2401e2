//! Cuts what a client sends into frames: 4 bytes of length, then so many bytes.
//!
//! A large frame takes its share of the memory budget before it is read, and keeps it until it is answered. Reading may
//! be cancelled at any await: what has arrived is in the buffer.

use super::{
    connection::Closed,
    limits::{Limits, Share, UNCOUNTED_BYTES},
};
use bytes::{Buf, Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::tcp::ReadHalf, time::Instant};

const PREFIX_BYTES: usize = 4;
/// A read that could bring less than this gets a new buffer.
const READ_BYTES_MIN: usize = 4 * 1024;

/// A request's bytes, without the prefix.
pub(super) struct Frame<'a> {
    pub(super) bytes: Bytes,
    pub(super) share: Option<Share<'a>>,
}

pub(super) struct Frames<'a> {
    socket: ReadHalf<'a>,
    limits: &'a Limits,
    buffer: BytesMut,
    /// For the frame that is being read.
    share: Option<Share<'a>>,
    begun: Option<Instant>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(socket: ReadHalf<'a>, limits: &'a Limits) -> Self {
        Self { socket, limits, buffer: BytesMut::new(), share: None, begun: None }
    }

    /// Since when a frame has been arriving.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// A frame's time begins anew, because it was not read from for a while.
    pub(super) fn restart(&mut self) {
        self.begun = self.begun.map(|_| Instant::now());
    }

    /// The next frame, if all of it is here.
    pub(super) fn take(&mut self) -> Result<Option<Frame<'a>>, Closed> {
        match self.claimed()? {
            Some(length) if self.buffer.len() >= PREFIX_BYTES + length => {
                self.begun = None;
                self.buffer.advance(PREFIX_BYTES);
                let bytes = self.buffer.split_to(length).freeze();
                if length > UNCOUNTED_BYTES {
                    // What follows must not keep a large buffer alive.
                    self.buffer = BytesMut::from(&self.buffer[..]);
                }
                Ok(Some(Frame { bytes, share: self.share.take() }))
            }
            _ => {
                if !self.buffer.is_empty() {
                    self.begun.get_or_insert_with(Instant::now);
                }
                Ok(None)
            }
        }
    }

    /// Reads once, if there is memory for the frame that has begun.
    pub(super) async fn fill(&mut self) -> Result<(), Closed> {
        let claimed = self.claimed()?;
        if let Some(length) = claimed.filter(|length| *length > UNCOUNTED_BYTES)
            && self.share.is_none()
        {
            self.share = self.limits.budget.share(length).await;
        }
        let missing = (PREFIX_BYTES + claimed.unwrap_or(0)).saturating_sub(self.buffer.len());
        if self.buffer.capacity() - self.buffer.len() < missing.max(READ_BYTES_MIN) {
            self.buffer.reserve(missing.max(UNCOUNTED_BYTES));
        }
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Closed::ByClient),
            Ok(_) => Ok(()),
            Err(error) => Err(Closed::Lost(error)),
        }
    }

    /// What the frame at hand says its length is, once it has said so.
    fn claimed(&self) -> Result<Option<usize>, Closed> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(length) if length <= self.limits.request_bytes => Ok(Some(length)),
            _ => Err(Closed::Fault(format!(
                "it sent a request that begins with the bytes {prefix:02x?}, a length beyond {}; send less at a time, \
                 and without TLS",
                self.limits.request_bytes
            ))),
        }
    }
}
