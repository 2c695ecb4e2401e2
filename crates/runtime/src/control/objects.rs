//! The fold: which objects stand on the topic, in which version.

use crate::config::Config;
use serde_json::value::RawValue;
use std::{collections::BTreeMap, sync::Arc};
use tollgate_schemas::{Change, ObjectKind};

/// What the topic says of one object.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The offset of the change that made it so, plus one.
    pub version: i64,
    /// As the file would hold it; `None`: removed.
    pub value: Option<Arc<RawValue>>,
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds, as this version.
    Applied(i64),
    /// It named another version than the current one; `None`: there is no such object.
    Stale(Option<i64>),
}

/// Everything that stands on the topic.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    entries: BTreeMap<(ObjectKind, String), Entry>,
    last: i64,
}

impl Objects {
    /// Takes a change in that stands at `version`, if it replaces the current version of its object.
    pub fn apply(&mut self, version: i64, change: &Change, base: &Config) -> Verdict {
        self.last = version;
        let current = self.version(change.kind, &change.name, base);
        if current != change.replaces {
            return Verdict::Stale(current);
        }
        let value = change.value.as_deref().map(|value| Arc::from(value.to_owned()));
        self.entries.insert((change.kind, change.name.clone()), Entry { version, value });
        Verdict::Applied(version)
    }

    /// The current version of an object: 0 if only the file has it, `None` if there is none.
    pub fn version(&self, kind: ObjectKind, name: &str, base: &Config) -> Option<i64> {
        match self.get(kind, name) {
            Some(entry) => entry.value.is_some().then_some(entry.version),
            None => super::lookup::in_file(base, kind, name).map(|_| 0),
        }
    }

    /// What the topic says of an object.
    pub fn get(&self, kind: ObjectKind, name: &str) -> Option<&Entry> {
        self.entries.get(&(kind, name.to_owned()))
    }

    /// Everything, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKind, &str, &Entry)> {
        self.entries.iter().map(|((kind, name), entry)| (*kind, name.as_str(), entry))
    }

    /// A version that no change has yet.
    pub(super) fn next_version(&self) -> i64 {
        self.last + 1
    }
}
