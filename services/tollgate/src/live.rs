//! The live configuration: reads topic `control` over the file, before anything is served and for as long as the process lives.

use crate::embedded::Lock;
use anyhow::Context;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Bus, broadcast::Start};
use tollgate_runtime::{Config, Control};
use tollgate_schemas::topic;

/// Has the embedded broker's lock follow the configuration until `stop`.
pub(crate) async fn lock(control: Control, lock: Lock, stop: CancellationToken) {
    let mut changes = control.subscribe();
    loop {
        lock.apply(&control.config());
        if stop.run_until_cancelled(changes.changed()).await.is_none_or(|changed| changed.is_err()) {
            return;
        }
    }
}

/// How often the files of providers' keys are looked at.
const KEY_FILES_EVERY: Duration = Duration::from_secs(1);

async fn reread_keys(control: Control, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(KEY_FILES_EVERY)).await.is_some() {
        let control = control.clone();
        let _ = tokio::task::spawn_blocking(move || control.reread_keys()).await;
    }
}

/// The configuration as it is now, kept up to date until `stop`. The topic must exist. Returns once everything has been read that
/// stood on the topic; a broker that is away meanwhile is waited for, because a file without its changes may be one that lets
/// somebody in who was put out.
pub(crate) async fn follow(config: Config, bus: &Bus, stop: CancellationToken) -> anyhow::Result<Control> {
    let control = Control::new(config);
    if !control.base().key_files.is_empty() {
        tollgate_runtime::supervised("key files", reread_keys(control.clone(), stop.clone()));
    }
    let (read, told) = tokio::sync::oneshot::channel();
    let (bus, folding) = (bus.clone(), control.clone());
    let begin = move || {
        let caught_up = folding.clone();
        bus.replay(
            &bus.full_name(topic::CONTROL.spec.name),
            Start::Beginning,
            stop,
            move |record| folding.apply(record.place().1, record.value()),
            move || {
                caught_up.caught_up();
                let _ = read.send(());
            },
        )
    };
    tokio::task::spawn_blocking(begin).await.context("the reader of control")??;
    told.await.context("the reader of control ended")?;
    Ok(control)
}
