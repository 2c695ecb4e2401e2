//! Who may log in, and what a client may touch. Deliberately small: read and write by topic, use by group, or everything; no
//! deny rules, no hosts. Whoever may not do everything may create, delete and configure nothing.

use std::sync::Arc;
use tokio::sync::watch;

/// What one principal may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everything, as the operator.
    All,
    /// Nothing but what is listed.
    Only {
        /// Topics to fetch from.
        read: Vec<Pattern>,
        /// Topics to produce to.
        write: Vec<Pattern>,
        /// Consumer groups to use; never one that is reserved ([`crate::Config::reserved_groups`]).
        groups: Vec<Pattern>,
    },
    /// Nothing: it must log in first.
    Nothing,
}

/// Names it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This name.
    Exact(String),
    /// Every name that begins so.
    Prefix(String),
}

impl Pattern {
    /// Whether `name` is covered.
    pub fn covers(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

fn any(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.covers(name))
}

impl Access {
    /// Creating, deleting, configuring, deleting records, seeing everything.
    pub fn administers(&self) -> bool {
        *self == Self::All
    }

    /// Fetching from `topic`, and asking for its offsets.
    pub fn reads(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only { read, .. } => any(read, topic),
            Self::Nothing => false,
        }
    }

    /// Producing to `topic`.
    pub fn writes(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only { write, .. } => any(write, topic),
            Self::Nothing => false,
        }
    }

    /// Knowing that `topic` exists.
    pub fn sees(&self, topic: &str) -> bool {
        self.reads(topic) || self.writes(topic)
    }

    /// Joining `group`, committing its offsets, knowing that it exists.
    pub fn joins(&self, group: &str, reserved: &[Pattern]) -> bool {
        match self {
            Self::All => true,
            Self::Only { groups, .. } => any(groups, group) && !any(reserved, group),
            Self::Nothing => false,
        }
    }
}

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The SASL user name.
    pub name: String,
    /// The SASL password.
    pub password: String,
    /// What they may do.
    pub access: Access,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("access", &self.access).finish_non_exhaustive()
    }
}

/// Who may do what, at one time.
#[derive(Debug)]
pub(crate) struct Grants {
    pub(crate) users: Vec<User>,
    /// What a client may do that has not logged in.
    pub(crate) anonymous: Access,
}

impl Grants {
    pub(crate) fn user(&self, name: &[u8]) -> Option<&User> {
        self.users.iter().find(|user| user.name.as_bytes() == name)
    }
}

/// Changes who may do what on a running broker. Cheap to clone; does nothing once the broker has ended.
#[derive(Debug, Clone)]
pub struct AccessControl(Arc<watch::Sender<Arc<Grants>>>);

impl AccessControl {
    pub(crate) fn new(users: Vec<User>, anonymous: Access) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(Grants { users, anonymous }))))
    }

    /// Replaces the users, and what a client may do that has not logged in. Whatever a connection does after this returns is
    /// judged anew, also if it was open before. Connections of users who are gone or have another password are closed, and so are those
    /// that never logged in, once such may do nothing.
    pub fn replace(&self, users: Vec<User>, anonymous: Access) {
        self.0.send_replace(Arc::new(Grants { users, anonymous }));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Grants>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_may_write_its_jobs_and_read_its_answers_and_nothing_else() {
        let team = Access::Only {
            read: vec![Pattern::Exact("out.search".into())],
            write: vec![Pattern::Prefix("in.".into())],
            groups: vec![Pattern::Prefix("search.".into()), Pattern::Prefix("toll".into())],
        };
        let reserved = [Pattern::Prefix("tollgate.".into())];
        assert!(team.reads("out.search") && team.writes("in.search") && team.sees("in.search"));
        assert!(!team.reads("out.searching") && !team.reads("in.search") && !team.writes("out.search"));
        assert!(!team.sees("usage") && !team.administers());
        assert!(
            team.joins("search.app", &reserved)
                && !team.joins("ads.app", &reserved)
                && !team.joins("search", &reserved)
        );
        assert!(
            team.joins("tolls", &reserved) && !team.joins("tollgate.ledger", &reserved),
            "what is reserved stays so"
        );
        assert!(Access::All.joins("tollgate.ledger", &reserved));
        assert!(!Access::Nothing.joins("mine", &reserved) && !Access::Nothing.sees("out.search"));
    }
}
