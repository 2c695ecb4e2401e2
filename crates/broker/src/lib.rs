//! A durable single-node log that speaks Kafka's protocol, to be embedded in another program.
//!
//! ```text
//! client ── wire (frames, shapes, replies in order) ── api (one handler a request) ──┬─ log    one partition: segments, idempotence, compaction
//!                                                                                    ├─ group  who is in a consumer group; sans-I/O
//!                                                                                    └─ store  topics, configs, committed offsets: a journal
//! ```
//!
//! Everything runs on one thread of its own, so state needs no locks; only `fsync`, compaction and removal of files run
//! beside it. What is kept, and when, is in [`Fsync`]; what is bounded, in [`Limits`]; who may do what, in [`Access`]; how that
//! changes, in [`AccessControl`].
//!
//! Deliberately absent: replication, transactions, KIP-848 groups, share groups, quotas, TLS, signal handlers and globals.
//! It advertises exactly what it has. Source of the protocol: <https://kafka.apache.org/protocol>.

mod access;
mod api;
mod config;
mod durability;
mod fault;
mod group;
mod housekeeping;
mod log;
mod node;
mod seldom;
mod server;
mod store;
#[cfg(test)]
mod tests;
mod topic;
mod wire;

pub use access::{Access, AccessControl, Pattern, User};
pub use config::{Config, Fsync, Limits, this_boot};

use std::{net::SocketAddr, path::PathBuf, sync::mpsc, thread};
use tokio_util::sync::CancellationToken;

/// Why a broker does not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken or not ours.
    #[error("the broker cannot listen on {address}: {reason}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The folder cannot be used, or what it holds cannot be trusted.
    #[error("{0}")]
    Store(String),
    /// A partition's files cannot be opened.
    #[error("the log of {topic}-{partition} in {} cannot be opened: {reason}", folder.display())]
    Log {
        /// Its topic.
        topic: String,
        /// Its number.
        partition: i32,
        /// Where it is.
        folder: PathBuf,
        /// What is wrong with it.
        reason: std::io::Error,
    },
    /// A topic has settings that this version does not know.
    #[error("topic {topic} cannot be served: {reason}")]
    Config {
        /// The topic.
        topic: String,
        /// What is wrong with its settings.
        reason: String,
    },
    /// The system gave no thread, or the broker's own died.
    #[error("the broker's thread ended: {0}")]
    Thread(String),
    /// The disk did not take what it had to keep: going on would break what was promised.
    #[error("the broker stopped because the disk refused an fsync: {0}; check the disk, then start again")]
    Disk(std::io::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error.to_string())
    }
}

/// Starts brokers.
#[derive(Debug)]
pub struct Broker;

impl Broker {
    /// Opens `config.dir`, recovers what a crash left, and serves. Blocks until clients can connect.
    ///
    /// # Errors
    /// The address cannot be bound, another broker uses the folder, or the folder's contents cannot be trusted.
    pub fn start(mut config: Config) -> Result<Handle, Error> {
        let users = std::mem::take(&mut config.users);
        let access = AccessControl::new(users, std::mem::replace(&mut config.anonymous, Access::Nothing));
        let grants = access.watch();
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (sender, started) = mpsc::sync_channel(1);
        let over = ended.clone().drop_guard();
        let stopping = stop.clone();
        let thread = thread::Builder::new().name("tollgate-broker".into()).spawn(move || {
            let _over = over;
            server::run(config, grants, &stopping, &sender)
        });
        let thread = thread.map_err(|error| Error::Thread(error.to_string()))?;
        match started.recv() {
            Ok(address) => Ok(Handle { address, access, stop, ended, thread: Some(thread) }),
            // Nobody sent an address: the thread has ended and says why.
            Err(_) => Err(join(thread).err().unwrap_or_else(|| Error::Thread("it ended while it started".into()))),
        }
    }
}

fn join(thread: thread::JoinHandle<Result<(), Error>>) -> Result<(), Error> {
    thread.join().unwrap_or_else(|_| Err(Error::Thread("it panicked; the message is in the log above".into())))
}

/// A running broker. Dropping it shuts it down.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    access: AccessControl,
    stop: CancellationToken,
    ended: CancellationToken,
    thread: Option<thread::JoinHandle<Result<(), Error>>>,
}

impl Handle {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// To change who may do what.
    pub fn access(&self) -> AccessControl {
        self.access.clone()
    }

    /// Cancelled once the broker has ended, asked to or not.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Closes all connections, writes everything to the disk and ends. Blocks until done, a second or so.
    ///
    /// # Errors
    /// The reason, if the broker had ended by itself or could not write what it kept.
    pub fn shutdown(mut self) -> Result<(), Error> {
        self.stop.cancel();
        self.thread.take().map_or(Ok(()), join)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(Err(error)) = self.thread.take().map(join) {
            tracing::error!(%error, "the broker did not end well");
        }
    }
}

/// What the fuzzers of `fuzz/` call.
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz {
    /// A frame as a client may send it: must never panic, nor allocate much more than it holds.
    pub fn frame(data: &[u8]) {
        crate::wire::fuzz_frame(data);
    }

    /// A record batch as a client may send it.
    pub fn records(data: &[u8]) {
        crate::log::fuzz_records(data);
    }
}
