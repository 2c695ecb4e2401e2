//! A closed loop: a number of callers, each sending its next request when the last one is answered, a stream to its end.

use crate::process::Process;
use anyhow::anyhow;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tollgate_runtime::supervised;

/// How much to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Callers.
    pub(crate) in_flight: usize,
    /// Requests of all callers together.
    pub(crate) requests: usize,
    /// No request begins after this time.
    pub(crate) limit: Duration,
}

/// How an answer came.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answered {
    /// All of it at once.
    Whole,
    /// Chunk by chunk.
    Stream {
        /// From the request to the first chunk.
        first: Duration,
        /// How many there were.
        chunks: usize,
    },
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Sample {
    /// One per answered request, sorted: to the whole answer, or to a stream's first chunk.
    pub(crate) latencies_us: Vec<u64>,
    /// Chunks of all streams together.
    pub(crate) chunks: usize,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// CPU time of this process meanwhile; `None` where the system does not tell it.
    pub(crate) client_cpu: Option<Duration>,
    /// The same of the broker's process.
    pub(crate) broker_cpu: Option<Duration>,
}

impl Sample {
    /// Microseconds at a quantile from 0 to 1.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * quantile).round() as usize;
        self.latencies_us.get(at).map_or(f64::NAN, |us| *us as f64)
    }

    /// Requests per second.
    pub(crate) fn throughput(&self) -> f64 {
        self.latencies_us.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU microseconds per request of this process.
    pub(crate) fn client_us(&self) -> Option<f64> {
        self.client_cpu.map(|cpu| self.per_request_us(cpu))
    }

    /// CPU microseconds per request of the broker's process.
    pub(crate) fn broker_us(&self) -> Option<f64> {
        self.broker_cpu.map(|cpu| self.per_request_us(cpu))
    }

    /// Chunks per stream.
    pub(crate) fn chunks_each(&self) -> f64 {
        self.chunks as f64 / self.latencies_us.len().max(1) as f64
    }

    fn per_request_us(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.latencies_us.len().max(1) as f64
    }
}

/// What the last answer leaves to be done (acknowledgements, commits, usage rows) is still counted as CPU time, and does not
/// disturb the next measurement.
const AFTERMATH: Duration = Duration::from_millis(250);

/// How often a measurement tells that it goes on.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What one caller brings back: its latencies in microseconds, and how many chunks it got.
type Calls = (Vec<u64>, usize);
/// `None`: another caller failed.
type Caller = JoinHandle<Option<Option<anyhow::Result<Calls>>>>;

/// Runs the loop, and tells of its progress by the name of its place. Any failed request fails the measurement: a figure
/// with errors in it says nothing. The others are dropped then, so that nothing is under way any more when this returns.
pub(crate) async fn run<F, R>(place: &str, load: Load, broker: Option<&Process>, send: F) -> anyhow::Result<Sample>
where
    F: Fn() -> R + Clone + Send + 'static,
    R: Future<Output = anyhow::Result<Answered>> + Send,
{
    let cpu = || [Process::me().cpu(), broker.and_then(Process::cpu)];
    let (tickets, begun, before) = (Arc::new(AtomicUsize::new(0)), Instant::now(), cpu());
    let over = CancellationToken::new();
    let callers = (0..load.in_flight).map(|_| {
        let (send, tickets, over) = (send.clone(), tickets.clone(), over.clone());
        supervised("caller", async move {
            let (failed, over) = (over.clone().drop_guard(), over);
            let answered = over.run_until_cancelled(calls(load, begun, &tickets, send)).await;
            if let Some(Ok(_)) = answered {
                failed.disarm();
            }
            answered
        })
    });
    let callers = callers.collect::<Vec<_>>();
    let (mut latencies_us, chunks) = tokio::select! {
        answered = all_of(callers) => answered?,
        never = progress(place, load, &tickets) => match never {},
    };
    let elapsed = begun.elapsed();
    tokio::time::sleep(AFTERMATH).await;
    let after = cpu();
    let [client_cpu, broker_cpu] = [0, 1].map(|i| Some(after[i]?.saturating_sub(before[i]?)));
    latencies_us.sort_unstable();
    Ok(Sample { latencies_us, chunks, elapsed, client_cpu, broker_cpu })
}

