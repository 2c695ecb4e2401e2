//! A request to the owner of a request to end it early. It is not an end by itself.

use crate::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Broadcast on `cancellations`; whoever owns the request aborts its work and ends it with `cancelled`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cancellation {
    /// The request to end.
    pub request_id: RequestId,
    /// Why, for logs: `disconnected` or `requested`.
    pub reason: String,
}
