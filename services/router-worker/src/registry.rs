//! Which requests are being worked on or wait, and which are to be ended early.
//!
//! A cancellation may come before its request, on another topic, and a request moves between topics while it waits,
//! so recent cancellations are remembered. A cancellation that names a team ends that team's request only. A request
//! that is delivered again while it is being worked on waits for that work instead of repeating it. That a request was
//! parked may be heard of later than its parked record is read, so that record is told from a delivery again.

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
    /// Whether they have sent on this very record.
    fn has_parked(&self, request: &Request) -> bool {
        request.waiting.as_ref().is_some_and(|waiting| self.parked.get() == Some(&waiting.not_before_ms))
    }
}

impl Registry {
    /// Takes up a request to work on it, once nobody else here does. `None`: somebody did, and what came of that is
    /// what becomes of this record too.
    pub(crate) async fn work(&self, request: &Request) -> Option<Working> {
        loop {
            match self.begin(Stage::Working, request.request_id, &request.caller.team) {
                Begun::Work(working) => return Some(working),
                Begun::Wait(present) => {
                    present.done.cancelled().await;
                    if !present.has_parked(request) {
                        return None;
                    }
                }
            }
        }
    }

    /// Takes up a request of a team.
    pub(crate) fn begin(&self, stage: Stage, id: RequestId, team: &str) -> Begun {
        let mut state = self.state();
        if let Some(present) = state.here.get(&(stage, id)) {
            return Begun::Wait(present.clone());
        }
        let present = Present { team: team.to_owned(), ..Present::default() };
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
    use tollgate_schemas::Waiting;

    fn cancellation(request_id: RequestId, team: &str) -> Cancellation {
        Cancellation { request_id, team: Some(team.to_owned()), reason: "requested".to_owned() }
    }

    #[test]
    fn cancellations_reach_requests_before_during_and_after() {
        let (registry, id) = (Registry::default(), RequestId::new());
        let begin = |stage, id| registry.begin(stage, id, "search");
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
}
