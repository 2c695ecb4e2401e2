//! The clients, the coordinator, and what must be true after each step.

use super::client::Doing;
use super::*;
use crate::group::member::Waiting;
use crate::group::state::Phase;
use std::collections::{BTreeMap, HashSet};

const LIMITS: Limits = Limits { groups: 2, members_per_group: 8, initial_delay_ms: 0, ..super::super::LIMITS };

/// No answer takes longer than the longest rebalance time-out that anybody uses.
const LONGEST_WAIT_MS: i64 = 30_000;

/// Within this time all trace of ill-behaved clients is gone, and the others have found each other.
const QUIET_MS: i64 = 200_000;

pub(super) struct World {
    groups: Groups,
    clients: Vec<Client>,
    now_ms: i64,
    token: Token,
    /// Who waits: since when, in which group, and the instance it says it is.
    asked: BTreeMap<Token, (i64, String, Option<String>)>,
    /// Member ids that were ever told, with the instance they stand for.
    ids: Vec<(String, String, Option<String>)>,
    /// What members were told of a generation: its leader (or the leader's instance) and protocol.
    told: BTreeMap<(String, i32), (String, Option<String>)>,
    generations: BTreeMap<String, i32>,
}

impl World {
    pub(super) fn new(clients: Vec<Client>, initial_delay_ms: i64) -> Self {
        let mut count = 0;
        let new_id = move || {
            count += 1;
            Uuid::from_u128(count)
        };
        Self {
            groups: Groups::new(Limits { initial_delay_ms, ..LIMITS }, new_id),
            clients,
            now_ms: 0,
            token: 0,
            asked: BTreeMap::new(),
            ids: Vec::new(),
            told: BTreeMap::new(),
            generations: BTreeMap::new(),
        }
    }

    fn ask(&mut self, group: usize, instance: Option<String>) -> Token {
        self.token += 1;
        self.asked.insert(self.token, (self.now_ms, format!("g{group}"), instance));
        self.token
    }

    pub(super) fn next(&mut self, client: usize) {
        let client = client % self.clients.len();
        let this = self.clients[client].clone();
        match &this.doing {
            Doing::Out => {
                let token = self.ask(this.group, this.instance());
                self.clients[client].doing = Doing::Joining(token);
                self.groups.join(self.now_ms, token, this.join());
            }
            Doing::Joined(joined) => {
                let token = self.ask(this.group, this.instance());
                self.clients[client].doing = Doing::Syncing(token);
                self.groups.sync(self.now_ms, token, this.sync(joined));
            }
            Doing::Member => {
                let (group, instance) = (format!("g{}", this.group), this.instance());
                let beat = self.groups.heartbeat(self.now_ms, &group, &this.id, this.generation, instance.as_deref());
                if let Some(error) = beat {
                    self.clients[client].failed(error);
                }
            }
            Doing::Joining(_) | Doing::Syncing(_) | Doing::Dead => {}
        }
        self.deliver();
    }

    pub(super) fn crash(&mut self, client: usize) {
        let client = client % self.clients.len();
        self.disconnect(client);
        self.clients[client].id.clear();
        self.clients[client].doing = Doing::Out;
    }

    pub(super) fn leave(&mut self, client: usize) {
        let client = client % self.clients.len();
        let this = &self.clients[client];
        let leaver = Leaver { member: this.id.clone(), instance: this.instance() };
        let group = format!("g{}", this.group);
        self.disconnect(client);
        assert!(self.groups.leave(self.now_ms, &group, &[leaver]).is_ok());
        self.deliver();
        self.clients[client].id.clear();
        self.clients[client].doing = Doing::Out;
    }

    pub(super) fn disconnect(&mut self, client: usize) {
        let client = client % self.clients.len();
        if let Some(token) = self.clients[client].token() {
            self.asked.remove(&token);
            self.groups.abandon(self.now_ms, token);
            self.clients[client].doing = Doing::Out;
            self.deliver();
        }
    }

    pub(super) fn pass(&mut self, ms: i64) {
        let until_ms = self.now_ms + ms;
        while let Some(due_ms) = self.groups.next_deadline_ms().filter(|due_ms| *due_ms <= until_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.groups.poll(self.now_ms);
            self.deliver();
            assert!(self.groups.next_deadline_ms().is_none_or(|due_ms| due_ms > self.now_ms), "polls get somewhere");
        }
        self.now_ms = until_ms;
    }

