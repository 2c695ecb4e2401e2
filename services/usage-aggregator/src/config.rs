//! What the aggregator takes from the configuration: `usage.flush`, and the topic's partition count, by which memory is
//! divided; storage is opened by `runtime`.

use crate::{
    batch::{BATCH_MAX_BYTES, Limits},
    ids::{FILTERS_MAX_BYTES, IDS_MAX, IdLimits, WINDOW},
};
use tollgate_runtime::Config;

/// Settings of the writer, each for one partition.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// When a file is cut.
    pub limits: Limits,
    /// How many ids are kept in memory.
    pub ids: IdLimits,
}

impl Settings {
    /// From a checked configuration. One writer may have all partitions, so each gets its part of what one may take in all.
    pub fn of(config: &Config) -> Self {
        let flush = config.usage.flush;
        let partitions = usize::try_from(config.kafka.partitions.usage).unwrap_or(1).max(1);
        let limits = Limits { rows: flush.rows, after: flush.after.duration(), bytes: BATCH_MAX_BYTES / partitions };
        let (ids, filter_bytes) = (IDS_MAX / partitions, FILTERS_MAX_BYTES / partitions);
        Self { limits, ids: IdLimits { window: WINDOW, ids, filter_bytes } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_runtime::config::{Role, parse};

    #[test]
    fn memory_is_bounded_however_many_partitions_there_are() {
        for partitions in [1, 3, 64, 1000] {
            let text = format!(
                "kafka: {{ partitions: {{ usage: {partitions} }} }}\nproviders: {{ demo: {{ kind: mock }} }}\n"
            );
            let config = parse(&text, Role::UsageAggregator, &|_| Ok(None)).unwrap().config;
            let Settings { limits, ids } = Settings::of(&config);
            for (each, all) in
                [(limits.bytes, BATCH_MAX_BYTES), (ids.ids, IDS_MAX), (ids.filter_bytes, FILTERS_MAX_BYTES)]
            {
                assert!(each * partitions <= all && each * partitions > all / 2, "{each} in {partitions} partitions");
            }
        }
    }
}
