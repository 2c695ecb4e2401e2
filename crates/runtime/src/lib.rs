//! What every service needs before it can do its own work: configuration, telemetry, health, the HTTP listener, calls to systems of
//! one's own, storage, shutdown.
//!
//! Deliberately absent: Kafka (that is `bus`) and anything a single service needs alone.

pub mod blob;
pub mod config;
pub mod control;
pub mod health;
pub mod listener;
pub mod outbound;
pub mod seal;
pub mod secret;
pub mod shutdown;
pub mod spawn;
pub mod store;
pub mod telemetry;

pub use blob::BlobStore;
pub use config::Config;
pub use control::Control;
pub use health::Readiness;
pub use secret::Secret;
pub use shutdown::{exit, stop_signal};
pub use spawn::supervised;

/// Clocks of services may differ by this much; it is added before anything is called expired.
pub const MAX_CLOCK_SKEW_MS: i64 = 5_000;
