//! A closed loop: a number of callers, each sending its next request when the last one is answered, a stream to its end.

use crate::process::Process;
use anyhow::bail;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
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

/// Runs the loop. Any failed request fails the measurement: a figure with errors in it says nothing.
pub(crate) async fn run<F, R>(load: Load, broker: Option<&Process>, send: F) -> anyhow::Result<Sample>
where
    F: Fn() -> R + Clone + Send + 'static,
    R: Future<Output = anyhow::Result<Answered>> + Send,
{
    let cpu = || [Process::me().cpu(), broker.and_then(Process::cpu)];
    let (tickets, begun, before) = (Arc::new(AtomicUsize::new(0)), Instant::now(), cpu());
    let callers = (0..load.in_flight).map(|_| {
        let (send, tickets) = (send.clone(), tickets.clone());
        supervised("caller", async move {
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
            anyhow::Ok((latencies_us, chunks))
        })
    });
    let (mut latencies_us, mut chunks) = (Vec::with_capacity(load.requests), 0);
    for caller in callers.collect::<Vec<_>>() {
        let Ok(Some(answered)) = caller.await else { bail!("a caller panicked; see the log above") };
        let (its_latencies_us, its_chunks) = answered?;
        latencies_us.extend(its_latencies_us);
        chunks += its_chunks;
    }
    let elapsed = begun.elapsed();
    tokio::time::sleep(AFTERMATH).await;
    let after = cpu();
    let [client_cpu, broker_cpu] = [0, 1].map(|i| Some(after[i]?.saturating_sub(before[i]?)));
    latencies_us.sort_unstable();
    Ok(Sample { latencies_us, chunks, elapsed, client_cpu, broker_cpu })
}

/// CPU microseconds per request of the loop itself: callers that wait for nothing but their turn.
pub(crate) async fn generator_cost() -> Option<f64> {
    let load = Load { in_flight: 256, requests: 1_000_000, limit: Duration::from_secs(5) };
    let idle = || async {
        tokio::task::yield_now().await;
        Ok(Answered::Whole)
    };
    run(load, None, idle).await.ok()?.client_us()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_is_counted_once_and_errors_are_not_hidden() {
        let load = Load { in_flight: 7, requests: 100, limit: Duration::from_secs(60) };
        let sample = run(load, None, || async { Ok(Answered::Whole) }).await.expect("no errors");
        assert_eq!(sample.latencies_us.len(), 100);
        assert!(sample.latencies_us.is_sorted() && sample.quantile_us(1.0) >= sample.quantile_us(0.5));
        assert!(run(load, None, || async { bail!("no") }).await.is_err());
    }

    #[tokio::test]
    async fn of_a_stream_the_first_chunk_is_timed_and_all_are_counted() {
        let load = Load { in_flight: 7, requests: 100, limit: Duration::from_secs(60) };
        let stream = || async { Ok(Answered::Stream { first: Duration::from_secs(9), chunks: 3 }) };
        let sample = run(load, None, stream).await.expect("no errors");
        assert_eq!(sample.latencies_us, [9_000_000; 100]);
        assert_eq!((sample.chunks, sample.chunks_each()), (300, 3.0));
    }
}
