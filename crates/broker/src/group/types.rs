//! What callers give to and get from the coordinator: plain values, one struct per request or answer, named after the
//! fields of the Kafka protocol guide's JoinGroup, SyncGroup, LeaveGroup, DescribeGroups and ListGroups. Not here:
//! their wire encoding (null against empty strings, versions without a field), which is the handlers' matter.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use std::ops::Deref;

/// Stands for a caller that waits for the answer to a join or sync; chosen by the caller, never used twice.
pub(crate) type Token = u64;

/// An answer, and who waits for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    Join(Token, Joined),
    Sync(Token, Synced),
}

impl Output {
    pub(crate) fn token(&self) -> Token {
        match self {
            Self::Join(token, _) | Self::Sync(token, _) => *token,
        }
    }
}

/// A JoinGroup request.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// The request's version: from 4 on a member needs an id first (KIP-394), from 9 on a leader can be told to skip
    /// the assignment (KIP-814).
    pub(crate) version: i16,
    pub(crate) group: String,
    /// Empty for a member that has no id yet.
    pub(crate) member: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: i32,
    /// Negative (version 0 has none): the session time-out.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocol_type: String,
    /// Name and metadata of each assignor the member supports, preferred first.
    pub(crate) protocols: Vec<(String, Bytes)>,
}

/// The answer to a [`Join`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Joined {
    pub(crate) error: Option<ResponseError>,
    /// -1 with an error.
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    /// Empty with an error.
    pub(crate) leader: String,
    pub(crate) skip_assignment: bool,
    pub(crate) member: String,
    /// Everybody, for the leader alone; else empty.
    pub(crate) members: Vec<JoinedMember>,
}

impl Joined {
    pub(super) fn refused(member: impl Into<String>, error: ResponseError) -> Self {
        Self {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member: member.into(),
            members: Vec::new(),
        }
    }
}

/// What a leader learns of a member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JoinedMember {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    /// Of the chosen protocol.
    pub(crate) metadata: Bytes,
}

/// A SyncGroup request.
#[derive(Debug, Clone)]
pub(crate) struct Sync {
    pub(crate) group: String,
    pub(crate) generation: i32,
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    /// From version 5 on (KIP-559); checked when given.
    pub(crate) protocol_type: Option<String>,
    /// From version 5 on (KIP-559); checked when given.
    pub(crate) protocol: Option<String>,
    /// Member id and its assignment; heeded from the leader alone.
    pub(crate) assignments: Vec<(String, Bytes)>,
}

/// The answer to a [`Sync`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Synced {
    pub(crate) error: Option<ResponseError>,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    /// Empty for a member the leader gave nothing, and with an error.
    pub(crate) assignment: Bytes,
}

impl Synced {
    pub(super) fn refused(error: ResponseError) -> Self {
        Self { error: Some(error), protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// Who leaves in a LeaveGroup request: by member id, by instance id (an administrator, KIP-345), or both.
#[derive(Debug, Clone)]
pub(crate) struct Leaver {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
}

/// Where a group stands; the names are those of DescribeGroups and ListGroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// No members; it may have committed offsets, which this module does not know.
    Empty,
    /// Members (re)join.
    PreparingRebalance,
    /// Everybody has the new generation; the leader's assignment is awaited.
    CompletingRebalance,
    Stable,
    /// Unknown here: never seen, deleted, or forgotten after a long time without members.
    Dead,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// What DescribeGroups tells of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Description {
    pub(crate) state: State,
    pub(crate) protocol_type: String,
    /// Empty unless Stable.
    pub(crate) protocol: String,
    pub(crate) members: Vec<DescribedMember>,
}

/// What DescribeGroups tells of a member.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DescribedMember {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// Empty unless the group is Stable.
    pub(crate) metadata: Bytes,
    /// Empty unless the group is Stable.
    pub(crate) assignment: Bytes,
}

/// What ListGroups tells of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Listing {
    pub(crate) group: String,
    pub(crate) protocol_type: String,
    pub(crate) state: State,
}

impl Listing {
    /// What ListGroups version 5 calls a group of this protocol (KIP-848).
    pub(crate) const TYPE: &'static str = "classic";

    /// Whether it passes the request's filters, which ignore case; an empty filter lets all pass (KIP-518, KIP-848).
    pub(crate) fn matches<S: Deref<Target = str>>(&self, states: &[S], types: &[S]) -> bool {
        let any = |filter: &[S], name: &str| filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(name));
        any(states, self.state.as_str()) && any(types, Self::TYPE)
    }
}

/// What the members of a group read, as far as a coordinator can know (for OffsetDelete).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Subscription {
    /// Nobody reads: no members, or no such group.
    Nothing,
    Topics(std::collections::BTreeSet<String>),
    /// Consumers whose subscriptions are not known yet, or in a form we cannot read: take every topic as in use.
    Unknown,
    /// Members that are no consumers (Kafka Connect): the group is in use as a whole.
    NotConsumers,
}
