//! Claim checks: bodies too large for the log are written to object storage before the record that names them.

use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use sha2::{Digest, Sha256};
use std::{fmt::Write, sync::Arc, time::Duration};
use tollgate_schemas::{
    Body,
    body::{BlobRef, INLINE_MAX_BYTES},
};

/// The largest body that is read back; nothing larger is written.
pub const BLOB_MAX_BYTES: u64 = 64 << 20;
/// Storage that has not taken a body after this is as good as away, if the body can go another way.
const TAKES_MAX: Duration = Duration::from_secs(5);

/// An error of reading or writing a body.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Storage failed.
    #[error("object storage: {0}")]
    Storage(#[from] object_store::Error),
    /// What was read is not what was written.
    #[error("blob {0} does not match its checksum; it was changed or cut after it was written")]
    Corrupt(String),
    /// Over the bound.
    #[error("a body of {0} bytes is over the bound of {BLOB_MAX_BYTES}")]
    TooLarge(u64),
}

impl Error {
    /// Of a body that cannot be read: whether trying again cannot help, because it is gone or broken.
    pub fn is_gone(&self) -> bool {
        match self {
            Error::Storage(error) => matches!(error, object_store::Error::NotFound { .. }),
            Error::Corrupt(_) | Error::TooLarge(_) => true,
        }
    }
}

/// Bodies in object storage, under `blobs/YYYY-MM-DD/` so that a lifecycle rule can expire them by prefix.
#[derive(Clone)]
pub struct BlobStore(Arc<dyn ObjectStore>);

impl BlobStore {
    /// Over an open store.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self(store)
    }

    /// Inline if it is short, else written now and replaced by its claim check. `id` makes the name readable.
    pub async fn check_in(&self, id: &str, json: Box<serde_json::value::RawValue>) -> Result<Body, Error> {
        Ok(Body::stored(self.store(id, &json).await?, json))
    }

    /// Writes a body that is too large for the log; `None` if it is not.
    pub async fn store(&self, id: &str, json: &serde_json::value::RawValue) -> Result<Option<BlobRef>, Error> {
        let bytes = json.get().as_bytes();
        if bytes.len() <= INLINE_MAX_BYTES {
            return Ok(None);
        }
        if bytes.len() as u64 > BLOB_MAX_BYTES {
            return Err(Error::TooLarge(bytes.len() as u64));
        }
        let sha256 = hex(&Sha256::digest(bytes));
        let path = format!("blobs/{}/{id}-{}.json", chrono::Utc::now().format("%Y-%m-%d"), &sha256[..16]);
        let length = bytes.len() as u64;
        self.0.put(&Path::from(path.as_str()), bytes.to_vec().into()).await?;
        Ok(Some(BlobRef { path, sha256, bytes: length }))
    }

    /// The same for a body that exists nowhere else and must not be lost. `None`, it stays inline, also if it has at most
    /// `inline_max` bytes and storage does not take it within 5 s.
    pub async fn store_unless_away(
        &self,
        id: &str,
        json: &serde_json::value::RawValue,
        inline_max: usize,
    ) -> Result<Option<BlobRef>, Error> {
        if json.get().len() > inline_max {
            return self.store(id, json).await;
        }
        match tokio::time::timeout(TAKES_MAX, self.store(id, json)).await {
            Ok(Ok(stored)) => return Ok(stored),
            Ok(Err(error)) => tracing::warn!(%error, id, "a body cannot be stored and stays in its record"),
            Err(_) => tracing::warn!(id, "object storage does not take a body in time; it stays in its record"),
        }
        Ok(None)
    }

    /// The body's JSON text, fetched and verified if it is a claim check.
    pub async fn check_out(&self, body: &Body) -> Result<Box<serde_json::value::RawValue>, Error> {
        let blob = match body {
            Body::Inline(json) => return Ok(json.clone()),
            Body::Ref(blob) => blob,
        };
        let read = crate::store::read(self.0.as_ref(), &Path::from(blob.path.as_str()), BLOB_MAX_BYTES).await?;
        let bytes = read.ok_or(Error::TooLarge(blob.bytes))?;
        if hex(&Sha256::digest(&bytes)) != blob.sha256 {
            return Err(Error::Corrupt(blob.path.clone()));
        }
        let text = String::from_utf8(bytes).map_err(|_| Error::Corrupt(blob.path.clone()))?;
        serde_json::value::RawValue::from_string(text).map_err(|_| Error::Corrupt(blob.path.clone()))
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
