//! Ending a request: the one terminal reply, the usage row, and a topic job's answer; of a shadow's copy the row alone. Only the
//! request's owner calls it. Beside it the word to an owner that somebody wants it ended early.

use crate::{Error, Headers, Outgoing, TopicName};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashMap};
use tollgate_schemas::{
    ApiError, ApiType, Body, Caller, Cancellation, Completion, ErrorCode, ExecutionId, Lane, OnDisconnect, Reply,
    ReplyEvent, ReplyTo, Request, RequestId, Terminal, TopicReply, TraceContext, UsageRow, headers, job::JobOutput,
    topic,
};

/// The records that end `request`. `usage` gets its last fields from `terminal` here.
pub fn end_request(
    request: &Request,
    execution_id: ExecutionId,
    terminal: Terminal,
    mut usage: UsageRow,
    trace: &TraceContext,
) -> Result<Vec<Outgoing>, Error> {
    usage.end(&terminal);
    let mut row = Outgoing::of(&topic::USAGE, request.request_id, &usage, trace)?;
    row.relaxed = true;
    if request.shadow.is_some() {
        // Nobody has asked for it.
        return Ok(vec![row]);
    }
    let answer = request.reply.topic.as_ref().map(|reply_to| {
        let output = JobOutput::ended(request.request_id, reply_to, &terminal);
        let id = request.request_id.to_string();
        job_answer(&reply_to.topic, reply_to.key.as_deref(), &output, &id, trace)
    });
    // A broker serves a connection's requests one by one, so what somebody waits for goes first.
    let mut records = vec![reply(request, execution_id, ReplyEvent::Terminal(Box::new(terminal)), trace)?];
    records.extend(answer.transpose()?);
    records.push(row);
    Ok(records)
}

/// The records that end the request behind a record that cannot be processed: `value` is that of `requests`, `approved`,
/// `parked` or `completions`, whole or broken. Its end is an internal error, told to whoever it names and entered into the
/// usage table with what is known. Empty if it does not even hold a request id, because there is nobody to tell, and for a chunk of
/// a stream, because the completion that follows it has the end.
pub fn poisoned_request(value: &[u8], gateway: &str, region: &str, trace: &TraceContext) -> Vec<Outgoing> {
    let Some((request, usage)) = salvage(value) else { return Vec::new() };
    // A row of another request would be that one's first, and the right one would come too late.
    let usage = usage.filter(|usage| usage.request_id == request.request_id);
    // What a router has spent on an answer is in the row that came with it.
    let usage = usage.unwrap_or_else(|| {
        let id = ExecutionId::new();
        let mut row = UsageRow::of(&request, id, gateway, region, Some(trace.trace_id_hex()));
        row.attempts = request.waiting.as_ref().map(|waiting| waiting.attempts.clone()).unwrap_or_default();
        row
    });
    let message =
        "the request could not be processed; its record was moved to dead-letters; report it with the request id";
    let mut terminal = Terminal::failed(&request.caller.team, ApiError::new(ErrorCode::Internal, message));
    terminal.attempts = u32::try_from(usage.attempts.len()).unwrap_or(u32::MAX);
    end_request(&request, usage.execution_id, terminal, usage, trace).unwrap_or_else(|error| {
        tracing::error!(%error, request_id = %request.request_id, "the end of a poisoned request cannot be written");
        Vec::new()
    })
}

/// The request in a record, and its usage row if the record is a completion whose row is whole.
fn salvage(value: &[u8]) -> Option<(Request, Option<UsageRow>)> {
    if let Ok(request) = serde_json::from_slice::<Request>(value) {
        return Some((request, None));
    }
    if let Ok(Completion { request, usage, .. }) = serde_json::from_slice(value) {
        return Some((request, Some(usage)));
    }
    let broken: Fields<'_> = serde_json::from_slice(value).ok()?;
    if is_chunk(&broken) {
        return None;
    }
    let usage = field(&broken, "usage");
    let request = request_of(&field(&broken, "request").unwrap_or(broken))?;
    Some((request, usage))
}

/// A JSON object whose fields are not looked into: one that is beyond any type (a number of 400 digits) hides no other.
type Fields<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// A part of an answer ends nothing, whole or broken.
fn is_chunk(broken: &Fields<'_>) -> bool {
    broken.contains_key("seq") && !broken.contains_key("terminal") && !broken.contains_key("usage")
}

