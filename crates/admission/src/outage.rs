//! What becomes of who asks a store that does not answer: `admission.on_store_failure`, with a word in the log and a count.

use crate::Error;
use std::sync::atomic::{AtomicI64, Ordering};
use tollgate_runtime::config::OnFailure;
use tollgate_schemas::now_us;

/// An outage is told of so often at the most.
const TELL_EVERY_MS: i64 = 10_000;

/// Decides while the store is down.
#[derive(Debug)]
pub struct Outage {
    on_failure: OnFailure,
    told_ms: AtomicI64,
}

impl Outage {
    /// By what `admission.on_store_failure` says.
    pub fn new(on_failure: OnFailure) -> Self {
        Self { on_failure, told_ms: AtomicI64::new(0) }
    }

    /// Whether who asked goes on unchecked. `whose` is told in the log: "requests", "provider calls".
    pub fn allows(&self, whose: &'static str, error: &Error) -> bool {
        let is_allowed = self.on_failure == OnFailure::Allow;
        let outcome = if is_allowed { "allowed" } else { "denied" };
        metrics::counter!("tollgate_admission_store_failures_total", "outcome" => outcome).increment(1);
        let (now_ms, told_ms) = (now_us() / 1000, self.told_ms.load(Ordering::Relaxed));
        if now_ms.saturating_sub(told_ms) >= TELL_EVERY_MS
            && self.told_ms.compare_exchange(told_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::error!(%error, "limits and budgets cannot be checked; {whose} are {outcome} (admission.on_store_failure)");
        }
        is_allowed
    }
}
