//! A connection's bytes on their way to hyper: only what [`super::framing`] lets through, and heads only in time.
//!
//! A request that is refused never reaches hyper. In its place hyper gets one that stands for it, so that the refusal is
//! answered in its turn, after the answers to the requests before it, and by the one that writes answers.

use super::{
    framing::{Framing, Refusal},
    state::Connection,
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// Bytes read from a connection at once.
const READ_BYTES: usize = 16 << 10;
/// What hyper reads in place of a request that is refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

pub(super) struct Guard<S> {
    io: S,
    framing: Framing,
    connection: Arc<Connection>,
    /// May be read on, from `read` on.
    passed: Vec<u8>,
    read: usize,
    head_timeout: Duration,
    /// By when the head that has begun must be whole.
    head_due: Pin<Box<Sleep>>,
    /// The first head is awaited from the beginning, any other from its first byte.
    timing: bool,
    ended: bool,
}

impl<S> Guard<S> {
    /// `first_head_due`: by when the first head must have come.
    pub(super) fn new(
        io: S,
        connection: Arc<Connection>,
        head_max_bytes: usize,
        head_timeout: Duration,
        first_head_due: Instant,
    ) -> Self {
        Self {
            io,
            framing: Framing::new(head_max_bytes),
            connection,
            passed: Vec::new(),
            read: 0,
            head_timeout,
            head_due: Box::pin(tokio::time::sleep_until(first_head_due)),
            timing: true,
            ended: false,
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.framing.feed(bytes, &mut self.passed) {
            Ok(heads) => {
                self.connection.passed(heads);
                if self.framing.is_last() {
                    self.connection.close();
                }
                if heads > 0 || !self.framing.in_head() {
                    self.timing = false;
                }
                Ok(())
            }
            Err((heads, refusal)) => {
                self.connection.passed(heads);
                self.refuse(refusal)
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        self.ended = true;
        if self.framing.in_body() {
            // There is no place for another answer; the body ends in an error, and with it the connection.
            return Err(io::Error::new(io::ErrorKind::InvalidData, refusal.message()));
        }
        self.connection.refuse(refusal);
        self.passed.extend_from_slice(STAND_IN);
        Ok(())
    }

    /// Whether the head that has begun is too late. Not asked while an answer is on its way: hyper then reads ahead only to
    /// notice that the caller has left.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.timing && self.framing.in_head() {
            self.timing = true;
            self.head_due.as_mut().reset(Instant::now() + self.head_timeout);
        }
        self.timing && !self.connection.is_answering() && self.head_due.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.read < this.passed.len() {
                let end = this.passed.len().min(this.read + out.remaining());
                out.put_slice(&this.passed[this.read..end]);
                this.read = end;
                return Poll::Ready(Ok(()));
            }
            this.passed.clear();
            this.read = 0;
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.io).poll_read(cx, &mut buffer) {
                Poll::Pending if !this.ended && this.is_late(cx) => this.refuse(Refusal::HeadTimeout)?,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                // What comes after a refusal is read and dropped, so that the answer to it is not lost in a reset.
                Poll::Ready(Ok(())) if this.ended => {}
                Poll::Ready(Ok(())) => this.feed(buffer.filled())?,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}
