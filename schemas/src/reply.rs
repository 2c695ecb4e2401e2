//! What comes back on `replies`: chunks of a stream, and the one terminal that ends a request.

use crate::{ApiError, Body, ExecutionId, RequestId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Response header that names the fields of the request that were left out, with a comma and a space between them.
pub const DROPPED_HEADER: &str = "x-tollgate-dropped";

/// The value of `replies`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// The request that is answered.
    pub request_id: RequestId,
    /// The run that produced this. A waiter binds its stream to the first it forwards.
    pub execution_id: ExecutionId,
    /// The replica this is for: of ingress, or of the guardrail that asks a judge.
    pub boot_id: Option<Uuid>,
    /// A chunk or the end.
    pub event: ReplyEvent,
}

/// Part of an answer, or its end.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplyEvent {
    /// Some events of a stream.
    Chunk {
        /// 0, 1, 2, … within the execution.
        seq: u32,
        /// Events in order; never empty.
        events: Vec<StreamEvent>,
        /// Where they come from: with the first chunk only, for the response's headers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// The end of the request.
    Terminal(Box<Terminal>),
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The destination that answers.
    pub destination: String,
    /// How many provider calls it took to come to it.
    pub attempts: u32,
    /// Fields of the request that were left out, because its API cannot express them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
}

/// One server-sent event in the shape of the request's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamEvent {
    /// The `event:` field, where the API uses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The `data:` field: one line, usually JSON.
    pub data: String,
}

/// The one end of a request: an answer or a typed error.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Terminal {
    /// HTTP status.
    pub status: u16,
    /// The whole answer in the request's API shape, streamed or not; `None` for an error.
    pub body: Option<Body>,
    /// Why there is no answer. A stream that broke has both: what was produced, and why it ended.
    pub error: Option<ApiError>,
    /// How many chunk records of this execution came before.
    #[serde(default)]
    pub chunks: u32,
    /// Team that may fetch it later.
    pub team: String,
    /// Destination that answered, or was tried last.
    pub destination: Option<String>,
    /// How many provider calls were made.
    #[serde(default)]
    pub attempts: u32,
    /// A stream that had begun ends as its API ends one that a content filter stopped, instead of with the error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_filtered: bool,
    /// Response headers for the caller (`retry-after`, `x-should-retry`, …), lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// When it ended, microseconds since the Unix epoch.
    pub ended_us: i64,
}

impl Terminal {
    /// Tells SDKs not to try again.
    pub fn forbid_retry(&mut self) {
        self.headers.insert("x-should-retry".to_owned(), "false".to_owned());
    }

    /// Fields of the request that were left out, as [`DROPPED_HEADER`] names them.
    pub fn dropped(&self) -> Vec<String> {
        let names = self.headers.get(DROPPED_HEADER).into_iter();
        names.flat_map(|names| names.split(", ")).map(str::to_owned).collect()
    }

    /// An end with an answer, which the caller of this adds.
    pub fn answered(team: &str) -> Self {
        Self {
            status: 200,
            body: None,
            error: None,
            chunks: 0,
            team: team.to_owned(),
            destination: None,
            attempts: 0,
            is_filtered: false,
            headers: BTreeMap::new(),
            ended_us: crate::now_us(),
        }
    }

    /// An end without an answer.
    pub fn failed(team: &str, error: ApiError) -> Self {
        Self { status: error.code.status(), error: Some(error), ..Self::answered(team) }
    }
}
