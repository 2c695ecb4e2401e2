//! What the router hands to the guardrail when an answer must be checked before anyone sees it.

use crate::{Request, Terminal, UsageRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A finished provider call whose answer has not been released. Who holds this record owns the end of the request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Completion {
    /// The request as approved; its body is dropped (`null`) because output checks do not read it.
    pub request: Request,
    /// The answer as the router would have sent it.
    pub terminal: Terminal,
    /// The usage row as far as the router knows it.
    pub usage: UsageRow,
}
