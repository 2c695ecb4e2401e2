//! Whom a limit or a budget counts: `endpoint`, `each_key`, `team:NAME`, …

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// What can be counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dimension {
    Endpoint,
    Destination,
    Team,
    User,
    Key,
    Tag,
}

impl Dimension {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Destination => "destination",
            Self::Team => "team",
            Self::User => "user",
            Self::Key => "key",
            Self::Tag => "tag",
        }
    }
}

/// Whom a limit or a budget is for. Text: `endpoint` and `team` (all of it together), `each_key`, `each_user`, `each_team` (each
/// by itself), `key:NAME`, `user:NAME`, `team:NAME`, `endpoint:NAME`, `tag:NAME=VALUE` (one).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Everything of the thing that the limit stands at.
    Whole(Dimension),
    /// Each by itself.
    Each(Dimension),
    /// One, by its name; of a tag `NAME=VALUE`.
    One(Dimension, String),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |dimension, name: &str| {
            let fine = !name.is_empty()
                && (dimension != Dimension::Tag || name.split_once('=').is_some_and(|t| !t.0.is_empty()));
            fine.then(|| Self::One(dimension, name.to_owned()))
        };
        let found = match text.split_once(':') {
            None => match text {
                "endpoint" => Some(Self::Whole(Dimension::Endpoint)),
                "team" => Some(Self::Whole(Dimension::Team)),
                "each_key" => Some(Self::Each(Dimension::Key)),
                "each_user" => Some(Self::Each(Dimension::User)),
                "each_team" => Some(Self::Each(Dimension::Team)),
                _ => None,
            },
            Some(("key", name)) => named(Dimension::Key, name),
            Some(("user", name)) => named(Dimension::User, name),
            Some(("team", name)) => named(Dimension::Team, name),
            Some(("endpoint", name)) => named(Dimension::Endpoint, name),
            Some(("tag", name)) => named(Dimension::Tag, name),
            Some(_) => None,
        };
        found.ok_or_else(|| {
            format!(
                "`{text}` is nobody; write endpoint, team, each_key, each_user, each_team, or key:NAME, user:NAME, team:NAME, \
                 endpoint:NAME, tag:NAME=VALUE"
            )
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(dimension) => f.write_str(dimension.as_str()),
            Self::Each(dimension) => write!(f, "each_{}", dimension.as_str()),
            Self::One(dimension, name) => write!(f, "{}:{name}", dimension.as_str()),
        }
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_written_as_they_were_read() {
        for text in [
            "endpoint",
            "team",
            "each_key",
            "each_user",
            "each_team",
            "key:a",
            "user:b:c",
            "team:x",
            "endpoint:gpt/4",
            "tag:a=b=c",
        ] {
            assert_eq!(text.parse::<Subject>().expect(text).to_string(), text);
        }
        for bad in ["", "key", "key:", "each", "each_tag", "tag:a", "tag:=b", "group:x"] {
            assert!(bad.parse::<Subject>().is_err(), "{bad}");
        }
    }
}
