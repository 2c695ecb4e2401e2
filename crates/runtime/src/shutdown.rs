//! SIGTERM and SIGINT become one cancellation token; how a process ends.

use std::io::Write;
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGTERM or SIGINT. A second signal ends the process at once, with status 130.
pub fn stop_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    crate::supervised("signals", async move {
        wait_for_signal().await;
        tracing::info!("stopping: no new work is taken, what is in flight is finished; a second signal stops at once");
        token.cancel();
        wait_for_signal().await;
        exit(130);
    });
    stop
}

/// Ends the process without the C library's exit handlers: OpenSSL's frees what librdkafka's threads, which may still run, use.
pub fn exit(code: i32) -> ! {
    drop(std::io::stdout().flush());
    signal_hook::low_level::exit(code)
}

async fn wait_for_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            let _ = interrupt.await;
            return;
        };
        tokio::select! { _ = interrupt => {}, _ = terminate.recv() => {} }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
}
