//! The state machine of one group: Empty, Preparing, Completing, Stable, and what moves it on (time, members that come
//! and go). It behaves as Apache Kafka's coordinator of the classic protocol does, except that static members too are
//! removed when they do not rejoin within the rebalance time-out. Not here: what a request may do (`requests.rs`).

use super::member::{Member, Waiting};
use super::types::{Joined, JoinedMember, Output, Synced};
use super::{EMPTY_GROUP_KEPT_MS, Limits};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use std::collections::BTreeMap;

/// What one step of a group is given besides the request.
pub(super) struct Step<'a> {
    pub(super) now_ms: i64,
    pub(super) limits: Limits,
    /// Bytes of metadata and assignments that all groups together may still take.
    pub(super) room_bytes: usize,
    pub(super) outputs: &'a mut Vec<Output>,
}

#[derive(Debug)]
pub(super) enum Phase {
    Empty { since_ms: i64 },
    Preparing { until_ms: i64, first: Option<FirstJoins> },
    Completing { sync_until_ms: i64 },
    Stable { sync_until_ms: i64 },
}

/// A group that was empty waits for more members as long as they keep coming (KIP-134).
#[derive(Debug)]
pub(super) struct FirstJoins {
    pub(super) until_ms: i64,
    pub(super) more_came: bool,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    /// By member id.
    pub(super) members: BTreeMap<String, Member>,
    /// Ids given out by MEMBER_ID_REQUIRED and not used yet, with the time they are void.
    pub(super) pending: BTreeMap<String, i64>,
}

impl Group {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            phase: Phase::Empty { since_ms: now_ms },
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    pub(super) fn static_id(&self, instance: &str) -> Option<&String> {
        self.members.iter().find(|(_, member)| member.instance.as_deref() == Some(instance)).map(|(id, _)| id)
    }

    fn rebalance_timeout_ms(&self) -> i64 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Bytes of all that clients chose the size of.
    pub(super) fn held_bytes(&self) -> usize {
        self.metadata_bytes() + self.members.values().map(|member| member.assignment.len()).sum::<usize>()
    }

    pub(super) fn metadata_bytes(&self) -> usize {
        self.members.values().map(Member::metadata_bytes).sum()
    }

    /// Since when it has been without members, promised ones too.
    pub(super) fn idle_since_ms(&self) -> Option<i64> {
        match self.phase {
            Phase::Empty { since_ms } if self.pending.is_empty() => Some(since_ms),
            _ => None,
        }
    }

    /// When it must be settled even if nobody asks; always later than the last time it was.
    pub(super) fn due_ms(&self) -> Option<i64> {
        let phase_ms = match &self.phase {
            Phase::Empty { .. } => self.idle_since_ms().map(|since_ms| since_ms.saturating_add(EMPTY_GROUP_KEPT_MS)),
            Phase::Preparing { first: Some(first), .. } => Some(first.until_ms),
            Phase::Preparing { until_ms, first: None } => Some(*until_ms),
            Phase::Completing { sync_until_ms } | Phase::Stable { sync_until_ms } => {
                self.members.values().any(|member| !member.synced).then_some(*sync_until_ms)
            }
        };
        let sessions_ms = self.members.values().filter_map(Member::session_ends_ms);
        sessions_ms.chain(self.pending.values().copied()).chain(phase_ms).min()
    }

    /// Does what has become due, and completes a rebalance that nothing holds up any more.
    pub(super) fn settle(&mut self, step: &mut Step) {
        let now_ms = step.now_ms;
        self.pending.retain(|_, void_ms| *void_ms > now_ms);
        let before = self.members.len();
        self.members.retain(|_, member| member.session_ends_ms().is_none_or(|ends_ms| ends_ms > now_ms));
        if let Phase::Completing { sync_until_ms } | Phase::Stable { sync_until_ms } = self.phase
            && sync_until_ms <= now_ms
        {
            // Only those are left out that wait for nothing, so nobody stays without an answer.
            self.members.retain(|_, member| member.synced);
        }
        if self.members.len() < before {
            self.members_left(step);
        }
        if let Phase::Preparing { until_ms, first: Some(first) } = &mut self.phase
            && first.more_came
            && first.until_ms <= now_ms
        {
            first.more_came = false;
            first.until_ms = now_ms.saturating_add(step.limits.initial_delay_ms).min(*until_ms);
        }
        if self.joins_are_over(now_ms) {
            self.complete_joins(step);
        }
    }

    /// The first joins after a time without members do not wait for promised members, so that an id that a crashed
    /// client never used does not hold up a lone consumer.
    fn joins_are_over(&self, now_ms: i64) -> bool {
        match &self.phase {
            Phase::Preparing { until_ms, .. } if now_ms >= *until_ms || self.members.is_empty() => true,
            Phase::Preparing { first: Some(first), .. } => now_ms >= first.until_ms,
            Phase::Preparing { first: None, .. } => self.pending.is_empty() && self.members.values().all(Member::joins),
            Phase::Empty { .. } | Phase::Completing { .. } | Phase::Stable { .. } => false,
        }
    }