    pub(super) fn rogue(&mut self, group: usize, what: Rogue) {
        let (name, now_ms) = (format!("g{group}"), self.now_ms);
        let known: Vec<String> = self.ids.iter().filter(|id| id.0 == name).map(|id| id.1.clone()).collect();
        let id = |n: usize| known.iter().rev().nth(n).cloned().unwrap_or_else(|| "x".into());
        let now = self.generations.get(&name).copied().unwrap_or(0);
        match what {
            Rogue::Join { version, member, instance, session_ms, rebalance_ms, protocols, bytes } => {
                let instance = instance.map(|n| format!("i{n}"));
                let token = self.ask(group, instance.clone());
                let names = [&["range", "z"][..], &["z", "own"], &["range"], &[]][protocols];
                let metadata = Bytes::from(vec![0; bytes]);
                let join = Join {
                    version,
                    group: name,
                    member: member.map(id).unwrap_or_default(),
                    instance,
                    session_timeout_ms: session_ms,
                    rebalance_timeout_ms: rebalance_ms,
                    protocols: names.iter().map(|name| (name.to_string(), metadata.clone())).collect(),
                    ..consumer("rogue")
                };
                self.groups.join(now_ms, token, join);
            }
            Rogue::Sync { member, generation, assignment } => {
                let token = self.ask(group, None);
                let assignments = vec![(id(0), Bytes::from(vec![b'a'; assignment]))];
                let (member, generation) = (id(member), now + generation);
                let (instance, protocol_type, protocol) = (None, None, None);
                let sync = Sync { group: name, generation, member, instance, protocol_type, protocol, assignments };
                self.groups.sync(now_ms, token, sync);
            }
            Rogue::Heartbeat { member, generation } => {
                self.groups.heartbeat(now_ms, &name, &id(member), now + generation, None);
            }
            Rogue::Leave { member, instance } => {
                let leaver =
                    Leaver { member: member.map(id).unwrap_or_default(), instance: instance.map(|n| format!("i{n}")) };
                assert!(self.groups.leave(now_ms, &name, &[leaver]).is_ok());
            }
            Rogue::Commit { member, generation } => {
                let generation = now + generation;
                let may = self.groups.may_commit(now_ms, &name, &id(member), generation, None);
                let current = generation == now || (generation < 0 && self.groups.is_empty(&name));
                assert!(may.is_err() || current, "only the present generation commits");
            }
            Rogue::Abandon(n) => {
                let mine = self.asked.keys().filter(|token| self.clients.iter().all(|c| c.token() != Some(**token)));
                if let Some(token) = mine.copied().nth(n) {
                    self.asked.remove(&token);
                    self.groups.abandon(now_ms, token);
                }
            }
            Rogue::Delete => {
                let empty = self.groups.is_empty(&name);
                assert!(empty || self.groups.delete(&name) == Err(ResponseError::NonEmptyGroup));
                if empty && self.groups.delete(&name).is_ok() {
                    self.forgotten(&name);
                }
            }
        }
        self.deliver();
    }

    /// A group that is gone counts from the start.
    fn forgotten(&mut self, name: &str) {
        self.generations.remove(name);
        self.told.retain(|(group, _), _| group != name);
    }

    fn deliver(&mut self) {
        let outputs = self.groups.take_outputs();
        let mut answered = Vec::new();
        for output in outputs {
            let (_, group, instance) = self.asked.remove(&output.token()).expect("asked, not abandoned, answered once");
            let client = self.clients.iter().position(|client| client.token() == Some(output.token()));
            if let Output::Join(_, joined) = &output
                && matches!(joined.error, None | Some(ResponseError::MemberIdRequired))
            {
                self.ids.push((group.clone(), joined.member.clone(), instance));
                answered.push((group, joined.clone()));
            }
            match (client, output) {
                (Some(client), Output::Join(_, joined)) => self.clients[client].joined(joined),
                (Some(client), Output::Sync(_, synced)) => {
                    let generation = format!("{}:", self.clients[client].generation);
                    let own = synced.assignment.starts_with(generation.as_bytes());
                    let rogues = synced.assignment.iter().all(|byte| *byte == b'a');
                    assert!(own || rogues, "an assignment of its generation");
                    if rogues && synced.error.is_none() {
                        self.clients[client].synced(Synced { assignment: Bytes::new(), ..synced });
                    } else {
                        self.clients[client].synced(synced);
                    }
                }
                (None, _) => {}
            }
        }
        answered.into_iter().filter(|(_, joined)| joined.error.is_none()).for_each(|(g, j)| self.hears(g, j));
    }

