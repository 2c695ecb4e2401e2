//! Cancellations that were read: which requests their owners are to end early. Pure, and bounded: the oldest go first, which
//! at worst ends nothing early. Deliberately absent: any knowledge of whether a request exists.

use std::collections::{HashSet, VecDeque};
use tollgate_schemas::{Cancellation, RequestId};

/// How many are remembered: about 15 MiB.
const REMEMBERED_MAX: usize = 100_000;

/// The cancellations.
#[derive(Debug, Default)]
pub struct Cancelled {
    known: HashSet<(RequestId, Option<String>)>,
    order: VecDeque<(RequestId, Option<String>)>,
}

impl Cancelled {
    /// Remembers one.
    pub fn add(&mut self, cancellation: Cancellation) {
        let place = (cancellation.request_id, cancellation.team);
        if self.known.insert(place.clone()) {
            self.order.push_back(place);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether a request of `team` is to be ended early. A cancellation by another team does not count.
    pub fn holds(&self, id: RequestId, team: &str) -> bool {
        self.known.contains(&(id, None)) || self.known.contains(&(id, Some(team.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(team: Option<&str>, request_id: RequestId) -> Cancellation {
        Cancellation { request_id, team: team.map(str::to_owned), reason: "requested".to_owned() }
    }

    #[test]
    fn a_team_ends_its_own_requests_only() {
        let (mut cancelled, id, old) = (Cancelled::default(), RequestId::new(), RequestId::new());
        cancelled.add(by(Some("other"), id));
        assert!(!cancelled.holds(id, "search") && cancelled.holds(id, "other"));
        cancelled.add(by(Some("search"), id));
        assert!(cancelled.holds(id, "search"));
        cancelled.add(by(None, old));
        assert!(cancelled.holds(old, "search") && cancelled.holds(old, "other"));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (mut cancelled, first) = (Cancelled::default(), RequestId::new());
        cancelled.add(by(None, first));
        cancelled.add(by(None, first));
        assert!(cancelled.holds(first, "search"));
        (0..REMEMBERED_MAX).for_each(|_| cancelled.add(by(None, RequestId::new())));
        assert!(!cancelled.holds(first, "search"));
    }
}
