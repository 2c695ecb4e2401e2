//! Ids of requests that somebody wants to end early. Bounded: the oldest ids go first, which at worst ends nothing early.

use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use tollgate_schemas::RequestId;

/// About 10 MiB.
const IDS_MAX: usize = 100_000;

/// The ids, shared by all consumers.
#[derive(Debug, Default)]
pub(crate) struct Cancelled(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    known: HashSet<RequestId>,
    order: VecDeque<RequestId>,
}

impl Cancelled {
    /// Remembers an id.
    pub(crate) fn add(&self, id: RequestId) {
        let Ok(mut ids) = self.0.lock() else { return };
        if ids.known.insert(id) {
            ids.order.push_back(id);
        }
        if ids.order.len() > IDS_MAX
            && let Some(oldest) = ids.order.pop_front()
        {
            ids.known.remove(&oldest);
        }
    }

    /// Whether the id is to be ended early.
    pub(crate) fn contains(&self, id: RequestId) -> bool {
        self.0.lock().is_ok_and(|ids| ids.known.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ids_are_forgotten() {
        let (cancelled, first) = (Cancelled::default(), RequestId::new());
        cancelled.add(first);
        cancelled.add(first);
        assert!(cancelled.contains(first) && !cancelled.contains(RequestId::new()));
        (0..IDS_MAX).for_each(|_| cancelled.add(RequestId::new()));
        assert!(!cancelled.contains(first));
    }
}
