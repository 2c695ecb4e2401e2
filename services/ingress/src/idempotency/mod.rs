//! Idempotency keys: claiming one before its request is published, and knowing what a repeat repeats.
//!
//! ```text
//! claim ─► idempotency ─► (every replica reads all of it) ─► table ─► won: publish, then say so
//!                                                                 └─► lost: answer with what the first one got
//! ```
//!
//! The topic decides races, so replicas share nothing else. Deliberately absent: answers (they are stored results) and
//! bodies (a hash tells whether a repeat is one).

mod forgotten;
mod table;

use crate::Error;
use sha2::{Digest as _, Sha256};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use table::{Digest, KEYS_MAX, Look, Note, Place, Table};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{
    Ack, Bus, Outgoing, Producer,
    broadcast::{Raw, Start},
};
use tollgate_runtime::{Readiness, blob::hex};
use tollgate_schemas::{
    ApiError, ApiType, ErrorCode, IdempotencyRecord, KeyDoor, KeyState, RequestId, TraceContext, now_us, topic,
};

/// How long a caller tries to find out whose its key is: longer than a claim takes to become stale.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(45);
/// A claim that was not read back after so long is made again.
const CLAIM_AGAIN: Duration = Duration::from_secs(5);
/// How long the log is searched for a key that memory has forgotten.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(30);
/// Callers are woken in groups of keys.
const SHARDS: usize = 256;

/// A caller's key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) team: String,
    pub(crate) door: KeyDoor,
    pub(crate) key: String,
}

impl Key {
    /// The record key: what is hashed and what picks the partition.
    fn record_key(&self) -> Vec<u8> {
        let door = match self.door {
            KeyDoor::Http => "http",
            KeyDoor::Topic => "topic",
        };
        // A team's name has no control characters.
        format!("{}\n{door}\n{}", self.team, self.key).into_bytes()
    }
}

fn digest(bytes: &[u8]) -> Digest {
    let mut short = Digest::default();
    short.copy_from_slice(&Sha256::digest(bytes)[..16]);
    short
}

/// The SHA-256 of a body as it came, and of what it does not say of its call: what tells whether a repeat is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyHash([u8; 32]);

impl BodyHash {
    /// Of a body that was sent to an API, for a model.
    ///
    /// One of Messages is a chat's and a count's as well, and one of Google's API does not name its model, so these are in the hash.
    /// Those of OpenAI's APIs tell by themselves, and stand alone in theirs: so they did before any other was added.
    pub(crate) fn of(api: ApiType, model: &str, body: &str) -> Self {
        let mut hash = Sha256::new();
        if matches!(api, ApiType::Messages | ApiType::CountTokens | ApiType::GenerateContent) {
            hash.update(format!("{}\n{}\n{model}", api.as_str(), model.len()));
        }
        hash.update(body);
        Self(hash.finalize().into())
    }
}

/// A caller that wants to know whose its key is.
#[derive(Debug)]
pub(crate) struct Claimant {
    pub(crate) key: Key,
    pub(crate) body: BodyHash,
    /// The request that it would publish.
    pub(crate) me: RequestId,
    pub(crate) trace: TraceContext,
    /// It has claimed the key for its own request, and whether that stands may not be known yet: it must find out, or the claim
    /// would be left behind.
    pub(crate) has_claimed: bool,
}

impl Claimant {
    pub(crate) fn new(key: Key, body: BodyHash, me: RequestId, trace: TraceContext) -> Self {
        Self { key, body, me, trace, has_claimed: false }
    }
}

/// A claim that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The request to publish.
    pub(crate) id: RequestId,
    /// Its append time.
    claimed_ms: i64,
    /// Nobody can have published the request yet. Else a crash may have come between its publication and the note of it.
    pub(crate) is_new: bool,
}

/// What a caller with a key has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Publish the claim's request, then send [`Keys::published`].
    Mine(Claim),
    /// The caller's very own request is published already.
    Done,
    /// Answer with what becomes of this request.
    Repeat(RequestId),
}

/// All keys. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    changed: Vec<Notify>,
    bus: Bus,
    producer: Producer,
    /// One search at a time: each reads a partition whole.
    looking_up: Semaphore,
}

