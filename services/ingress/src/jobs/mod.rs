//! The Kafka door: jobs from `in.<team>`, through the same admission as HTTP.
//!
//! The topic is the identity: whoever may write `in.<team>` is that team. A record that is not a job is dead-lettered, and
//! answered with a typed error where it names an id. A job that is refused is answered, nothing else.

mod doors;
pub(crate) mod parse;
mod poisoned;

pub(crate) use doors::Doors;

use crate::{
    Door, Error, Gateway,
    admit::Admission,
    config::{IngressConfig, JOB_REPEATS_MAX, JobDoor},
    gateway::{claimant, job_reply},
    idempotency::{Claimant, Settled},
};
use parse::{Job, Malformed};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus, DeadLetter, Emitter, Incoming, Outgoing, RawValueBytes,
    end::job_answer,
    work::{Handler, Outcome},
};
use tollgate_runtime::{Readiness, config::JOB_DEADLINE, control::Derived, supervised};
use tollgate_schemas::{
    ApiError, Caller, ErrorCode, KeyDoor, Request, RequestId, TopicReply, headers,
    job::{JobError, JobOutput},
    left_until, now_us,
};

/// Starts reading every team's door.
pub(crate) async fn start(
    config: Derived<IngressConfig>,
    bus: &Bus,
    gateway: Arc<Gateway>,
    readiness: &Readiness,
    stop: CancellationToken,
) -> Result<Doors, Error> {
    let asking = bus.clone();
    let cluster = tokio::task::spawn_blocking(move || asking.cluster_id(Duration::from_secs(30)))
        .await
        .map_err(|_| Error::Thread)??;
    Doors::open(config, bus.clone(), Arc::new(Jobs { gateway, cluster }), readiness, stop)
}

struct Jobs {
    gateway: Arc<Gateway>,
    cluster: String,
}

impl Handler<RawValueBytes> for Jobs {
    async fn handle(&self, record: Incoming<RawValueBytes>, emitter: Emitter) -> Outcome {
        let config = self.gateway.config();
        let Some(door) = config.doors.get(&record.topic) else {
            return Outcome::dead(DeadLetter::new(NO_JOB, "no team has this topic any more"));
        };
        let parsed = parse::job(&record.value.0, &record.headers);
        // The job has what it needs of the value, and may wait long.
        let record = record.with(());
        match parsed {
            Ok(job) => match self.job(door, &record, job, &emitter).await {
                Ok(outcome) | Err(outcome) => outcome,
            },
            Err(malformed) => malformed_job(door, &record, malformed),
        }
    }

    fn poisoned(&self, record: &Incoming<Vec<u8>>, reason: &DeadLetter) -> Vec<Outgoing> {
        let config = self.gateway.config();
        // What is no job has had its answer, if it names itself.
        let Some(door) = config.doors.get(&record.topic).filter(|_| reason.stage() != NO_JOB) else {
            return Vec::new();
        };
        let (gateway, id) = (self.gateway.clone(), self.id_of(record));
        supervised("release", async move { gateway.desk.release(id).await });
        poisoned::answer_of(door, id, record).into_iter().collect()
    }
}

/// A job's record without its value.
type Record = Incoming<()>;

/// The stage of dead letters that are no jobs.
const NO_JOB: &str = "job";

impl Jobs {
    /// The request that a record stands for, however often it is delivered.
    fn id_of<T>(&self, record: &Incoming<T>) -> RequestId {
        RequestId::of_record(&self.cluster, &record.topic, record.partition, record.offset, record.timestamp_ms)
    }

    /// What becomes of a job; as an error where it ends early.
    async fn job(&self, door: &JobDoor, record: &Record, job: Job, emitter: &Emitter) -> Result<Outcome, Outcome> {
        let id = self.id_of(record);
        let key = reply_key(record);
        let reply = TopicReply { topic: door.replies.clone(), key, custom_id: job.custom_id, metadata: job.metadata };
        let place = Place { door, reply: &reply, record, emitter };
        let user = job.user.map(|name| self.gateway.config().access.job_user(&door.team, &name)).transpose();
        let user_id = user.map_err(|error| place.refused(id, &error))?;
        let admission = Admission {
            request_id: id,
            api_type: job.api_type,
            called: job.called,
            api_headers: job.api_headers,
            body: job.body,
            tags: job.tags,
            cache: job.cache,
            caller: Caller { team: door.team.clone(), user_id, url: Some(record.topic.clone()), ..Caller::default() },
            reply: job_reply(reply.clone()),
            door: &Door::Topic {
                expires_ms: job.expires_ms,
                default_ms: i64::try_from(JOB_DEADLINE.as_millis()).unwrap_or(i64::MAX),
                idempotency_key: job.idempotency_key,
            },
        };
        let mut request = self.gateway.admit(admission).map_err(|error| place.refused(id, &error))?;
        let claimant = claimant(&request, KeyDoor::Topic, &record.trace);
        self.reserve(&mut request, &place).await?;
        let submitted = async {
            self.check_in(&mut request, &place).await?;
            match claimant {
                Some(claimant) => self.keyed(request, claimant, &place).await,
                None => Ok((Outcome::emit(vec![self.out(request, &place)?]), true)),
            }
        };
        match submitted.await {
            Ok((outcome, true)) => Ok(outcome),
            // What is answered with another request's answer, or with an error, uses nothing.
            Ok((unused, false)) | Err(unused) => {
                self.gateway.desk.release(id).await;
                Ok(unused)
            }
        }
    }

