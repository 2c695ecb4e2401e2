//! An endpoint's checks, compiled.

use crate::checks::{Action, Check};

/// A check with its name and what it does when it finds something.
#[derive(Debug)]
pub struct Configured {
    /// Stage and kind: `input.pii`, `output.keywords`, …
    pub name: &'static str,
    /// What a finding leads to.
    pub action: Action,
    /// The check itself.
    pub check: Check,
}

/// The checks of one side.
#[derive(Debug, Default)]
pub struct Stage {
    /// In the order of the configuration's documentation.
    pub checks: Vec<Configured>,
}

impl Stage {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Names of checks that cannot run although their policy demands it: anything but `log`.
    pub fn demanded_but_unavailable(&self) -> Vec<&'static str> {
        let demanded = self.checks.iter().filter(|c| !c.check.available() && c.action != Action::Log);
        demanded.map(|c| c.name).collect()
    }
}

/// An endpoint's checks on both sides.
#[derive(Debug, Default)]
pub struct Policy {
    /// Short hash of the configuration that it was compiled from; `None` if the endpoint has no checks.
    pub version: Option<String>,
    /// Checks of requests.
    pub input: Stage,
    /// Checks of answers.
    pub output: Stage,
}
