//! Reading a provider's stream: frames to events, events to chunks, until the answer is whole or the time is over.

use super::{Broken, Call, ChunkSink, Ended};
use crate::{
    coalesce::Coalescer,
    failure::{Class, Failure},
    providers::{Content, Frame, Incoming, Parser, StreamDecoder},
};
use futures::FutureExt;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const DRAIN_MAX: Duration = Duration::from_secs(1);

/// A stream that is being read.
pub(super) struct Stream<'a, S> {
    pub call: &'a Call<'a>,
    pub ended: Ended,
    pub decoder: Box<dyn StreamDecoder>,
    pub parser: Parser,
    pub frames: Vec<Frame>,
    pub held: Coalescer,
    pub sink: Option<&'a mut S>,
}

impl<S: ChunkSink> Stream<'_, S> {
    /// Reads it to its end.
    pub(super) async fn run(&mut self, mut incoming: Incoming, first_byte: Instant) -> Result<(), Broken> {
        let mut last = Instant::now();
        loop {
            let idle = match self.ended.first_content_us {
                Some(_) => last + self.call.limits.timeout.between_chunks.duration(),
                None => first_byte,
            };
            let due = self.held.due();
            // A timer would take up to a millisecond to say that it is already time.
            if due.is_some_and(|due| due <= Instant::now()) {
                self.flush().await;
                continue;
            }
            let piece = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(last)), if due.is_some() => {
                    self.flush().await;
                    continue;
                }
                piece = self.call.within(Some(idle), incoming.chunk()) => piece?,
            };
            last = Instant::now();
            let Some(bytes) = piece else {
                // The end of the bytes is the end of the answer only if the provider said so before.
                if self.decoder.is_complete() {
                    self.end(last);
                    return Ok(());
                }
                return Err(Broken::Failed(cut_off()));
            };
            let mut frames = std::mem::take(&mut self.frames);
            let parsed = self.parser.push(&bytes, &mut frames);
            for frame in frames.drain(..) {
                self.take(&frame, last).map_err(Broken::Failed)?;
                // What stands behind the end is no part of the answer.
                if self.decoder.is_done() {
                    break;
                }
            }
            self.frames = frames;
            parsed.map_err(|error| Broken::Failed(Failure::malformed(&error.to_string())))?;
            if self.decoder.is_done() {
                drain(incoming);
                self.end(last);
                return Ok(());
            }
        }
    }

    fn end(&mut self, now: Instant) {
        self.held.add(self.decoder.end(), false, now);
    }

    fn take(&mut self, frame: &Frame, now: Instant) -> Result<(), Failure> {
        // Some servers keep a connection alive with empty events instead of comments.
        if frame.data.trim().is_empty() {
            return Ok(());
        }
        let decoded = self.decoder.frame(frame)?;
        if decoded.content != Content::Nothing {
            self.ended.first_content_us.get_or_insert_with(tollgate_schemas::now_us);
            self.ended.first_content_at.get_or_insert(now);
        }
        let opens = match decoded.content {
            Content::Nothing => false,
            // Perhaps there is no more to come, and another destination has an answer.
            Content::Refusal => !self.call.holds_refusals,
            Content::Answer => true,
        };
        self.held.add(decoded.events, opens, now);
        if self.held.is_too_large() { Err(Failure::too_large("a stream event that is too large")) } else { Ok(()) }
    }

    /// Sends what is held.
    pub(super) async fn flush(&mut self) {
        let chunks = self.held.take();
        if let Some(sink) = &mut self.sink {
            for events in chunks {
                sink.send(events).await;
            }
        }
    }
}

/// Reads the little that follows an answer's last event, so that its connection can be used again.
fn drain(mut incoming: Incoming) {
    if matches!(incoming.chunk().now_or_never(), Some(Ok(None) | Err(_))) {
        return;
    }
    tollgate_runtime::supervised("drain", async move {
        let rest = async { while let Ok(Some(_)) = incoming.chunk().await {} };
        // Over the bound the connection is dropped.
        let _ = tokio::time::timeout(DRAIN_MAX, rest).await;
    });
}

fn cut_off() -> Failure {
    Failure {
        code: Some("stream_cut_off".to_owned()),
        ..Failure::new(Class::Connect, "the provider's stream ended early")
    }
}
