//! What a broker is started with. Not here: reading it from anywhere; whoever embeds the broker does that.

use crate::access::{Access, Pattern, User};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How a broker is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds everything; made if missing. One broker at a time may use it.
    pub dir: PathBuf,
    /// Where clients connect. Port 0 takes a free one; see [`crate::Handle::address`].
    pub listen: SocketAddr,
    /// What clients of other machines are told to connect to. Those of this machine, and all if it is not set, are told the
    /// address they came to.
    pub advertised: Option<(String, u16)>,
    /// When a record counts as kept.
    pub fsync: Fsync,
    /// Who may log in (SASL/PLAIN), at the start; see [`crate::AccessControl`].
    pub users: Vec<User>,
    /// What a client may do that has not logged in, at the start.
    pub anonymous: Access,
    /// Consumer groups that only [`Access::All`] may use.
    pub reserved_groups: Vec<Pattern>,
    /// Bounds.
    pub limits: Limits,
    /// How often old records are looked for and compacted away.
    pub housekeeping: Duration,
    /// The operating system's run, [`this_boot`]. If the last start had the same, a process that was killed lost nothing, and
    /// offsets go on where they ended; else they go on at a mark beyond any that was ever handed out.
    pub boot: Option<String>,
}

impl Config {
    /// A broker in `dir` on a free loopback port that lets everybody do everything: for tests and benchmarks.
    pub fn open_to_all(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertised: None,
            fsync: Fsync::default(),
            users: Vec::new(),
            anonymous: Access::All,
            reserved_groups: Vec::new(),
            limits: Limits::default(),
            housekeeping: Duration::from_secs(10),
            boot: this_boot(),
        }
    }
}

/// When a produced record is acknowledged, and so what a power loss may take. The end of the process alone (a crash,
/// `SIGKILL`) loses nothing that was acknowledged in either mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Acknowledged and visible once it is on the disk; one fsync serves all that wait.
    Always,
    /// Acknowledged and visible once the operating system has it; on the disk at most this much later.
    Interval(Duration),
}

impl Default for Fsync {
    fn default() -> Self {
        Self::Interval(Duration::from_secs(1))
    }
}

/// What is bounded, and where the bound lies. What goes beyond is refused with an error that says so.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; the next is closed at once.
    pub connections: usize,
    /// Bytes of one request; a larger one closes its connection.
    pub request_bytes: usize,
    /// Partitions of all topics together (`INVALID_PARTITIONS`).
    pub partitions: usize,
    /// Consumer groups with members or committed offsets (`GROUP_MAX_SIZE_REACHED`).
    pub groups: usize,
    /// Members of one group (`GROUP_MAX_SIZE_REACHED`).
    pub group_members: usize,
    /// Bytes of records in one answer to a fetch.
    pub fetch_bytes: usize,
    /// Files held open for logs.
    pub open_files: usize,
    /// How long a group that nobody uses keeps its offsets, in milliseconds.
    pub offsets_retention_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_000,
            request_bytes: 16 * 1024 * 1024,
            partitions: 4_000,
            groups: 2_000,
            group_members: 500,
            fetch_bytes: 16 * 1024 * 1024,
            open_files: 128,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
        }
    }
}

/// Tells this run of the operating system from others, where that can be told (Linux). While it stays the same, what a
/// killed process wrote is still there, even if it was not yet on the disk.
pub fn this_boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}
