//! Kafka's wire protocol on one connection: frames in, requests out to a [`Handler`], replies back in order.
//!
//! ```text
//! socket ── frame ── request (versions: what is served; shape: are all lengths true?) ── Handler
//!   └────── writer ── answers (in order, ready or waited for) ── reply, fetch ────────────┘
//! ```
//!
//! Deliberately absent: what a request means, who may send it, TLS, accepting connections, any state beyond one
//! connection except the [`Limits`] that all of them share. Source of the protocol:
//! <https://kafka.apache.org/protocol>.

mod answers;
mod connection;
mod fetch;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod limits;
mod reply;
mod request;
mod shape;
#[cfg(test)]
mod tests;
mod versions;
mod writer;

pub(crate) use connection::{Answer, Handler, serve};
pub(crate) use fetch::{FetchedPartition, fetch_reply};
#[cfg(any(test, feature = "fuzz"))]
pub(crate) use fuzz::fuzz_frame;
pub(crate) use limits::Limits;
pub(crate) use reply::Reply;
pub(crate) use request::{Refused, Request};
pub(crate) use versions::api_versions;
