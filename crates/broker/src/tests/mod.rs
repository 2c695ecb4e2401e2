//! Tests of the whole broker over its port, by a client of their own: protocol and limits, who may do what, random operations
//! against a model, and crashes. Not here: tests of one part, which lie beside it.

mod batch;
mod calls;
mod client;
mod crash;
mod foreign;
mod group_calls;
mod locked;
mod model;
mod protocol;
mod random;
mod replaced;
mod versions;

use crate::{Broker, Config, Handle};
use client::Client;
use tempfile::TempDir;

/// A broker in a folder of its own that lets everybody do everything.
struct Running {
    handle: Handle,
    dir: TempDir,
}

impl Running {
    fn start() -> Self {
        Self::with(|_| {})
    }

    /// Started with what `adjust` makes of the configuration.
    fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::open_to_all(dir.path());
        adjust(&mut config);
        Self { handle: Broker::start(config).unwrap(), dir }
    }

    fn client(&self) -> Client {
        Client::connect(self.handle.address()).unwrap()
    }
}
