//! What a store starts from after a restart: as JSON in object storage, written now and then, together with the offsets of the
//! `usage` rows it stands at. The rows since, and the requests that are still open, bring it up to date.

use crate::plan::Reservation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Version of [`Snapshot`]'s shape.
pub const SNAPSHOT_VERSION: u32 = 1;
/// Windows shorter than this are empty again before a restart is over: only those of an hour and a day are kept.
pub(crate) const KEPT_WINDOW_MIN_MS: i64 = 3_600_000;

/// A meter, its window in milliseconds, and (bucket, amount).
pub type KeptWindow = (String, i64, Vec<(i64, u64)>);

/// A store's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`].
    pub version: u32,
    /// When it was taken, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Last `usage` offset counted, by partition. Read on from the next one.
    pub offsets: BTreeMap<i32, i64>,
    /// Counter → nano-dollars, and when it may be forgotten.
    pub spend: Vec<(String, u64, i64)>,
    /// Thresholds that were told, and when that may be forgotten.
    pub marks: Vec<(String, i64)>,
    /// Requests counted of late, and when that may be forgotten.
    pub settled: Vec<(Uuid, i64)>,
    /// Windows of an hour and a day.
    pub windows: Vec<KeptWindow>,
    /// Requests in flight, and when each was admitted.
    pub open: Vec<(i64, Reservation)>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            version: SNAPSHOT_VERSION,
            at_ms: 0,
            offsets: BTreeMap::new(),
            spend: Vec::new(),
            marks: Vec::new(),
            settled: Vec::new(),
            windows: Vec::new(),
            open: Vec::new(),
        }
    }
}
