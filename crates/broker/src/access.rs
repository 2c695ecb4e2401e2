//! What a client may touch. Deliberately small: read and write by topic, use by group, or everything; no deny rules, no
//! hosts. Whoever may not do everything may create, delete and configure nothing.

/// What one principal may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everything, as the operator.
    All,
    /// Nothing but what is listed. Any group is allowed that is not reserved ([`crate::Config::reserved_groups`]).
    Only {
        /// Topics to fetch from.
        read: Vec<Pattern>,
        /// Topics to produce to.
        write: Vec<Pattern>,
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

    /// Joining `group` and committing its offsets.
    pub fn joins(&self, group: &str, reserved: &[Pattern]) -> bool {
        match self {
            Self::All => true,
            Self::Only { .. } => !any(reserved, group),
            Self::Nothing => false,
        }
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
        };
        let reserved = [Pattern::Prefix("tollgate.".into())];
        assert!(team.reads("out.search") && team.writes("in.search") && team.sees("in.search"));
        assert!(!team.reads("out.searching") && !team.reads("in.search") && !team.writes("out.search"));
        assert!(!team.sees("usage") && !team.administers());
        assert!(team.joins("mine", &reserved) && !team.joins("tollgate.ledger", &reserved));
        assert!(Access::All.joins("tollgate.ledger", &reserved));
        assert!(!Access::Nothing.joins("mine", &reserved) && !Access::Nothing.sees("out.search"));
    }
}
