//! Publishing an admitted request and waiting for its answer: what the HTTP door does, without HTTP.

use crate::{
    Stops,
    background::Accepted,
    bodies::Bodies,
    config::{BODIES_MAX_BYTES, IngressConfig, REPEATS_MAX, WAITING_MAX},
    idempotency::{BodyHash, Claimant, Key, Keys, Settled},
    pending::Pending,
    reserve::Desk,
    results::Reader,
};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tollgate_bus::{
    Ack, Outgoing, Producer, end,
    replies::{Event, Replies, Waiters},
};
use tollgate_runtime::{BlobStore, Control, blob, control::Derived, supervised};
use tollgate_schemas::{
    ApiError, Body, ErrorCode, KeyDoor, ReplyEvent, ReplyTo, Request, RequestId, Terminal, TraceContext, headers, topic,
};

/// How long a caller waits for room in the producer's queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often stored results are asked for an answer that is awaited: more rarely the longer it takes.
const ASK_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3);

/// The doors' common core.
pub struct Gateway {
    pub(crate) control: Control,
    config: Derived<IngressConfig>,
    pub(crate) blobs: BlobStore,
    pub(crate) results: Reader,
    pub(crate) keys: Keys,
    pub(crate) desk: Arc<Desk>,
    pub(crate) producer: Producer,
    pub(crate) bodies: Bodies,
    pub(crate) stops: Stops,
    replies: Replies,
    waiting: Places,
    repeats: Places,
}

/// Places of one sort of callers that wait.
struct Places {
    free: Arc<Semaphore>,
    max: usize,
    whose: &'static str,
}

impl Places {
    fn new(max: usize, whose: &'static str) -> Self {
        Self { free: Arc::new(Semaphore::new(max)), max, whose }
    }

    /// A place until it is dropped, or the answer to whoever finds none.
    fn take(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.free.clone().try_acquire_owned().map_err(|_| {
            let Self { max, whose, .. } = self;
            let message = format!("{max} {whose} are waiting on this replica already; try again in a moment");
            ApiError::new(ErrorCode::Overloaded, message)
        })
    }
}

impl Gateway {
    pub(crate) fn new(
        (control, config): (Control, Derived<IngressConfig>),
        producer: Producer,
        blobs: BlobStore,
        replies: Replies,
        results: Reader,
        (keys, desk): (Keys, Arc<Desk>),
        stops: Stops,
    ) -> Self {
        let (waiting, repeats) = (Places::new(WAITING_MAX, "callers"), Places::new(REPEATS_MAX, "repeats"));
        let bodies = Bodies::new(BODIES_MAX_BYTES);
        Self { control, config, blobs, results, keys, desk, producer, bodies, stops, replies, waiting, repeats }
    }

    /// The configuration as it is now.
    pub(crate) fn config(&self) -> Arc<IngressConfig> {
        self.config.get()
    }

    /// Where answers for callers of this replica go.
    pub fn reply_to(&self) -> ReplyTo {
        self.replies.reply_to()
    }

    /// Whether somebody of the team waits for this request on this replica.
    pub(crate) fn waits(&self, id: RequestId, team: &str) -> bool {
        self.waiters().waits(id, team)
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.replies.waiters
    }

    /// Admits a request: permission and shape. Pure; nothing is published.
    pub fn admit(&self, admission: crate::Admission<'_>) -> Result<Request, ApiError> {
        admission.admit(&self.config())
    }

    /// Stores a body that is too large for the log. Before anything that would be left behind if it failed.
    pub(crate) async fn check_in(&self, request: &mut Request) -> Result<(), blob::Error> {
        if let Body::Inline(json) = &request.body
            && let Some(stored) = self.blobs.store(&request.request_id.to_string(), json).await?
        {
            request.body = Body::Ref(stored);
        }
        Ok(())
    }

    /// The record that publishes a request whose body is checked in. Requests that no policy checks go straight to the router.
    pub(crate) fn record(&self, mut request: Request, trace: &TraceContext) -> Result<Outgoing, ApiError> {
        let config = self.config();
        let endpoint = config.endpoints.get(&request.endpoint);
        let checked = endpoint.is_none_or(|endpoint| config.checks_input(endpoint, &request.caller));
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
        self.submit_holding(request, trace, ()).await
    }

    /// The same; `held` is dropped once the body is no longer in memory here.
    pub(crate) async fn submit_holding(
        self: &Arc<Self>,
        mut request: Request,
        trace: &TraceContext,
        held: impl Send + 'static,
    ) -> Result<Pending, ApiError> {
        // Before anything is stored, claimed or sent.
        let place = self.waiting.take()?;
        let id = request.request_id;
        let figures = self.desk.reserve(&mut request).await?;
        let submitted = async {
            if let Some(accepted) = Accepted::of(&request) {
                accepted.keep(&self.results, id).await?;
            }
            self.submit_reserved(request, trace, place, held).await
        };
        let submitted = submitted.await;
        match submitted {
            Ok(mut pending) if pending.id() == id && !pending.is_repeat() => {
                pending.figures = figures;
                Ok(pending)
            }
            // What waits for another request's answer, or for none, uses nothing.
            unused => {
                self.desk.release(id).await;
                unused
            }
        }
    }

