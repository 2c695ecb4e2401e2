//! Asking the judges of a body: all at once, within the time that they have together.
//!
//! A model is asked by a request of one's own to the router (`approved.judge`), whose end comes back to this replica's place on
//! `replies`. It has an id that follows from the request it is about, so that whoever is handed the same record again asks the same
//! question again. What is open when that request ends early is called off, so that no model works on it for nobody. Presidio and webhooks
//! are called from here. The record that all of it is for stays in flight meanwhile.
//!
//! Deliberately absent: trying again. The router does that for models; a judge of one's own has the rest of the time for one answer.

use crate::judges::{About, Asking, Judge, Question, Ruled, Ruling, cache};
use crate::metric_definitions as metric;
use crate::pipeline::{Case, Judged, Seat, Stage};
use futures::future::{join_all, try_join_all};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tollgate_bus::replies::Replies;
use tollgate_bus::{Emitter, Outgoing, end};
use tollgate_runtime::BlobStore;
use tollgate_runtime::outbound::Target;
use tollgate_schemas::{Body, CacheUse, Caller, Lane, OnDisconnect, Request, RequestId, Terminal, TraceContext, topic};

/// Questions whose answers are awaited at the same time in one process.
const AWAITED_MAX: usize = 20_000;
/// How long a judge may take, for one that is called from here: it may give up then.
const TIMEOUT_HEADER: &str = "tollgate-timeout-ms";

/// Where questions go.
pub(crate) trait Sends: Sync {
    /// Sends a record; see [`Emitter::send`].
    fn send(&self, record: Outgoing) -> impl Future<Output = Result<(), tollgate_bus::Error>> + Send;
    /// See [`Emitter::leaving`].
    fn is_leaving(&self) -> bool;
}

impl Sends for Emitter {
    fn send(&self, record: Outgoing) -> impl Future<Output = Result<(), tollgate_bus::Error>> + Send {
        Emitter::send(self, record)
    }

    fn is_leaving(&self) -> bool {
        self.leaving().is_cancelled()
    }
}

/// Questions to models that were asked and are not answered yet.
#[derive(Default)]
pub(crate) struct Open(Mutex<HashSet<RequestId>>);

impl Open {
    fn asked(&self, id: RequestId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn answered(&self, id: RequestId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Has them ended, because their request has ended. Not for one that is handed back: whoever gets it next asks the same questions,
    /// by the same ids.
    pub(crate) async fn call_off(&self, request: &Request, trace: &TraceContext, sends: &impl Sends) {
        let open = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for id in open {
            let sent = match end::cancellation(id, &request.caller.team, "requested", trace) {
                Ok(record) => sends.send(record).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::warn!(%error, request_id = %id, "a question to a judge could not be called off");
            }
        }
    }
}

/// The body that is judged, and all that it comes with.
pub(crate) struct Hearing<'a, S> {
    pub(crate) request: &'a Request,
    pub(crate) trace: &'a TraceContext,
    pub(crate) policy_version: &'a str,
    pub(crate) stage: &'a Stage,
    pub(crate) case: &'a Case,
    /// Which part of a stream it is; `None`: all of it.
    pub(crate) part: Option<u32>,
    /// All judges together.
    pub(crate) budget: Duration,
    pub(crate) open: &'a Open,
    pub(crate) sends: &'a S,
}

impl<S> Hearing<'_, S> {
    /// What the id of a question is made of: each part of a stream is a question of its own.
    fn about(&self, judged: &Judged) -> String {
        match self.part {
            None => format!("judge:{}", judged.name),
            Some(part) => format!("judge:{}:part-{part}", judged.name),
        }
    }
}

/// Asks judges.
pub(crate) struct Court {
    replies: Replies,
    blobs: BlobStore,
}

impl Court {
    pub(crate) fn new(replies: Replies, blobs: BlobStore) -> Self {
        Self { replies, blobs }
    }

    /// Who waits for answers here.
    #[cfg(test)]
    pub(crate) fn waiters(&self) -> &tollgate_bus::replies::Waiters {
        &self.replies.waiters
    }

    /// The rulings of the judges at these places of the stage.
    pub(crate) async fn hear<S: Sends>(&self, hearing: &Hearing<'_, S>, open: Vec<usize>) -> Vec<(usize, Ruled)> {
        let until = tokio::time::Instant::now() + hearing.budget;
        let mut each = Vec::with_capacity(open.len());
        for at in open {
            each.push(self.hear_one(hearing, at, until));
        }
        join_all(each).await
    }

    async fn hear_one<S: Sends>(
        &self,
        hearing: &Hearing<'_, S>,
        at: usize,
        until: tokio::time::Instant,
    ) -> (usize, Ruled) {
        let (judged, begun) = (&hearing.stage.judged[at], Instant::now());
        let ruling = self.ruling(hearing, judged, until).await;
        let ruled = Ruled { ruling, took: begun.elapsed() };
        metric::ruled(judged, &ruled);
        if let Ruling::Failed(why) = ruled.ruling {
            let (judge, check) = (judged.seat.name().map_or("", |name| &**name), &*judged.name);
            tracing::warn!(judge, check, why, request_id = %hearing.request.request_id, "a judge did not rule");
        }
        (at, ruled)
    }

