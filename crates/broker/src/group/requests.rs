//! What each request does to one group, with the error codes and in the order of checks of Apache Kafka's coordinator.
//! Not here: how a group moves on from there (`state.rs`).

use super::member::{Member, Waiting, bytes_of};
use super::state::{Group, Phase, Step, refuse};
use super::subscription::{self, CONSUMER};
use super::types::{
    DescribedMember, Description, Join, Joined, Leaver, Output, State, Subscription, Sync, Synced, Token,
};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use std::collections::BTreeSet;

/// From this version of JoinGroup on a dynamic member gets an id before it is let in (KIP-394).
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;

/// From this version of JoinGroup on a leader can be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT_VERSION: i16 = 9;

impl Group {
    /// `fresh` is the id that a member without one gets.
    pub(super) fn join(&mut self, step: &mut Step, token: Token, join: &Join, fresh: String) {
        let answer = match self.admit(step, join) {
            Err(error) => {
                let id = if error == ResponseError::GroupMaxSizeReached { "" } else { join.member.as_str() };
                Some(Joined::refused(id, error))
            }
            Ok(()) if join.member.is_empty() => {
                match join.instance.as_ref().and_then(|instance| self.static_id(instance)).cloned() {
                    Some(old) => self.replace(step, token, join, &old, fresh),
                    None if join.version >= MEMBER_ID_REQUIRED_VERSION && join.instance.is_none() => {
                        let void_ms = step.now_ms.saturating_add(i64::from(join.session_timeout_ms.max(1)));
                        self.pending.insert(fresh.clone(), void_ms);
                        Some(Joined::refused(fresh, ResponseError::MemberIdRequired))
                    }
                    None => self.add(step, token, join, fresh),
                }
            }
            Ok(()) if self.pending.remove(&join.member).is_some() => self.add(step, token, join, join.member.clone()),
            Ok(()) => self.rejoin(step, token, join),
        };
        step.outputs.extend(answer.map(|answer| Output::Join(token, answer)));
    }

    fn admit(&self, step: &Step, join: &Join) -> Result<(), ResponseError> {
        let instance = join.instance.as_deref();
        let id = if join.member.is_empty() { instance.and_then(|i| self.static_id(i)) } else { Some(&join.member) };
        let known = id.and_then(|id| self.members.get(id));
        let is_full = self.members.len() + self.pending.len() >= step.limits.members_per_group;
        // Assignments do not count here, as the rebalance that lets a newcomer in drops them.
        let (old_bytes, new_bytes) = (known.map_or(0, Member::metadata_bytes), bytes_of(&join.protocols));
        if (id.is_none() && is_full)
            || self.metadata_bytes() - old_bytes + new_bytes > step.limits.group_bytes()
            || new_bytes > step.room_bytes.saturating_add(old_bytes)
        {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        if !self.supports(&join.protocol_type, &join.protocols) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        // A promised id is for a dynamic member, so an instance id does not go with it.
        let promised = self.pending.contains_key(&join.member) && instance.is_none();
        if join.member.is_empty() || promised { Ok(()) } else { self.check_member(&join.member, instance) }
    }

    /// Whether the id is a member's, and that of the instance it says it is (KIP-345).
    fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        let member = self.members.get(id);
        match instance {
            None => member.map(|_| ()).ok_or(ResponseError::UnknownMemberId),
            Some(_) if member.is_some_and(|member| member.instance.as_deref() == instance) => Ok(()),
            Some(instance) if self.static_id(instance).is_some() => Err(ResponseError::FencedInstanceId),
            Some(_) => Err(ResponseError::UnknownMemberId),
        }
    }

