//! One member of a group: what it told when it joined, what it was assigned, and what it waits for. Not here: when a
//! group moves on (`state.rs`).

use super::types::{Join, Token};
use super::{CLIENT_NAME_MAX_BYTES, subscription};
use bytes::Bytes;
use std::collections::BTreeSet;

/// What a stored protocol is counted with besides its bytes, so that many tiny ones are bounded too.
const ENTRY_BYTES: usize = 64;

/// The answer that a member waits for; never both, as joins wait only while a rebalance is prepared and syncs only
/// while one is completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Join(Token),
    Sync(Token),
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: i64,
    pub(super) assignment: Bytes,
    pub(super) waiting: Option<Waiting>,
    /// Whether it asked for its assignment in this generation.
    pub(super) synced: bool,
    session_timeout_ms: i64,
    last_seen_ms: i64,
    protocols: Vec<(String, Bytes)>,
}

impl Member {
    pub(super) fn new(now_ms: i64, join: &Join) -> Self {
        let mut member = Self {
            instance: join.instance.clone(),
            client_id: bounded(&join.client_id).to_owned(),
            client_host: bounded(&join.client_host).to_owned(),
            rebalance_timeout_ms: 0,
            assignment: Bytes::new(),
            waiting: None,
            synced: false,
            session_timeout_ms: 0,
            last_seen_ms: 0,
            protocols: Vec::new(),
        };
        member.update(now_ms, join);
        member
    }

    pub(super) fn update(&mut self, now_ms: i64, join: &Join) {
        // At least 1 ms, so that no deadline is due at the moment it is set.
        self.session_timeout_ms = i64::from(join.session_timeout_ms.max(1));
        let rebalance_ms = join.rebalance_timeout_ms;
        self.rebalance_timeout_ms =
            if rebalance_ms < 0 { self.session_timeout_ms } else { i64::from(rebalance_ms.max(1)) };
        // Copied, because a slice of the request would keep the whole request in memory.
        self.protocols = join.protocols.iter().map(|(n, data)| (n.clone(), Bytes::copy_from_slice(data))).collect();
        self.seen(now_ms);
    }

    /// A sign of life: the session starts again.
    pub(super) fn seen(&mut self, now_ms: i64) {
        self.last_seen_ms = now_ms;
    }

    /// When the session ends; never while the member waits for us.
    pub(super) fn session_ends_ms(&self) -> Option<i64> {
        self.waiting.is_none().then(|| self.last_seen_ms.saturating_add(self.session_timeout_ms))
    }

    pub(super) fn joins(&self) -> bool {
        matches!(self.waiting, Some(Waiting::Join(_)))
    }

    pub(super) fn protocol_names(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocol_names().any(|name| name == protocol)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        find(&self.protocols, protocol).cloned().unwrap_or_default()
    }

    pub(super) fn told_the_same(&self, join: &Join) -> bool {
        self.protocols == join.protocols
    }

    /// Whether a static member that comes back reads what it read before. Its metadata may differ all the same: sticky
    /// assignors put owned partitions in, which a restarted process has lost.
    pub(super) fn reads_the_same(&self, join: &Join, protocol: &str) -> bool {
        let topics = |protocols: &[(String, Bytes)]| -> Option<BTreeSet<String>> {
            find(protocols, protocol).and_then(|metadata| subscription::topics(metadata))
        };
        topics(&self.protocols) == topics(&join.protocols)
    }

    pub(super) fn metadata_bytes(&self) -> usize {
        bytes_of(&self.protocols)
    }
}

/// What storing these would count.
pub(super) fn bytes_of(entries: &[(String, Bytes)]) -> usize {
    entries.iter().map(|(name, data)| name.len() + data.len() + ENTRY_BYTES).sum()
}

/// The beginning of a client's name for itself, which can be 32 KiB long.
pub(super) fn bounded(name: &str) -> &str {
    &name[..name.floor_char_boundary(CLIENT_NAME_MAX_BYTES)]
}

fn find<'a>(protocols: &'a [(String, Bytes)], protocol: &str) -> Option<&'a Bytes> {
    protocols.iter().find(|(name, _)| name == protocol).map(|(_, metadata)| metadata)
}
