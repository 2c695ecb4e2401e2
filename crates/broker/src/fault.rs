//! Points at which a test ends the process, as a crash would: between two steps that must not be torn apart. The crash test
//! (`tests/crash.rs`) starts itself as a broker with a point and a number in its environment; the process aborts when it passes
//! that point for the nth time. `SIGKILL` at random moments seldom hits a window of a few microseconds; this always does.
//! Deliberately absent: errors that are made up, delays, and anything at all outside tests, where [`point`] is empty.

/// Names the point and the passing at which the process ends: `store.appended:3`.
#[cfg(test)]
pub(crate) const VARIABLE: &str = "TOLLGATE_BROKER_FAULT";

/// Ends the process here if a test asked for it.
#[cfg(test)]
pub(crate) fn point(name: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let armed = ARMED.get_or_init(|| {
        let wanted = std::env::var(VARIABLE).ok()?;
        let (name, nth) = wanted.rsplit_once(':').expect("name:nth");
        Some((name.to_owned(), nth.parse().expect("a number")))
    });
    if let Some((wanted, nth)) = armed
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        std::process::abort();
    }
}

/// Ends the process here if a test asked for it: never, outside tests.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point(_name: &'static str) {}
