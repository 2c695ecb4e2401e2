//! The loop of one connection: requests are handed over in order as they come, replies go out in the same order, at
//! once.
//!
//! One task does it all, so nothing here is shared or locked. It reads only while it does not write; a client that
//! pipelines without reading its replies waits in its own socket.

use super::{
    Limits, Refused, Reply, Request,
    answers::Answers,
    frame::{Frame, Frames},
    request::parse,
    versions::api_versions,
    writer::Writer,
};
use bytes::Bytes;
use futures::{FutureExt, future::LocalBoxFuture};
use kafka_protocol::{ResponseError, messages::ApiKey};
use std::{convert::Infallible, io, pin::pin, rc::Rc};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Answers requests.
pub(crate) trait Handler {
    /// What is known of one connection.
    type Session;

    /// Called in the order of requests, also while earlier answers are due.
    fn handle(&self, session: &Rc<Self::Session>, request: Request) -> Answer;

    /// A further request has arrived (and is handed over next) while an answer is waited for: a long poll should end.
    fn more_waiting(&self, session: &Rc<Self::Session>);

    /// The connection has ended; answers that were due are dropped.
    fn gone(&self, session: &Rc<Self::Session>);
}

/// What becomes of a request.
pub(crate) enum Answer {
    /// Known.
    Now(Reply),
    /// Known later. Polled together with others of its connection; its turn to be sent is that of its request.
    Later(LocalBoxFuture<'static, Result<Reply, Refused>>),
    /// None is expected (`acks=0`).
    Nothing,
    /// The end, for a reason to be logged. Earlier answers that are ready are still sent.
    Close(String),
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("the client closed it")]
    ByClient,
    #[error("it broke: {0}")]
    Lost(io::Error),
    #[error("it was idle")]
    Idle,
    #[error("the broker stops")]
    Stopped,
    /// What the client sent has no answer. Earlier answers may still be sent.
    #[error("{0}")]
    Fault(String),
    /// An answer cannot be given or cannot go on, so nothing may be sent behind it.
    #[error("{0}")]
    Cut(String),
}

impl Closed {
    /// What an operator should hear of.
    pub(crate) fn fault(&self) -> Option<&str> {
        match self {
            Self::Fault(reason) | Self::Cut(reason) => Some(reason),
            Self::ByClient | Self::Lost(_) | Self::Idle | Self::Stopped => None,
        }
    }
}

/// Serves one client until it leaves, misbehaves, or `stop`; then answers that are ready are sent.
pub(crate) async fn serve<H: Handler>(
    mut stream: TcpStream,
    handler: Rc<H>,
    session: Rc<H::Session>,
    limits: &Limits,
    stop: CancellationToken,
) -> Closed {
    let (reading, writing) = stream.split();
    let mut connection = Connection {
        frames: Frames::new(reading, limits),
        answers: Answers::default(),
        writer: Writer::new(writing, limits),
        active: Instant::now(),
        handler: &*handler,
        session: &session,
        limits,
    };
    let Err(mut closed) = connection.run(&stop).await;
    if matches!(closed, Closed::Fault(_) | Closed::Stopped) {
        // Polls once: what is ready is written, nothing is waited for.
        let _ = connection.answers.first().now_or_never();
        if let Err(worse) = connection.write_ready().await {
            closed = worse;
        }
    }
    handler.gone(&session);
    closed
}

struct Connection<'a, H: Handler> {
    frames: Frames<'a>,
    answers: Answers<'a>,
    writer: Writer<'a>,
    /// When a request was last handed over, or a reply taken.
    active: Instant,
    handler: &'a H,
    session: &'a Rc<H::Session>,
    limits: &'a Limits,
}

impl<'a, H: Handler> Connection<'a, H> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<Infallible, Closed> {
        let mut stopped = pin!(stop.cancelled());
        let mut alarm = pin!(sleep_until(self.deadline()));
        loop {
            while self.has_room()
                && let Some(frame) = self.frames.take()?
            {
                self.hand_over(frame)?;
            }
            if self.write_ready().await? {
                continue; // There may be room again for a frame that is here already.
            }
            let (deadline, has_room) = (self.deadline(), self.has_room());
            if deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            tokio::select! {
                biased;
                () = &mut stopped => return Err(Closed::Stopped),
                () = self.answers.first() => {}
                read = self.frames.fill(), if has_room => read?,
                () = &mut alarm => {
                    self.check_time()?;
                    alarm.as_mut().reset(self.deadline());
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.answers.len() < self.limits.pending_requests
    }

    fn hand_over(&mut self, frame: Frame<'a>) -> Result<(), Closed> {
        self.active = Instant::now();
        if self.answers.any_waits() {
            self.handler.more_waiting(self.session);
        }
        let answer = match parse(frame.bytes) {
            Ok(request) => self.handler.handle(self.session, request),
            Err(Refused::OldApiVersions { correlation_id }) => {
                Answer::Now(old_api_versions(correlation_id).map_err(|refused| Closed::Fault(refused.to_string()))?)
            }
            Err(Refused::Close(reason)) => Answer::Close(reason),
        };
        match answer {
            Answer::Now(reply) => self.answers.ready(Ok(reply)),
            Answer::Later(future) => self.answers.waiting(future, frame.share),
            Answer::Nothing => {}
            Answer::Close(reason) => return Err(Closed::Fault(reason)),
        }
        Ok(())
    }

    /// When this connection has waited too long. Nobody is blamed for time in which nothing was read from it, or in
    /// which it waited for an answer.
    fn deadline(&self) -> Instant {
        match self.frames.begun() {
            Some(begun) if self.has_room() => begun + self.limits.frame_timeout,
            None if self.answers.is_empty() => self.active + self.limits.idle_timeout,
            _ => Instant::now() + self.limits.idle_timeout,
        }
    }

    fn check_time(&self) -> Result<(), Closed> {
        if Instant::now() < self.deadline() {
            return Ok(());
        }
        let waited = self.limits.frame_timeout;
        let half = |_| Closed::Fault(format!("a request that it began had not arrived after {waited:?}"));
        Err(self.frames.begun().map_or(Closed::Idle, half))
    }

    /// Writes the answers whose turn it is; false if there are none.
    async fn write_ready(&mut self) -> Result<bool, Closed> {
        let mut written = false;
        while let Some(outcome) = self.answers.pop() {
            match outcome {
                Ok(reply) => self.writer.put(reply).await?,
                Err(refused) => {
                    self.writer.flush().await?;
                    return Err(Closed::Cut(refused.to_string()));
                }
            }
            written = true;
        }
        if written {
            self.writer.flush().await?;
            self.active = Instant::now();
            self.frames.restart();
        }
        Ok(written)
    }
}

fn old_api_versions(correlation_id: i32) -> Result<Reply, Refused> {
    let request = Request { api: ApiKey::ApiVersions, version: 0, correlation_id, client_id: None, body: Bytes::new() };
    request.reply(&api_versions(Some(ResponseError::UnsupportedVersion)))
}
