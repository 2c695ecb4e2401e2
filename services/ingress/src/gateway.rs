//! Publishing an admitted request and waiting for its answer: what the HTTP door does, without HTTP.

use crate::{
    config::{IngressConfig, WAITING_MAX},
    replies::Replies,
    results::Reader,
    waiters::Event,
};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tollgate_bus::{Ack, Outgoing, Producer};
use tollgate_runtime::{BlobStore, supervised};
use tollgate_schemas::{
    ApiError, Body, Cancellation, ErrorCode, OnDisconnect, Origin, ReplyTo, Request, RequestId, StreamEvent, Terminal,
    TraceContext, headers, topic,
};

/// How much longer than the request's deadline a caller waits for the owner to say that it has passed.
const GRACE: Duration = Duration::from_secs(10);

/// The doors' common core.
pub struct Gateway {
    pub(crate) config: Arc<IngressConfig>,
    pub(crate) blobs: BlobStore,
    pub(crate) results: Reader,
    producer: Producer,
    replies: Replies,
}

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
    /// The wait ran out; the work goes on.
    StillRunning,
}

impl Gateway {
    pub(crate) fn new(
        config: Arc<IngressConfig>,
        producer: Producer,
        blobs: BlobStore,
        replies: Replies,
        results: Reader,
    ) -> Self {
        Self { config, blobs, results, producer, replies }
    }

    /// Where answers for callers of this replica go.
    pub fn reply_to(&self) -> ReplyTo {
        self.replies.reply_to()
    }

    /// Whether somebody of the team waits for this request on this replica.
    pub(crate) fn waits(&self, id: RequestId, team: &str) -> bool {
        self.replies.waiters.waits(id, team)
    }

    /// Admits a request: permission and shape. Pure; nothing is published.
    pub fn admit(&self, admission: crate::Admission<'_>) -> Result<Request, ApiError> {
        admission.admit(&self.config)
    }

    /// The record that publishes a request, its body checked in if it is large. Requests of a policy without input checks
    /// go straight to the router.
    pub(crate) async fn record(&self, mut request: Request, trace: &TraceContext) -> Result<Outgoing, ApiError> {
        if let Body::Inline(json) = request.body {
            let stored = self.blobs.check_in(&request.request_id.to_string(), json).await;
            request.body = stored.map_err(|error| {
                tracing::error!(%error, "a large body could not be stored");
                ApiError::new(ErrorCode::Overloaded, "the request's body could not be stored; try again")
            })?;
        }
        let checked = self.config.endpoints.get(&request.endpoint).is_none_or(|e| e.guardrails.input.any());
        let topic = if checked {
            topic::requests(request.lane)
        } else {
            request.guardrail_outcome = Some("none".to_owned());
            topic::approved(request.lane)
        };
        let unserialisable = |_| ApiError::new(ErrorCode::Internal, "the request could not be written");
        let mut record = Outgoing::of(topic, request.request_id, &request, trace).map_err(unserialisable)?;
        if let Some(expiry) = chrono::DateTime::from_timestamp_millis(request.deadline_ms) {
            record.header(headers::EXPIRY_TIME, expiry.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        }
        Ok(record)
    }

    /// Publishes a request and returns the wait for its answer. Dropping the wait before its end is a disconnect.
    pub async fn submit(self: &Arc<Self>, request: Request, trace: &TraceContext) -> Result<Pending, ApiError> {
        let (id, on_disconnect, deadline_ms) = (request.request_id, request.on_disconnect, request.deadline_ms);
        let team = request.caller.team.clone();
        let record = self.record(request, trace).await?;
        let events = self.replies.waiters.register(id, &team, WAITING_MAX).ok_or_else(|| {
            ApiError::new(
                ErrorCode::Overloaded,
                format!("{WAITING_MAX} callers are waiting on this replica already; try again in a moment"),
            )
        })?;
        metrics::gauge!("tollgate_ingress_waiting").set(self.replies.waiters.len() as f64);
        let mut pending = Pending {
            gateway: self.clone(),
            id,
            team,
            on_disconnect,
            trace: trace.clone(),
            events,
            give_up_at: tokio::time::Instant::now() + wait_for(deadline_ms),
            ended: false,
        };
        let waiters = self.replies.waiters.clone();
        let failed = move |error| {
            tracing::error!(%error, request_id = %id, "a request could not be published");
            waiters.fail(id);
        };
        if let Err(error) = self.producer.send(record, Ack::OnFailure(Box::new(failed))).await {
            tracing::error!(%error, "a request could not be queued");
            pending.ended = true;
            return Err(unpublished());
        }
        Ok(pending)
    }
}

fn wait_for(deadline_ms: i64) -> Duration {
    let left = deadline_ms - tollgate_schemas::now_us() / 1000;
    Duration::from_millis(u64::try_from(left).unwrap_or(0)) + GRACE
}

/// A caller's wait for one answer.
pub struct Pending {
    gateway: Arc<Gateway>,
    id: RequestId,
    team: String,
    on_disconnect: OnDisconnect,
    trace: TraceContext,
    events: mpsc::Receiver<Event>,
    give_up_at: tokio::time::Instant,
    ended: bool,
}

impl Pending {
    /// The request that is waited for.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The next step. After [`Answer::Terminal`] or [`Answer::StillRunning`] there is none. An error means that the request
    /// was not published. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<Answer, ApiError> {
        tokio::select! {
            biased;
            event = self.events.recv() => self.answer(event),
            () = tokio::time::sleep_until(self.give_up_at) => {
                self.ended = true;
                Ok(Answer::StillRunning)
            }
        }
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
            Some(Event::Unpublished) => Err(unpublished()),
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

    /// The body of a terminal, fetched if it is a claim check.
    pub async fn body(&self, terminal: &Terminal) -> Result<Option<Box<RawValue>>, ApiError> {
        let Some(body) = &terminal.body else { return Ok(None) };
        self.gateway.blobs.check_out(body).await.map(Some).map_err(|error| {
            tracing::error!(%error, "a stored answer could not be read");
            ApiError::new(
                ErrorCode::Overloaded,
                format!("the answer is stored but cannot be read now; GET /v1/requests/{} later", self.id),
            )
        })
    }
}

fn unpublished() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "the request could not be queued; try again in a moment")
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.gateway.replies.waiters.forget(self.id);
        if self.ended || self.on_disconnect == OnDisconnect::Finish {
            return;
        }
        let cancellation =
            Cancellation { request_id: self.id, team: Some(self.team.clone()), reason: "disconnected".to_owned() };
        let (gateway, trace) = (self.gateway.clone(), self.trace.clone());
        supervised("cancel", async move {
            match Outgoing::of(&topic::CANCELLATIONS, cancellation.request_id, &cancellation, &trace) {
                Ok(record) => drop(gateway.producer.send(record, Ack::None).await),
                Err(error) => tracing::error!(%error, "a cancellation could not be written"),
            }
        });
    }
}

/// Jobs have no waiter: the lane decides where their answers go.
pub(crate) fn job_reply(reply: tollgate_schemas::TopicReply) -> ReplyTo {
    ReplyTo { partition: None, boot_id: None, topic: Some(reply) }
}
