//! A caller's wait for one answer.

use crate::Gateway;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tollgate_admission::Figures;
use tollgate_bus::replies::Event;
use tollgate_schemas::{ApiError, OnDisconnect, Origin, Request, RequestId, StreamEvent, Terminal, TraceContext};

/// How much longer than the request's deadline a caller waits for the owner to say that it has passed.
const GRACE: Duration = Duration::from_secs(10);

/// One step of an answer.
#[derive(Debug)]
pub enum Answer {
    /// Events of the stream; with the first ones, who answers.
    Events(Vec<StreamEvent>, Option<Origin>),
    /// The end.
    Terminal {
        /// The end itself; a large body is a claim check.
        terminal: Box<Terminal>,
        /// How many chunk records came before it.
        forwarded: u32,
        /// What was forwarded belongs to another execution.
        interrupted: bool,
    },
    /// The wait ran out, or this replica stops; the work goes on.
    StillRunning,
}

/// A caller's wait for one answer. Dropping it before its end is a disconnect.
pub struct Pending {
    gateway: Arc<Gateway>,
    id: RequestId,
    team: String,
    on_disconnect: OnDisconnect,
    trace: TraceContext,
    events: mpsc::Receiver<Event>,
    give_up_at: tokio::time::Instant,
    ended: bool,
    is_repeat: bool,
    /// What is left of its limits.
    pub(crate) figures: Figures,
    /// Its place among those that wait: [`crate::config::WAITING_MAX`] or [`crate::config::REPEATS_MAX`].
    _place: OwnedSemaphorePermit,
}

impl Pending {
    /// The wait for `id`: the request's own, or the earlier one's that it repeats.
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        id: RequestId,
        request: &Request,
        trace: &TraceContext,
        events: mpsc::Receiver<Event>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            gateway: gateway.clone(),
            id,
            team: request.caller.team.clone(),
            on_disconnect: request.on_disconnect,
            trace: trace.clone(),
            events,
            give_up_at: tokio::time::Instant::now() + wait_for(request.deadline_ms),
            ended: false,
            is_repeat: false,
            figures: Figures::default(),
            _place: place,
        }
    }

    /// The same as the wait for an earlier request's answer.
    pub(crate) fn into_repeat(self) -> Self {
        let mut repeat = self;
        repeat.is_repeat = true;
        repeat
    }

    /// The caller is told that the request was not published, which nobody can know: a record that was not acknowledged in time may
    /// be in the log all the same. The caller asks again, under another id; should this one run, it is ended.
    pub(crate) fn withdraw(&mut self) {
        self.ended = true;
        self.gateway.cancel_later(self.id, &self.team, "unpublished", &self.trace);
    }

    /// The request was not published: nothing is to be cancelled.
    pub(crate) fn unpublished(mut self) {
        self.ended = true;
    }

    /// Whether the answer is an earlier request's.
    pub fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    /// The request that is waited for.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The next step. After [`Answer::Terminal`] or [`Answer::StillRunning`] there is none. An error means that the request
    /// was not published as far as is known, and is cancelled. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Answer, ApiError> {
        let gateway = self.gateway.clone();
        tokio::select! {
            biased;
            event = self.events.recv() => self.answer(event),
            () = tokio::time::sleep_until(self.give_up_at) => Ok(self.still_running()),
            () = gateway.stops.over.cancelled() => Ok(self.still_running()),
        }
    }

    fn still_running(&mut self) -> Answer {
        self.ended = true;
        Answer::StillRunning
    }

    fn answer(&mut self, event: Option<Event>) -> Result<Answer, ApiError> {
        if let Some(Event::Chunk(events, origin)) = event {
            return Ok(Answer::Events(events, origin));
        }
        self.ended = true;
        match event {
            Some(Event::Terminal { terminal, forwarded, interrupted }) => {
                Ok(Answer::Terminal { terminal, forwarded, interrupted })
            }
            Some(Event::Unpublished) => {
                self.withdraw();
                Err(crate::gateway::unpublished())
            }
            _ => Ok(Answer::StillRunning),
        }
    }

    /// The whole answer, with the events of a stream left out.
    pub async fn terminal(&mut self) -> Result<Option<Box<Terminal>>, ApiError> {
        loop {
            match self.next().await? {
                Answer::Events(..) => {}
                Answer::Terminal { terminal, .. } => return Ok(Some(terminal)),
                Answer::StillRunning => return Ok(None),
            }
        }
    }

    /// Where it waits.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.is_repeat {
            return;
        }
        self.gateway.waiters().forget(self.id);
        if self.ended || self.on_disconnect == OnDisconnect::Finish {
            return;
        }
        self.gateway.cancel_later(self.id, &self.team, "disconnected", &self.trace);
    }
}

fn wait_for(deadline_ms: i64) -> Duration {
    tollgate_schemas::left_until(deadline_ms, tollgate_schemas::now_us() / 1000) + GRACE
}
