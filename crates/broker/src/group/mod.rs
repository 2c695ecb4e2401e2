//! The consumer group coordinator, without I/O: requests and the time go in, answers come out.
//!
//! ```text
//! join, sync ─────┐                                      ┌── take_outputs: answers by token, perhaps at once
//! leave, abandon ─┼─> Groups ──> Group (requests, state) ┤
//! poll(now) ──────┘   bounds, timers                     └── next_deadline_ms: when to poll again
//! ```
//! It speaks the classic group protocol of the Kafka protocol guide: JoinGroup 0-9, SyncGroup 0-5, Heartbeat 0-4,
//! LeaveGroup 0-5, with member ids before joining (KIP-394), static members (KIP-345, KIP-814) and the sync barrier of
//! Apache Kafka 3. Eager and cooperative assignors are the same to it. Absent: committed offsets (`store/`), the
//! consumer protocol of KIP-848, persistence (members rejoin after a restart), clocks and randomness.

mod member;
mod requests;
mod state;
mod subscription;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use types::*;

use kafka_protocol::ResponseError;
use state::{Group, Step};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use uuid::Uuid;

/// Longest group id, in bytes; beyond it INVALID_GROUP_ID.
pub(crate) const GROUP_ID_MAX_BYTES: usize = 255;

/// Longest group instance id, protocol type and protocol name, in bytes (Apache Kafka's clients refuse longer instance
/// ids); beyond it INVALID_REQUEST.
const NAME_MAX_BYTES: usize = 249;

/// Of client ids and hosts, which are only shown, this much is kept.
const CLIENT_NAME_MAX_BYTES: usize = 255;

/// How long a group without members is remembered, so that its generations go on counting.
const EMPTY_GROUP_KEPT_MS: i64 = 60 * 60 * 1_000;

/// The part of [`Limits::metadata_bytes`] that the metadata of one group may take, and its assignments again.
const GROUP_SHARE: usize = 8;

/// The part of [`Limits::metadata_bytes`] that the metadata of one member may take.
const MEMBER_SHARE: usize = 64;

/// What is bounded, and where the bound lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Groups remembered. Beyond it the one longest without members is forgotten; if all have members, a new one is
    /// refused with GROUP_MAX_SIZE_REACHED.
    pub(crate) groups: usize,
    /// Members of a group, together with ids given out but not used yet; beyond it GROUP_MAX_SIZE_REACHED.
    pub(crate) members_per_group: usize,
    /// Outside these INVALID_SESSION_TIMEOUT.
    pub(crate) session_timeout_min_ms: i32,
    pub(crate) session_timeout_max_ms: i32,
    /// How long an empty group's first rebalance waits for more members; 0: a lone consumer starts at once.
    pub(crate) initial_delay_ms: i64,
    /// Metadata and assignments held for all groups. A group may take an 8th for metadata (GROUP_MAX_SIZE_REACHED) and
    /// an 8th for assignments (UNKNOWN_SERVER_ERROR), a member's metadata a 64th (INVALID_REQUEST).
    pub(crate) metadata_bytes: usize,
}

impl Limits {
    fn group_bytes(&self) -> usize {
        self.metadata_bytes / GROUP_SHARE
    }
}

/// Every group's members and generation.
pub(crate) struct Groups {
    limits: Limits,
    new_id: Box<dyn FnMut() -> Uuid>,
    groups: HashMap<Rc<str>, Entry>,
    /// When to look at a group again: never too late, perhaps too early, as heartbeats do not touch it.
    timers: BTreeSet<(i64, Rc<str>)>,
    /// The group in which a token waits.
    waiting: HashMap<Token, Rc<str>>,
    outputs: Vec<Output>,
    held_bytes: usize,
}

struct Entry {
    group: Group,
    held_bytes: usize,
    due_ms: Option<i64>,
}

impl Groups {
    /// `new_id` makes the random part of member ids; random in earnest, since who knows a member's id can act for it.
    pub(crate) fn new(limits: Limits, new_id: impl FnMut() -> Uuid + 'static) -> Self {
        Self {
            limits,
            new_id: Box::new(new_id),
            groups: HashMap::new(),
            timers: BTreeSet::new(),
            waiting: HashMap::new(),
            outputs: Vec::new(),
            held_bytes: 0,
        }
    }

