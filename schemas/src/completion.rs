//! What the router hands to the guardrail when an answer must be checked before anyone sees it.

use crate::{ExecutionId, Origin, Request, RequestId, StreamEvent, Terminal, UsageRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// A finished provider call whose answer has not been released. Who holds this record owns the end of the request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Completion {
    /// The request as approved; its body is dropped (`null`) because output checks do not read it.
    pub request: Request,
    /// The answer as the router would have sent it. Its `chunks` counts the [`CompletionChunk`]s that came before.
    pub terminal: Terminal,
    /// The usage row as far as the router knows it.
    pub usage: UsageRow,
}

/// Part of a stream that must be checked. The completion that follows it has the whole answer again, so one that is lost, late or
/// cannot be processed ends nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CompletionChunk {
    /// As in [`Completion`]; with the first chunk only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<Request>>,
    /// The request that is answered.
    pub request_id: RequestId,
    /// The run that produced this.
    pub execution_id: ExecutionId,
    /// 0, 1, 2, … within the execution.
    pub seq: u32,
    /// Events in order; never empty.
    pub events: Vec<StreamEvent>,
    /// Where they come from: with the first chunk only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// The value of `completions`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Fields")]
pub enum Produced {
    /// The whole answer, and all that ends the request.
    Whole(Box<Completion>),
    /// A part of it, before.
    Chunk(Box<CompletionChunk>),
}

impl Serialize for Produced {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Produced::Whole(completion) => completion.serialize(serializer),
            Produced::Chunk(chunk) => chunk.serialize(serializer),
        }
    }
}

/// The fields of both: bodies are raw JSON, which cannot be read twice.
#[derive(Deserialize)]
struct Fields {
    request: Option<Box<Request>>,
    terminal: Option<Terminal>,
    usage: Option<UsageRow>,
    request_id: Option<RequestId>,
    execution_id: Option<ExecutionId>,
    seq: Option<u32>,
    #[serde(default)]
    events: Vec<StreamEvent>,
    origin: Option<Origin>,
}

impl TryFrom<Fields> for Produced {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Fields { request, terminal, usage, request_id, execution_id, seq, events, origin } = fields;
        match (request, terminal, usage, request_id, execution_id, seq) {
            (Some(request), Some(terminal), Some(usage), ..) => {
                Ok(Produced::Whole(Box::new(Completion { request: *request, terminal, usage })))
            }
            (request, None, None, Some(request_id), Some(execution_id), Some(seq)) => {
                let chunk = CompletionChunk { request, request_id, execution_id, seq, events, origin };
                Ok(Produced::Chunk(Box::new(chunk)))
            }
            _ => Err("neither a completion nor a chunk of one"),
        }
    }
}
