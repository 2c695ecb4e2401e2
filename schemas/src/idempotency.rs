//! Who may use an idempotency key: claims, and that a claimed request was published. The topic is the arbiter: of several
//! claims the first in the log wins, so replicas need nothing else to agree.

use crate::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The value of `idempotency`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IdempotencyRecord {
    /// The team that the key belongs to.
    pub team: String,
    /// Where the key came in: a header of one door is no key of the other.
    pub door: KeyDoor,
    /// The caller's key.
    pub key: String,
    /// The request that the key stands for, if this claim wins.
    pub request_id: RequestId,
    /// Who claims: the request id of the call that does. It differs from `request_id` where a repeat takes over a claim whose
    /// request was never published.
    pub claimant: RequestId,
    /// SHA-256 of the body as it was accepted, lower-case hex.
    pub body_hash: String,
    /// How far it is.
    pub state: KeyState,
    /// When the claim that won was appended, milliseconds since the Unix epoch: where the key's window begins. Only with
    /// `published`, for readers that no longer have the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_ms: Option<i64>,
}

/// Where an idempotency key came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyDoor {
    /// Header `Idempotency-Key`.
    Http,
    /// Header `ce_id` of a job.
    Topic,
}

/// How far the request behind a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Somebody is about to publish it.
    Claimed,
    /// It is published: the log has it.
    Published,
}
