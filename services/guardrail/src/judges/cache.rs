//! Rulings that are given again for the same texts, where a judge's configuration asks for it. In memory, bounded; times are told.
//!
//! Failures are not kept. The keys are hashes, so no text is.

use super::{About, Judge, Ruling};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a judge has ruled.
#[derive(Debug)]
pub struct Cache {
    ttl: Duration,
    max: usize,
    kept: Mutex<Kept>,
}

/// The hash of a question.
pub type Key = String;

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<Key, (Instant, Ruling)>,
    /// Its keys, the oldest first.
    order: VecDeque<Key>,
}

/// What a question is known by: who is asked, what for, under which version of the policy, and every text with who said it and
/// what masking has put there, and every picture.
pub fn key(judge: &Judge, about: &About<'_>, policy_version: &str) -> Key {
    let case = about.case;
    let shown = (&case.texts, &case.turns, &case.images);
    // The same text is another question where the caller has written what looks like a placeholder.
    let parts = (&*judge.name, &*about.judged.name, policy_version, shown, &case.own);
    // Texts and names serialise; what did not would be the same question as any other that did not.
    let text = serde_json::to_vec(&parts).unwrap_or_default();
    tollgate_runtime::blob::hex(&Sha256::digest(&text))
}

impl Cache {
    /// Keeps each ruling for `ttl`, and the newest `max` of them.
    pub fn new(ttl: Duration, max: usize) -> Self {
        Self { ttl, max, kept: Mutex::default() }
    }

    /// What was ruled, not longer ago than that.
    pub fn get(&self, key: &str, now: Instant) -> Option<Ruling> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, ruling) = kept.known.get(key)?;
        (now.saturating_duration_since(*at) < self.ttl).then(|| ruling.clone())
    }

    /// Keeps a ruling, if it is one.
    pub fn put(&self, key: Key, ruling: &Ruling, now: Instant) {
        if !matches!(ruling, Ruling::Passed | Ruling::Found(_)) {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.known.insert(key.clone(), (now, ruling.clone())).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > self.max {
            let Some(oldest) = kept.order.pop_front() else { return };
            kept.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Found;
    use super::*;

    #[test]
    fn rulings_are_kept_for_a_while_and_failures_are_not() {
        let (cache, now) = (Cache::new(Duration::from_secs(60), 2), Instant::now());
        let found = Ruling::Found(Found::named(vec!["violence".into()]));
        cache.put("a".into(), &found, now);
        cache.put("b".into(), &Ruling::Failed("x"), now);
        cache.put("b".into(), &Ruling::NotAsked, now);
        assert_eq!((cache.get("a", now), cache.get("b", now)), (Some(found), None));
        assert_eq!(cache.get("a", now + Duration::from_secs(60)), None);
        for key in ["b", "b", "c"] {
            cache.put(key.into(), &Ruling::Passed, now);
        }
        assert_eq!((cache.get("a", now), cache.get("c", now)), (None, Some(Ruling::Passed)));
    }
}
