//! The answer a job gets on `out.<team>`: OpenAI's batch output line plus `metadata`.
//!
//! Source: <https://platform.openai.com/docs/api-reference/batch/request-output>.

use crate::{ApiError, Body, RequestId, body::INLINE_MAX_BYTES};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line of output.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobOutput {
    /// `batch_req_<request id>`, or `null` for a record that never became a request.
    pub id: Option<String>,
    /// The job's own id.
    pub custom_id: Option<String>,
    /// The answer, also for provider errors that have a status.
    pub response: Option<JobResponse>,
    /// Why there is no answer.
    pub error: Option<JobError>,
    /// The job's `metadata`, echoed.
    pub metadata: Option<serde_json::Value>,
}

/// The answer's status and body.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobResponse {
    /// HTTP status.
    pub status_code: u16,
    /// The request id, to fetch the answer by `GET /v1/requests/{id}`.
    pub request_id: RequestId,
    /// The body in the API's shape; `{"request_id", "url"}` when it is too large for a record.
    pub body: Box<serde_json::value::RawValue>,
    /// Fields of the job's body that were left out, because the API of its destination cannot express them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
}

/// An error of the gateway.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JobError {
    /// One of [`crate::ErrorCode`].
    pub code: String,
    /// For people.
    pub message: String,
}

impl JobOutput {
    /// The line for a request that ended. `body` of an answer over 256 KiB becomes a pointer to where it can be fetched, also if it
    /// stands in the reply because it could not be stored: a team's topics take less than our own.
    pub fn ended(id: RequestId, reply: &crate::TopicReply, terminal: &crate::Terminal) -> Self {
        let body = match &terminal.body {
            Some(Body::Inline(raw)) if raw.get().len() <= INLINE_MAX_BYTES => Some(raw.clone()),
            Some(_) => {
                let pointer = serde_json::json!({ "request_id": id, "url": format!("/v1/requests/{id}") });
                Body::of(&pointer).ok().and_then(|b| if let Body::Inline(raw) = b { Some(raw) } else { None })
            }
            None => None,
        };
        let dropped = terminal.dropped();
        Self {
            id: Some(format!("batch_req_{id}")),
            custom_id: reply.custom_id.clone(),
            response: body.map(|body| JobResponse { status_code: terminal.status, request_id: id, body, dropped }),
            error: terminal.error.as_ref().map(JobError::from),
            metadata: reply.metadata.clone(),
        }
    }
}

impl From<&ApiError> for JobError {
    fn from(error: &ApiError) -> Self {
        Self { code: error.code.as_str().to_owned(), message: error.message.clone() }
    }
}
