//! The Kafka door: jobs from `in.<team>`, through the same admission as HTTP.
//!
//! The topic is the identity: whoever may write `in.<team>` is that team. A record that is not a job is dead-lettered, and
//! answered with a typed error where it names an id. A job that is refused is answered, nothing else.

pub(crate) mod parse;

use crate::{
    Door, Error, Gateway,
    admit::Admission,
    config::{IngressConfig, JobDoor},
    gateway::job_reply,
    idempotency::{Key, Settled},
};
use parse::{Job, Malformed};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus, DeadLetter, Emitter, Incoming, Outgoing, Profile, RawValueBytes,
    end::job_answer,
    work::{Handler, Options, Outcome, Running},
};
use tollgate_runtime::{Readiness, config::JOB_DEADLINE};
use tollgate_schemas::{
    ApiError, Body, Caller, ErrorCode, KeyDoor, Request, RequestId, TopicReply, headers,
    job::{JobError, JobOutput},
    now_us,
};

/// Starts reading every team's door; `None` if no team has one.
pub(crate) async fn start(
    config: &Arc<IngressConfig>,
    bus: &Bus,
    gateway: Arc<Gateway>,
    readiness: &Readiness,
    stop: CancellationToken,
) -> Result<Option<Running>, Error> {
    if config.doors.is_empty() {
        return Ok(None);
    }
    let asking = bus.clone();
    let cluster = tokio::task::spawn_blocking(move || asking.cluster_id(Duration::from_secs(30)))
        .await
        .map_err(|_| Error::Thread)??;
    let topics: Vec<String> = config.doors.keys().cloned().collect();
    let handler = Jobs { config: config.clone(), gateway, cluster };
    let running = bus.consume::<RawValueBytes, _>(
        Options::new("ingress", topics),
        bus.producer(Profile::Bulk)?,
        Arc::new(handler),
        stop,
    )?;
    readiness.require("job topics", running.probe());
    Ok(Some(running))
}

struct Jobs {
    config: Arc<IngressConfig>,
    gateway: Arc<Gateway>,
    cluster: String,
}

impl Handler<RawValueBytes> for Jobs {
    async fn handle(&self, record: Incoming<RawValueBytes>, emitter: Emitter) -> Outcome {
        let Some(door) = self.config.doors.get(&record.topic) else {
            return Outcome::dead(DeadLetter::new("job", "no team has this topic any more"));
        };
        match parse::job(&record.value.0, &record.headers) {
            Ok(job) => self.job(door, &record, job, &emitter).await,
            Err(malformed) => self.malformed(door, &record, malformed),
        }
    }
}

impl Jobs {
    async fn job(&self, door: &JobDoor, record: &Incoming<RawValueBytes>, job: Job, emitter: &Emitter) -> Outcome {
        let id =
            RequestId::of_record(&self.cluster, &record.topic, record.partition, record.offset, record.timestamp_ms);
        let key = reply_key(record);
        let reply = TopicReply { topic: door.replies.clone(), key, custom_id: job.custom_id, metadata: job.metadata };
        let admission = Admission {
            request_id: id,
            api_type: job.api_type,
            body: job.body,
            caller: Caller { team: door.team.clone(), url: Some(record.topic.clone()), ..Caller::default() },
            reply: job_reply(reply.clone()),
            door: &Door::Topic {
                expires_ms: job.expires_ms,
                default_ms: i64::try_from(JOB_DEADLINE.as_millis()).unwrap_or(i64::MAX),
                idempotency_key: job.idempotency_key,
            },
        };
        let request = match admission.admit(&self.config) {
            Ok(request) => request,
            Err(error) => return refused(&reply, id, &error, record),
        };
        if request.idempotency_key.is_some() {
            return tokio::select! {
                outcome = self.keyed(request, &reply, record) => outcome,
                // Nothing is torn: what is claimed and not published yet is published when the record comes again.
                () = emitter.leaving().cancelled() => Outcome::hand_back(),
            };
        }
        match self.gateway.record(request, &record.trace).await {
            Ok(out) => Outcome::emit(vec![out]),
            Err(error) => refused(&reply, id, &error, record),
        }
    }

