//! Waiting for storage: bounded exponential back-off, for ever, with one log line a minute, a metric, and a note in
//! `/health/ready`. Readiness itself stays: nobody else has to wait.
//!
//! The future may be dropped at any point (a revoked partition, a stop): what it waited for is still on the topic.

use crate::{Error, read::ReadError};
use object_store::Error as Store;
use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};

const SECONDS: &str = "tollgate_usage_storage_waiting_seconds";
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(15);
const LOG_FIRST: Duration = Duration::from_secs(10);
const LOG_EVERY: Duration = Duration::from_secs(60);
const TELL_EVERY: Duration = Duration::from_secs(5);

/// One for the process, which has one ledger. While several calls wait at once, they wait for the same storage.
static WAITING: AtomicBool = AtomicBool::new(false);

/// Is storage being waited for?
pub(crate) fn is_waiting() -> bool {
    WAITING.load(Ordering::Relaxed)
}

/// Repeats `attempt` until it succeeds or fails for good. `what` completes "storage cannot …".
pub(crate) async fn until_it_works<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, ReadError>>,
{
    let mut wait =
        Wait { what, begun: Instant::now(), log_at: Instant::now() + LOG_FIRST, failures: 0, last: String::new() };
    let mut delay = FIRST_DELAY;
    loop {
        // An attempt may itself take minutes, because the store's client retries: the log line does not wait for it.
        let error = match wait.watch(attempt()).await {
            Ok(value) => {
                wait.over();
                return Ok(value);
            }
            Err(ReadError::Store(error)) if !is_final(&error) => error,
            Err(ReadError::Store(source)) => return Err(Error::Storage { what: what.to_owned(), source }),
            Err(unreadable) => return Err(Error::File(unreadable)),
        };
        wait.failed(&error);
        wait.watch(sleep(delay)).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

/// Errors that no repetition mends.
fn is_final(error: &Store) -> bool {
    matches!(
        error,
        Store::NotSupported { .. }
            | Store::NotImplemented { .. }
            | Store::InvalidPath { .. }
            | Store::UnknownConfigurationKey { .. }
    )
}

struct Wait<'w> {
    what: &'w str,
    begun: Instant,
    log_at: Instant,
    failures: u64,
    last: String,
}

impl Wait<'_> {
    /// Awaits `work`; says meanwhile that storage is waited for.
    async fn watch<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(TELL_EVERY) => self.tell(),
            }
        }
    }

    fn tell(&mut self) {
        WAITING.store(true, Ordering::Relaxed);
        metrics::gauge!(SECONDS).set(self.begun.elapsed().as_secs_f64());
        if Instant::now() < self.log_at {
            return;
        }
        let waited_s = self.begun.elapsed().as_secs();
        let (what, failures, last) = (self.what, self.failures, &self.last);
        tracing::warn!(waited_s, failures, last, "storage cannot {what}; usage rows wait on their topic until it can");
        self.log_at = Instant::now() + LOG_EVERY;
    }

    fn failed(&mut self, error: &Store) {
        metrics::counter!("tollgate_usage_storage_failures_total").increment(1);
        self.failures += 1;
        self.last = error.to_string();
        if self.failures == 1 {
            self.log_at = Instant::now();
        }
        self.tell();
    }

    fn over(&self) {
        if self.failures > 0 {
            let waited_s = self.begun.elapsed().as_secs();
            tracing::info!(waited_s, failures = self.failures, "storage can {} again", self.what);
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        WAITING.store(false, Ordering::Relaxed);
        metrics::gauge!(SECONDS).set(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn down() -> ReadError {
        ReadError::Store(Store::Generic { store: "test", source: "down".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_hours_with_bounded_delays() {
        let (calls, begun) = (Cell::new(0_u32), Instant::now());
        let attempt = || async {
            calls.set(calls.get() + 1);
            if begun.elapsed() < Duration::from_secs(2 * 3600) { Err(down()) } else { Ok(7) }
        };
        assert_eq!(until_it_works("write", attempt).await.unwrap(), 7);
        assert!(begun.elapsed() < Duration::from_secs(2 * 3600 + 16), "comes back within the longest delay");
        assert!((480..520).contains(&calls.get()), "{}", calls.get());
    }

    #[tokio::test]
    async fn stops_where_repetition_cannot_help() {
        let unsupported = || async { Err::<(), _>(ReadError::Store(Store::NotSupported { source: "no".into() })) };
        assert!(matches!(until_it_works("write", unsupported).await, Err(Error::Storage { .. })));
        let broken = || async { Err::<(), _>(ReadError::Unreadable { path: "x".into(), reason: "bad".into() }) };
        assert!(matches!(until_it_works("read", broken).await, Err(Error::File(_))));
    }
}
