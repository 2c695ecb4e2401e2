//! Router-worker: calls providers and accounts for every call.
//!
//! ```text
//! approved.{interactive,batch,judge} ─► service ─► execute ─► route (which destination next)
//!     ▲            cancellations ─► registry ──┘       │  └──► attempt ─► providers ─► HTTP
//!     │                                       │        └► ledger ─► prices
//! parked.{10s,1m,10m} ◄───── park ◄───────────┘
//! ```
//!
//! A request of the batch lane that every destination throttles waits in `parked.*`; the router owns it there too.
//!
//! Writes: `replies` (chunks and the terminal), `usage`, `out.<team>` (jobs that came by topic) when it ends a request;
//! `completions` instead when the answer must pass output checks; `approved.batch` (copies for shadows); `cooldowns`; `dead-letters`. Reads: `approved.*`, `cancellations`, `cooldowns`,
//! `parked.*` (which it also writes), bodies in object storage.
//!
//! The hard parts are pure: `route` decides over a history, `prices` and `ledger` add up, each provider's leaf turns
//! values into values. `providers::http` alone talks to the network.
//!
//! Deliberately absent: callers' keys (they never come this far), checks, limits and budgets (admission has made
//! them, but for the limits of destinations),
//! and provider batch APIs. A credential is resolved for this service only.

mod allowance;
mod attempt;
mod cache;
mod coalesce;
mod config;
#[cfg(any(test, feature = "cost"))]
#[doc(hidden)]
pub mod cost;
mod dialects;
mod execute;
mod failure;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod gate;
mod health;
mod leave_out;
mod ledger;
mod load;
mod metric;
mod park;
mod patience;
mod providers;
mod registry;
mod route;
mod service;
mod share;
mod spans;
#[cfg(test)]
mod tests;
mod tokens;

pub use service::run;
use tollgate_admission::prices;

/// Why the service cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] tollgate_runtime::config::Problems),
    /// The store of limits.
    #[error("admission.store: {0}")]
    Admission(#[from] tollgate_admission::Error),
    /// Object storage.
    #[error(transparent)]
    Storage(#[from] tollgate_runtime::store::Error),
    /// Kafka.
    #[error(transparent)]
    Bus(#[from] tollgate_bus::Error),
    /// Something that should not be possible.
    #[error("{0}; this is a defect, please report it with the log")]
    Defect(&'static str),
}
