//! Which requests are being worked on or wait, and which are to be ended early.
//!
//! A cancellation may come before its request, on another topic, and a request moves between topics while it waits,
//! so recent cancellations are remembered. A cancellation that names a team ends that team's request only. A request
//! that is delivered again while it is being worked on waits for that work instead of repeating it. That a request was
//! parked may be heard of later than its parked record is read, and a parked record may meet a second delivery of what it was
//! parked from: both are told from a delivery again, which would leave a request without an end, or calls without a row.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio_util::sync::CancellationToken;
use tollgate_bus::Cancelled;
use tollgate_schemas::{Cancellation, Request, RequestId};

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    here: HashMap<(Stage, RequestId), Present>,
    cancelled: Cancelled,
}

/// What is done with a request. One may be at both for a moment, after a crash between its parking and its commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Providers are called.
    Working,
    /// It waits in `parked.*`.
    Parked,
}

/// Somebody who is at a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Present {
    team: String,
    cancel: CancellationToken,
    /// Cancelled when they are done.
    pub done: CancellationToken,
    /// When the provider calls that their record tells of began, microseconds since the Unix epoch.
    calls: Arc<[i64]>,
    parked: Parked,
}

/// Until when a request waits that somebody has sent on to wait, milliseconds since the Unix epoch: what tells its
/// parked record from all others of it.
type Parked = Arc<OnceLock<i64>>;

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Work on it; it is in the registry until this is dropped.
    Work(Working),
    /// Somebody is at it.
    Wait(Present),
}

/// A request's place in the registry.
#[derive(Debug)]
pub(crate) struct Working {
    registry: Registry,
    at: (Stage, RequestId),
    /// Cancelled when the request is to be ended early.
    pub cancel: CancellationToken,
    parked: Parked,
}

impl Working {
    /// Notes that the request goes on to wait, before the record is sent that says so.
    pub(crate) fn parks(&self, parked: &Request) {
        if let Some(waiting) = &parked.waiting {
            // It is parked once.
            let _ = self.parked.set(waiting.not_before_ms);
        }
    }
}

impl Present {
    /// Whether what comes of their work is what becomes of this record too: they have not sent on this very one, and know of all
    /// its calls.
    fn covers(&self, request: &Request) -> bool {
        let Some(waiting) = &request.waiting else { return true };
        let has_parked = self.parked.get() == Some(&waiting.not_before_ms);
        !has_parked && calls(request).all(|began_us| self.calls.contains(&began_us))
    }
}

/// When the provider calls that a record tells of began.
fn calls(request: &Request) -> impl Iterator<Item = i64> {
    request.waiting.iter().flat_map(|waiting| &waiting.attempts).map(|attempt| attempt.start_time_us)
}

impl Registry {
    /// Takes up a request to work on it, once nobody else here does. `None`: somebody did, and what came of that is
    /// what becomes of this record too.
    pub(crate) async fn work(&self, request: &Request) -> Option<Working> {
        loop {
            match self.begin(Stage::Working, request) {
                Begun::Work(working) => return Some(working),
                Begun::Wait(present) => {
                    present.done.cancelled().await;
                    if present.covers(request) {
                        return None;
                    }
                }
            }
        }
    }

    /// Takes up a request.
    pub(crate) fn begin(&self, stage: Stage, request: &Request) -> Begun {
        let (id, team) = (request.request_id, &request.caller.team);
        let mut state = self.state();
        if let Some(present) = state.here.get(&(stage, id)) {
            return Begun::Wait(present.clone());
        }
        let present = Present { team: team.clone(), calls: calls(request).collect(), ..Present::default() };
        if state.cancelled.holds(id, team) {
            present.cancel.cancel();
        }
        state.here.insert((stage, id), present.clone());
        let Present { cancel, parked, .. } = present;
        Begun::Work(Working { registry: self.clone(), at: (stage, id), cancel, parked })
    }

