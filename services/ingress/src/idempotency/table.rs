//! Who holds which idempotency key: a fold over the `idempotency` topic, and what a caller with a key has to do. Pure: no I/O,
//! no clock.
//!
//! Every replica folds the same log, so all agree: within a window the first claim of a key wins. A claim whose request was not
//! published in [`STALE_MS`] may be taken over by a repeat, in the log too, so that only one repeat does. Times are the broker's
//! append times; a caller's clock may differ by [`SKEW_MS`] and then waits rather than acts.
//!
//! Bounded: at most [`KEYS_MAX`] keys. The oldest go first into a filter of what was forgotten, and a key that looks new but may
//! be in it is [`Look::Unsure`] until the log was read for it ([`Table::settle`]): what was forgotten is looked up, never taken
//! as new.

use super::forgotten::Forgotten;
use std::collections::{HashMap, VecDeque};
use tollgate_schemas::{KeyState, RequestId};

/// Memory for keys, in bytes.
const TABLE_MAX_BYTES: usize = 64 << 20;
/// What one key takes at most, with the room that a hash map leaves free.
const KEY_BYTES: usize = 320;
/// Keys in memory.
pub(crate) const KEYS_MAX: usize = TABLE_MAX_BYTES / KEY_BYTES;
/// A claim that was not followed by its publication for so long was left behind by a crash.
pub(crate) const STALE_MS: i64 = 30_000;
/// How much clocks may differ.
const SKEW_MS: i64 = 5_000;

/// Team, door and key, hashed.
pub(crate) type Digest = [u8; 16];
/// Partition and offset.
pub(crate) type Place = (i32, i64);

/// A record of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) digest: Digest,
    pub(crate) request_id: RequestId,
    pub(crate) claimant: RequestId,
    pub(crate) body: Digest,
    pub(crate) state: KeyState,
    /// Append time, milliseconds since the Unix epoch.
    pub(crate) at_ms: i64,
    /// Append time of the claim: its own, or that of the one that was published.
    pub(crate) claimed_ms: i64,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    request_id: RequestId,
    claimant: RequestId,
    body: Digest,
    state: KeyState,
    /// Start of the window: when it was claimed or taken over.
    since_ms: i64,
    /// The last record of the key, and its time.
    place: Place,
    last_ms: i64,
    /// An earlier claim may have been forgotten.
    is_unsure: bool,
    nth: u64,
}

impl Entry {
    /// The latest that the key's window can have begun.
    fn youngest_ms(&self) -> i64 {
        if self.is_unsure { self.last_ms } else { self.since_ms }
    }
}

/// What a caller with a key has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Claim it.
    Free,
    /// Publish the request under this id; the claim's append time goes into the record that says so.
    Mine(RequestId, i64),
    /// Nothing: the caller's own request is published already.
    Done,
    /// Answer with what became of this request.
    Published(RequestId),
    /// Wait: somebody else is about to publish it.
    Held,
    /// Take it over: claim it for this request.
    Stale(RequestId),
    /// Refuse: the key came before with another body.
    OtherBody,
    /// Read the log up to this place, then [`Table::settle`].
    Unsure(Place),
}

/// The fold.
pub(crate) struct Table {
    window_ms: i64,
    max: usize,
    keys: HashMap<Digest, Entry>,
    /// Keys as they came, each with its entry's `nth`.
    order: VecDeque<(Digest, u64)>,
    came: u64,
    forgotten: Forgotten,
}

impl Table {
    pub(crate) fn new(window_ms: i64, max: usize) -> Self {
        let forgotten = Forgotten::new(window_ms.saturating_add(SKEW_MS), max);
        Self { window_ms, max, keys: HashMap::new(), order: VecDeque::new(), came: 0, forgotten }
    }