    async fn ruling<S: Sends>(&self, hearing: &Hearing<'_, S>, judged: &Judged, until: tokio::time::Instant) -> Ruling {
        let judge = match &judged.seat {
            Seat::Taken(judge) => judge,
            Seat::Vacant(_) => return Ruling::Failed("there is no such judge any more"),
            Seat::Empty => return Ruling::NotAsked,
        };
        let about = About { judged, case: hearing.case, request_id: hearing.request.request_id };
        let key = judge.cache.as_ref().map(|_| cache::key(judge, &about, hearing.policy_version));
        if let (Some(cache), Some(key)) = (&judge.cache, &key)
            && let Some(ruling) = cache.get(key, Instant::now())
        {
            metric::ruled_before(&judge.name);
            return ruling;
        }
        let asked = self.answers(hearing, judge, &about, until);
        let ruling = match tokio::time::timeout_at(until, asked).await {
            Ok(Ok(Some(answers))) => judge.ruling(&about, &answers),
            Ok(Ok(None)) => Ruling::Passed,
            Ok(Err(why)) => Ruling::Failed(why),
            Err(_) => Ruling::Failed("it did not answer in time"),
        };
        if let (Some(cache), Some(key)) = (&judge.cache, key) {
            cache.put(key, &ruling, Instant::now());
        }
        ruling
    }

    /// The judge's answers to all of its questions; `None`: there is nothing to ask.
    async fn answers<S: Sends>(
        &self,
        hearing: &Hearing<'_, S>,
        judge: &Judge,
        about: &About<'_>,
        until: tokio::time::Instant,
    ) -> Result<Option<Vec<Value>>, &'static str> {
        match judge.asking(about)? {
            Asking::Nothing => Ok(None),
            Asking::Routed(endpoint, questions) => {
                let mut each = Vec::with_capacity(questions.len());
                for (at, question) in questions.into_iter().enumerate() {
                    each.push(self.routed(hearing, about.judged, (endpoint, at), question, until));
                }
                try_join_all(each).await.map(Some)
            }
            Asking::Called(target, question) => {
                called(hearing, about.judged, target, &question, until).await.map(|answer| Some(vec![answer]))
            }
        }
    }

    /// Asks a model behind the router, and waits for its answer.
    async fn routed<S: Sends>(
        &self,
        hearing: &Hearing<'_, S>,
        judged: &Judged,
        (endpoint, at): (&str, usize),
        question: Question,
        until: tokio::time::Instant,
    ) -> Result<Value, &'static str> {
        let parent = hearing.request;
        let id = RequestId::of_child(parent.request_id, &format!("{}:{at}", hearing.about(judged)));
        let waiters = &self.replies.waiters;
        let mut ending = waiters.ending(id, &parent.caller.team, AWAITED_MAX).ok_or("too many questions are open")?;
        let body = serde_json::value::to_raw_value(&question.body).map_err(|_| "its question cannot be written")?;
        let stored = self.blobs.check_in(&id.to_string(), body).await;
        let body = stored.map_err(|_| "its question cannot be stored")?;
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let request = self.request(hearing, id, endpoint, (question, body), left);
        let record = Outgoing::of(topic::approved(Lane::Judge), id, &request, hearing.trace);
        let record = record.map_err(|_| "its question cannot be written")?;
        hearing.open.asked(id);
        hearing.sends.send(record).await.map_err(|_| "its question cannot be sent")?;
        let terminal = ending.terminal().await.ok_or("its answer is lost")?;
        hearing.open.answered(id);
        self.answer(&terminal).await
    }

    /// The question as a request that the team of the parent is charged for, and no limit holds up.
    fn request<S>(
        &self,
        hearing: &Hearing<'_, S>,
        request_id: RequestId,
        endpoint: &str,
        (question, body): (Question, Body),
        left: Duration,
    ) -> Request {
        let (parent, accepted_us) = (hearing.request, tollgate_schemas::now_us());
        let left_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX / 2);
        Request {
            request_id,
            lane: Lane::Judge,
            endpoint: endpoint.to_owned(),
            model: endpoint.to_owned(),
            api_type: question.api,
            stream: false,
            body,
            api_headers: Default::default(),
            // Where the parent came from is the parent's.
            caller: Caller { ip_address: None, user_agent: None, url: None, ..parent.caller.clone() },
            reply: self.replies.reply_to(),
            tags: parent.tags.clone(),
            accepted_us,
            deadline_ms: accepted_us / 1000 + left_ms,
            cache: CacheUse::Bypass,
            on_disconnect: OnDisconnect::Finish,
            parent_request_id: Some(parent.request_id),
            shadow: None,
            batch_id: None,
            idempotency_key: None,
            guardrail_outcome: None,
            guardrails: Vec::new(),
            policy_version: None,
            // What was replaced is no judge's to know, and a verdict needs nothing back.
            restore: Default::default(),
            masked: Vec::new(),
            // It did not come by the door.
            reserved: None,
            waiting: None,
        }
    }

    async fn answer(&self, terminal: &Terminal) -> Result<Value, &'static str> {
        let body = terminal.body.as_ref().filter(|_| terminal.error.is_none()).ok_or("its request failed")?;
        let json = self.blobs.check_out(body).await.map_err(|_| "its answer cannot be read")?;
        serde_json::from_str(json.get()).map_err(|_| "its answer is no JSON")
    }
}

/// Calls a judge of one's own.
async fn called<S>(
    hearing: &Hearing<'_, S>,
    judged: &Judged,
    target: &Target,
    question: &Value,
    until: tokio::time::Instant,
) -> Result<Value, &'static str> {
    let left = until.saturating_duration_since(tokio::time::Instant::now());
    let id = RequestId::of_child(hearing.request.request_id, &hearing.about(judged));
    let timeout = [(TIMEOUT_HEADER, left.as_millis().to_string())];
    let answered = target.post(&format!("msg_{id}"), question.to_string(), &timeout, left).await;
    let answer = answered.map_err(|why| {
        tracing::warn!(check = &*judged.name, why, "a judge cannot be called");
        "it cannot be called, or refuses"
    })?;
    serde_json::from_slice(&answer).map_err(|_| "its answer is no JSON")
}
