//! A client that follows the protocol: joins, syncs, heartbeats, and does what errors tell it to. It decides; the world
//! sends. Cooperative ones tell in their metadata what they own, and join again when that changed.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Eager,
    Cooperative,
    Static(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Doing {
    Out,
    Joining(Token),
    Joined(Joined),
    Syncing(Token),
    Member,
    /// Fenced: another process has its instance id.
    Dead,
}

#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) kind: Kind,
    pub(super) group: usize,
    pub(super) id: String,
    pub(super) generation: i32,
    pub(super) doing: Doing,
    version: i16,
    session_ms: i32,
    rebalance_ms: i32,
    owned: Bytes,
}

impl Client {
    pub(super) fn new(kind: Kind, version: i16, group: usize, session_ms: i32, rebalance_ms: i32) -> Self {
        let version = if matches!(kind, Kind::Static(_)) { version.max(5) } else { version };
        Self {
            kind,
            group,
            id: String::new(),
            generation: -1,
            doing: Doing::Out,
            version,
            session_ms,
            rebalance_ms,
            owned: Bytes::new(),
        }
    }

    pub(super) fn instance(&self) -> Option<String> {
        if let Kind::Static(n) = self.kind { Some(format!("i{n}")) } else { None }
    }

    pub(super) fn join(&self) -> Join {
        let mut metadata = reads(&["t"]);
        if self.kind == Kind::Cooperative {
            metadata = [metadata, self.owned.clone()].concat().into();
        }
        Join {
            version: self.version,
            group: format!("g{}", self.group),
            member: self.id.clone(),
            instance: self.instance(),
            session_timeout_ms: self.session_ms,
            rebalance_timeout_ms: if self.version == 0 { -1 } else { self.rebalance_ms },
            protocols: vec![("own".into(), Bytes::new()), ("range".into(), metadata)],
            ..consumer("c")
        }
    }

    /// A leader tells each member which share of how many it gets, in which generation.
    pub(super) fn sync(&self, joined: &Joined) -> Sync {
        let leads = joined.leader == joined.member && !joined.skip_assignment;
        let all = joined.members.iter().filter(|_| leads).enumerate();
        let share = |index: usize| format!("{}:{index}of{}", joined.generation, joined.members.len());
        Sync {
            group: format!("g{}", self.group),
            instance: self.instance(),
            assignments: all.map(|(index, m)| (m.member.clone(), share(index).into())).collect(),
            ..sync(joined)
        }
    }

    pub(super) fn token(&self) -> Option<Token> {
        match self.doing {
            Doing::Joining(token) | Doing::Syncing(token) => Some(token),
            _ => None,
        }
    }

    pub(super) fn joined(&mut self, joined: Joined) {
        match joined.error {
            None => {
                self.id = joined.member.clone();
                self.generation = joined.generation;
                self.doing = Doing::Joined(joined);
            }
            Some(ResponseError::MemberIdRequired) => {
                self.id = joined.member;
                self.doing = Doing::Out;
            }
            Some(error) => self.failed(error),
        }
    }

    pub(super) fn synced(&mut self, synced: Synced) {
        if let Some(error) = synced.error {
            return self.failed(error);
        }
        self.doing = Doing::Member;
        let text = String::from_utf8(synced.assignment.to_vec()).unwrap();
        let owned = Bytes::from(text.split_once(':').map(|(_, share)| share.to_owned()).unwrap_or_default());
        if self.kind == Kind::Cooperative && owned != self.owned {
            self.owned = owned;
            self.doing = Doing::Out;
        }
    }

    pub(super) fn failed(&mut self, error: ResponseError) {
        self.doing = Doing::Out;
        match error {
            ResponseError::FencedInstanceId => self.doing = Doing::Dead,
            ResponseError::UnknownMemberId => self.id.clear(),
            ResponseError::RebalanceInProgress
            | ResponseError::IllegalGeneration
            | ResponseError::InconsistentGroupProtocol
            | ResponseError::GroupMaxSizeReached => {}
            other => panic!("{other:?} for a client that does nothing wrong"),
        }
    }
}