/// One caller's requests. No request begins when all have begun, or after the time.
async fn calls<F, R>(load: Load, begun: Instant, tickets: &AtomicUsize, send: F) -> anyhow::Result<Calls>
where
    F: Fn() -> R,
    R: Future<Output = anyhow::Result<Answered>>,
{
    let (mut latencies_us, mut chunks) = (Vec::with_capacity(load.requests / load.in_flight + 16), 0);
    while tickets.fetch_add(1, Ordering::Relaxed) < load.requests && begun.elapsed() < load.limit {
        let sent = Instant::now();
        let (took, more) = match send().await? {
            Answered::Whole => (sent.elapsed(), 0),
            Answered::Stream { first, chunks } => (first, chunks),
        };
        latencies_us.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        chunks += more;
    }
    Ok((latencies_us, chunks))
}

/// What all callers bring back, or the first failure of one.
async fn all_of(callers: Vec<Caller>) -> anyhow::Result<Calls> {
    let (mut latencies_us, mut chunks, mut failed) = (Vec::new(), 0, None);
    for caller in callers {
        match caller.await {
            Ok(Some(Some(Ok((its_latencies_us, its_chunks))))) => {
                latencies_us.extend(its_latencies_us);
                chunks += its_chunks;
            }
            Ok(Some(Some(Err(error)))) => {
                failed.get_or_insert(error);
            }
            // dropped, because another one failed
            Ok(Some(None)) => {}
            Ok(None) | Err(_) => {
                failed.get_or_insert_with(|| anyhow!("a caller panicked; see the log above"));
            }
        }
    }
    failed.map_or(Ok((latencies_us, chunks)), Err)
}

async fn progress(place: &str, load: Load, tickets: &AtomicUsize) -> Infallible {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        let begun = tickets.load(Ordering::Relaxed).min(load.requests);
        eprintln!("{place}: {begun} of {} requests have begun", load.requests);
    }
}

/// CPU microseconds per request of the loop itself: callers that wait for nothing but their turn.
pub(crate) async fn generator_cost() -> Option<f64> {
    let load = Load { in_flight: 256, requests: 1_000_000, limit: Duration::from_secs(5) };
    let idle = || async {
        tokio::task::yield_now().await;
        Ok(Answered::Whole)
    };
    run("callers without requests", load, None, idle).await.ok()?.client_us()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_is_counted_once_and_errors_are_not_hidden() {
        let load = Load { in_flight: 7, requests: 100, limit: Duration::from_secs(60) };
        let sample = run("here", load, None, || async { Ok(Answered::Whole) }).await.expect("no errors");
        assert_eq!(sample.latencies_us.len(), 100);
        assert!(sample.latencies_us.is_sorted() && sample.quantile_us(1.0) >= sample.quantile_us(0.5));
    }

    #[tokio::test]
    async fn a_failure_ends_the_others_and_is_told() {
        let load = Load { in_flight: 7, requests: 100, limit: Duration::from_secs(60) };
        let (sent, under_way) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let send = {
            let under_way = under_way.clone();
            move || {
                let (number, under_way) = (sent.fetch_add(1, Ordering::Relaxed), under_way.clone());
                async move {
                    if number < 6 {
                        std::future::pending::<()>().await;
                    }
                    drop(under_way);
                    Err(anyhow!("number {number}"))
                }
            }
        };
        let error = run("here", load, None, send).await.expect_err("one failed");
        assert_eq!(error.to_string(), "number 6");
        assert_eq!(Arc::strong_count(&under_way), 1, "nothing is under way any more");
    }

    #[tokio::test]
    async fn of_a_stream_the_first_chunk_is_timed_and_all_are_counted() {
        let load = Load { in_flight: 7, requests: 100, limit: Duration::from_secs(60) };
        let stream = || async { Ok(Answered::Stream { first: Duration::from_secs(9), chunks: 3 }) };
        let sample = run("here", load, None, stream).await.expect("no errors");
        assert_eq!(sample.latencies_us, [9_000_000; 100]);
        assert_eq!((sample.chunks, sample.chunks_each()), (300, 3.0));
    }
}
