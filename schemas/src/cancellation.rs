//! A request to the owner of a request to end it early. It is not an end by itself.

use crate::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Broadcast on `cancellations`; whoever owns the request aborts its work and ends it with `cancelled`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cancellation {
    /// The request to end.
    pub request_id: RequestId,
    /// The team that asks. A request of another team goes on. `None`: from a version that checked this at the door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Why, for logs: `disconnected`, `requested`, or `unpublished`, if its caller was told that it could not be published.
    pub reason: String,
}