    /// Takes a member out; whatever it waits for is answered with UNKNOWN_MEMBER_ID, so that a client that is alive
    /// after all starts afresh.
    pub(super) fn remove(&mut self, step: &mut Step, id: &str) {
        if let Some(mut member) = self.members.remove(id) {
            refuse(step, &mut member, "", ResponseError::UnknownMemberId);
            self.members_left(step);
        }
    }

    fn members_left(&mut self, step: &mut Step) {
        self.elect();
        if matches!(self.phase, Phase::Completing { .. } | Phase::Stable { .. }) {
            self.prepare(step);
        }
    }

    fn elect(&mut self) {
        if self.leader.as_ref().is_some_and(|leader| !self.members.contains_key(leader)) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Begins a rebalance, unless one has begun.
    pub(super) fn prepare(&mut self, step: &mut Step) {
        let mut until_ms = step.now_ms.saturating_add(self.rebalance_timeout_ms());
        let first = match self.phase {
            Phase::Preparing { .. } => return,
            Phase::Empty { .. } => {
                let first_ms = step.now_ms.saturating_add(step.limits.initial_delay_ms.max(0));
                until_ms = until_ms.max(first_ms);
                Some(FirstJoins { until_ms: first_ms, more_came: false })
            }
            Phase::Completing { .. } | Phase::Stable { .. } => None,
        };
        self.phase = Phase::Preparing { until_ms, first };
        for (id, member) in &mut self.members {
            if matches!(member.waiting, Some(Waiting::Sync(_))) {
                refuse(step, member, id, ResponseError::RebalanceInProgress);
                member.seen(step.now_ms);
            }
        }
    }

    /// Everybody who joins gets the next generation; those who did not come in time are out.
    fn complete_joins(&mut self, step: &mut Step) {
        self.members.retain(|_, member| member.joins());
        self.generation = self.generation.saturating_add(1);
        self.protocol = self.select_protocol();
        self.elect();
        if self.members.is_empty() {
            self.phase = Phase::Empty { since_ms: step.now_ms };
            return;
        }
        self.phase = Phase::Completing { sync_until_ms: step.now_ms.saturating_add(self.rebalance_timeout_ms()) };
        let answers: Vec<_> = self.members.keys().map(|id| self.joined(id)).collect();
        for (member, answer) in self.members.values_mut().zip(answers) {
            member.assignment = Bytes::new();
            member.synced = false;
            member.seen(step.now_ms);
            if let Some(Waiting::Join(token)) = member.waiting.take() {
                step.outputs.push(Output::Join(token, answer));
            }
        }
    }

    /// The present generation as this member is told of it.
    pub(super) fn joined(&self, id: &str) -> Joined {
        Joined {
            error: None,
            generation: self.generation,
            protocol_type: Some(self.protocol_type.clone()),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member: id.to_owned(),
            members: if self.is_leader(id) { self.roll() } else { Vec::new() },
        }
    }

    fn roll(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let tell = |(id, member): (&String, &Member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(tell).collect()
    }

    /// Gives each member what the leader decided, and nothing to whom it forgot; answers those who wait.
    pub(super) fn assign(&mut self, step: &mut Step, assignments: Vec<(String, Bytes)>) {
        if let Phase::Completing { sync_until_ms } = self.phase {
            self.phase = Phase::Stable { sync_until_ms };
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                // Copied, because a slice of the request would keep the whole request in memory.
                member.assignment = Bytes::copy_from_slice(&assignment);
            }
        }
        let (protocol_type, protocol) = (Some(self.protocol_type.clone()), self.protocol.clone());
        for member in self.members.values_mut() {
            if let Some(Waiting::Sync(token)) = member.waiting {
                let assignment = member.assignment.clone();
                let (protocol_type, protocol) = (protocol_type.clone(), protocol.clone());
                step.outputs.push(Output::Sync(token, Synced { error: None, protocol_type, protocol, assignment }));
                member.waiting = None;
                member.seen(step.now_ms);
            }
        }
    }

    /// Whether a member with these protocols can be in this group: the type is the same, and one of them is supported
    /// by all.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(String, Bytes)]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type == protocol_type && protocols.iter().any(|(name, _)| self.all_support(name))
    }

    fn all_support(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.supports(protocol))
    }

    /// Each member votes for the protocol it prefers among those that all support; with equal votes the one wins that
    /// a member with a lower id prefers.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let names = self.members.values().next().map(Member::protocol_names).into_iter().flatten();
        let common: Vec<&str> = names.filter(|name| self.all_support(name)).collect();
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for vote in self.members.values().filter_map(|m| m.protocol_names().find(|name| common.contains(name))) {
            match votes.iter_mut().find(|(name, _)| *name == vote) {
                Some((_, count)) => *count += 1,
                None => votes.push((vote, 1)),
            }
        }
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.to_owned())
    }
}

/// Answers what the member waits for, if anything, with an error.
pub(super) fn refuse(step: &mut Step, member: &mut Member, id: &str, error: ResponseError) {
    step.outputs.extend(member.waiting.take().map(|waiting| match waiting {
        Waiting::Join(token) => Output::Join(token, Joined::refused(id, error)),
        Waiting::Sync(token) => Output::Sync(token, Synced::refused(error)),
    }));
}
