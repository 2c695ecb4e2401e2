//! A JSON body inside a record: inline, or a claim check when it is too large for the log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Bodies above this many bytes are written to object storage before the record is produced.
pub const INLINE_MAX_BYTES: usize = 256 * 1024;

/// A provider-shaped JSON document, kept as the bytes that came in.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The document itself.
    Inline(Box<RawValue>),
    /// Where the document is stored.
    Ref(BlobRef),
}

/// The claim check of a body in object storage. The blob is written before the record that names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobRef {
    /// Path below the storage prefix, `blobs/YYYY-MM-DD/…`.
    pub path: String,
    /// SHA-256 of the bytes, lower-case hex; checked on every read.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

impl Body {
    /// Wraps a JSON text. Errors if it is not one JSON document.
    pub fn inline(json: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(json).map(Body::Inline)
    }

    /// What is kept elsewhere if it was stored, else inline.
    pub fn stored(blob: Option<BlobRef>, json: Box<RawValue>) -> Self {
        blob.map_or_else(|| Body::Inline(json), Body::Ref)
    }

    /// Serialises a value into an inline body.
    pub fn of<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Body::Inline)
    }
}
