//! What the aggregator takes from the configuration: `usage.flush`; storage is opened by `runtime`.

use crate::{
    batch::{BATCH_MAX_BYTES, Limits},
    ids::IdLimits,
};
use tollgate_runtime::Config;

/// Settings of the writer.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// When a file is cut.
    pub limits: Limits,
    /// How many ids are kept in memory.
    pub ids: IdLimits,
}

impl Settings {
    /// From `usage` of a checked configuration.
    pub fn of(config: &Config) -> Self {
        let flush = config.usage.flush;
        let limits = Limits { rows: flush.rows, after: flush.after.duration(), bytes: BATCH_MAX_BYTES };
        Self { limits, ids: IdLimits::default() }
    }
}