impl Keys {
    /// Begins to read the topic; readiness waits until its end was seen once.
    pub(crate) async fn start(
        bus: &Bus,
        producer: Producer,
        window: Duration,
        readiness: &Readiness,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX / 4);
        let shared = Arc::new(Shared {
            table: Mutex::new(Table::new(window_ms, KEYS_MAX)),
            changed: (0..SHARDS).map(|_| Notify::new()).collect(),
            bus: bus.clone(),
            producer,
            looking_up: Semaphore::new(1),
        });
        let (folding, is_caught_up) = (shared.clone(), Arc::new(AtomicBool::new(false)));
        let each = move |record: Raw<'_>| {
            if let Some(note) = note(&record) {
                folding.fold(&note);
            }
        };
        let (bus, name, reached) = (bus.clone(), bus.full_name(topic::IDEMPOTENCY.spec.name), is_caught_up.clone());
        let caught_up = move || reached.store(true, Ordering::Release);
        let reading =
            tokio::task::spawn_blocking(move || bus.replay(&name, Start::Beginning, stop, each, caught_up)).await;
        reading.map_err(|_| Error::Thread)??;
        readiness.require("idempotency keys", move || is_caught_up.load(Ordering::Acquire));
        Ok(Self(shared))
    }

    /// Finds out whose a key is; claims it if it is free.
    pub(crate) async fn settle(&self, claimant: &mut Claimant) -> Result<Settled, ApiError> {
        let (at, short, me) = (digest(&claimant.key.record_key()), digest_of(&claimant.body.0), claimant.me);
        let give_up = Instant::now() + SETTLE_TIMEOUT;
        let (mut claim_again, mut was_forgotten) = (Instant::now(), false);
        while Instant::now() < give_up {
            let changed = self.0.changed[usize::from(at[0])].notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let id = match self.0.look(&at, &short, me) {
                Look::Mine(id, claimed_ms) => {
                    let is_new = claimant.has_claimed && id == me && !was_forgotten;
                    return Ok(Settled::Mine(Claim { id, claimed_ms, is_new }));
                }
                Look::Done => return Ok(Settled::Done),
                Look::Published(id) => return Ok(Settled::Repeat(id)),
                Look::OtherBody => return Err(other_body(claimant.key.door)),
                Look::Unsure(place) => {
                    self.look_up(&at, place).await?;
                    was_forgotten = true;
                    continue;
                }
                Look::Free => Some(me),
                // Another one's claim stands before what was claimed here.
                Look::Stale(id) => {
                    claimant.has_claimed = false;
                    // A job that crashed is delivered again and goes on by itself, with its own answer.
                    (claimant.key.door == KeyDoor::Http).then_some(id)
                }
                Look::Held => {
                    claimant.has_claimed = false;
                    None
                }
            };
            if let Some(id) = id
                && Instant::now() >= claim_again
            {
                claimant.has_claimed |= id == me;
                self.claim(claimant, id).await?;
                claim_again = Instant::now() + CLAIM_AGAIN;
            }
            // Also when nothing comes: a claim becomes stale by time.
            let _ = timeout_at((Instant::now() + CLAIM_AGAIN).min(give_up), changed).await;
        }
        Err(unsettled())
    }

    async fn claim(&self, claimant: &Claimant, id: RequestId) -> Result<(), ApiError> {
        let claim = record(claimant, id, KeyState::Claimed, None)?;
        let sent = timeout(CLAIM_AGAIN, self.0.producer.send(claim, Ack::None)).await.map_err(|_| unsettled())?;
        sent.map_err(|error| {
            tracing::error!(%error, "an idempotency key could not be claimed");
            unsettled()
        })
    }

    /// The record that says that the request of a claim was published. Only after that was acknowledged.
    pub(crate) fn published(&self, claimant: &Claimant, claim: Claim) -> Result<Outgoing, ApiError> {
        record(claimant, claim.id, KeyState::Published, Some(claim.claimed_ms))
    }

    /// Reads a partition from its beginning up to the key's last record, for a key that memory may have forgotten.
    async fn look_up(&self, at: &Digest, place: Place) -> Result<(), ApiError> {
        metrics::counter!("tollgate_idempotency_look_ups_total").increment(1);
        let search = async {
            let _one = self.0.looking_up.acquire().await.ok()?;
            let (bus, digest) = (self.0.bus.clone(), *at);
            let (found, done) = tokio::sync::oneshot::channel();
            let stop = CancellationToken::new();
            let _ended = stop.clone().drop_guard();
            let (mut found, mut notes) = (Some(found), Vec::new());
            let each = move |record: Raw<'_>| {
                if found.is_none() {
                    return;
                }
                let at = record.place();
                notes.extend(note(&record).filter(|note| note.digest == digest));
                if at >= place
                    && let Some(found) = found.take()
                {
                    let _ = found.send(std::mem::take(&mut notes));
                }
            };
            let name = bus.full_name(topic::IDEMPOTENCY.spec.name);
            let reading = move || bus.broadcast(&name, &[place.0], Start::Beginning, stop, each);
            tokio::task::spawn_blocking(reading).await.ok()?.ok()?;
            done.await.ok()
        };
        let found: Option<Vec<Note>> = timeout(LOOK_UP_TIMEOUT, search).await.ok().flatten();
        let found = found.ok_or_else(unsettled)?;
        if let Ok(mut table) = self.0.table.lock() {
            table.settle(at, place, &found);
        }
        Ok(())
    }
}