    /// Takes in the next record of its partition.
    pub(crate) fn fold(&mut self, note: &Note) {
        let window_ms = self.window_ms;
        let live = self.keys.get_mut(&note.digest).filter(|entry| note.at_ms <= entry.since_ms + window_ms);
        match (note.state, live) {
            (KeyState::Claimed, Some(entry)) => {
                (entry.place, entry.last_ms) = (note.place, note.at_ms);
                let stale = note.at_ms > entry.since_ms + STALE_MS - SKEW_MS;
                if stale && entry.state == KeyState::Claimed && entry.request_id == note.request_id {
                    // A new window, or the request could be published after the end of its own.
                    (entry.claimant, entry.since_ms) = (note.claimant, note.at_ms);
                }
            }
            (KeyState::Published, Some(entry)) if entry.request_id == note.request_id => {
                (entry.place, entry.last_ms) = (note.place, note.at_ms);
                entry.state = KeyState::Published;
            }
            // Only a winner is ever published: the claim that it won with is no longer in the log, or forgotten.
            (KeyState::Published, _) if note.at_ms <= note.claimed_ms + window_ms => self.insert(note),
            (KeyState::Published, _) => {}
            (KeyState::Claimed, None) => self.insert(note),
        }
    }

    fn insert(&mut self, note: &Note) {
        let reach_ms = self.window_ms + SKEW_MS;
        let is_unsure = match self.keys.get(&note.digest) {
            // Nothing of the key is forgotten, and its window is over.
            Some(before) if !before.is_unsure => false,
            Some(before) if note.at_ms <= before.last_ms + reach_ms => true,
            _ => self.forgotten.may_hold(&note.digest, note.at_ms),
        };
        let entry = Entry {
            request_id: note.request_id,
            claimant: note.claimant,
            body: note.body,
            state: note.state,
            since_ms: note.claimed_ms,
            place: note.place,
            last_ms: note.at_ms,
            is_unsure,
            nth: self.came,
        };
        self.keys.insert(note.digest, entry);
        self.order.push_back((note.digest, self.came));
        self.came += 1;
        while let Some((digest, nth)) = self.order.front().copied() {
            let youngest_ms = self.keys.get(&digest).filter(|entry| entry.nth == nth).map(Entry::youngest_ms);
            let live_ms = youngest_ms.filter(|youngest_ms| youngest_ms + reach_ms >= note.at_ms);
            if live_ms.is_some() && self.order.len() <= self.max {
                break;
            }
            self.order.pop_front();
            if youngest_ms.is_some() {
                self.keys.remove(&digest);
            }
            if let Some(youngest_ms) = live_ms {
                self.forgotten.add(&digest, youngest_ms, note.at_ms);
            }
        }
    }

    /// What the caller `me` with this key and body has to do at `now_ms` by its own clock.
    pub(crate) fn look(&self, digest: &Digest, body: &Digest, me: RequestId, now_ms: i64) -> Look {
        let Some(entry) = self.keys.get(digest) else { return Look::Free };
        if now_ms > entry.youngest_ms() + self.window_ms + SKEW_MS {
            return Look::Free;
        }
        if entry.is_unsure {
            return Look::Unsure(entry.place);
        }
        if entry.body != *body {
            return Look::OtherBody;
        }
        match entry.state {
            KeyState::Published if entry.request_id == me => Look::Done,
            KeyState::Published => Look::Published(entry.request_id),
            KeyState::Claimed if entry.claimant == me => Look::Mine(entry.request_id, entry.since_ms),
            KeyState::Claimed if now_ms > entry.since_ms + STALE_MS => Look::Stale(entry.request_id),
            KeyState::Claimed => Look::Held,
        }
    }

    /// Replaces what was unsure by what the whole log says: `log` has every record of the key up to `place`. Does nothing if
    /// more was folded meanwhile; the caller looks again then.
    pub(crate) fn settle(&mut self, digest: &Digest, place: Place, log: &[Note]) {
        let mut alone = Self::new(self.window_ms, 1);
        for note in log {
            alone.fold(note);
        }
        if let (Some(entry), Some(truth)) = (self.keys.get_mut(digest), alone.keys.remove(digest))
            && entry.is_unsure
            && entry.place == place
        {
            *entry = Entry { nth: entry.nth, ..truth };
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