    async fn submit_reserved(
        self: &Arc<Self>,
        mut request: Request,
        trace: &TraceContext,
        place: OwnedSemaphorePermit,
        held: impl Send + 'static,
    ) -> Result<Pending, ApiError> {
        let Some(claimant) = claimant(&request, KeyDoor::Http, trace) else {
            self.check_in(&mut request).await.map_err(|error| not_stored(&error))?;
            return match request.reply.is_nobody() {
                true => self.publish_acked(request, trace, place).await,
                false => self.publish(request, trace, place).await,
            };
        };
        let (gateway, trace) = (self.clone(), trace.clone());
        // A caller that leaves between claim and publication must not leave the claim behind.
        let task = supervised("keyed", async move {
            let pending = gateway.submit_keyed(request, claimant, trace, place).await;
            drop(held);
            pending
        });
        task.await.ok().flatten().unwrap_or_else(|| Err(unpublished()))
    }

    async fn submit_keyed(
        self: Arc<Self>,
        mut request: Request,
        mut claimant: Claimant,
        trace: TraceContext,
        place: OwnedSemaphorePermit,
    ) -> Result<Pending, ApiError> {
        self.check_in(&mut request).await.map_err(|error| not_stored(&error))?;
        let claim = match self.keys.settle(&mut claimant).await? {
            Settled::Mine(claim) => claim,
            Settled::Repeat(id) => return self.follow(id, &request, &trace),
            Settled::Done => return self.follow(claimant.me, &request, &trace),
        };
        tollgate_bus::fault::point("idempotency.claimed");
        let published = self.keys.published(&claimant, claim)?;
        if claim.is_new {
            let pending = self.publish_acked(request, &trace, place).await?;
            self.note(published, pending.id()).await;
            return Ok(pending);
        }
        // Who claimed the key first may have published its request, which may have ended or go on: its answer is the answer.
        let ended = self.results.find_surely(claim.id).await.map_err(|error| {
            tracing::error!(%error, "stored results cannot be read, so an idempotency key cannot be taken over");
            ApiError::new(ErrorCode::Overloaded, "stored results cannot be read now; try again with the same key")
        })?;
        request.request_id = claim.id;
        let pending = self.follow(claim.id, &request, &trace)?;
        if ended.is_none() {
            let record = self.record(request, &trace)?;
            self.producer.send_acked(record).await.map_err(|error| not_sent(claim.id, &error))?;
        }
        self.note(published, claim.id).await;
        Ok(pending)
    }

    /// The wait of a repeat for the answer of the request `id`.
    fn follow(self: &Arc<Self>, id: RequestId, repeat: &Request, trace: &TraceContext) -> Result<Pending, ApiError> {
        let place = self.repeats.take()?;
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
        Ok(Pending::new(self, id, repeat, trace, events, place).into_repeat())
    }

