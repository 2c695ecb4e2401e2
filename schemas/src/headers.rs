//! Names of record headers: CloudEvents 1.0 in binary mode (Kafka protocol binding), W3C trace context, dead letters.

/// `1.0`.
pub const SPEC_VERSION: &str = "ce_specversion";
/// The event's id. On `in.<team>` it is the caller's own id of a job; on internal topics the request id.
pub const ID: &str = "ce_id";
/// Who made the event, e.g. `tollgate/ingress`.
pub const SOURCE: &str = "ce_source";
/// The record type, e.g. `tollgate.request`.
pub const TYPE: &str = "ce_type";
/// RFC 3339 time of the event.
pub const TIME: &str = "ce_time";
/// What the event is about; on jobs: the API path such as `/v1/chat/completions`.
pub const SUBJECT: &str = "ce_subject";
/// RFC 3339 time after which nobody wants the answer any more.
pub const EXPIRY_TIME: &str = "ce_expirytime";
/// Media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// The hop's trace context.
pub const TRACEPARENT: &str = "traceparent";
/// Vendor trace state.
pub const TRACESTATE: &str = "tracestate";
/// The request a record answers (CloudEvents correlation extension).
pub const CORRELATION_ID: &str = "ce_correlationid";
/// Boot id of the ingress replica a reply is for; lets other readers of the partition skip it without parsing.
pub const BOOT_ID: &str = "tollgate-boot-id";
/// `chunk`, `terminal` or, for a guardrail's question to a judge, `verdict` on `replies`; lets the results group keep terminals alone
/// without parsing.
pub const REPLY_KIND: &str = "tollgate-reply-kind";
/// On `in.<team>`: the user of the team whom the job is for. It narrows what the job may use to what that user may.
pub const USER: &str = "tollgate-user";
/// What a job is billed to: `NAME=VALUE, NAME=VALUE`, or a JSON object of strings.
pub const TAGS: &str = "tollgate-tags";
/// What a job makes of kept answers: `use`, `refresh` or `bypass`.
pub const CACHE: &str = "tollgate-cache";
/// How often an operator put the record back from `dead-letters`.
pub const REDRIVES: &str = "tollgate-redrives";