fn field<'a, T: serde::Deserialize<'a>>(of: &Fields<'a>, name: &str) -> Option<T> {
    serde_json::from_str(of.get(name)?.get()).ok()
}

/// A request made of those fields of a broken one that make sense: enough to end it.
fn request_of(broken: &Fields<'_>) -> Option<Request> {
    let request_id: RequestId = field(broken, "request_id")?;
    let reply: &Fields<'_> = &field(broken, "reply").unwrap_or_default();
    let team = field(broken, "caller").and_then(|caller: Fields<'_>| field(&caller, "team")).unwrap_or_default();
    Some(Request {
        request_id,
        lane: field(broken, "lane").unwrap_or(Lane::Interactive),
        endpoint: field(broken, "endpoint").unwrap_or_default(),
        model: field(broken, "model").unwrap_or_default(),
        api_type: field(broken, "api_type").unwrap_or(ApiType::ChatCompletions),
        stream: field(broken, "stream").unwrap_or_default(),
        body: Body::Inline(RawValue::NULL.to_owned()),
        caller: field(broken, "caller").unwrap_or(Caller { team, ..Caller::default() }),
        reply: ReplyTo {
            partition: field(reply, "partition"),
            boot_id: field(reply, "boot_id"),
            topic: field::<TopicReply>(reply, "topic"),
        },
        tags: field(broken, "tags").unwrap_or_default(),
        accepted_us: field(broken, "accepted_us").unwrap_or_else(|| request_id.unix_ms() * 1000),
        deadline_ms: field(broken, "deadline_ms").unwrap_or_default(),
        api_headers: Default::default(),
        cache: Default::default(),
        on_disconnect: OnDisconnect::Finish,
        parent_request_id: field(broken, "parent_request_id"),
        shadow: field(broken, "shadow"),
        batch_id: field(broken, "batch_id"),
        idempotency_key: field(broken, "idempotency_key"),
        guardrail_outcome: field(broken, "guardrail_outcome"),
        guardrails: field(broken, "guardrails").unwrap_or_default(),
        policy_version: field(broken, "policy_version"),
        // It has no answer.
        restore: Default::default(),
        masked: Vec::new(),
        reserved: None,
        waiting: field(broken, "waiting"),
    })
}

/// A chunk or terminal on its way to whoever waits for `request`.
pub fn reply(
    request: &Request,
    execution_id: ExecutionId,
    event: ReplyEvent,
    trace: &TraceContext,
) -> Result<Outgoing, Error> {
    let kind = match event {
        ReplyEvent::Chunk { .. } => "chunk",
        // Nobody asks for it later, so it is not kept.
        ReplyEvent::Terminal(_) if request.lane == Lane::Judge => "verdict",
        ReplyEvent::Terminal(_) => "terminal",
    };
    let value = Reply { request_id: request.request_id, execution_id, boot_id: request.reply.boot_id, event };
    let mut record =
        Outgoing::of(&topic::REPLIES, request.request_id, &value, trace)?.to_partition(request.reply.partition);
    record.header(headers::REPLY_KIND, kind);
    if let Some(boot_id) = request.reply.boot_id {
        record.header(headers::BOOT_ID, boot_id.to_string());
    }
    Ok(record)
}

/// Asks whoever owns a request of `team` to end it. `reason` is for logs; [`Cancellation`] has the words.
pub fn cancellation(id: RequestId, team: &str, reason: &str, trace: &TraceContext) -> Result<Outgoing, Error> {
    let value = Cancellation { request_id: id, team: Some(team.to_owned()), reason: reason.to_owned() };
    Outgoing::of(&topic::CANCELLATIONS, id, &value, trace)
}

/// An answer line for a team's `out.` topic (`topic` is its full name).
pub fn job_answer(
    topic: &str,
    key: Option<&str>,
    output: &JobOutput,
    event_id: &str,
    trace: &TraceContext,
) -> Result<Outgoing, Error> {
    let key = key.or(output.custom_id.as_deref());
    let mut record = Outgoing {
        topic: TopicName::Full(topic.to_owned()),
        partition: None,
        key: key.map(|k| k.as_bytes().to_vec()),
        headers: Headers::with_capacity(9),
        payload: serde_json::to_vec(output)?,
        is_tombstone: false,
        relaxed: false,
    };
    record.cloud_event(event_id, "tollgate.answer", trace);
    if let Some(custom_id) = &output.custom_id {
        record.header(headers::CORRELATION_ID, custom_id.as_str());
    }
    Ok(record)
}

#[cfg(test)]
mod tests;