    /// The answer comes as [`Output::Join`], at once or when the rebalance is over.
    pub(crate) fn join(&mut self, now_ms: i64, token: Token, join: Join) {
        let refused = |error| Output::Join(token, Joined::refused(join.member.as_str(), error));
        let name = match self.check_join(&join).and_then(|()| self.find_or_make(now_ms, &join)) {
            Ok(name) => name,
            Err(error) => return self.outputs.push(refused(error)),
        };
        let prefix = join.instance.as_deref().unwrap_or(member::bounded(&join.client_id));
        let fresh = format!("{prefix}-{}", (self.new_id)());
        self.waiting.insert(token, name.clone());
        self.step(now_ms, &name, |group, step| group.join(step, token, &join, fresh));
    }

    fn check_join(&self, join: &Join) -> Result<(), ResponseError> {
        check_group_id(&join.group)?;
        let Limits { session_timeout_min_ms: min_ms, session_timeout_max_ms: max_ms, .. } = self.limits;
        let names = join.protocols.iter().map(|(name, _)| name).chain(&join.instance).chain([&join.protocol_type]);
        if names.map(String::len).max() > Some(NAME_MAX_BYTES)
            || member::bytes_of(&join.protocols) > self.limits.metadata_bytes / MEMBER_SHARE
        {
            return Err(ResponseError::InvalidRequest);
        }
        if !(min_ms..=max_ms).contains(&join.session_timeout_ms) {
            return Err(ResponseError::InvalidSessionTimeout);
        }
        Ok(())
    }

    fn find_or_make(&mut self, now_ms: i64, join: &Join) -> Result<Rc<str>, ResponseError> {
        if let Some((name, _)) = self.groups.get_key_value(join.group.as_str()) {
            return Ok(name.clone());
        }
        if !join.member.is_empty() {
            return Err(ResponseError::UnknownMemberId);
        }
        let group = Group::new(now_ms);
        if !group.supports(&join.protocol_type, &join.protocols) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        if self.groups.len() >= self.limits.groups {
            let idle = self.groups.iter().filter_map(|(name, entry)| Some((entry.group.idle_since_ms()?, name)));
            let longest = idle.min().map(|(_, name)| name.clone()).ok_or(ResponseError::GroupMaxSizeReached)?;
            self.forget(&longest);
        }
        let name: Rc<str> = join.group.as_str().into();
        self.groups.insert(name.clone(), Entry { group, held_bytes: 0, due_ms: None });
        Ok(name)
    }

    /// The answer comes as [`Output::Sync`], at once or when the leader has decided.
    pub(crate) fn sync(&mut self, now_ms: i64, token: Token, sync: Sync) {
        let found = check_group_id(&sync.group).and_then(|()| {
            let found = self.groups.get_key_value(sync.group.as_str());
            found.map(|(name, _)| name.clone()).ok_or(ResponseError::UnknownMemberId)
        });
        match found {
            Err(error) => self.outputs.push(Output::Sync(token, Synced::refused(error))),
            Ok(name) => {
                self.waiting.insert(token, name.clone());
                self.step(now_ms, &name, |group, step| group.sync(step, token, sync));
            }
        }
    }

    /// `None` if all is well.
    pub(crate) fn heartbeat(
        &mut self,
        now_ms: i64,
        group: &str,
        member: &str,
        generation: i32,
        instance: Option<&str>,
    ) -> Option<ResponseError> {
        if let Err(error) = check_group_id(group) {
            return Some(error);
        }
        match self.groups.get_mut(group) {
            Some(entry) => entry.group.heartbeat(now_ms, member, instance, generation).err(),
            None => Some(ResponseError::UnknownMemberId),
        }
    }

    /// For each leaver, in order, `None` if it is out; an error of the whole request otherwise.
    pub(crate) fn leave(
        &mut self,
        now_ms: i64,
        group: &str,
        leavers: &[Leaver],
    ) -> Result<Vec<Option<ResponseError>>, ResponseError> {
        check_group_id(group)?;
        let left = self.step(now_ms, group, |group, step| -> Vec<_> {
            leavers.iter().map(|leaver| group.leave(step, leaver).err()).collect()
        });
        Ok(left.unwrap_or_else(|| vec![Some(ResponseError::UnknownMemberId); leavers.len()]))
    }

    /// The connection that would get the answer is gone; none will come. The member holds the group up for no longer
    /// than its session time-out from now.
    pub(crate) fn abandon(&mut self, now_ms: i64, token: Token) {
        if let Some(name) = self.waiting.remove(&token) {
            self.step(now_ms, &name, |group, step| group.abandon(step, token));
        }
    }

