//! What can be wrong with a store. The caller applies `admission.on_store_failure`.

/// An error of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It has lost or not yet found its counters. Counts as down.
    #[error("the admission store is being rebuilt; wait, or set admission.on_store_failure: allow")]
    Rebuilding,
    /// As many requests are in flight as it can remember.
    #[error("the admission store holds as many open requests as it may; let some end first")]
    Full,
    /// Usage rows between its place and the one handed in are missing. Nothing was counted.
    #[error(
        "the admission store has counted partition {partition} of usage up to offset {counted}; read on from there"
    )]
    Gap {
        /// Which partition.
        partition: i32,
        /// The last offset counted; −1: none.
        counted: i64,
    },
    /// `admission.store` is not understood. Its text is not shown: it may hold a password.
    #[error("admission.store is not an address; write memory or redis://host:6379")]
    Address,
    /// It cannot be reached, or took too long.
    #[error("the admission store does not answer ({0}); check that it runs and that admission.store is right")]
    Unreachable(&'static str),
    /// It answered with something else than this version of Tollgate expects.
    #[error("the admission store gave an unknown answer; use one store for one version of Tollgate")]
    Answer,
}