    /// All that hear of a generation hear the same, but for a leader that came back under another id.
    fn hears(&mut self, group: String, joined: Joined) {
        let leader = self.ids.iter().rev().find(|(_, id, _)| *id == joined.leader);
        let leader = leader.and_then(|(_, _, instance)| instance.clone()).unwrap_or(joined.leader);
        let now = (leader, joined.protocol);
        let before = self.told.entry((group, joined.generation)).or_insert_with(|| now.clone());
        assert_eq!(*before, now, "one leader and protocol in a generation");
    }

    pub(super) fn check(&mut self) {
        self.pass(0);
        let names: Vec<String> = self.generations.keys().cloned().collect();
        for name in names {
            if !self.groups.groups.contains_key(name.as_str()) {
                self.forgotten(&name);
            }
        }
        let mut waiting = HashSet::new();
        assert!(self.groups.groups.len() <= LIMITS.groups);
        for (name, entry) in &self.groups.groups {
            let generation = self.generations.entry(name.to_string()).or_default();
            assert!(entry.group.generation >= *generation, "generations go up");
            *generation = entry.group.generation;
            check_group(&entry.group, &mut waiting);
            assert_eq!(entry.held_bytes, entry.group.held_bytes());
            assert!(entry.group.metadata_bytes() <= LIMITS.group_bytes());
            assert!(entry.held_bytes - entry.group.metadata_bytes() <= LIMITS.group_bytes());
            let due_ms = entry.due_ms.expect("even an empty group is forgotten some day");
            assert!(due_ms > self.now_ms && due_ms <= entry.group.due_ms().unwrap());
            assert!(self.groups.timers.contains(&(due_ms, name.clone())));
        }
        assert_eq!(self.groups.timers.len(), self.groups.groups.len());
        assert_eq!(self.groups.held_bytes, self.groups.groups.values().map(|entry| entry.held_bytes).sum::<usize>());
        assert!(self.groups.held_bytes <= LIMITS.metadata_bytes);
        assert_eq!(waiting, self.asked.keys().copied().collect(), "who waits is remembered");
        assert_eq!(waiting, self.groups.waiting.keys().copied().collect());
        for (asked_ms, ..) in self.asked.values() {
            assert!(self.now_ms - asked_ms <= LONGEST_WAIT_MS, "an answer in time");
        }
    }

    /// The ill-behaved fall silent; the others must come together.
    pub(super) fn settle_down(&mut self) {
        let until_ms = self.now_ms + QUIET_MS;
        while self.now_ms < until_ms {
            for client in 0..self.clients.len() {
                self.next(client);
                self.check();
            }
            self.pass(500);
        }
        for client in self.clients.iter().filter(|client| client.doing != Doing::Dead) {
            let name = format!("g{}", client.group);
            assert_eq!(self.groups.describe(&name).state, State::Stable);
            assert_eq!(client.doing, Doing::Member);
            assert_eq!(client.generation, self.generations[&name]);
            assert!(self.groups.groups[name.as_str()].group.members.contains_key(&client.id));
        }
        let alive = self.clients.iter().filter(|client| client.doing != Doing::Dead).count();
        let members: usize = self.groups.groups.values().map(|entry| entry.group.members.len()).sum();
        assert_eq!(members, alive, "nobody else is left");
    }
}

fn check_group(group: &Group, waiting: &mut HashSet<Token>) {
    assert!(group.members.len() + group.pending.len() <= LIMITS.members_per_group);
    assert_eq!(group.members.is_empty(), matches!(group.phase, Phase::Empty { .. }));
    assert_eq!(group.members.is_empty(), group.leader.is_none());
    assert!(group.leader.as_ref().is_none_or(|leader| group.members.contains_key(leader)));
    let mut instances = HashSet::new();
    for member in group.members.values() {
        assert!(member.instance.as_ref().is_none_or(|instance| instances.insert(instance)), "one per instance");
        match member.waiting {
            Some(Waiting::Join(token)) => {
                assert!(matches!(group.phase, Phase::Preparing { .. }));
                assert!(waiting.insert(token));
            }
            Some(Waiting::Sync(token)) => {
                assert!(matches!(group.phase, Phase::Completing { .. }));
                assert!(waiting.insert(token));
            }
            None => {}
        }
        if matches!(group.phase, Phase::Completing { .. } | Phase::Stable { .. }) {
            assert!(group.protocol.as_ref().is_some_and(|protocol| member.supports(protocol)));
        }
    }
}
