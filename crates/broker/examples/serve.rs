//! The broker by itself, open to all who reach it: what tests and benchmarks run beside Apache Kafka. Not a product: people run
//! `tollgate up`.
//!
//! `cargo run -p tollgate-broker --example serve -- --dir DIR [--port N] [--fsync always] [--housekeeping-ms N]`

use std::{error::Error, time::Duration};
use tokio::signal::unix::{SignalKind, signal};
use tollgate_broker::{Broker, Config, Fsync};

fn config() -> Result<Config, Box<dyn Error>> {
    let mut config = Config::open_to_all("");
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--dir" => config.dir = value.into(),
            "--port" => config.listen.set_port(value.parse()?),
            "--fsync" if value == "always" => config.fsync = Fsync::Always,
            "--fsync" if value == "interval" => config.fsync = Fsync::default(),
            "--housekeeping-ms" => config.housekeeping = Duration::from_millis(value.parse()?),
            _ => return Err(format!("{name} {value} is not known").into()),
        }
    }
    if config.dir.as_os_str().is_empty() {
        return Err("--dir is missing: the folder that keeps the data".into());
    }
    Ok(config)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let broker = tokio::task::spawn_blocking(|| {
        let config = config().map_err(|error| error.to_string())?;
        Broker::start(config).map_err(|error| error.to_string())
    });
    let broker = broker.await??;
    eprintln!("listening on {}", broker.address());
    let ended = broker.ended();
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = ended.cancelled() => {}
    }
    tokio::task::spawn_blocking(|| broker.shutdown()).await??;
    Ok(())
}
