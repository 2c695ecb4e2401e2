//! `tollgate up`: all four services in one process, and the embedded broker unless a cluster is named.

use super::{init, load};
use crate::{cli::Up, stack};
use std::{process::ExitCode, time::Duration};
use tollgate_runtime::{
    Config, Readiness,
    config::{self as file, Over, Role},
    secret::new_key,
    stop_signal, supervised, telemetry,
};

pub(crate) async fn run(arguments: &Up) -> anyhow::Result<ExitCode> {
    let over = arguments.over();
    let (config, keys) = match &arguments.run.config {
        Some(path) => (load(path, Role::All, &over)?, None),
        None => {
            let ((key, hash), (admin_key, admin_hash)) = (new_key(), new_key());
            (without_file(&hash, &admin_hash, &over)?, Some(Keys { key, admin_key }))
        }
    };
    let _telemetry = telemetry::init("tollgate");
    // Before the broker, which may take its time to start and is stopped in order all the same.
    let stop = stop_signal();
    // Before the broker: recovery is in vain if the API's address is taken.
    let listener = stack::bind(&config).await?;
    let api = listener.local_addr()?.to_string();
    let readiness = Readiness::default();
    stack::with_kafka(&config, "up", &stop, async |bus, lock| {
        let greeting = Greeting { api, kafka: bus.settings().brokers.clone(), config: config.clone(), keys };
        supervised("greeting", greeting.once_ready(readiness.clone()));
        stack::run_all(config.clone(), (bus, lock), listener, readiness.clone(), stop.clone()).await
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// Of a gateway without a configuration; they end with it.
struct Keys {
    key: String,
    admin_key: String,
}

/// The mock provider and keys made a moment ago.
pub(crate) fn without_file(key_hash: &str, admin_hash: &str, over: &Over) -> anyhow::Result<Config> {
    Ok(file::parse_over(&init::minimal(key_hash, admin_hash), Role::All, over, &|_| Ok(None))?.config)
}

/// What the person who has just started it wants to know.
struct Greeting {
    api: String,
    kafka: String,
    config: Config,
    keys: Option<Keys>,
}

impl Greeting {
    /// Only then does what it says come true.
    async fn once_ready(self, readiness: Readiness) {
        while readiness.missing().is_none_or(|missing| !missing.is_empty()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tracing::info!(api = %self.api, kafka = %self.kafka, "ready");
        if let Some(keys) = &self.keys {
            self.print(keys);
        }
    }

    #[allow(clippy::print_stdout, reason = "for the person who has just started it")]
    fn print(&self, Keys { key, admin_key }: &Keys) {
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
        println!("See and change what runs, as in `tollgate teams list`:\n\n  export TOLLGATE_ADMIN_KEY={admin_key}\n");
        println!("Who used what, as Parquet: {}/usage/date=*/*.parquet, or `tollgate usage`\n", config.data_dir);
    }
}