    /// Takes what the job may need. Nobody waits at this door, so while a limit is reached the job does, until its deadline; other
    /// teams' topics are read on meanwhile. A budget that is used up is an answer.
    async fn reserve(&self, request: &mut Request, place: &Place<'_>) -> Result<(), Outcome> {
        loop {
            let error = match place.unless_leaving(self.gateway.desk.reserve(request)).await? {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let wait = error.headers.iter().find(|(name, _)| *name == "retry-after-ms");
            let wait = wait.and_then(|(_, ms)| ms.parse().ok()).map(Duration::from_millis);
            let wait = wait.or((error.code == ErrorCode::Overloaded).then_some(AGAIN));
            let left = left_until(request.deadline_ms, now_us() / 1000);
            match wait {
                None => return Err(place.refused(request.request_id, &error)),
                Some(_) if left.is_zero() => return Err(place.refused(request.request_id, &request.expired_error())),
                Some(wait) => {
                    let wait = wait.min(left).min(RESERVE_AGAIN_MAX);
                    place.unless_leaving(tokio::time::sleep(wait)).await?;
                }
            }
        }
    }

    /// Stores a large body. Nobody waits at this door, so while storage is away the job does, until its deadline.
    async fn check_in(&self, request: &mut Request, place: &Place<'_>) -> Result<(), Outcome> {
        while let Err(error) = place.unless_leaving(self.gateway.check_in(request)).await? {
            if request.expired(now_us() / 1000, 0) {
                return Err(place.refused(request.request_id, &request.expired_error()));
            }
            tracing::warn!(%error, request_id = %request.request_id, "a job's body cannot be stored; trying again");
            place.unless_leaving(tokio::time::sleep(AGAIN)).await?;
        }
        Ok(())
    }

    /// The record that publishes a job.
    fn out(&self, request: Request, place: &Place<'_>) -> Result<Outgoing, Outcome> {
        let id = request.request_id;
        self.gateway.record(request, &place.record.trace).map_err(|error| place.refused(id, &error))
    }

    /// A job that names itself by `ce_id`: published if it is the first of its name, else answered with what the first one got.
    /// Nothing is torn where it is handed back: what is claimed and not published yet is published when the record comes again.
    /// With it, whether the job was published.
    async fn keyed(
        &self,
        request: Request,
        mut claimant: Claimant,
        place: &Place<'_>,
    ) -> Result<(Outcome, bool), Outcome> {
        let id = claimant.me;
        let claim = match self.settle(&request, &mut claimant, place).await? {
            // An earlier delivery has published it.
            Settled::Done => return Ok((Outcome::default(), true)),
            Settled::Repeat(first) => {
                self.gateway.desk.release(id).await;
                return self.repeat(first, request, place).await.map(|outcome| (outcome, false));
            }
            Settled::Mine(claim) => claim,
        };
        tollgate_bus::fault::point("idempotency.claimed");
        let published = self.gateway.keys.published(&claimant, claim).map_err(|error| place.refused(id, &error))?;
        if !claim.is_new && self.has_ended(&request, place).await? {
            return Ok((Outcome::emit(vec![published]), false));
        }
        // In this order: what is noted as published must be in the log, or nobody would publish it.
        let out = self.out(request, place)?;
        while let Err(error) = self.gateway.producer.send_acked(out.clone()).await {
            if let tollgate_bus::Error::TooLarge { .. } = error {
                let message = "the job does not fit into a record; send less metadata";
                return Err(place.refused(id, &bad_job(message)));
            }
            tracing::warn!(%error, request_id = %id, "a job could not be published; trying again");
            place.unless_leaving(tokio::time::sleep(AGAIN)).await?;
        }
        tollgate_bus::fault::point("idempotency.published");
        Ok((Outcome::emit(vec![published]), true))
    }

    /// Whose the job's key is. Nobody waits at this door, so while the log is away the job does, until its deadline. One that
    /// has claimed its key finds out even later: whoever holds a claim publishes it, or its repeats would wait in vain.
    async fn settle(&self, request: &Request, claimant: &mut Claimant, place: &Place<'_>) -> Result<Settled, Outcome> {
        loop {
            let settled = place.unless_leaving(self.gateway.keys.settle(claimant)).await?;
            match settled {
                Ok(settled) => return Ok(settled),
                Err(error) if error.code != ErrorCode::Overloaded => return Err(place.refused(claimant.me, &error)),
                Err(_) if !claimant.has_claimed && request.expired(now_us() / 1000, 0) => {
                    return Err(place.refused(claimant.me, &request.expired_error()));
                }
                Err(_) => place.unless_leaving(tokio::time::sleep(AGAIN)).await?,
            }
        }
    }

    /// Whether the job has ended already: it was published by an earlier delivery, which could not note it.
    async fn has_ended(&self, request: &Request, place: &Place<'_>) -> Result<bool, Outcome> {
        loop {
            match place.unless_leaving(self.gateway.results.find_surely(request.request_id)).await? {
                Ok(found) => return Ok(found.is_some()),
                // The router ends it without a call.
                Err(_) if request.expired(now_us() / 1000, 0) => return Ok(false),
                Err(error) => tracing::warn!(%error, "stored results cannot be read; asking again"),
            }
            place.unless_leaving(tokio::time::sleep(AGAIN)).await?;
        }
    }

    /// A job that repeats `first` gets its answer. It waits without its body, and few of a team do: each keeps a place of its
    /// partition from jobs that could be worked on.
    async fn repeat(&self, first: RequestId, request: Request, place: &Place<'_>) -> Result<Outcome, Outcome> {
        let (me, expired, deadline_ms) = (request.request_id, request.expired_error(), request.deadline_ms);
        drop(request);
        place.emitter.release_bytes();
        let waiting = place.door.repeats.try_acquire();
        let (patience, error) = if waiting.is_ok() {
            (left_until(deadline_ms, now_us() / 1000), expired)
        } else {
            let message = format!(
                "the job repeats the request {first}, which is still running, and {JOB_REPEATS_MAX} repeats are waiting \
                 already; fetch its answer with GET /v1/requests/{first}, or send the job again later"
            );
            (HAS_ENDED_TIMEOUT, ApiError::new(ErrorCode::StillRunning, message))
        };
        let ended = tokio::time::timeout(patience, self.gateway.ended(first, &place.door.team));
        match place.unless_leaving(ended).await? {
            Ok(terminal) => {
                let (reply, trace) = (place.reply, &place.record.trace);
                let output = JobOutput::ended(first, reply, &terminal);
                let line = job_answer(&reply.topic, reply.key.as_deref(), &output, &me.to_string(), trace);
                Ok(Outcome::emit(line.into_iter().collect()))
            }
            Err(_) => Err(place.refused(me, &error)),
        }
    }
}

/// Where a job came in, and where its answer goes.
struct Place<'a> {
    door: &'a JobDoor,
    reply: &'a TopicReply,
    record: &'a Record,
    emitter: &'a Emitter,
}