    /// A job that names itself by `ce_id`: published if it is the first of its name, else answered with what the first one got.
    async fn keyed(&self, request: Request, reply: &TopicReply, record: &Incoming<RawValueBytes>) -> Outcome {
        let (me, team, trace) = (request.request_id, request.caller.team.clone(), &record.trace);
        let (Some(key), Body::Inline(body)) = (request.idempotency_key.clone(), request.body.clone()) else {
            return Outcome::default();
        };
        let key = Key { team: team.clone(), door: KeyDoor::Topic, key };
        let settled = loop {
            match self.gateway.keys.settle(&key, body.get(), me, trace).await {
                Ok(settled) => break settled,
                // Nobody waits at this door, so the job does until the log is there again.
                Err(error) if error.code == ErrorCode::Overloaded && !request.expired(now_us() / 1000, 0) => {
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
                Err(error) => return refused(reply, me, &error, record),
            }
        };
        match settled {
            Settled::Done => Outcome::default(),
            Settled::Mine(id, claimed_ms) => {
                tollgate_bus::fault::point("idempotency.claimed");
                let published = self.gateway.keys.published(&key, (id, claimed_ms), me, body.get(), trace);
                match (self.gateway.record(request, trace).await, published) {
                    // In this order: what is noted as published must be in the log, or nobody would publish it.
                    (Ok(out), Ok(published)) => match self.gateway.producer.send_acked(out.clone()).await {
                        Ok(()) => Outcome::emit(vec![published]),
                        Err(_) => Outcome::emit(vec![out]),
                    },
                    (Err(error), _) | (_, Err(error)) => refused(reply, me, &error, record),
                }
            }
            Settled::Repeat(first) => {
                let left_ms = u64::try_from(request.deadline_ms - now_us() / 1000).unwrap_or(0);
                let ended = self.gateway.ended(first, &team);
                match tokio::time::timeout(Duration::from_millis(left_ms), ended).await {
                    Ok(terminal) => {
                        let output = JobOutput::ended(first, reply, &terminal);
                        let line = job_answer(&reply.topic, reply.key.as_deref(), &output, &me.to_string(), trace);
                        Outcome::emit(line.into_iter().collect())
                    }
                    Err(_) => refused(reply, me, &request.expired_error(), record),
                }
            }
        }
    }

    fn malformed(&self, door: &JobDoor, record: &Incoming<RawValueBytes>, malformed: Malformed) -> Outcome {
        let mut outcome = Outcome::dead(DeadLetter::new("job", malformed.error.message.as_str()));
        if malformed.custom_id.is_some() {
            let reply = TopicReply {
                topic: door.replies.clone(),
                key: reply_key(record),
                custom_id: malformed.custom_id,
                metadata: None,
            };
            outcome.emit.extend(answer(&reply, None, &malformed.error, record));
        }
        outcome
    }
}

/// The outcome of a job that ends here.
fn refused(reply: &TopicReply, id: RequestId, error: &ApiError, record: &Incoming<RawValueBytes>) -> Outcome {
    Outcome::emit(answer(reply, Some(id), error, record).into_iter().collect())
}

/// How long a job waits before it asks again whose its key is.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Longer keys are not echoed: the answer is keyed by the job's custom id instead.
const KEY_MAX_BYTES: usize = 1024;

/// The answer's key: the job's own, if it is text.
fn reply_key(record: &Incoming<RawValueBytes>) -> Option<String> {
    let key = record.key.as_ref().filter(|key| !key.is_empty() && key.len() <= KEY_MAX_BYTES)?;
    String::from_utf8(key.clone()).ok()
}

/// The answer line of a job that ends here.
fn answer(
    reply: &TopicReply,
    id: Option<RequestId>,
    error: &ApiError,
    record: &Incoming<RawValueBytes>,
) -> Option<Outgoing> {
    let output = JobOutput {
        id: id.map(|id| format!("batch_req_{id}")),
        custom_id: reply.custom_id.clone(),
        response: None,
        error: Some(JobError::from(error)),
        metadata: reply.metadata.clone(),
    };
    let event_id =
        id.map_or_else(|| format!("{}-{}-{}", record.topic, record.partition, record.offset), |id| id.to_string());
    job_answer(&reply.topic, reply.key.as_deref(), &output, &event_id, &record.trace).ok()
}

/// Header that names a job where the value does not.
const ID_HEADER: &str = headers::ID;

fn bad_job(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}
