//! What administrators change while the gateway runs. The topic is configuration and audit trail at once: its one partition
//! puts all changes into one order, and every service comes to the same result by reading it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The value of `control`: one change of one object.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Names the change, so that whoever made it recognises it in the log.
    pub change_id: uuid::Uuid,
    /// What sort of object.
    pub kind: ObjectKind,
    /// Which one.
    pub name: String,
    /// The version it replaces: the offset of the change that made it, plus one; 0 for an object of the configuration file. `None`:
    /// there must be no such object. A change that names another version than the current one is void.
    pub replaces: Option<i64>,
    /// What the object is from now on, in the shape of the configuration file; `None`: it is gone. Never holds a secret but
    /// encrypted or hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    /// Who made it.
    pub by: Actor,
    /// When it was made, microseconds since the Unix epoch.
    pub at_us: i64,
}

/// What sort of object a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "sections of the configuration file in the singular; a credential has none")]
pub enum ObjectKind {
    Provider,
    Credential,
    Endpoint,
    Guardrail,
    Team,
    User,
    Key,
    Budget,
    Price,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [ObjectKind; 9] = [
        Self::Provider,
        Self::Credential,
        Self::Endpoint,
        Self::Guardrail,
        Self::Team,
        Self::User,
        Self::Key,
        Self::Budget,
        Self::Price,
    ];

    /// As written in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Credential => "credential",
            Self::Endpoint => "endpoint",
            Self::Guardrail => "guardrail",
            Self::Team => "team",
            Self::User => "user",
            Self::Key => "key",
            Self::Budget => "budget",
            Self::Price => "price",
        }
    }

    /// The section of the configuration file, and the folder of the admin API.
    pub fn section(self) -> &'static str {
        match self {
            Self::Provider => "providers",
            Self::Credential => "credentials",
            Self::Endpoint => "endpoints",
            Self::Guardrail => "guardrails",
            Self::Team => "teams",
            Self::User => "users",
            Self::Key => "keys",
            Self::Budget => "budgets",
            Self::Price => "prices",
        }
    }
}

/// Who made a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// An admin key's name, or a user's.
    pub name: String,
    /// The role it acted in.
    pub role: String,
    /// Peer address.
    pub ip_address: Option<String>,
}
