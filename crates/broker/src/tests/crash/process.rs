//! The broker's process: this test binary once more, running one test that serves until it is killed or its input ends.

use crate::{Broker, Config, Fsync, fault};
use std::{
    fmt, fs, io,
    io::Read,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

const DIR: &str = "TOLLGATE_BROKER_CHILD_DIR";
const BOOT: &str = "TOLLGATE_BROKER_CHILD_BOOT";
const ALWAYS: &str = "TOLLGATE_BROKER_CHILD_ALWAYS";
/// Longer than a start, or an end, takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// Where the broker of a run keeps its data.
pub(super) fn data(root: &Path) -> PathBuf {
    root.join("data")
}

/// What the process runs.
pub(super) fn serve() {
    let Ok(root) = std::env::var(DIR) else { return };
    let root = PathBuf::from(root);
    let mut config = Config::open_to_all(data(&root));
    config.boot = Some(std::env::var(BOOT).unwrap());
    config.housekeeping = Duration::from_millis(15);
    config.fsync = if std::env::var(ALWAYS).unwrap() == "true" {
        Fsync::Always
    } else {
        Fsync::Interval(Duration::from_millis(40))
    };
    let handle = Broker::start(config).unwrap();
    fs::write(root.join("address.next"), handle.address().to_string()).unwrap();
    fs::rename(root.join("address.next"), root.join("address")).unwrap();
    // The test closes it, or ends in whatever way.
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
    handle.shutdown().unwrap();
}

/// Every point of [`fault::point`], found in the sources so that none is forgotten.
pub(super) fn points() -> Vec<String> {
    let (mut points, mut folders) = (Vec::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            let calls = source.split("fault::point(\"").skip(1);
            points.extend(calls.filter_map(|call| Some(call.split_once("\");")?.0.to_owned())));
        }
    }
    points.sort();
    points.dedup();
    assert!(!points.is_empty());
    points
}

/// How a process is started.
#[derive(Debug)]
pub(super) struct Start<'a> {
    pub(super) root: &'a Path,
    pub(super) boot: u32,
    pub(super) always: bool,
    pub(super) fault: Option<&'a str>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    Clean,
    Killed,
    /// At this point.
    Fault(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("clean"),
            Self::Killed => f.write_str("SIGKILL"),
            Self::Fault(point) => f.write_str(point),
        }
    }
}

/// A running broker; killed if it is dropped.
pub(super) struct Process {
    child: Child,
    root: PathBuf,
    fault: Option<String>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(super) fn start(start: &Start<'_>) -> Self {
        let _ = fs::remove_file(start.root.join("address"));
        let log = fs::File::create(start.root.join("output")).unwrap();
        let test = module_path!().split_once("::").unwrap().1.replace("::process", "::broker_process");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([&test, "--exact", "--nocapture"]);
        command.env(DIR, start.root).env(BOOT, format!("boot {}", start.boot)).env(ALWAYS, start.always.to_string());
        command.env_remove(fault::VARIABLE);
        if let Some(fault) = start.fault {
            command.env(fault::VARIABLE, fault);
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        let fault = start.fault.map(|fault| fault.rsplit_once(':').unwrap().0.to_owned());
        Self { child: command.spawn().unwrap(), root: start.root.to_owned(), fault }
    }

    /// Where it listens, once it does; none if it ends before.
    pub(super) fn address(&mut self) -> Option<SocketAddr> {
        let since = Instant::now();
        loop {
            if let Ok(address) = fs::read_to_string(self.root.join("address")) {
                return Some(address.parse().unwrap());
            }
            if self.has_ended() {
                return None;
            }
            assert!(since.elapsed() < PATIENCE, "it does not start:\n{}", self.log());
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// How it ended, or is just ending.
    pub(super) fn ended_by_itself(&mut self) -> End {
        let status = self.wait();
        match self.end(status) {
            End::Fault(point) => End::Fault(point),
            end => panic!("it ended by itself ({end:?}):\n{}", self.log()),
        }
    }

    pub(super) fn kill(&mut self) -> End {
        self.child.kill().unwrap();
        let status = self.wait();
        self.end(status)
    }

    /// Asks it to shut down; it may reach its point on the way.
    pub(super) fn shut_down(mut self) -> End {
        drop(self.child.stdin.take());
        let status = self.wait();
        self.end(status)
    }

    fn wait(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it broke a connection, or does not end:\n{}", self.log());
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(&self, status: ExitStatus) -> End {
        match (status.signal(), &self.fault) {
            (Some(SIGKILL), _) => End::Killed,
            (Some(SIGABRT), Some(point)) => End::Fault(point.clone()),
            (None, _) if status.success() => End::Clean,
            _ => panic!("the broker failed ({status}):\n{}", self.log()),
        }
    }

    /// What it said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.root.join("output")).unwrap_or_default()
    }
}
