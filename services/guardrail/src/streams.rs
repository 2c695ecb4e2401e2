//! Streams that are being checked, of this process: bounded, in memory, by request. Chunks of one are taken in the order of their numbers.
//!
//! One is given up where parts of it do not come here (the process has begun after them, or was not the one that read them), where it
//! cannot be read, and at the bounds. Nothing is lost then but time: its answer is checked whole when it has ended.

use crate::restore::Restoring;
use crate::stream::Stream;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tollgate_schemas::{CompletionChunk, ExecutionId, Origin, Request, RequestId};

/// Streams at a time.
const STREAMS_MAX: usize = 4_096;
/// What came of all of them, in bytes.
const BYTES_MAX: usize = 64 << 20;
/// Chunks of one that overtook another: those that are in flight are begun side by side.
const EARLY_MAX: usize = 256;
/// A chunk that was begun before the end of its stream is taken in this time, or it is not here.
const STALLED: Duration = Duration::from_secs(2);
/// A stream of which nothing has come for so long makes room for another.
const STALE: Duration = Duration::from_secs(600);

/// All of them.
#[derive(Default)]
pub(crate) struct Streams {
    live: SyncMutex<HashMap<RequestId, Arc<Live>>>,
    bytes: Arc<AtomicUsize>,
}

/// One of them.
pub(crate) struct Live {
    execution_id: ExecutionId,
    touched: SyncMutex<Instant>,
    state: Mutex<State>,
    /// A chunk was taken, or it was given up.
    progress: Notify,
}

/// What is known of one. Held while its judges are asked: what comes meanwhile waits.
pub(crate) struct State {
    /// As approved; with the first chunk.
    pub(crate) request: Option<Box<Request>>,
    /// `None`: it has not begun, or was given up.
    pub(crate) stream: Option<Stream>,
    /// Puts back what masking took from the request, if it did.
    pub(crate) restoring: Option<Restoring>,
    pub(crate) origin: Option<Origin>,
    /// Chunks that were sent on.
    pub(crate) sent: u32,
    next: u32,
    early: BTreeMap<u32, CompletionChunk>,
    is_given_up: bool,
    bytes: usize,
    all_bytes: Arc<AtomicUsize>,
}

impl Streams {
    /// The stream of this run of a request; `None` at the bound.
    pub(crate) fn of(&self, id: RequestId, execution_id: ExecutionId) -> Option<Arc<Live>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = live.get(&id).filter(|known| known.execution_id == execution_id) {
            *known.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            return Some(known.clone());
        }
        if live.len() >= STREAMS_MAX || self.bytes.load(Ordering::Relaxed) > BYTES_MAX / 2 {
            live.retain(|_, live| live.touched.lock().is_ok_and(|touched| touched.elapsed() < STALE));
        }
        if live.len() >= STREAMS_MAX {
            return None;
        }
        let new = Arc::new(Live::new(execution_id, self.bytes.clone()));
        // Of another execution nothing more is wanted.
        live.insert(id, new.clone());
        Some(new)
    }

    /// The stream of an answer of which so many chunks have come, once all of them were taken; it is forgotten here. `None`: it was given
    /// up, or never was one.
    pub(crate) async fn ended(&self, id: RequestId, execution_id: ExecutionId, chunks: u32) -> Option<Arc<Live>> {
        // Its chunks were begun before its end, but perhaps not one of them has run yet.
        let live = if chunks > 0 { self.of(id, execution_id) } else { None };
        let is_whole = match &live {
            Some(live) => live.has_taken(chunks).await,
            None => false,
        };
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        live.filter(|_| is_whole)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Live {
    fn new(execution_id: ExecutionId, all_bytes: Arc<AtomicUsize>) -> Self {
        let state = State {
            request: None,
            stream: None,
            restoring: None,
            origin: None,
            sent: 0,
            next: 0,
            early: BTreeMap::new(),
            is_given_up: false,
            bytes: 0,
            all_bytes,
        };
        let touched = SyncMutex::new(Instant::now());
        Self { execution_id, touched, state: Mutex::new(state), progress: Notify::new() }
    }

    /// The run that produces it.
    pub(crate) fn execution_id(&self) -> ExecutionId {
        self.execution_id
    }

    /// Waits until so many chunks were taken. Whether they were: it may be given up.
    async fn has_taken(&self, chunks: u32) -> bool {
        loop {
            // Made before the look, so that nothing comes between the two.
            let progress = self.progress.notified();
            {
                let state = self.state.lock().await;
                if state.is_given_up || state.next >= chunks {
                    return !state.is_given_up;
                }
            }
            if tokio::time::timeout(STALLED, progress).await.is_err() {
                self.state.lock().await.give_up();
                return false;
            }
        }
    }

    /// Waits until nobody else is at it.
    pub(crate) async fn state(&self) -> tokio::sync::MutexGuard<'_, State> {
        self.state.lock().await
    }

    /// Tells who waits for its end.
    pub(crate) fn tell(&self) {
        self.progress.notify_waiters();
    }
}

impl State {
    /// Keeps a chunk until those before it have come.
    pub(crate) fn keep(&mut self, chunk: CompletionChunk) {
        if self.is_given_up || chunk.seq < self.next {
            return;
        }
        let bytes = chunk.events.iter().map(|event| event.data.len()).sum::<usize>();
        self.early.insert(chunk.seq, chunk);
        self.bytes += bytes;
        let all = self.all_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.early.len() > EARLY_MAX || all > BYTES_MAX {
            self.give_up();
        }
    }

    /// How much of it has come.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next chunk, if it is there.
    pub(crate) fn take(&mut self) -> Option<CompletionChunk> {
        let chunk = self.early.remove(&self.next)?;
        self.next += 1;
        Some(chunk)
    }

    /// Nothing more of it goes out before all of it is checked.
    pub(crate) fn give_up(&mut self) {
        self.is_given_up = true;
        (self.stream, self.restoring) = (None, None);
        self.early.clear();
        self.all_bytes.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
