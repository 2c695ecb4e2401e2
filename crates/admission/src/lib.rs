//! Admission: may this request run? Limits on requests, tokens and concurrency, and money budgets, reserved before the work and
//! settled after it.
//!
//! ```text
//!  Config ─► policy ──┬─ plan(Ask) ──────────► Reservation ─► Store::admit ──► Decision (verdict)
//!            │        └─ settlement(UsageRow) ► Settlement ──► Store::settle ─► alerts
//!            └─ prices                                          │
//!                                    memory (window, ledger) ◄──┴──► valkey (the same in one Lua script per call)
//! ```
//!
//! * `policy` is compiled once per configuration and decides which meters and budgets a request meets.
//! * A [`Store`] takes all of a reservation or nothing, and settles it once. `memory` is for one ingress, `valkey` for several.
//! * A store counts as down until it has been brought up to date: [`Store::restore`] from a [`Snapshot`], the usage rows
//!   since through [`Store::settle`], the open requests through [`Store::reopen`], then [`Store::caught_up`].
//! * Beyond: HTTP, Kafka, webhooks. Services do those.

mod error;
pub mod estimate;
mod ledger;
mod memory;
mod money;
mod outage;
mod period;
pub mod plan;
pub mod policy;
pub mod prices;
mod snapshot;
pub mod store;
mod valkey;
pub mod verdict;
mod window;

pub use error::Error;
pub use outage::Outage;
pub use plan::{Alert, Reservation, Settlement, Source};
pub use policy::{Ask, DestinationLimits, GRACE_MS, Plan, Policy, Who};
pub use snapshot::{KeptWindow, SNAPSHOT_VERSION, Snapshot};
pub use store::Store;
pub use valkey::connect;
pub use verdict::{Decision, Figure, Figures, Reason, Refused, duration_text};
