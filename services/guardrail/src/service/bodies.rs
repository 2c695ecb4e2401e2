//! Bodies in object storage, also while it is away: a job waits until its deadline, in flight like one that waits for a judge;
//! what a caller waits for is tried for a moment. An answer that storage does not take stays in its record if that takes it.

use super::{Service, Stopped};
use crate::court::Sends;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tollgate_bus::TEAM_RECORD_MAX_BYTES;
use tollgate_runtime::{MAX_CLOCK_SKEW_MS, blob};
use tollgate_schemas::{Body, Lane, Request, left_until, now_us};

/// Bytes of jobs' stored bodies in the memory of one process.
pub(super) const JOBS_MAX_BYTES: usize = 64 << 20;
/// Waits between tries to read or write a stored body.
const STORAGE_WAITS: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];
/// The further ones of a job: short enough to leave in time when the process stops.
const JOB_WAIT: Duration = Duration::from_secs(5);

impl Service {
    /// Room for a stored body of a job, whose check may wait with it for storage. `None`: it needs none.
    pub(super) async fn room(&self, request: &Request, body: &Body) -> Result<Option<SemaphorePermit<'_>>, Stopped> {
        let Body::Ref(blob) = body else { return Ok(None) };
        if request.lane != Lane::Batch {
            return Ok(None);
        }
        let bytes = usize::try_from(blob.bytes).unwrap_or(JOBS_MAX_BYTES).min(JOBS_MAX_BYTES);
        let left = left_until(request.deadline_ms.saturating_add(MAX_CLOCK_SKEW_MS), now_us() / 1000);
        let room = self.stored.acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX));
        match tokio::time::timeout(left, room).await {
            Ok(Ok(room)) => Ok(Some(room)),
            _ => Err(Stopped::Storage),
        }
    }

    pub(super) async fn fetch(
        &self,
        request: &Request,
        body: &Body,
        sends: &impl Sends,
    ) -> Result<Box<RawValue>, Stopped> {
        self.insist(request, sends, || self.blobs.check_out(body)).await
    }

    /// What a request's checks made of its body.
    pub(super) async fn store(
        &self,
        request: &Request,
        json: Box<RawValue>,
        sends: &impl Sends,
    ) -> Result<Body, Stopped> {
        let id = request.request_id.to_string();
        let stored = self.insist(request, sends, || self.blobs.store(&id, &json)).await?;
        Ok(Body::stored(stored, json))
    }

    /// What the checks made of an answer.
    pub(super) async fn store_answer(
        &self,
        request: &Request,
        json: Box<RawValue>,
        sends: &impl Sends,
    ) -> Result<Body, Stopped> {
        let id = request.request_id.to_string();
        // A terminal has little beside it.
        let store = || self.blobs.store_unless_away(&id, &json, TEAM_RECORD_MAX_BYTES);
        let stored = self.insist(request, sends, store).await?;
        Ok(Body::stored(stored, json))
    }

    /// Tries until storage does it: a few times, and those of a job until its deadline.
    async fn insist<T, F: Future<Output = Result<T, blob::Error>>>(
        &self,
        request: &Request,
        sends: &impl Sends,
        attempt: impl Fn() -> F,
    ) -> Result<T, Stopped> {
        let mut waits = STORAGE_WAITS.into_iter();
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let request_id = request.request_id;
            let is_patient = request.lane == Lane::Batch && !error.is_gone();
            let wait = match waits.next() {
                Some(wait) => wait,
                None if is_patient && !request.expired(now_us() / 1000, MAX_CLOCK_SKEW_MS) => JOB_WAIT,
                None => {
                    tracing::error!(%error, %request_id, "object storage failed; the request ends");
                    return Err(Stopped::Storage);
                }
            };
            tracing::warn!(%error, %request_id, "a stored body cannot be read or written; trying again");
            tokio::time::sleep(wait).await;
            if is_patient && sends.is_leaving() {
                return Err(Stopped::HandedBack);
            }
        }
    }
}
