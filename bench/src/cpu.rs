//! CPU time of this process, all threads: user and system.

use std::time::{Duration, Instant};

/// Ticks per second of `/proc`; fixed for programs on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// Used so far; `None` where there is no `/proc`. Resolution: 10 ms.
pub(crate) fn used() -> Option<Duration> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// `proc_pid_stat(5)`: after the name in brackets, `utime` and `stime` are the 12th and 13th field.
fn parse(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The share of one CPU that this process takes while nobody asks for anything.
pub(crate) async fn idle_share(time: Duration) -> Option<f64> {
    let (begun, before) = (Instant::now(), used()?);
    tokio::time::sleep(time).await;
    Some(used()?.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_brackets() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(parse(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse("7"), None);
    }
}
