//! The brokers that are compared: Apache Kafka, which runs already, and the embedded one, in a process of its own.
//!
//! The embedded broker would share a process with the clients in `tollgate up`. Here it gets its own, so that its CPU time and
//! memory can be told apart from theirs and both brokers are reached the same way.

use crate::process::Process;
use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tollgate_broker::{Config, Fsync};

const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    Embedded,
    Kafka,
}

impl On {
    /// As printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            On::Embedded => "embedded",
            On::Kafka => "Kafka",
        }
    }
}

/// A running broker.
pub(crate) struct Broker {
    pub(crate) on: On,
    /// Its bootstrap address.
    pub(crate) address: String,
    /// `None` where it is not on this machine or cannot be looked into.
    pub(crate) process: Option<Process>,
    embedded: Option<(Child, tempfile::TempDir)>,
}

/// How the embedded broker keeps records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// Every second, beside the work.
    Interval,
    /// Before a record is acknowledged.
    Always,
}

impl Broker {
    /// Apache Kafka at this address, and its process: the given one, or the one that listens there.
    pub(crate) fn kafka(address: &str, pid: Option<u32>) -> anyhow::Result<Self> {
        let (host, port) = address.rsplit_once(':').context("--kafka takes HOST:PORT of one broker")?;
        let port = port.parse().context("--kafka takes HOST:PORT of one broker")?;
        TcpStream::connect(address).with_context(|| format!("nothing answers at {address}; see scripts/kafka"))?;
        let here = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
        let process = pid.map(Process::of).or_else(|| here.then(|| Process::listening_on(port)).flatten());
        Ok(Self { on: On::Kafka, address: address.to_owned(), process, embedded: None })
    }

    /// Starts the embedded broker in a folder of its own: this program once more, with a hidden argument.
    pub(crate) fn embedded(sync: Durability) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").arg(dir.path()).arg("--fsync").arg(match sync {
            Durability::Interval => "interval",
            Durability::Always => "always",
        });
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let process = Process::of(child.id());
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut address)?;
        let mut broker =
            Self { on: On::Embedded, address: address.trim().to_owned(), process: Some(process), embedded: None };
        broker.embedded = Some((child, dir));
        ensure!(!broker.address.is_empty(), "the embedded broker did not start; see above");
        Ok(broker)
    }

    /// Ends the embedded broker and deletes its folder; Kafka goes on.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let Some((mut child, _dir)) = self.embedded else { return Ok(()) };
        // it ends when its standard input does
        drop(child.stdin.take());
        let begun = Instant::now();
        loop {
            match child.try_wait()? {
                Some(status) => {
                    ensure!(status.success(), "the embedded broker did not end well: {status}");
                    return Ok(());
                }
                None if begun.elapsed() > ENDS_WITHIN => {
                    child.kill()?;
                    child.wait()?;
                    bail!("the embedded broker did not end within {ENDS_WITHIN:?} and was killed");
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// The embedded broker's process: prints its address and serves until standard input ends.
#[allow(clippy::print_stdout, reason = "the address is what the parent reads")]
pub(crate) fn serve(dir: &Path, sync: Durability) -> anyhow::Result<()> {
    let fsync = match sync {
        Durability::Interval => Fsync::default(),
        Durability::Always => Fsync::Always,
    };
    let broker = tollgate_broker::Broker::start(Config { fsync, ..Config::open_to_all(dir) })?;
    println!("{}", broker.address());
    // ends when the parent does, however it ends
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(broker.shutdown()?)
}
