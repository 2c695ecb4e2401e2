//! The one place that spawns tasks, so that none dies in silence.

use std::future::Future;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// Spawns a task in the current span. A panic in it is logged with its name and counted.
pub fn supervised<F>(name: &'static str, task: F) -> JoinHandle<Option<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[allow(clippy::disallowed_methods, reason = "this is the helper that everybody else has to use")]
    let inner = tokio::spawn(task.in_current_span());
    #[allow(clippy::disallowed_methods, reason = "watches the task above")]
    tokio::spawn(async move {
        match inner.await {
            Ok(output) => Some(output),
            Err(error) => {
                if error.is_panic() {
                    metrics::counter!("tollgate_task_panics_total", "task" => name).increment(1);
                    tracing::error!(task = name, "a task panicked; this is a defect, please report it with the log");
                }
                None
            }
        }
    })
}
