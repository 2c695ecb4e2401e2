//! A string that must never be printed, the making of keys, and how secrets stay in memory.

use crate::blob::hex;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;

/// A new key for callers, and its hash in lower-case hex. 244 random bits.
pub fn new_key() -> (String, String) {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let key = format!("tg-{}{}", a.simple(), b.simple());
    let hash = hex(&Sha256::digest(&key));
    (key, hash)
}

/// Keeps this process's memory, and so every credential in it, out of core files: the kernel writes none, and no debugger of the same
/// user may look in (`PR_SET_DUMPABLE`, prctl(2)). `TOLLGATE_CORE_DUMPS=allow` is for whoever looks for a crash. Linux only; elsewhere
/// it does nothing.
pub fn keep_out_of_dumps() {
    #[cfg(target_os = "linux")]
    if std::env::var_os("TOLLGATE_CORE_DUMPS").is_none_or(|wish| wish != "allow") {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // Known to every kernel that this runs on.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Prints and serialises as `***`.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
