//! `tollgate up`: all four services in one process.

use super::{init, keys::new_key, load};
use crate::{cli::Run, stack};
use std::process::ExitCode;
use tollgate_runtime::{
    Config, Readiness,
    config::{self as file, Role},
    stop_signal, telemetry,
};

pub(crate) async fn run(arguments: &Run) -> anyhow::Result<ExitCode> {
    let (config, key) = match &arguments.config {
        Some(path) => (load(path, Role::All)?, None),
        None => {
            let (key, hash) = new_key();
            (without_file(&hash)?, Some(key))
        }
    };
    let _telemetry = telemetry::init("tollgate");
    let bus = stack::connect(&config, arguments.brokers.as_deref(), "up").await?;
    let listener = stack::bind(&config).await?;
    if let Some(key) = key {
        welcome(&config, &key);
    }
    stack::run_all(config, bus, listener, Readiness::default(), stop_signal()).await?;
    Ok(ExitCode::SUCCESS)
}

/// The mock provider and a key made a moment ago.
pub(crate) fn without_file(key_hash: &str) -> anyhow::Result<Config> {
    Ok(file::parse(&init::minimal(key_hash), Role::All, &|_| Ok(None))?.config)
}

#[allow(clippy::print_stdout, reason = "for the person who has just started it")]
fn welcome(config: &Config, key: &str) {
    println!("No configuration was given: the mock provider answers, and this key is for this run only:\n\n  {key}\n");
    println!(
        "Try it:\n\n  curl -s http://{}/v1/chat/completions -H 'authorization: Bearer {key}' \\\n    -H 'content-type: application/json' -d '{{\"model\":\"chat\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'\n",
        config.listen
    );
    println!("Usage tables: {}/usage/date=*/*.parquet\n", config.data_dir);
}
