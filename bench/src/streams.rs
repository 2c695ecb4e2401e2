//! One who asks for a stream over HTTP, times its first chunk and reads it to its end: of Tollgate, or of the provider itself.

use crate::fake::{TEXT, Wanted};
use crate::http::Client;
use crate::load::Answered;
use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// For the first chunk: nothing else is under way when it comes, as with a model that thinks between its words.
pub(crate) const SHORT: Wanted = Wanted { chunks: 2, pause_ms: 2 };
/// For chunks per second: as fast as it can be read.
pub(crate) const LONG: Wanted = Wanted { chunks: 300, pause_ms: 0 };

/// A caller of one endpoint at one address.
pub(crate) struct Caller {
    client: Client,
    chunks: usize,
}

impl Caller {
    /// Asks `model` with this chat body for that stream.
    pub(crate) fn new(address: SocketAddr, model: &str, body: &str, wanted: Wanted) -> anyhow::Result<Self> {
        Ok(Self { client: Client::new(address, wanted.asked_of(model, body)?)?, chunks: wanted.chunks })
    }

    /// One request and its answer to the end mark.
    pub(crate) async fn send(self: Arc<Self>) -> anyhow::Result<Answered> {
        let sent = Instant::now();
        let mut answer = self.client.request().send().await?;
        let status = answer.status();
        if !status.is_success() {
            bail!("the answer is {status}: {}", answer.text().await?);
        }
        let (mut first, mut lines) = (None, Lines::default());
        while let Some(bytes) = answer.chunk().await? {
            let took = sent.elapsed();
            lines.take(&bytes);
            if lines.chunks > 0 {
                first.get_or_insert(took);
            }
        }
        let Lines { chunks, is_over, .. } = lines;
        ensure!(is_over && chunks == self.chunks, "{chunks} chunks came, not {}, end mark: {is_over}", self.chunks);
        Ok(Answered::Stream { first: first.context("a stream without text")?, chunks })
    }
}

/// A stream's lines, from bytes split anywhere.
#[derive(Default)]
struct Lines {
    /// The last one, which is not whole.
    rest: Vec<u8>,
    /// Chunks with text so far.
    chunks: usize,
    /// The end mark has come.
    is_over: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::str::from_utf8(&self.rest).unwrap_or_default();
                self.chunks += usize::from(line.contains(TEXT));
                self.is_over |= line.starts_with("data: [DONE]");
                self.rest.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_counted_wherever_their_bytes_are_split() {
        let stream = format!("data: {{\"role\"}}\n\ndata: {TEXT}\n\ndata: {TEXT}\n\ndata: [DONE]\n\n");
        for size in 1..=stream.len() {
            let mut lines = Lines::default();
            stream.as_bytes().chunks(size).for_each(|part| lines.take(part));
            assert_eq!((lines.chunks, lines.is_over), (2, true), "in pieces of {size}");
        }
    }
}
