//! Which requests are being worked on, and which are to be ended early.
//!
//! A cancellation may come before its request, on another topic, so recent ones are remembered: at most
//! [`REMEMBERED_MAX`] of them, the oldest go first. A request that is delivered again while it is being worked on waits
//! for that work instead of repeating it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;
use tollgate_schemas::RequestId;

/// How many cancellations of unknown requests are remembered.
pub(crate) const REMEMBERED_MAX: usize = 100_000;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    working: HashMap<RequestId, Entry>,
    cancelled: HashSet<RequestId>,
    order: VecDeque<RequestId>,
}

#[derive(Debug, Clone, Default)]
struct Entry {
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
    id: RequestId,
    /// Cancelled when the request is to be ended early.
    pub cancel: CancellationToken,
}

impl Registry {
    /// Takes up a request.
    pub(crate) fn begin(&self, id: RequestId) -> Begun {
        let mut state = self.state();
        if let Some(entry) = state.working.get(&id) {
            return Begun::Wait(entry.done.clone());
        }
        let entry = Entry::default();
        if state.cancelled.contains(&id) {
            entry.cancel.cancel();
        }
        state.working.insert(id, entry.clone());
        Begun::Work(Working { registry: self.clone(), id, cancel: entry.cancel })
    }

    /// Ends a request early, now or when it comes.
    pub(crate) fn cancel(&self, id: RequestId) {
        let mut state = self.state();
        if let Some(entry) = state.working.get(&id) {
            entry.cancel.cancel();
        } else if state.cancelled.insert(id) {
            state.order.push_back(id);
            if state.order.len() > REMEMBERED_MAX
                && let Some(oldest) = state.order.pop_front()
            {
                state.cancelled.remove(&oldest);
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
        if let Some(entry) = self.registry.state().working.remove(&self.id) {
            entry.done.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancellations_reach_requests_before_during_and_after() {
        let (registry, id) = (Registry::default(), RequestId::new());
        registry.cancel(id);
        let Begun::Work(early) = registry.begin(id) else { panic!("new") };
        assert!(early.cancel.is_cancelled());
        let other = RequestId::new();
        let Begun::Work(working) = registry.begin(other) else { panic!("new") };
        let Begun::Wait(done) = registry.begin(other) else { panic!("taken") };
        registry.cancel(other);
        assert!(working.cancel.is_cancelled() && !done.is_cancelled());
        drop(working);
        assert!(done.is_cancelled());
        assert_eq!(registry.state().working.len(), 1);
    }

    #[test]
    fn memory_of_cancellations_is_bounded() {
        let registry = Registry::default();
        let first = RequestId::new();
        registry.cancel(first);
        (0..REMEMBERED_MAX).for_each(|_| registry.cancel(RequestId::new()));
        let Begun::Work(working) = registry.begin(first) else { panic!("new") };
        assert!(!working.cancel.is_cancelled());
    }
}
