//! `tollgate up`: all four services in one process, and the embedded broker unless a cluster is named.

use super::{init, keys::new_key, load};
use crate::{cli::Up, stack};
use std::{process::ExitCode, time::Duration};
use tollgate_runtime::{
    Config, Readiness,
    config::{self as file, Over, Role},
    stop_signal, supervised, telemetry,
};

pub(crate) async fn run(arguments: &Up) -> anyhow::Result<ExitCode> {
    let over = arguments.over();
    let (config, key) = match &arguments.run.config {
        Some(path) => (load(path, Role::All, &over)?, None),
        None => {
            let (key, hash) = new_key();
            (without_file(&hash, &over)?, Some(key))
        }
    };
    let _telemetry = telemetry::init("tollgate");
    // Before the broker, which may take its time to start and is stopped in order all the same.
    let stop = stop_signal();
    // Before the broker: recovery is in vain if the API's address is taken.
    let listener = stack::bind(&config).await?;
    let api = listener.local_addr()?.to_string();
    let readiness = Readiness::default();
    stack::with_kafka(&config, "up", &stop, async |bus| {
        let greeting = Greeting { api, kafka: bus.settings().brokers.clone(), config: config.clone(), key };
        supervised("greeting", greeting.once_ready(readiness.clone()));
        stack::run_all(config.clone(), bus, listener, readiness.clone(), stop.clone()).await
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// The mock provider and a key made a moment ago.
pub(crate) fn without_file(key_hash: &str, over: &Over) -> anyhow::Result<Config> {
    Ok(file::parse_over(&init::minimal(key_hash), Role::All, over, &|_| Ok(None))?.config)
}

/// What the person who has just started it wants to know.
struct Greeting {
    api: String,
    kafka: String,
    config: Config,
    /// Of a gateway without a configuration.
    key: Option<String>,
}

impl Greeting {
    /// Only then does what it says come true.
    async fn once_ready(self, readiness: Readiness) {
        while readiness.missing().is_none_or(|missing| !missing.is_empty()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tracing::info!(api = %self.api, kafka = %self.kafka, "ready");
        if let Some(key) = &self.key {
            self.print(key);
        }
    }

    #[allow(clippy::print_stdout, reason = "for the person who has just started it")]
    fn print(&self, key: &str) {
        let Self { api, kafka, config, .. } = self;
        let body = r#"{"model":"chat","messages":[{"role":"user","content":"hello"}]}"#;
        println!("\nNo configuration was given: the mock provider answers, and the key is for this run only.");
        println!("`tollgate init` writes a file with a lasting one.\n\n  {key}\n\nCall it:\n");
        println!("  curl -sS http://{api}/v1/chat/completions -H 'authorization: Bearer {key}' \\");
        println!("    -H 'content-type: application/json' -d '{body}'\n");
        if let Some((jobs, answers)) = config.teams.first().and_then(|team| config.team_topics(team)) {
            println!("Or submit jobs with any Kafka client, here kcat; answers come on {answers}:\n");
            println!("  echo '{{\"custom_id\":\"job-1\",\"url\":\"/v1/chat/completions\",\"body\":{body}}}' |");
            println!("    kcat -P -b {kafka} -t {jobs}");
            println!("  kcat -C -b {kafka} -t {answers} -e\n");
        }
        println!("Who used what, as Parquet: {}/usage/date=*/*.parquet, or `tollgate usage`\n", config.data_dir);
    }
}
