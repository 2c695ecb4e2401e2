//! Sessions, one after another: what is tried again, what stays down, and what `/health/ready` says of it.
//!
//! Nobody waits for the ledger, because rows wait on their topic for its retention. So it takes nobody out of traffic once it
//! has been seen to work or to wait for storage, and, beside other services in one process, it stays down alone.
//!
//! Not here: storage that is away, which is waited for inside a session (`retry`).

use crate::{Error, retry, writer::End};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tollgate_runtime::Readiness;

/// Delays between sessions that failed; each failure is one line in the log.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const DOWN: &str = "tollgate_usage_down";

/// What to do about an error that needs a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// End with it: a process of its own.
    End,
    /// Say so and try again every minute, beside services that go on.
    StayDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Works,
    WaitsForKafka,
    Down,
}

type IsAssigned = Box<dyn Fn() -> bool + Send + Sync>;

/// How the ledger is, for people and probes. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: AtomicU8,
    was_ready: AtomicBool,
    probe: Mutex<Option<IsAssigned>>,
}

impl Health {
    /// Registers what `/health/ready` shows.
    pub(crate) fn tell(&self, readiness: &Readiness) {
        metrics::gauge!(DOWN).set(0.0);
        let asked = self.clone();
        readiness.require("the usage topic's partitions", move || asked.is_ready());
        readiness.note("the usage-aggregator waits for storage; usage rows wait on their topic", retry::is_waiting);
        let asked = self.clone();
        readiness.note("the usage-aggregator waits for Kafka; usage rows wait on their topic", move || {
            asked.is(State::WaitsForKafka)
        });
        let asked = self.clone();
        readiness.note(
            "the usage-aggregator is down until a person does what its error in the log says; usage rows wait on their topic",
            move || asked.is(State::Down),
        );
    }

    /// The present session's probe: has the group given it an assignment?
    pub(crate) fn watch(&self, probe: impl Fn() -> bool + Send + Sync + 'static) {
        if let Ok(mut slot) = self.0.probe.lock() {
            *slot = Some(Box::new(probe));
        }
    }

    /// A file is in the table, or a session has lasted.
    pub(crate) fn works(&self) {
        self.set(State::Works);
    }

    fn is_ready(&self) -> bool {
        let assigned = || self.0.probe.lock().is_ok_and(|slot| slot.as_ref().is_some_and(|probe| probe()));
        let ready =
            self.0.was_ready.load(Ordering::Relaxed) || assigned() || retry::is_waiting() || self.is(State::Down);
        // From then on a session that begins anew is nothing that traffic should feel.
        self.0.was_ready.store(ready, Ordering::Relaxed);
        ready
    }

    fn is(&self, state: State) -> bool {
        self.0.state.load(Ordering::Relaxed) == state as u8
    }

    fn set(&self, state: State) {
        self.0.state.store(state as u8, Ordering::Relaxed);
        metrics::gauge!(DOWN).set(if state == State::Down { 1.0 } else { 0.0 });
    }
}

