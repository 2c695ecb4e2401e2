//! What one connection may take, in time and memory, and the memory that all connections share.

use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Bytes of one request, as Kafka's `socket.request.max.bytes`.
const REQUEST_BYTES: usize = 100 * 1024 * 1024;
/// Requests of one connection that wait for their answers.
const PENDING_REQUESTS: usize = 32;
/// From the first byte of a request to its last.
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);
/// As Kafka's `connections.max.idle.ms`.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Without a byte taken by the client.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of requests larger than [`UNCOUNTED_BYTES`], of all connections together.
const BUDGET_BYTES: u32 = 256 * 1024 * 1024;
/// Requests up to this size do not count against the budget: they fit the buffer that each connection has anyway. A
/// connection so holds at most `PENDING_REQUESTS` times this uncounted.
pub(super) const UNCOUNTED_BYTES: usize = 16 * 1024;

/// The bounds of connections. Those that are to share their memory budget share one value.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Bytes of one request; a larger one closes its connection.
    pub(crate) request_bytes: usize,
    /// Requests of one connection that wait for answers; beyond it nothing more is read.
    pub(crate) pending_requests: usize,
    /// How long a request may take to arrive once it has begun.
    pub(crate) frame_timeout: Duration,
    /// How long a connection may be silent while nothing is pending.
    pub(crate) idle_timeout: Duration,
    /// How long a client may take nothing of its reply.
    pub(crate) write_timeout: Duration,
    /// Memory for large requests.
    pub(crate) budget: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: REQUEST_BYTES,
            pending_requests: PENDING_REQUESTS,
            frame_timeout: FRAME_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            budget: Budget::new(BUDGET_BYTES),
        }
    }
}

/// Bytes that requests being read or answered may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: u32,
    left: Semaphore,
}

/// A part of the [`Budget`], given back when dropped.
pub(super) type Share<'a> = SemaphorePermit<'a>;

impl Budget {
    pub(crate) fn new(bytes: u32) -> Self {
        Self { bytes, left: Semaphore::new(bytes as usize) }
    }

    /// Waits for room for a whole request, so that no two half-read ones can block each other. One that is larger than
    /// the budget takes all of it. `None` never comes: nobody closes the semaphore.
    pub(super) async fn share(&self, bytes: usize) -> Option<Share<'_>> {
        let bytes = u32::try_from(bytes).map_or(self.bytes, |bytes| bytes.min(self.bytes));
        self.left.acquire_many(bytes).await.ok()
    }
}
