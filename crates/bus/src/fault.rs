//! Points at which a test ends the process, as a crash would: between two effects that must not be torn apart unnoticed.
//! `TOLLGATE_FAULT=name:n` aborts a debug build when it passes the point `name` for the nth time. Deliberately absent: errors
//! that are made up, delays, and anything at all in release builds, where [`point`] is empty.

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
