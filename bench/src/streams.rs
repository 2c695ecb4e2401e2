//! One who asks for a stream over HTTP, times its first chunk and reads it to its end: of Tollgate, or of the provider itself.

use crate::fake::{TEXT, Wanted};
use crate::http::Client;
use crate::load::Answered;
use anyhow::{Context, ensure};
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
        let mut answer = self.client.answer().await?;
        // the gateway names each request; the provider names none
        let (status, id) = (answer.status(), answer.headers().get("x-request-id").cloned());
        let (mut first, mut lines) = (None, Lines::default());
        let so_far = |lines: &Lines| {
            let (took, told) = (sent.elapsed(), lines.told(self.chunks));
            format!("a stream ({status}, request {id:?}) ended after {took:.1?}: {told}")
        };
        while let Some(bytes) = answer.chunk().await.with_context(|| so_far(&lines))? {
            let took = sent.elapsed();
            lines.take(&bytes);
            if lines.chunks > 0 {
                first.get_or_insert(took);
            }
        }
        ensure!(lines.is_over && lines.chunks == self.chunks, "{}", so_far(&lines));
        Ok(Answered::Stream { first: first.context("a stream without text")?, chunks: lines.chunks })
    }
}

/// A stream's lines, from bytes split anywhere.
#[derive(Default)]
struct Lines {
    /// The last one, which is not whole.
    rest: Vec<u8>,
    /// Chunks with text so far.
    chunks: usize,
    /// Texts that came in an event behind another one, instead of in one of their own.
    gathered: usize,
    /// The last event without text that was no end mark: an error, if there was one.
    other: String,
    /// The end mark has come.
    is_over: bool,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.line();
                self.rest.clear();
            }
        }
    }

    fn line(&mut self) {
        let line = std::str::from_utf8(&self.rest).unwrap_or_default().trim_end_matches(['\r', '\n']);
        if let Some((_, behind)) = line.split_once(TEXT) {
            self.chunks += 1;
            // looked for only where there is one, because reading is part of what is measured
            self.gathered += if behind.starts_with(TEXT) { behind.matches(TEXT).count() } else { 0 };
        } else if line == "data: [DONE]" {
            self.is_over = true;
        } else if !line.is_empty() {
            line.clone_into(&mut self.other);
        }
    }

    /// What has come of so many chunks, for whoever reads that it failed.
    fn told(&self, wanted: usize) -> String {
        let Self { chunks, gathered, other, is_over, .. } = self;
        let end = if *is_over { "and the end mark" } else { "and no end mark" };
        format!(
            "{chunks} of {wanted} chunks came, {gathered} more texts within them, {end}; the last other event: {other}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_came() {
        let mut lines = Lines::default();
        lines.take(format!("data: {TEXT}\n\ndata: {TEXT}{TEXT}{TEXT}\n\ndata: {{\"error\":1}}\n\n").as_bytes());
        let came = "2 of 300 chunks came, 2 more texts within them, and no end mark";
        assert_eq!(lines.told(300), format!("{came}; the last other event: data: {{\"error\":1}}"));
    }

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
