//! Ending a request: the one terminal reply, the usage row, and a topic job's answer. Only the request's owner calls it.

use crate::{Error, Outgoing, TopicName};
use tollgate_schemas::{
    ExecutionId, Reply, ReplyEvent, Request, Terminal, TraceContext, UsageRow, headers, job::JobOutput, topic,
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

/// A chunk or terminal on its way to whoever waits for `request`.
pub fn reply(
    request: &Request,
    execution_id: ExecutionId,
    event: ReplyEvent,
    trace: &TraceContext,
) -> Result<Outgoing, Error> {
    let kind = match event {
        ReplyEvent::Chunk { .. } => "chunk",
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
        headers: Vec::with_capacity(9),
        payload: serde_json::to_vec(output)?,
        relaxed: false,
    };
    record.cloud_event(event_id, "tollgate.answer", trace);
    if let Some(custom_id) = &output.custom_id {
        record.header(headers::CORRELATION_ID, custom_id.as_str());
    }
    Ok(record)
}