    /// Whether a commit is to be taken; it then counts as a heartbeat. A negative generation is a consumer that is no
    /// member (or an administrator), whose commits are taken while the group has no members.
    pub(crate) fn may_commit(
        &mut self,
        now_ms: i64,
        group: &str,
        member: &str,
        generation: i32,
        instance: Option<&str>,
    ) -> Result<(), ResponseError> {
        match self.groups.get_mut(group) {
            Some(entry) => entry.group.may_commit(now_ms, member, instance, generation),
            None if generation < 0 => Ok(()),
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    /// Does what is due at `now_ms`.
    pub(crate) fn poll(&mut self, now_ms: i64) {
        // Taken out first: each is looked at once, whatever its next deadline.
        let due: Vec<_> = self.timers.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).cloned().collect();
        for (_, name) in due {
            self.step(now_ms, &name, |_, _| ());
        }
    }

    /// When [`Groups::poll`] has something to do, if nothing else happens until then.
    pub(crate) fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.first().map(|(due_ms, _)| *due_ms)
    }

    /// The answers since the last call, in order.
    pub(crate) fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// [`State::Dead`] without members if there is no such group here.
    pub(crate) fn describe(&self, group: &str) -> Description {
        self.groups.get(group).map(|entry| entry.group.describe()).unwrap_or_else(|| Description {
            state: State::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        })
    }

    /// All groups, in no order; [`Listing::matches`] filters.
    pub(crate) fn list(&self) -> Vec<Listing> {
        let tell = |(name, entry): (&Rc<str>, &Entry)| Listing {
            group: name.to_string(),
            protocol_type: entry.group.protocol_type.clone(),
            state: entry.group.state(),
        };
        self.groups.iter().map(tell).collect()
    }

    /// Refused with NON_EMPTY_GROUP or GROUP_ID_NOT_FOUND (it may have committed offsets all the same).
    pub(crate) fn delete(&mut self, group: &str) -> Result<(), ResponseError> {
        let (name, entry) = self.groups.get_key_value(group).ok_or(ResponseError::GroupIdNotFound)?;
        if entry.group.state() != State::Empty {
            return Err(ResponseError::NonEmptyGroup);
        }
        let name = name.clone();
        self.forget(&name);
        Ok(())
    }

    /// Whether it has no members; so has a group that is unknown here.
    pub(crate) fn is_empty(&self, group: &str) -> bool {
        self.groups.get(group).is_none_or(|entry| entry.group.state() == State::Empty)
    }

    /// What its members read.
    pub(crate) fn subscribed_topics(&self, group: &str) -> Subscription {
        self.groups.get(group).map_or(Subscription::Nothing, |entry| entry.group.subscription())
    }

    /// The one place where a group changes by more than a heartbeat: keeps sums and timers right.
    fn step<R>(&mut self, now_ms: i64, name: &str, act: impl FnOnce(&mut Group, &mut Step) -> R) -> Option<R> {
        let (name, _) = self.groups.get_key_value(name)?;
        let name = name.clone();
        let entry = self.groups.get_mut(&name)?;
        let (limits, answered) = (self.limits, self.outputs.len());
        let room_bytes = limits.metadata_bytes.saturating_sub(self.held_bytes);
        let mut step = Step { now_ms, limits, room_bytes, outputs: &mut self.outputs };
        let result = act(&mut entry.group, &mut step);
        entry.group.settle(&mut step);
        for output in &self.outputs[answered..] {
            self.waiting.remove(&output.token());
        }
        self.held_bytes -= entry.held_bytes;
        entry.held_bytes = entry.group.held_bytes();
        self.held_bytes += entry.held_bytes;
        let due_ms = entry.group.due_ms();
        if due_ms != entry.due_ms {
            self.timers.extend(due_ms.map(|due_ms| (due_ms, name.clone())));
            if let Some(old_ms) = std::mem::replace(&mut entry.due_ms, due_ms) {
                self.timers.remove(&(old_ms, name.clone()));
            }
        }
        if entry.group.idle_since_ms().is_some() && due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.forget(&name);
        }
        Some(result)
    }

    /// Only of groups without members: nobody waits in it, and it holds no bytes.
    fn forget(&mut self, name: &Rc<str>) {
        if let Some(due_ms) = self.groups.remove(name).and_then(|entry| entry.due_ms) {
            self.timers.remove(&(due_ms, name.clone()));
        }
    }
}

fn check_group_id(group: &str) -> Result<(), ResponseError> {
    if (1..=GROUP_ID_MAX_BYTES).contains(&group.len()) { Ok(()) } else { Err(ResponseError::InvalidGroupId) }
}
