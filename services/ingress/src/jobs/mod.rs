//! The Kafka door: jobs from `in.<team>`, through the same admission as HTTP.
//!
//! The topic is the identity: whoever may write `in.<team>` is that team. A record that is not a job is dead-lettered, and
//! answered with a typed error where it names an id. A job that is refused is answered, nothing else.

pub(crate) mod parse;

use crate::{
    Door, Error, Gateway,
    admit::Admission,
    config::{IngressConfig, JOB_DEADLINE, JobDoor},
    gateway::job_reply,
};
use parse::{Job, Malformed};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Bus, DeadLetter, Emitter, Incoming, Outgoing, Profile, RawValueBytes,
    end::job_answer,
    work::{Handler, Options, Outcome, Running},
};
use tollgate_runtime::Readiness;
use tollgate_schemas::{
    ApiError, Caller, ErrorCode, RequestId, TopicReply, headers,
    job::{JobError, JobOutput},
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
    async fn handle(&self, record: Incoming<RawValueBytes>, _: Emitter) -> Outcome {
        let Some(door) = self.config.doors.get(&record.topic) else {
            return Outcome::dead(DeadLetter::new("job", "no team has this topic any more"));
        };
        match parse::job(&record.value.0, &record.headers) {
            Ok(job) => self.job(door, &record, job).await,
            Err(malformed) => self.malformed(door, &record, malformed),
        }
    }
}

impl Jobs {
    async fn job(&self, door: &JobDoor, record: &Incoming<RawValueBytes>, job: Job) -> Outcome {
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
            },
        };
        let published = match admission.admit(&self.config) {
            Ok(request) => self.gateway.record(request, &record.trace).await,
            Err(error) => Err(error),
        };
        match published {
            Ok(out) => Outcome::emit(vec![out]),
            Err(error) => Outcome::emit(answer(&reply, Some(id), &error, record).into_iter().collect()),
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
