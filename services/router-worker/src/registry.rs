//! Which requests are being worked on or wait, and which are to be ended early.
//!
//! A cancellation may come before its request, on another topic, and a request moves between topics while it waits, so recent
//! cancellations are remembered. A cancellation that names a team ends that team's request only. A request that is delivered again while it is being worked on waits for that work instead of
//! repeating it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;
use tollgate_bus::Cancelled;
use tollgate_schemas::{Cancellation, RequestId};

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

#[derive(Debug, Clone, Default)]
struct Present {
    team: String,
    cancel: CancellationToken,
    done: CancellationToken,
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Work on it; it is in the registry until this is dropped.
    Work(Working),
    /// Somebody is at it; this token is cancelled when they are done.
    Wait(CancellationToken),
}

/// A request's place in the registry.
#[derive(Debug)]
pub(crate) struct Working {
    registry: Registry,
    at: (Stage, RequestId),
    /// Cancelled when the request is to be ended early.
    pub cancel: CancellationToken,
}

impl Registry {
    /// Takes up a request of a team.
    pub(crate) fn begin(&self, stage: Stage, id: RequestId, team: &str) -> Begun {
        let mut state = self.state();
        if let Some(present) = state.here.get(&(stage, id)) {
            return Begun::Wait(present.done.clone());
        }
        let present = Present { team: team.to_owned(), ..Present::default() };
        if state.cancelled.holds(id, team) {
            present.cancel.cancel();
        }
        state.here.insert((stage, id), present.clone());
        Begun::Work(Working { registry: self.clone(), at: (stage, id), cancel: present.cancel })
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
        let Begun::Wait(done) = begin(Stage::Working, other) else { panic!("taken") };
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
}
