//! What one router-worker has found out about a destination, for the others. A hint, not a command: whoever knows better goes by that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Broadcast on `cooldowns`, keyed by endpoint and destination: the newest one counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cooldown {
    /// The endpoint's name.
    pub endpoint: String,
    /// The destination's name in it.
    pub destination: String,
    /// No calls before, milliseconds since the Unix epoch; 0: it answers again.
    pub until_ms: i64,
    /// The provider named the time itself (`retry-after`).
    #[serde(default)]
    pub is_asked: bool,
    /// A 429 began it.
    #[serde(default)]
    pub is_rate_limit: bool,
    /// The process that found out.
    pub boot_id: uuid::Uuid,
}