impl Place<'_> {
    /// What `wait` comes to; if the partition leaves meanwhile, the job is handed back.
    async fn unless_leaving<T>(&self, wait: impl Future<Output = T>) -> Result<T, Outcome> {
        tokio::select! {
            waited = wait => Ok(waited),
            () = self.emitter.leaving().cancelled() => Err(Outcome::hand_back()),
        }
    }

    /// The outcome of a job that ends here.
    fn refused(&self, id: RequestId, error: &ApiError) -> Outcome {
        Outcome::emit(answer(self.reply, Some(id), error, self.record).into_iter().collect())
    }
}

fn malformed_job(door: &JobDoor, record: &Record, malformed: Malformed) -> Outcome {
    let mut outcome = Outcome::dead(DeadLetter::new(NO_JOB, malformed.error.message.as_str()));
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

/// How long a job waits at most before it looks again whether its limits have room: they may have been raised.
const RESERVE_AGAIN_MAX: Duration = Duration::from_secs(60);
/// How long a job waits before it tries again what failed.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a repeat that may not wait looks whether the first one has ended.
const HAS_ENDED_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer keys are not echoed: the answer is keyed by the job's custom id instead.
const KEY_MAX_BYTES: usize = 1024;

/// The answer's key: the job's own, if it is text.
fn reply_key<T>(record: &Incoming<T>) -> Option<String> {
    let key = record.key.as_ref().filter(|key| !key.is_empty() && key.len() <= KEY_MAX_BYTES)?;
    String::from_utf8(key.clone()).ok()
}

/// The answer line of a job that ends here.
fn answer<T>(reply: &TopicReply, id: Option<RequestId>, error: &ApiError, record: &Incoming<T>) -> Option<Outgoing> {
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
