//! Bodies that are too large for the log, also while object storage is away.
//!
//! A job whose body cannot be read waits like one whose provider is down. An answer has been paid for, so it is not thrown away
//! while there is another way: it stays in its record if it fits. If it does not, that of a job waits, so many bytes of them in a
//! process; a caller is told.

use super::{AGAIN_AFTER, Execution, Executor, cancelled, cap::cap_output, task::Task};
use crate::{
    attempt::{ChunkSink, Limits, Signals},
    park::{Parked, park},
    patience::Patience,
    providers::Fields,
    service::without_body,
};
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tollgate_bus::TEAM_RECORD_MAX_BYTES;
use tollgate_runtime::blob;
use tollgate_schemas::{
    ApiError, Body, ErrorCode, Lane, Request,
    body::{BlobRef, INLINE_MAX_BYTES},
};

/// Bytes of jobs' answers that wait for object storage in one process.
pub(crate) const HELD_MAX_BYTES: usize = 64 << 20;
/// A job's body that has not come after this is waited for elsewhere.
const READ_MAX: Duration = Duration::from_secs(30);
/// Longest pause between two tries to store an answer.
const STORE_AGAIN_MAX: Duration = Duration::from_secs(30);

/// Why there is no body to work on.
pub(super) enum Unread {
    Failed(ApiError),
    HandedOver,
    /// Object storage is away, and the request can wait for it.
    Away,
}

impl Executor {
    /// The request's body, which may be far away, and its length in bytes.
    pub(super) async fn read(
        &self,
        request: &Request,
        limits: &Limits,
        signals: Signals<'_>,
    ) -> Result<(Fields, usize), Unread> {
        let is_patient = request.lane == Lane::Batch;
        let late = || match Instant::now() >= limits.deadline {
            true => Unread::Failed(request.expired_error()),
            false if is_patient => Unread::Away,
            false => {
                let message = "the request's body could not be read in time from object storage";
                Unread::Failed(ApiError::new(ErrorCode::Internal, message))
            }
        };
        let chat = tokio::select! {
            biased;
            () = signals.cancel.cancelled() => return Err(Unread::Failed(cancelled())),
            () = signals.handover.cancelled() => return Err(Unread::HandedOver),
            chat = timeout_at(limits.end(), self.chat(request)) => chat.map_err(|_| late())?,
            () = self.in_place(request), if is_patient => return Err(Unread::Away),
        };
        if Instant::now() >= limits.end() { Err(late()) } else { chat }
    }

    async fn chat(&self, request: &Request) -> Result<(Fields, usize), Unread> {
        let body = self.blobs.check_out(&request.body).await.map_err(|error| {
            let request_id = request.request_id;
            if request.lane == Lane::Batch && !error.is_gone() {
                tracing::warn!(%error, %request_id, "a job's body cannot be read; it waits");
                return Unread::Away;
            }
            tracing::error!(%error, %request_id, "a request's body cannot be read");
            Unread::Failed(ApiError::new(
                ErrorCode::Internal,
                "the request's body could not be read from object storage",
            ))
        })?;
        let mut chat = Fields::parse(body.get())
            .map_err(|_| Unread::Failed(ApiError::new(ErrorCode::InvalidRequest, "the body must be a JSON object")))?;
        if let Some(most) = request.reserved.and_then(|reserved| reserved.max_output_tokens) {
            cap_output(&mut chat, request.api_type, most);
        }
        Ok((chat, body.get().len()))
    }

    /// Comes back when a job has waited for its body as long as it may in place: for more than a moment it needs one.
    async fn in_place(&self, request: &Request) {
        tokio::time::sleep(AGAIN_AFTER).await;
        let bytes = match &request.body {
            Body::Ref(blob) => usize::try_from(blob.bytes).unwrap_or(usize::MAX),
            Body::Inline(_) => 0,
        };
        let mut patience = Patience::new(&self.places, true, bytes);
        if patience.may_wait() {
            tokio::time::sleep(READ_MAX).await;
        }
    }

    /// An answer's body for the request's end: inline if it is short, or if storage is away and a record takes it.
    pub(super) async fn check_in(&self, request: &Request, json: Box<RawValue>) -> Result<Body, blob::Error> {
        Ok(Body::stored(self.store(request, &json).await?, json))
    }

    async fn store(&self, request: &Request, json: &RawValue) -> Result<Option<BlobRef>, blob::Error> {
        if json.get().len() <= INLINE_MAX_BYTES {
            return Ok(None);
        }
        self.blobs.store_unless_away(&request.request_id.to_string(), json, room(request)).await
    }

    async fn store_at_last(&self, request: &Request, json: &RawValue) -> Option<BlobRef> {
        let mut pause = AGAIN_AFTER;
        loop {
            tokio::time::sleep(pause).await;
            match self.store(request, json).await {
                Ok(stored) => return stored,
                Err(error) => {
                    tracing::warn!(%error, request_id = %request.request_id, "an answer still waits for storage")
                }
            }
            pause = (pause * 2).min(STORE_AGAIN_MAX);
        }
    }
}

impl<S: ChunkSink> Execution<'_, S> {
    /// The same for an answer that a job waits with, until its deadline.
    pub(super) async fn check_in(&self, json: Box<RawValue>) -> Result<Body, ApiError> {
        let Task { executor, request, limits, signals, .. } = self.task;
        let error = match executor.store(request, &json).await {
            Ok(stored) => return Ok(Body::stored(stored, json)),
            Err(error) => error,
        };
        tracing::error!(%error, request_id = %request.request_id, "an answer cannot be stored");
        let bytes = u32::try_from(json.get().len()).unwrap_or(u32::MAX);
        let is_patient = request.lane == Lane::Batch && !matches!(error, blob::Error::TooLarge(_));
        let held = if is_patient { executor.held.try_acquire_many(bytes).ok() } else { None };
        let Some(_held) = held else { return Err(unstored()) };
        let stored = tokio::select! {
            biased;
            () = signals.cancel.cancelled() => return Err(cancelled()),
            () = signals.handover.cancelled() => return Err(unstored()),
            stored = timeout_at(limits.deadline, executor.store_at_last(request, &json)) => stored,
        };
        stored.map(|stored| Body::stored(stored, json)).map_err(|_| unstored())
    }
}

/// How many bytes of an answer a record takes. In `completions` the request stands beside it, without its body, and the row, which
/// repeats of the request what it holds. What a record takes beyond this is for headers, attempts and checks.
fn room(request: &Request) -> usize {
    let beside = serde_json::to_vec(&without_body(request)).map_or(TEAM_RECORD_MAX_BYTES, |json| json.len());
    TEAM_RECORD_MAX_BYTES.saturating_sub(2 * beside)
}

fn unstored() -> ApiError {
    ApiError::new(
        ErrorCode::Internal,
        "the answer was produced and is billed, but it could not be written to object storage and is too large for a record; \
         what is sent again is billed again",
    )
}

/// A job whose body cannot be read now, on its way to wait. No call was made for it.
pub(super) fn parked(request: &Request) -> Parked {
    let attempts = request.waiting.as_ref().map(|waiting| waiting.attempts.clone()).unwrap_or_default();
    park(request, attempts, false, Duration::ZERO, tollgate_schemas::now_us() / 1000, fastrand::f64())
}
