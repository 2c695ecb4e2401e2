//! What the system says of a process: CPU time of all its threads and memory, from `/proc`.
//!
//! Where there is no `/proc`, or the process belongs to somebody else's machine, every answer is `None`. Deliberately absent:
//! page cache, which is nobody's, and kernel threads that write it out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Ticks per second of `/proc`; fixed for programs on every Linux.
const TICKS_PER_SECOND: u64 = 100;
/// `TCP_LISTEN` in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Process(PathBuf);

/// Resident memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) now_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Process {
    /// This one.
    pub(crate) fn me() -> Self {
        Self("/proc/self".into())
    }

    /// By its number.
    pub(crate) fn of(pid: u32) -> Self {
        Self(format!("/proc/{pid}").into())
    }

    /// The one that accepts TCP connections on this port of this machine, if it may be looked into.
    pub(crate) fn listening_on(port: u16) -> Option<Self> {
        let sockets = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
        let inode = sockets.iter().flat_map(|file| file.lines()).find_map(|line| listener(line, port))?;
        let socket = PathBuf::from(format!("socket:[{inode}]"));
        let numbers = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        numbers.map(Self::of).find(|process| holds(&process.0, &socket))
    }

    /// Its number and program.
    pub(crate) fn name(&self) -> String {
        let number = self.0.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let program = std::fs::read_to_string(self.0.join("comm")).unwrap_or_default();
        format!("{number} ({})", program.trim_end())
    }

    /// User and system time so far. Resolution: 10 ms.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        ticks(&std::fs::read_to_string(self.0.join("stat")).ok()?)
    }

    /// Resident memory, and its peak since the last [`Self::forget_peak`].
    pub(crate) fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(self.0.join("status")).ok()?;
        Some(Memory { now_kib: kib(&status, "VmRSS:")?, peak_kib: kib(&status, "VmHWM:")? })
    }

    /// The peak begins anew (`proc_pid_clear_refs(5)`), or stays that of the whole life where this is not allowed.
    pub(crate) fn forget_peak(&self) {
        let _ = std::fs::write(self.0.join("clear_refs"), "5");
    }
}

/// The share of one CPU that each takes while nobody asks for anything.
pub(crate) async fn idle_shares(processes: &[Option<Process>], time: Duration) -> Vec<Option<f64>> {
    let used = || processes.iter().map(|process| process.as_ref()?.cpu()).collect::<Vec<_>>();
    let (begun, before) = (Instant::now(), used());
    tokio::time::sleep(time).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let share = |(after, before): (Option<Duration>, Option<Duration>)| {
        Some(after?.saturating_sub(before?).as_secs_f64() / elapsed)
    };
    used().into_iter().zip(before).map(share).collect()
}

/// The inode of a line of `/proc/net/tcp` or `tcp6` (`proc_net(5)`) if it is a socket that listens on the port.
fn listener(line: &str, port: u16) -> Option<&str> {
    let fields = line.split_whitespace().collect::<Vec<_>>();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let bound = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (bound == port && *state == LISTENS).then_some(*inode)
}

fn holds(process: &Path, socket: &Path) -> bool {
    let Ok(open) = std::fs::read_dir(process.join("fd")) else { return false };
    open.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == socket))
}

/// `proc_pid_stat(5)`: after the name in brackets, `utime` and `stime` are the 12th and 13th field.
fn ticks(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// A line of `proc_pid_status(5)`.
fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_brackets() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(ticks(stat), Some(Duration::from_secs(2)));
        assert_eq!(ticks("7"), None);
    }

    #[test]
    fn memory_is_told_in_kibibytes() {
        let status = "Name:\tx\nVmHWM:\t   12340 kB\nVmRSS:\t    1234 kB\n";
        assert_eq!(
            (kib(status, "VmHWM:"), kib(status, "VmRSS:"), kib(status, "VmSwap:")),
            (Some(12340), Some(1234), None)
        );
    }

    #[test]
    fn only_a_listening_socket_counts() {
        let line = |state| format!("0: 00000000000000000000000000000000:4A94 0:0 {state} 0:0 00:0 0 0 0 4711 1 0 100");
        assert_eq!(listener(&line("0A"), 19092), Some("4711"));
        assert_eq!(listener(&line("01"), 19092), None);
        assert_eq!(listener(&line("0A"), 19093), None);
        assert_eq!(listener("  sl  local_address rem_address   st", 19092), None);
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        if Process::me().cpu().is_some() {
            let found = Process::listening_on(port).expect("found");
            assert_eq!(found.0, Process::of(std::process::id()).0);
        }
    }
}