    /// Ends a request early, now or when it comes.
    pub(crate) fn cancel(&self, cancellation: Cancellation) {
        let id = cancellation.request_id;
        let mut state = self.state();
        state.cancelled.add(cancellation);
        for stage in [Stage::Working, Stage::Parked] {
            if let Some(present) = state.here.get(&(stage, id))
                && state.cancelled.holds(id, &present.team)
            {
                present.cancel.cancel();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Some(present) = self.registry.state().here.remove(&self.at) {
            present.done.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::ask;
    use serde_json::json;
    use tollgate_schemas::{Attempt, Waiting};

    fn cancellation(request_id: RequestId, team: &str) -> Cancellation {
        Cancellation { request_id, team: Some(team.to_owned()), reason: "requested".to_owned() }
    }

    #[test]
    fn cancellations_reach_requests_before_during_and_after() {
        let (registry, id) = (Registry::default(), RequestId::new());
        let begin = |stage, request_id| registry.begin(stage, &Request { request_id, ..ask("chat") });
        registry.cancel(cancellation(id, "search"));
        let Begun::Work(early) = begin(Stage::Working, id) else { panic!("new") };
        assert!(early.cancel.is_cancelled());
        let other = RequestId::new();
        let Begun::Work(working) = begin(Stage::Working, other) else { panic!("new") };
        let Begun::Work(parked) = begin(Stage::Parked, other) else { panic!("it may be at both") };
        let Begun::Wait(Present { done, .. }) = begin(Stage::Working, other) else { panic!("taken") };
        registry.cancel(cancellation(other, "another"));
        assert!(!working.cancel.is_cancelled() && !parked.cancel.is_cancelled());
        registry.cancel(cancellation(other, "search"));
        assert!(working.cancel.is_cancelled() && parked.cancel.is_cancelled() && !done.is_cancelled());
        drop(working);
        assert!(done.is_cancelled());
        // It moves on while it is cancelled, and is ended where it arrives.
        drop(parked);
        let Begun::Work(arrived) = begin(Stage::Working, other) else { panic!("free") };
        assert!(arrived.cancel.is_cancelled());
        assert_eq!(registry.state().here.len(), 2);
    }

    /// Found by reading: a broker that goes away after it has taken the parked record may acknowledge it later than the
    /// record's time to wait is over. It was taken for a delivery again, and its request never ended.
    #[tokio::test]
    async fn a_parked_request_is_taken_up_though_its_parking_is_acknowledged_late() {
        let (registry, asked) = (Registry::default(), ask("chat"));
        let until = |not_before_ms| {
            let waiting = Some(Waiting { not_before_ms, ..Waiting::default() });
            Request { waiting, ..asked.clone() }
        };
        let first = registry.work(&asked).await.expect("nobody is at it");
        first.parks(&until(7));
        let (again, other, next) = (asked.clone(), until(6), until(7));
        let all = async { tokio::join!(registry.work(&again), registry.work(&other), registry.work(&next)) };
        let ((again, other, next), ()) = tokio::join!(all, async { drop(first) });
        assert!(again.is_none(), "what came of its first delivery is parked");
        assert!(other.is_none(), "of a copy as well");
        assert!(next.is_some());
    }

    /// Found by reading: the calls that a parked record told of were in no row if what it was parked from came again meanwhile.
    #[tokio::test]
    async fn a_parked_record_is_taken_up_for_its_calls_though_what_it_was_parked_from_came_again() {
        let (registry, asked) = (Registry::default(), ask("chat"));
        let called = |began_us: &[i64]| {
            let attempt = |start_time_us: &i64| Attempt { start_time_us: *start_time_us, ..attempt() };
            let attempts = began_us.iter().map(attempt).collect();
            Request { waiting: Some(Waiting { attempts, ..Waiting::default() }), ..asked.clone() }
        };
        let first = registry.work(&called(&[1])).await.expect("nobody is at it");
        let (fewer, same, more) = (called(&[]), called(&[1]), called(&[1, 2]));
        let all = async { tokio::join!(registry.work(&fewer), registry.work(&same), registry.work(&more)) };
        let ((fewer, same, more), ()) = tokio::join!(all, async { drop(first) });
        assert!(fewer.is_none() && same.is_none(), "its calls are in the row of the first");
        assert!(more.is_some());
    }

    fn attempt() -> Attempt {
        let attempt = json!({
            "priority": 1, "action": "INITIAL_ATTEMPT", "destination": "alpha", "provider": "alpha", "model": "m",
            "latency_ms": 1, "start_time_us": 1, "end_time_us": 2
        });
        serde_json::from_value(attempt).expect("an attempt")
    }
}
