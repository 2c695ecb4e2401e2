//! The records that Tollgate's services exchange, the topics that carry them, their headers and the closed set of errors.
//!
//! Everything here is data: no I/O, no clock except id making, no Kafka client. A topic constant binds a name to its
//! record type (see [`topic`]), so a name and its schema cannot drift. JSON schemas are generated from these types into
//! `schemas/json/`; records of older versions still parse, because fields are only ever added with a default.
//!
//! Deliberately absent: provider wire formats (router-worker's leaves), configuration (`runtime`), and anything that
//! would need to understand a body: provider bodies travel as raw JSON, byte for byte.

pub mod body;
pub mod cancellation;
pub mod completion;
pub mod error;
pub mod headers;
pub mod ids;
pub mod job;
pub mod reply;
pub mod request;
pub mod topic;
pub mod trace;
pub mod usage;

pub use body::Body;
pub use cancellation::Cancellation;
pub use completion::Completion;
pub use error::{ApiError, ErrorCode};
pub use ids::{ExecutionId, RequestId};
pub use reply::{Reply, ReplyEvent, StreamEvent, Terminal};
pub use request::{ApiType, Caller, Lane, OnDisconnect, ReplyTo, Request, TopicReply};
pub use topic::{Topic, TopicSpec};
pub use trace::TraceContext;
pub use usage::{Attempt, AttemptAction, PriceStatus, TokenDetails, TokenSource, UsageRow};

/// Microseconds since the Unix epoch, UTC. Used for every stored time.
pub fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}
