//! What stops ingress.

/// An error that ends the service. What callers see is `tollgate_schemas::ApiError`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Kafka.
    #[error(transparent)]
    Bus(#[from] tollgate_bus::Error),
    /// Storage cannot be opened.
    #[error(transparent)]
    Store(#[from] tollgate_runtime::store::Error),
    /// The listener failed.
    #[error("HTTP listener: {0}")]
    Listen(#[from] std::io::Error),
    /// The admission store.
    #[error(transparent)]
    Admission(#[from] tollgate_admission::Error),
    /// The admission store's counters are not there yet.
    #[error("the admission store is being rebuilt")]
    Rebuilding,
    /// Stored results.
    #[error(transparent)]
    Results(object_store::Error),
    /// What was answered is not stored yet.
    #[error("results are stored more slowly than requests end; is object storage slow or away?")]
    ResultsBehind,
    /// A background thread ended.
    #[error("a background thread of ingress ended early; see the log above")]
    Thread,
}
