//! Publishing an admitted request and waiting for its answer: what the HTTP door does, without HTTP.

use crate::{
    config::{IngressConfig, REPEATS_MAX, WAITING_MAX},
    idempotency::{Key, Keys, Settled},
    replies::Replies,
    results::Reader,
    waiters::Event,
};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tollgate_bus::{Ack, Outgoing, Producer};
use tollgate_runtime::{BlobStore, supervised};
use tollgate_schemas::{
    ApiError, Body, Cancellation, ErrorCode, KeyDoor, OnDisconnect, Origin, ReplyEvent, ReplyTo, Request, RequestId,
    StreamEvent, Terminal, TraceContext, headers, topic,
};

/// How much longer than the request's deadline a caller waits for the owner to say that it has passed.
const GRACE: Duration = Duration::from_secs(10);
/// How long a caller waits for room in the producer's queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often stored results are asked for an answer that is awaited: more rarely the longer it takes.
const ASK_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3);

/// The doors' common core.
pub struct Gateway {
    pub(crate) config: Arc<IngressConfig>,
    pub(crate) blobs: BlobStore,
    pub(crate) results: Reader,
    pub(crate) keys: Keys,
    pub(crate) producer: Producer,
    replies: Replies,
    repeats: Arc<Semaphore>,
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
        keys: Keys,
    ) -> Self {
        Self { config, blobs, results, keys, producer, replies, repeats: Arc::new(Semaphore::new(REPEATS_MAX)) }
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

    /// Publishes a request and returns the wait for its answer. Dropping the wait before its end is a disconnect. A request with
    /// an idempotency key that came before is not published: the wait is for the first one's answer.
    pub async fn submit(self: &Arc<Self>, request: Request, trace: &TraceContext) -> Result<Pending, ApiError> {
        match &request.idempotency_key {
            None => self.publish(request, trace, None).await,
            Some(key) => {
                let key = Key { team: request.caller.team.clone(), door: KeyDoor::Http, key: key.clone() };
                let (gateway, trace) = (self.clone(), trace.clone());
                // A caller that leaves between claim and publication must not leave the claim behind.
                let task = supervised("keyed", async move { gateway.submit_keyed(request, key, trace).await });
                task.await.ok().flatten().unwrap_or_else(|| Err(unpublished()))
            }
        }
    }

    async fn submit_keyed(
        self: Arc<Self>,
        mut request: Request,
        key: Key,
        trace: TraceContext,
    ) -> Result<Pending, ApiError> {
        let Body::Inline(body) = request.body.clone() else { return Err(unpublished()) };
        let me = request.request_id;
        let (id, claimed_ms) = match self.keys.settle(&key, body.get(), me, &trace).await? {
            Settled::Mine(id, claimed_ms) => (id, claimed_ms),
            Settled::Repeat(id) => return self.follow(id, &request, &trace),
            Settled::Done => return self.follow(me, &request, &trace),
        };
        tollgate_bus::fault::point("idempotency.claimed");
        if self.waits(id, &request.caller.team) {
            // The first caller is still here, and so is what publishes its request.
            return self.follow(id, &request, &trace);
        }
        request.request_id = id;
        let published = self.keys.published(&key, (id, claimed_ms), me, body.get(), &trace)?;
        self.publish(request, &trace, Some(published)).await
    }

    /// The wait of a repeat for the answer of the request `id`.
    fn follow(self: &Arc<Self>, id: RequestId, repeat: &Request, trace: &TraceContext) -> Result<Pending, ApiError> {
        let permit = self.repeats.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{REPEATS_MAX} repeats are waiting on this replica already; try again in a moment");
            ApiError::new(ErrorCode::Overloaded, message)
        })?;
        let (sender, events) = mpsc::channel(1);
        let (gateway, team) = (self.clone(), repeat.caller.team.clone());
        supervised("repeat", async move {
            tokio::select! {
                terminal = gateway.ended(id, &team) => {
                    let _ = sender.try_send(Event::Terminal { terminal, forwarded: 0, interrupted: false });
                }
                () = sender.closed() => {}
            }
        });
        Ok(Pending {
            gateway: self.clone(),
            id,
            team: repeat.caller.team.clone(),
            on_disconnect: OnDisconnect::Finish,
            trace: trace.clone(),
            events,
            give_up_at: tokio::time::Instant::now() + wait_for(repeat.deadline_ms),
            ended: false,
            repeat: Some(permit),
        })
    }

    /// The end of a request, once it has one: from the caller that waits for it here, or from stored results.
    pub(crate) async fn ended(&self, id: RequestId, team: &str) -> Box<Terminal> {
        let mut pause = *ASK_EVERY.start();
        loop {
            if let Some(joined) = self.replies.waiters.join(id, team)
                && let Ok(terminal) = joined.await
            {
                return terminal;
            }
            match self.results.find(id).await {
                Ok(Some(tollgate_schemas::Reply { event: ReplyEvent::Terminal(terminal), .. })) => return terminal,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "stored results cannot be read; asking again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(*ASK_EVERY.end());
        }
    }

    /// Asks whoever owns a request of the team to end it.
    pub(crate) async fn cancel(&self, id: RequestId, team: &str, trace: &TraceContext) -> Result<(), ApiError> {
        let record = cancellation(id, team, "requested", trace);
        let sent = async { self.producer.send_acked(record.ok()?).await.ok() };
        tokio::time::timeout(QUEUE_TIMEOUT, sent).await.ok().flatten().ok_or_else(|| {
            ApiError::new(ErrorCode::Overloaded, "the cancellation could not be recorded in time; try again")
        })
    }

    /// Publishes a request. With `published`, a record that says so and is sent once the request is acknowledged, the caller
    /// waits for that too.
    async fn publish(
        self: &Arc<Self>,
        request: Request,
        trace: &TraceContext,
        published: Option<Outgoing>,
    ) -> Result<Pending, ApiError> {
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
            repeat: None,
        };
        if let Some(published) = published {
            pending.acknowledged(record, published).await?;
            return Ok(pending);
        }
        let waiters = self.replies.waiters.clone();
        let failed = move |error| {
            tracing::error!(%error, request_id = %id, "a request could not be published");
            waiters.fail(id);
        };
        match tokio::time::timeout(QUEUE_TIMEOUT, self.producer.send(record, Ack::OnFailure(Box::new(failed)))).await {
            Ok(Ok(())) => Ok(pending),
            refused => {
                tracing::error!(?refused, "a request could not be queued");
                pending.ended = true;
                Err(unpublished())
            }
        }
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
    /// It waits for an earlier request's answer, and counts among those that do.
    repeat: Option<OwnedSemaphorePermit>,
}