    fn check(&self, id: &str, instance: Option<&str>, generation: i32) -> Result<(), ResponseError> {
        self.check_member(id, instance)?;
        if generation == self.generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) }
    }

    fn add(&mut self, step: &mut Step, token: Token, join: &Join, id: String) -> Option<Joined> {
        if self.members.is_empty() {
            self.protocol_type = join.protocol_type.clone();
        }
        if let Phase::Preparing { first: Some(first), .. } = &mut self.phase {
            first.more_came = true;
        }
        self.leader.get_or_insert_with(|| id.clone());
        let mut member = Member::new(step.now_ms, join);
        member.waiting = Some(Waiting::Join(token));
        self.members.insert(id, member);
        self.prepare(step);
        None
    }

    /// A member joins again. It is told the present generation if nothing has changed, which it may have missed; but
    /// the leader of a Stable group joins in order to have a rebalance.
    fn rejoin(&mut self, step: &mut Step, token: Token, join: &Join) -> Option<Joined> {
        let is_leader = self.is_leader(&join.member);
        let member = self.members.get_mut(&join.member)?;
        let nothing_new = match self.phase {
            Phase::Completing { .. } => member.told_the_same(join),
            Phase::Stable { .. } => member.told_the_same(join) && !is_leader,
            Phase::Empty { .. } | Phase::Preparing { .. } => false,
        };
        if nothing_new {
            member.seen(step.now_ms);
            return Some(self.joined(&join.member));
        }
        // An earlier join of the same member, mostly of a connection that broke: its client shall ask again.
        refuse(step, member, &join.member, ResponseError::RebalanceInProgress);
        member.update(step.now_ms, join);
        member.waiting = Some(Waiting::Join(token));
        self.prepare(step);
        None
    }

    /// A static member comes back without its id (a restarted process): it takes the place of the old one, which is
    /// fenced. A Stable group goes on if the member reads what it read before (KIP-345).
    fn replace(&mut self, step: &mut Step, token: Token, join: &Join, old: &str, id: String) -> Option<Joined> {
        let mut member = self.members.remove(old)?;
        refuse(step, &mut member, old, ResponseError::FencedInstanceId);
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let reads_the_same = self.protocol_type != CONSUMER || member.reads_the_same(join, protocol);
        member.update(step.now_ms, join);
        self.members.insert(id.clone(), member);
        let led = self.is_leader(old);
        if led {
            self.leader = Some(id.clone());
        }
        let goes_on = matches!(self.phase, Phase::Stable { .. }) && self.select_protocol() == self.protocol;
        if goes_on && reads_the_same {
            let mut answer = self.joined(&id);
            answer.skip_assignment = led && join.version >= SKIP_ASSIGNMENT_VERSION;
            if led && !answer.skip_assignment {
                // Told that the old id leads, an older client does not compute an assignment that nobody would get.
                answer.leader = old.to_owned();
                answer.members.clear();
            }
            return Some(answer);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.waiting = Some(Waiting::Join(token));
        }
        self.prepare(step);
        None
    }

    pub(super) fn sync(&mut self, step: &mut Step, token: Token, sync: Sync) {
        let answer = self.try_sync(step, token, sync).unwrap_or_else(|error| Some(Synced::refused(error)));
        step.outputs.extend(answer.map(|answer| Output::Sync(token, answer)));
    }

    fn try_sync(&mut self, step: &mut Step, token: Token, sync: Sync) -> Result<Option<Synced>, ResponseError> {
        self.check(&sync.member, sync.instance.as_deref(), sync.generation)?;
        if sync.protocol_type.is_some_and(|protocol_type| protocol_type != self.protocol_type)
            || (sync.protocol.is_some() && sync.protocol != self.protocol)
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        let is_leader = self.is_leader(&sync.member);
        let member = self.members.get_mut(&sync.member).ok_or(ResponseError::UnknownMemberId)?;
        match self.phase {
            Phase::Empty { .. } => Err(ResponseError::UnknownMemberId),
            Phase::Preparing { .. } => Err(ResponseError::RebalanceInProgress),
            Phase::Completing { .. } => {
                let bytes = sync.assignments.iter().map(|(_, data)| data.len()).sum::<usize>();
                if is_leader && bytes > step.room_bytes.min(step.limits.group_bytes()) {
                    // As Apache Kafka answers an assignment that does not fit in its log.
                    return Err(ResponseError::UnknownServerError);
                }
                refuse(step, member, &sync.member, ResponseError::RebalanceInProgress);
                member.waiting = Some(Waiting::Sync(token));
                member.synced = true;
                if is_leader {
                    self.assign(step, sync.assignments);
                }
                Ok(None)
            }
            Phase::Stable { .. } => {
                member.synced = true;
                member.seen(step.now_ms);
                Ok(Some(Synced {
                    error: None,
                    protocol_type: Some(self.protocol_type.clone()),
                    protocol: self.protocol.clone(),
                    assignment: member.assignment.clone(),
                }))
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        now_ms: i64,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        self.check(id, instance, generation)?;
        self.seen(now_ms, id);
        // While Completing there is nothing to rejoin for: the member waits for its assignment or soon asks for it.
        if matches!(self.phase, Phase::Preparing { .. }) { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }

    /// While Preparing members may commit still, as they give up partitions only then.
    pub(super) fn may_commit(
        &mut self,
        now_ms: i64,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        if generation < 0 && matches!(self.phase, Phase::Empty { .. }) {
            return Ok(());
        }
        self.check(id, instance, generation)?;
        if matches!(self.phase, Phase::Completing { .. }) {
            return Err(ResponseError::RebalanceInProgress);
        }
        self.seen(now_ms, id);
        Ok(())
    }

    fn seen(&mut self, now_ms: i64, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.seen(now_ms);
        }
    }

    pub(super) fn leave(&mut self, step: &mut Step, leaver: &Leaver) -> Result<(), ResponseError> {
        let instance = leaver.instance.as_deref();
        if leaver.member.is_empty() {
            let id = instance.and_then(|instance| self.static_id(instance)).ok_or(ResponseError::UnknownMemberId)?;
            let id = id.clone();
            self.remove(step, &id);
        } else if self.pending.remove(&leaver.member).is_none() {
            self.check_member(&leaver.member, instance)?;
            self.remove(step, &leaver.member);
        }
        Ok(())
    }

    /// The connection that waits for `token` is gone: the member has its session time-out to come back.
    pub(super) fn abandon(&mut self, step: &mut Step, token: Token) {
        let waits = |w: &Waiting| matches!(w, Waiting::Join(t) | Waiting::Sync(t) if *t == token);
        for member in self.members.values_mut().filter(|member| member.waiting.as_ref().is_some_and(waits)) {
            member.waiting = None;
            member.seen(step.now_ms);
        }
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Empty { .. } => State::Empty,
            Phase::Preparing { .. } => State::PreparingRebalance,
            Phase::Completing { .. } => State::CompletingRebalance,
            Phase::Stable { .. } => State::Stable,
        }
    }

    pub(super) fn describe(&self) -> Description {
        let stable = self.protocol.as_deref().filter(|_| matches!(self.phase, Phase::Stable { .. }));
        let tell = |(id, member): (&String, &Member)| DescribedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: stable.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: stable.map(|_| member.assignment.clone()).unwrap_or_default(),
        };
        Description {
            state: self.state(),
            protocol_type: self.protocol_type.clone(),
            protocol: stable.unwrap_or_default().to_owned(),
            members: self.members.iter().map(tell).collect(),
        }
    }

    pub(super) fn subscription(&self) -> Subscription {
        if self.members.is_empty() {
            return Subscription::Nothing;
        }
        if self.protocol_type != CONSUMER {
            return Subscription::NotConsumers;
        }
        let Some(protocol) = &self.protocol else { return Subscription::Unknown };
        let mut topics = BTreeSet::new();
        for metadata in self.members.values().map(|member| -> Bytes { member.metadata(protocol) }) {
            match subscription::topics(&metadata) {
                Some(of_member) => topics.extend(of_member),
                None => return Subscription::Unknown,
            }
        }
        Subscription::Topics(topics)
    }
}
