//! Tests of the coordinator, by subject, and what they share: a coordinator with a clock of its own and member ids that
//! count up. Not here: random behaviour in earnest (`random.rs`).

mod bounds;
mod joining;
mod random;
mod statics;
mod syncing;
mod timing;
mod views;

use super::*;
use bytes::{BufMut, Bytes, BytesMut};

pub(super) const LIMITS: Limits = Limits {
    groups: 4,
    members_per_group: 4,
    session_timeout_min_ms: 1_000,
    session_timeout_max_ms: 60_000,
    initial_delay_ms: 0,
    metadata_bytes: 64 * 1_024,
};
pub(super) const SESSION_MS: i64 = 10_000;
pub(super) const REBALANCE_MS: i64 = 30_000;

/// A coordinator with a clock and the answers it has given.
pub(super) struct Fixture {
    pub(super) groups: Groups,
    pub(super) now_ms: i64,
    token: Token,
    answers: HashMap<Token, Output>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(LIMITS)
    }

    pub(super) fn with(limits: Limits) -> Self {
        let mut count = 0;
        let new_id = move || {
            count += 1;
            Uuid::from_u128(count)
        };
        Self { groups: Groups::new(limits, new_id), now_ms: 1_000_000, token: 0, answers: HashMap::new() }
    }

    fn collect(&mut self) {
        for output in self.groups.take_outputs() {
            assert!(self.answers.insert(output.token(), output).is_none(), "one answer per token");
        }
    }

    pub(super) fn join(&mut self, join: Join) -> Token {
        self.token += 1;
        self.groups.join(self.now_ms, self.token, join);
        self.collect();
        self.token
    }

    pub(super) fn joined(&self, token: Token) -> Option<Joined> {
        self.answers.get(&token).map(|output| match output {
            Output::Join(_, joined) => joined.clone(),
            Output::Sync(..) => panic!("a join answered as a sync"),
        })
    }

    /// A join that is answered at once.
    pub(super) fn join_now(&mut self, join: Join) -> Joined {
        let token = self.join(join);
        self.joined(token).expect("answered at once")
    }

    pub(super) fn sync(&mut self, sync: Sync) -> Token {
        self.token += 1;
        self.groups.sync(self.now_ms, self.token, sync);
        self.collect();
        self.token
    }

    pub(super) fn synced(&self, token: Token) -> Option<Synced> {
        self.answers.get(&token).map(|output| match output {
            Output::Sync(_, synced) => synced.clone(),
            Output::Join(..) => panic!("a sync answered as a join"),
        })
    }

    pub(super) fn sync_now(&mut self, sync: Sync) -> Synced {
        let token = self.sync(sync);
        self.synced(token).expect("answered at once")
    }

    pub(super) fn abandon(&mut self, token: Token) {
        self.groups.abandon(self.now_ms, token);
        self.collect();
    }

    pub(super) fn heartbeat(&mut self, member: &str, generation: i32) -> Option<ResponseError> {
        self.groups.heartbeat(self.now_ms, "g", member, generation, None)
    }

    pub(super) fn leave(&mut self, member: &str, instance: Option<&str>) -> Option<ResponseError> {
        let leaver = Leaver { member: member.into(), instance: instance.map(Into::into) };
        let left = self.groups.leave(self.now_ms, "g", &[leaver]).expect("a valid request");
        self.collect();
        left[0]
    }

    /// Lets time pass, and what is due happen when it is due.
    pub(super) fn pass(&mut self, ms: i64) {
        let until_ms = self.now_ms + ms;
        while let Some(due_ms) = self.groups.next_deadline_ms().filter(|due_ms| *due_ms <= until_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            self.groups.poll(self.now_ms);
            self.collect();
        }
        self.now_ms = until_ms;
    }

    pub(super) fn state(&self) -> State {
        self.groups.describe("g").state
    }

    /// Brings members up to a Stable group; each joins with an id that it gets first. The first leads.
    pub(super) fn stable<const N: usize>(&mut self, joins: [Join; N]) -> [Joined; N] {
        let ids = joins.map(|join| self.promised(join));
        let mut tokens: Vec<Token> = ids.iter().map(|join| self.join(join.clone())).collect();
        for (token, join) in tokens.iter_mut().zip(&ids).take(N - 1) {
            // The first one had a generation of its own, and those who wait have been told so by a heartbeat.
            if let Some(alone) = self.joined(*token) {
                *token = self.join(Join { member: alone.member, ..join.clone() });
            }
        }
        let joined: Vec<Joined> = tokens.iter().map(|token| self.joined(*token).expect("all have joined")).collect();
        let followers: Vec<Token> = joined[1..].iter().map(|joined| self.sync(sync(joined))).collect();
        self.sync_now(lead(&joined[0]));
        assert!(followers.iter().all(|token| self.synced(*token).is_some_and(|synced| synced.error.is_none())));
        assert_eq!(self.state(), State::Stable);
        joined.try_into().unwrap()
    }

    /// The join with the id that the first try gives; static members and old versions need none.
    pub(super) fn promised(&mut self, join: Join) -> Join {
        if join.version < 4 || join.instance.is_some() || !join.member.is_empty() {
            return join;
        }
        let answer = self.join_now(join.clone());
        assert_eq!(answer.error, Some(ResponseError::MemberIdRequired));
        Join { member: answer.member, ..join }
    }
}

/// A dynamic consumer in group `g` that reads topic `t`.
pub(super) fn consumer(client_id: &str) -> Join {
    Join {
        version: 9,
        group: "g".into(),
        member: String::new(),
        instance: None,
        client_id: client_id.into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS as i32,
        rebalance_timeout_ms: REBALANCE_MS as i32,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), reads(&["t"]))],
    }
}

pub(super) fn static_consumer(instance: &str) -> Join {
    Join { instance: Some(instance.into()), ..consumer("client") }
}

/// Metadata of a consumer of these topics.
pub(super) fn reads(topics: &[&str]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1);
    out.freeze()
}

pub(super) fn sync(joined: &Joined) -> Sync {
    Sync {
        group: "g".into(),
        generation: joined.generation,
        member: joined.member.clone(),
        instance: None,
        protocol_type: Some("consumer".into()),
        protocol: joined.protocol.clone(),
        assignments: Vec::new(),
    }
}

/// The sync of a leader that gives each member its own id.
pub(super) fn lead(joined: &Joined) -> Sync {
    assert_eq!(joined.leader, joined.member);
    let assignments = joined.members.iter().map(|m| (m.member.clone(), Bytes::from(m.member.clone()))).collect();
    Sync { assignments, ..sync(joined) }
}