    /// The end of a request, once it has one: from the caller that waits for it here, or from stored results.
    pub(crate) async fn ended(&self, id: RequestId, team: &str) -> Box<Terminal> {
        let mut pause = *ASK_EVERY.start();
        loop {
            if let Some(joined) = self.waiters().join(id, team)
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

    /// The body of a terminal, fetched if it is a claim check.
    pub(crate) async fn body_of(&self, id: RequestId, end: &Terminal) -> Result<Option<Box<RawValue>>, ApiError> {
        let Some(body) = &end.body else { return Ok(None) };
        self.blobs.check_out(body).await.map(Some).map_err(|error| {
            tracing::error!(%error, "a stored answer cannot be read");
            let message = format!("the answer is stored but cannot be read now; GET /v1/requests/{id} later");
            ApiError::new(ErrorCode::Overloaded, message)
        })
    }

    /// Asks whoever owns a request of the team to end it.
    pub(crate) async fn cancel(&self, id: RequestId, team: &str, trace: &TraceContext) -> Result<(), ApiError> {
        let record = end::cancellation(id, team, "requested", trace);
        let sent = async { self.producer.send_acked(record.ok()?).await.ok() };
        tokio::time::timeout(QUEUE_TIMEOUT, sent).await.ok().flatten().ok_or_else(|| {
            ApiError::new(ErrorCode::Overloaded, "the cancellation could not be recorded in time; try again")
        })
    }

    /// The same without waiting for the log: once it is in the producer's queue, it may take as long as an outage does.
    pub(crate) fn cancel_later(&self, id: RequestId, team: &str, reason: &str, trace: &TraceContext) {
        let (producer, record) = (self.producer.clone(), end::cancellation(id, team, reason, trace));
        supervised("cancel", async move {
            let queued = async { producer.send(Outgoing { relaxed: true, ..record? }, Ack::None).await };
            match tokio::time::timeout(QUEUE_TIMEOUT, queued).await {
                Ok(Ok(())) => {}
                refused => tracing::error!(?refused, request_id = %id, "a cancellation could not be queued"),
            }
        });
    }

    /// Begins to wait for the request's own answer.
    fn wait(
        self: &Arc<Self>,
        request: &Request,
        trace: &TraceContext,
        place: OwnedSemaphorePermit,
    ) -> Result<Pending, ApiError> {
        let id = request.request_id;
        let events = self.waiters().register(id, &request.caller.team, WAITING_MAX).ok_or_else(unpublished)?;
        metrics::gauge!("tollgate_ingress_waiting").set(self.waiters().len() as f64);
        Ok(Pending::new(self, id, request, trace, events, place))
    }

    /// Publishes a request; its caller hears by the wait if that fails.
    async fn publish(
        self: &Arc<Self>,
        request: Request,
        trace: &TraceContext,
        place: OwnedSemaphorePermit,
    ) -> Result<Pending, ApiError> {
        let (id, pending) = (request.request_id, self.wait(&request, trace, place)?);
        let record = match self.record(request, trace) {
            Ok(record) => record,
            Err(error) => {
                pending.unpublished();
                return Err(error);
            }
        };
        let waiters = self.waiters().clone();
        let failed = move |error| {
            not_sent(id, &error);
            waiters.fail(id);
        };
        match tokio::time::timeout(QUEUE_TIMEOUT, self.producer.send(record, Ack::OnFailure(Box::new(failed)))).await {
            Ok(Ok(())) => Ok(pending),
            refused => {
                tracing::error!(?refused, "a request could not be queued");
                pending.unpublished();
                Err(unpublished())
            }
        }
    }

    /// Publishes a request that goes on without its caller; the caller waits until it is acknowledged.
    async fn publish_acked(
        self: &Arc<Self>,
        request: Request,
        trace: &TraceContext,
        place: OwnedSemaphorePermit,
    ) -> Result<Pending, ApiError> {
        // A repeat of a key joins the request; nobody knows any other's id.
        let has_repeats = request.idempotency_key.is_some();
        let (id, mut pending) = (request.request_id, self.wait(&request, trace, place)?);
        if let Err(error) = self.producer.send_acked(self.record(request, trace)?).await {
            if !has_repeats {
                pending.withdraw();
            }
            return Err(not_sent(id, &error));
        }
        Ok(pending)
    }

    /// Notes that a key's request was published. If this is lost, a repeat takes the key over and finds that out.
    async fn note(&self, published: Outgoing, id: RequestId) {
        tollgate_bus::fault::point("idempotency.published");
        if let Err(error) = self.producer.send(published, Ack::None).await {
            tracing::error!(%error, request_id = %id, "the publication of an idempotency key's request could not be noted");
        }
    }
}

/// The caller as one that wants to know whose its key is, if it has one.
pub(crate) fn claimant(request: &Request, door: KeyDoor, trace: &TraceContext) -> Option<Claimant> {
    let (Some(key), Body::Inline(body)) = (request.idempotency_key.clone(), &request.body) else { return None };
    let key = Key { team: request.caller.team.clone(), door, key };
    let body = BodyHash::of(request.api_type, &request.model, body.get());
    Some(Claimant::new(key, body, request.request_id, trace.clone()))
}

pub(crate) fn unpublished() -> ApiError {
    ApiError::new(ErrorCode::Overloaded, "the request could not be queued; try again in a moment")
}

fn not_sent(id: RequestId, error: &tollgate_bus::Error) -> ApiError {
    tracing::error!(%error, request_id = %id, "a request could not be published");
    unpublished()
}

fn not_stored(error: &blob::Error) -> ApiError {
    tracing::error!(%error, "a large body could not be stored");
    ApiError::new(ErrorCode::Overloaded, "the request's body could not be stored; try again")
}

/// Jobs have no waiter: the lane decides where their answers go.
pub(crate) fn job_reply(reply: tollgate_schemas::TopicReply) -> ReplyTo {
    ReplyTo { partition: None, boot_id: None, topic: Some(reply) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_is_told_to_come_back_until_one_is_free() {
        let places = Places::new(WAITING_MAX, "callers");
        let mut taken: Vec<_> = (0..WAITING_MAX).map(|_| places.take().expect("a place")).collect();
        let refused = places.take().expect_err("none is left");
        assert_eq!(refused.code, ErrorCode::Overloaded);
        assert_eq!(refused.message, "10000 callers are waiting on this replica already; try again in a moment");
        taken.pop();
        assert!(places.take().is_ok());
    }
}
