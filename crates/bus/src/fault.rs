//! Points at which a test ends the process, as a crash would: between two effects that must not be torn apart unnoticed.
//! `TOLLGATE_FAULT=name:n` aborts a debug build when it passes the point `name` for the nth time. Deliberately absent: errors
//! that are made up, delays, and anything at all in release builds, where [`point`] is empty.
//!
//! Points of the bus: `reply.acknowledged`, `usage.acknowledged`, `completion.acknowledged`, `approved.acknowledged`,
//! `parked.acknowledged` (the broker has this record, nobody was told yet; the other effects of the same consumed record may or may
//! not be there), `offset.committing` (everything is acknowledged, nothing is committed), `offset.committed` (the broker has said so).

/// Passes the point of a record that the broker has acknowledged, by its internal topic.
pub(crate) fn acknowledged(topic: &'static str) {
    match topic {
        "replies" => point("reply.acknowledged"),
        "usage" => point("usage.acknowledged"),
        "completions" => point("completion.acknowledged"),
        _ if topic.starts_with("approved.") => point("approved.acknowledged"),
        _ if topic.starts_with("parked.") => point("parked.acknowledged"),
        _ => {}
    }
}

/// Ends the process here if a test asked for it.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let armed = ARMED.get_or_init(|| {
        let wanted = std::env::var("TOLLGATE_FAULT").ok()?;
        let (name, nth) = wanted.rsplit_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    if let Some((wanted, nth)) = armed
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        tracing::error!(name, "TOLLGATE_FAULT ends the process here");
        std::process::abort();
    }
}

/// Ends the process here if a test asked for it: never, in release builds.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}
