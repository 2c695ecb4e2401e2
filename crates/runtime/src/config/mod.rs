//! `tollgate.yaml`: its shape, reading it, and everything that can be wrong with it, reported at once.
//!
//! [`model`] is the shape; `read` turns text into it, resolving `${…}` only where the asking service uses the value;
//! `check` looks at what parsed as a whole.

mod bus;
mod check;
mod key_file;
mod model;
mod overrides;
mod presets;
mod read;
mod subject;
mod units;

pub use bus::{EMBEDDED, JOB_DEADLINE, OPERATOR, host_and_port};
pub use key_file::KeyFile;
pub use model::*;
pub use overrides::{Overrides, Whose};
pub use presets::{Continues, PRESETS, Preset};
pub(crate) use read::object;
pub use read::{Loaded, Over, load, parse, parse_over, yaml};
pub use subject::{Dimension, Subject};
pub use units::{Millis, Per};

use std::fmt;

/// Who reads the configuration; decides which secrets are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The HTTP and Kafka doors.
    Ingress,
    /// Checks.
    Guardrail,
    /// Provider calls: the only one that resolves provider credentials.
    RouterWorker,
    /// The ledger.
    UsageAggregator,
    /// All four in one process.
    All,
}

impl Role {
    /// Whether this role does the work of `other`.
    pub fn does(self, other: Role) -> bool {
        self == other || self == Role::All
    }
}

/// Something wrong, or to be known, with where it stands in the file (`endpoints[0].destinations[1].provider`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path in the file; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether it stops a service from starting.
    pub fatal: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.fatal { "error" } else { "warning" };
        let path = if self.path.is_empty() { "(file)" } else { &self.path };
        write!(f, "{kind}: {path}: {}", self.message)
    }
}

/// Every fatal problem of a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem(s):\n{}", .0.len(), .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
pub struct Problems(pub Vec<Problem>);