/// Runs sessions until one was stopped or failed for good. A session that has lasted for `proof` works.
pub(crate) async fn keep<F>(
    health: &Health,
    on_error: OnError,
    proof: Duration,
    stop: &CancellationToken,
    session: impl Fn() -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<End, Error>>,
{
    let mut delay = FIRST_DELAY;
    loop {
        let begun = Instant::now();
        let error = match watched(health, proof, session()).await {
            Ok(End::Stopped) => return Ok(()),
            Ok(End::Raced) => {
                tracing::info!("reading again from where the table is");
                continue;
            }
            Err(error) => error,
        };
        let passes = matches!(error, Error::Bus(_) | Error::StorageDown(_));
        if stop.is_cancelled() && (passes || on_error == OnError::StayDown) {
            tracing::warn!("stopped with rows unwritten, which the next start reads again: {error}");
            return Ok(());
        }
        if begun.elapsed() > LONGEST_DELAY {
            delay = FIRST_DELAY;
        }
        let again_s = delay.as_secs();
        if passes {
            // A ledger that is down stays down, whatever it meets while it tries.
            if !health.is(State::Down) {
                health.set(State::WaitsForKafka);
            }
            tracing::warn!(%error, again_s, "the ledger cannot go on for now; usage rows wait on their topic");
        } else if on_error == OnError::StayDown {
            health.set(State::Down);
            tracing::error!(
                %error, again_s,
                "the ledger is down and needs a person: do what the error says, then it goes on by itself; requests are served \
                 meanwhile, and usage rows wait on their topic, for its retention at most"
            );
        } else {
            return Err(error);
        }
        tokio::select! {
            () = sleep(delay) => {}
            () = stop.cancelled() => return Ok(()),
        }
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

async fn watched<T>(health: &Health, proof: Duration, session: impl Future<Output = T>) -> T {
    let mut session = pin!(session);
    tokio::select! {
        ended = &mut session => return ended,
        () = sleep(proof) => {}
    }
    // Waiting for storage proves nothing.
    if !retry::is_waiting() {
        health.works();
    }
    session.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::path::Path;
    use std::{cell::RefCell, collections::VecDeque};

    const PROOF: Duration = Duration::from_secs(70);

    fn bus() -> Error {
        Error::Bus(tollgate_bus::Error::Stopped("test".to_owned()))
    }

    fn damaged() -> Error {
        Error::File(crate::read::ReadError::Unreadable { path: Path::from("x"), reason: "bad".to_owned() })
    }

    /// Keeps sessions that end one after the other as listed, then one that lasts until the stop after `last`.
    async fn kept(
        on_error: OnError,
        ends: Vec<Result<End, Error>>,
        last: Duration,
    ) -> (Result<(), Error>, Health, usize) {
        let (health, stop) = (Health::default(), CancellationToken::new());
        let (ends, begun) = (RefCell::new(VecDeque::from(ends)), RefCell::new(0));
        let session = || async {
            *begun.borrow_mut() += 1;
            let end = ends.borrow_mut().pop_front();
            match end {
                Some(end) => end,
                None => {
                    sleep(last).await;
                    stop.cancel();
                    Ok(End::Stopped)
                }
            }
        };
        let result = keep(&health, on_error, PROOF, &stop, session).await;
        (result, health, begun.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn errors_of_kafka_are_waited_out() {
        for on_error in [OnError::End, OnError::StayDown] {
            let begun = Instant::now();
            let ends = (0..8).map(|_| Err(bus())).chain([Ok(End::Raced)]).collect();
            let (result, health, sessions) = kept(on_error, ends, Duration::ZERO).await;
            result.unwrap();
            assert_eq!(sessions, 10);
            assert_eq!(begun.elapsed().as_secs(), 1 + 2 + 4 + 8 + 16 + 32 + 60 + 60, "not in a hurry, not for ever");
            assert!(health.is(State::WaitsForKafka), "nothing has shown yet that it works");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_needs_a_person_ends_a_process_of_its_own_and_else_stays_down() {
        let (result, ..) = kept(OnError::End, vec![Err(damaged())], Duration::ZERO).await;
        assert!(matches!(result, Err(Error::File(_))));
        let ends = vec![Err(damaged()), Err(bus()), Err(damaged())];
        let (result, health, sessions) = kept(OnError::StayDown, ends, Duration::ZERO).await;
        result.unwrap();
        assert_eq!(sessions, 4, "it is tried again");
        assert!(health.is(State::Down) && health.is_ready(), "traffic goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_lasts_shows_that_it_works() {
        let (result, health, _) = kept(OnError::StayDown, vec![Err(damaged())], PROOF * 2).await;
        result.unwrap();
        assert!(health.is(State::Works));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait() {
        for on_error in [OnError::End, OnError::StayDown] {
            let (health, stop) = (Health::default(), CancellationToken::new());
            let begun = Instant::now();
            let stopped = async {
                sleep(Duration::from_secs(100)).await;
                stop.cancel();
            };
            let (result, ()) = tokio::join!(keep(&health, on_error, PROOF, &stop, || async { Err(bus()) }), stopped);
            result.unwrap();
            assert_eq!(begun.elapsed().as_secs(), 100);
        }
    }

    #[test]
    fn once_ready_stays_ready() {
        let health = Health::default();
        assert!(!health.is_ready(), "nothing is known yet");
        health.watch(|| true);
        assert!(health.is_ready());
        health.watch(|| false);
        assert!(health.is_ready(), "a session that begins anew takes nobody out of traffic");
    }
}