impl Shared {
    fn fold(&self, note: &Note) {
        if let Ok(mut table) = self.table.lock() {
            table.fold(note);
        }
        self.changed[usize::from(note.digest[0])].notify_waiters();
    }

    fn look(&self, at: &Digest, body: &Digest, me: RequestId) -> Look {
        self.table.lock().map_or(Look::Held, |table| table.look(at, body, me, now_us() / 1000))
    }
}

fn record(
    claimant: &Claimant,
    request_id: RequestId,
    state: KeyState,
    claimed_ms: Option<i64>,
) -> Result<Outgoing, ApiError> {
    let Key { team, door, key } = claimant.key.clone();
    let (body_hash, claimant_id) = (hex(&claimant.body.0), claimant.me);
    let value = IdempotencyRecord { team, door, key, request_id, claimant: claimant_id, body_hash, state, claimed_ms };
    let mut record = Outgoing::of(&topic::IDEMPOTENCY, request_id, &value, &claimant.trace)
        .map_err(|_| ApiError::new(ErrorCode::Internal, "the idempotency key could not be written"))?;
    record.key = Some(claimant.key.record_key());
    Ok(record)
}

/// A record of the topic as the table takes it.
fn note(record: &Raw<'_>) -> Option<Note> {
    let parsed = serde_json::from_slice::<IdempotencyRecord>(record.value());
    let Ok(IdempotencyRecord { team, door, key, request_id, claimant, body_hash, state, claimed_ms }) = parsed else {
        tracing::error!(place = ?record.place(), "a record of the idempotency topic cannot be parsed and is skipped");
        return None;
    };
    let digest = digest(&Key { team, door, key }.record_key());
    let body = crate::auth::unhex(&body_hash)?;
    Some(Note {
        digest,
        request_id,
        claimant,
        body: digest_of(&body),
        state,
        at_ms: record.timestamp_ms(),
        claimed_ms: claimed_ms.unwrap_or_else(|| record.timestamp_ms()),
        place: record.place(),
    })
}

/// The part of a body's hash that is kept in memory.
fn digest_of(sha256: &[u8]) -> Digest {
    let mut short = Digest::default();
    short.copy_from_slice(&sha256[..16]);
    short
}

fn other_body(door: KeyDoor) -> ApiError {
    let (name, param) = match door {
        KeyDoor::Http => ("the Idempotency-Key", "Idempotency-Key"),
        KeyDoor::Topic => ("the header ce_id", "ce_id"),
    };
    let message = format!("{name} was used before with another body, model or path; send a new one with a new request");
    ApiError::new(ErrorCode::IdempotencyKeyReused, message).param(param)
}

fn unsettled() -> ApiError {
    let message = "the idempotency key could not be checked in time; try again with the same key and body";
    ApiError::new(ErrorCode::Overloaded, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_is_of_the_same_api_and_model_wherever_the_body_does_not_say_them() {
        let contents = |model: &str| BodyHash::of(ApiType::GenerateContent, model, r#"{"contents":[]}"#);
        assert_eq!(contents("a"), contents("a"));
        assert_ne!(contents("a"), contents("b"));
        let message = |api| BodyHash::of(api, "a", r#"{"model":"a","messages":[]}"#);
        assert_ne!(message(ApiType::Messages), message(ApiType::CountTokens));
        assert_ne!(message(ApiType::Messages), message(ApiType::ChatCompletions));
    }

    #[test]
    fn keys_of_earlier_versions_are_of_the_body_alone() {
        let body = r#"{"model":"a"}"#;
        let alone = BodyHash(Sha256::digest(body).into());
        let same = [
            ApiType::ChatCompletions,
            ApiType::Responses,
            ApiType::Embeddings,
            ApiType::Completions,
            ApiType::Moderations,
        ];
        assert!(same.into_iter().all(|api| BodyHash::of(api, "a", body) == alone));
    }
}
