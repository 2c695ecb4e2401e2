//! Streams that are checked part by part: what comes in chunks on `completions` goes on as chunks on `replies`.

use super::{Answer, INLINE_MAX_BYTES, Service, Stopped};
use crate::court::{Hearing, Open, Sends};
use crate::judges::Ruling;
use crate::metric_definitions as metric;
use crate::pipeline::Side;
use crate::restore::Restoring;
use crate::stream::{Next, Part, Stream};
use crate::streams::{Live, State};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use tollgate_bus::end;
use tollgate_schemas::{CompletionChunk, ReplyEvent, Request, StreamEvent, TraceContext};

/// Events of one record: what was held back may be much.
const CHUNK_MAX_BYTES: usize = 256 * 1024;

/// A judge did not answer, and this process is leaving.
struct Leaving;

impl Service {
    /// Takes a part of an answer, and sends on what may go out. What cannot be taken is in the whole answer, which follows.
    pub(super) async fn chunk(&self, chunk: CompletionChunk, trace: &TraceContext, sends: &impl Sends) {
        let Some(live) = self.streams.of(chunk.request_id, chunk.execution_id) else { return };
        let mut state = live.state().await;
        state.keep(chunk);
        while let Some(chunk) = state.take() {
            if self.take(&live, &mut state, chunk, (trace, sends)).await.is_none() {
                state.give_up();
            }
        }
        drop(state);
        live.tell();
    }

    /// `None`: it cannot go on in parts.
    async fn take(
        &self,
        live: &Live,
        state: &mut State,
        chunk: CompletionChunk,
        on: (&TraceContext, &impl Sends),
    ) -> Option<()> {
        let CompletionChunk { request, seq, events, origin, .. } = chunk;
        if seq == 0 {
            let request = request?;
            let mut stream = Stream::new(self.endpoint(&request)?)?;
            stream.adopt(&request.placeholders());
            state.stream = Some(stream);
            state.restoring = (!request.restore.is_empty()).then(|| Restoring::new(request.restore.clone()));
            (state.request, state.origin) = (Some(request), origin);
        }
        let bytes = events.iter().map(|event| event.data.len()).sum::<usize>().max(state.bytes());
        let stream = state.stream.take()?;
        let (stream, pushed) = worked(stream, bytes, move |stream| stream.push(events)).await?;
        pushed.ok()?;
        state.stream = Some(stream);
        self.advance(live, state, on).await.ok()
    }

    /// Sends what may go out, and asks judges until they have nothing to say.
    async fn advance(
        &self,
        live: &Live,
        state: &mut State,
        (trace, sends): (&TraceContext, &impl Sends),
    ) -> Result<(), Leaving> {
        loop {
            let (Some(stream), Some(request)) = (&mut state.stream, &state.request) else { return Ok(()) };
            match stream.advance() {
                Next::Nothing => return Ok(()),
                Next::Ask(part) => {
                    let rulings = self.hear(stream, request, part, (trace, sends)).await;
                    let has_failed = rulings.iter().any(|(_, ruled)| matches!(ruled.ruling, Ruling::Failed(_)));
                    if has_failed && sends.is_leaving() {
                        return Err(Leaving);
                    }
                    stream.ruled(rulings);
                }
                Next::Send(events) => {
                    let events = match &mut state.restoring {
                        Some(restoring) => restoring.push(events),
                        None => events,
                    };
                    send(live, state, events, (trace, sends)).await;
                }
            }
        }
    }

    async fn hear(
        &self,
        stream: &Stream,
        request: &Request,
        part: Part,
        (trace, sends): (&TraceContext, &impl Sends),
    ) -> Vec<(usize, crate::judges::Ruled)> {
        let Part { case, number, open } = part;
        let (stage, version) = (stream.stage(), stream.policy_version());
        let policy_version = version.map(String::as_str).unwrap_or_default();
        let hearing = Hearing {
            request,
            trace,
            policy_version,
            stage,
            case: &case,
            part: Some(number),
            budget: stage.budget,
            open: &Open::default(),
            sends,
        };
        self.court.hear(&hearing, open).await
    }

    /// Checks what is left of a stream whose answer is whole now, and sends it.
    pub(super) async fn finish(
        &self,
        live: &Arc<Live>,
        answer: Answer<'_>,
        on: (&TraceContext, &impl Sends),
    ) -> Result<(), Stopped> {
        let (mut state, started) = (live.state().await, Instant::now());
        answer.terminal.chunks = state.sent;
        let body = match &answer.terminal.body {
            Some(body) => Some(self.fetch(answer.request, body, on.1).await?),
            None => None,
        };
        let bytes = body.as_ref().map_or(0, |body| body.get().len());
        let Some(stream) = state.stream.take() else { return self.output(answer, on).await };
        let worked = worked(stream, bytes, move |stream| stream.end(body.as_deref())).await;
        // What broke here is checked whole, and breaks there.
        let Some((stream, masked)) = worked else { return self.output(answer, on).await };
        state.stream = Some(stream);
        if self.advance(live, &mut state, on).await.is_err() {
            return Err(Stopped::HandedBack);
        }
        let is_blocked = state.stream.as_ref().is_none_or(Stream::is_blocked);
        if let Some(restoring) = state.restoring.as_mut().filter(|_| !is_blocked) {
            let events = restoring.end();
            send(live, &mut state, events, on).await;
        }
        answer.terminal.chunks = state.sent;
        let Some(stream) = &state.stream else { return Ok(()) };
        let verdict = stream.verdict(masked);
        answer.terminal.is_filtered = verdict.error.is_some() && stream.is_filtered() && state.sent > 0;
        metric::checked(Side::Output.as_str(), &verdict, started.elapsed());
        self.judged(answer, verdict, stream.policy_version(), on.1).await
    }
}

/// Sends events that may go out.
async fn send(live: &Live, state: &mut State, events: Vec<StreamEvent>, (trace, sends): (&TraceContext, &impl Sends)) {
    let Some(request) = &state.request else { return };
    for events in chunks(events) {
        let event = ReplyEvent::Chunk { seq: state.sent, events, origin: state.origin.take() };
        state.sent += 1;
        let sent = match end::reply(request, live.execution_id(), event, trace) {
            Ok(record) => sends.send(record).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            // The terminal carries the whole answer, from which the waiter serves what it has not been sent.
            tracing::error!(%error, "a checked chunk could not be sent");
        }
    }
}

/// Runs the patterns: here if there is little to do, else on a thread that may block. `None`: they broke.
async fn worked<T: Send + 'static>(
    mut stream: Stream,
    bytes: usize,
    work: impl FnOnce(&mut Stream) -> T + Send + 'static,
) -> Option<(Stream, T)> {
    let run = move || {
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut stream)));
        let done = done.inspect_err(|_| {
            tracing::error!("a check panicked on a stream; this is a defect, please report it with the log");
        });
        done.ok().map(|done| (stream, done))
    };
    if bytes <= INLINE_MAX_BYTES {
        return run();
    }
    tokio::task::spawn_blocking(run).await.ok().flatten()
}

/// Events in records that are not too large.
fn chunks(events: Vec<StreamEvent>) -> Vec<Vec<StreamEvent>> {
    let (mut chunks, mut bytes) = (Vec::<Vec<StreamEvent>>::new(), 0);
    for event in events {
        let length = event.data.len();
        match chunks.last_mut().filter(|_| bytes + length <= CHUNK_MAX_BYTES) {
            Some(chunk) => {
                bytes += length;
                chunk.push(event);
            }
            None => {
                bytes = length;
                chunks.push(vec![event]);
            }
        }
    }
    chunks
}