impl Pending {
    /// Whether the answer is an earlier request's.
    pub fn is_repeat(&self) -> bool {
        self.repeat.is_some()
    }

    /// Sends a request, and once it is acknowledged the record that says so.
    async fn acknowledged(&mut self, record: Outgoing, published: Outgoing) -> Result<(), ApiError> {
        let producer = &self.gateway.producer;
        if let Err(error) = producer.send_acked(record).await {
            tracing::error!(%error, request_id = %self.id, "a request could not be published");
            self.ended = true;
            return Err(unpublished());
        }
        // If this is lost, a repeat publishes the request again under its id, which whoever works on it notices.
        if let Err(error) = producer.send(published, Ack::None).await {
            tracing::error!(%error, request_id = %self.id, "the publication of an idempotency key's request could not be noted");
        }
        Ok(())
    }

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

fn cancellation(
    id: RequestId,
    team: &str,
    reason: &str,
    trace: &TraceContext,
) -> Result<Outgoing, tollgate_bus::Error> {
    let value = Cancellation { request_id: id, team: Some(team.to_owned()), reason: reason.to_owned() };
    Outgoing::of(&topic::CANCELLATIONS, id, &value, trace)
}

fn unpublished() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "the request could not be queued; try again in a moment")
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.is_repeat() {
            return;
        }
        self.gateway.replies.waiters.forget(self.id);
        if self.ended || self.on_disconnect == OnDisconnect::Finish {
            return;
        }
        let record = cancellation(self.id, &self.team, "disconnected", &self.trace);
        let gateway = self.gateway.clone();
        supervised("cancel", async move {
            match record {
                // Nobody waits for it, so it may take as long as an outage does.
                Ok(record) => drop(gateway.producer.send(Outgoing { relaxed: true, ..record }, Ack::None).await),
                Err(error) => tracing::error!(%error, "a cancellation could not be written"),
            }
        });
    }
}

/// Jobs have no waiter: the lane decides where their answers go.
pub(crate) fn job_reply(reply: tollgate_schemas::TopicReply) -> ReplyTo {
    ReplyTo { partition: None, boot_id: None, topic: Some(reply) }
}
