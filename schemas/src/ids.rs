//! Request and execution ids: UUIDv7, so that they sort by time and name their date.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id whose time part is the present.
            #[allow(clippy::new_without_default, reason = "a default that differs each time would mislead")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id's time part, milliseconds since the Unix epoch; 0 if it is not a UUIDv7.
            pub fn unix_ms(&self) -> i64 {
                let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |t| t.to_unix());
                i64::try_from(seconds).unwrap_or(0) * 1000 + i64::from(nanos / 1_000_000)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

id!(
    /// One logical request, whatever happens to it.
    RequestId
);
id!(
    /// One run of a request by a router-worker. A redelivered request has the same request id and another execution id.
    ExecutionId
);

impl RequestId {
    /// The id of a job that came by topic: time = the record's append time, the other bits = a hash of where the record
    /// stands, so that a redelivered record is the same request.
    ///
    /// `append_ms` is milliseconds since the Unix epoch. `topic` is the topic id if the broker tells it, else its name.
    pub fn of_record(cluster: &str, topic: &str, partition: i32, offset: i64, append_ms: i64) -> Self {
        let hash = fnv1a_128(&[cluster.as_bytes(), topic.as_bytes(), &partition.to_be_bytes(), &offset.to_be_bytes()]);
        let ms = u64::try_from(append_ms).unwrap_or(0).to_be_bytes();
        Self::made_of(&ms[2..], hash)
    }

    /// The id of a request that another one causes, such as a shadow's copy or a question to a judge: the parent's time, the other
    /// bits = a hash of the parent and of what it is for, so that a parent that is worked on twice causes one request.
    pub fn of_child(parent: Self, what: &str) -> Self {
        let parent = parent.0.as_bytes();
        Self::made_of(&parent[..6], fnv1a_128(&[what.as_bytes(), parent]))
    }

    /// A UUIDv7 of six bytes of time and of what a hash has for the rest.
    fn made_of(time: &[u8], hash: u128) -> Self {
        let mut bytes = hash.to_be_bytes();
        bytes[..6].copy_from_slice(time);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        Self(Uuid::from_bytes(bytes))
    }
}

/// FNV-1a, 128 bits, over length-prefixed parts. Not for secrets: it only has to be stable for ever and well mixed, and
/// (partition, offset) of one cluster never repeat, so nobody gains from a collision that they would have to search for.
fn fnv1a_128(parts: &[&[u8]]) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for part in parts {
        for byte in (part.len() as u64).to_be_bytes().iter().chain(*part) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivered_record_keeps_its_id() {
        let a = RequestId::of_record("c", "t", 3, 41, 1_700_000_000_123);
        assert_eq!(a, RequestId::of_record("c", "t", 3, 41, 1_700_000_000_123));
        assert_ne!(a, RequestId::of_record("c", "t", 3, 42, 1_700_000_000_123));
        assert_ne!(a, RequestId::of_record("ct", "", 3, 41, 1_700_000_000_123));
        assert_eq!(a.0.get_version_num(), 7);
        assert_eq!(a.unix_ms(), 1_700_000_000_123);
    }

    #[test]
    fn a_child_has_one_id_and_the_time_of_its_parent() {
        let parent = RequestId::new();
        let copy = RequestId::of_child(parent, "candidate");
        assert_eq!(copy, RequestId::of_child(parent, "candidate"));
        let others = [parent, RequestId::of_child(parent, "another"), RequestId::of_child(copy, "candidate")];
        assert!(!others.contains(&copy));
        assert_eq!((copy.0.get_version_num(), copy.unix_ms()), (7, parent.unix_ms()));
    }
}
