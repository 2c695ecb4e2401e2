//! `tollgate init`, and the configuration of a gateway that has none.

use crate::cli::Init;
use anyhow::Context;
use std::{fs::OpenOptions, io::Write, process::ExitCode};
use tollgate_runtime::secret::new_key;

/// A minimal configuration: the mock provider, one endpoint, one team with both doors, one key, one administrator.
pub(crate) fn minimal(key_hash: &str, admin_hash: &str) -> String {
    format!(
        r#"# A minimal Tollgate. tollgate.example.yaml shows everything there is; check changes with `tollgate config check`.
listen: 127.0.0.1:8080
data_dir: ./tollgate-data             # the broker's log, and the usage tables

kafka:
  brokers: embedded                   # or host:port,host:port of an Apache Kafka cluster
  listen: 127.0.0.1:9092              # where the embedded broker takes Kafka clients

providers:
  demo: {{ kind: mock }}                # answers by itself; no key, no network
  # openai: {{ kind: openai, api_key: "${{OPENAI_API_KEY}}" }}

endpoints:
  - name: chat                        # what callers send as "model"
    destinations: [ {{ name: mock, provider: demo, model: mock-1 }} ]

teams:
  - name: search
    endpoints: [ chat ]
    kafka: {{ requests: in.search, replies: out.search }}

keys:
  - {{ name: my-key, team: search, sha256: "{key_hash}" }}

admin:                                # for /admin/v1 and the commands that see and change a running gateway
  keys: [ {{ name: root, sha256: "{admin_hash}" }} ]
"#
    )
}

#[allow(clippy::print_stdout, reason = "the command's result")]
pub(crate) fn run(arguments: &Init) -> anyhow::Result<ExitCode> {
    let path = &arguments.path;
    let ((key, hash), (admin_key, admin_hash)) = (new_key(), new_key());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    file.write_all(minimal(&hash, &admin_hash).as_bytes())?;
    println!("{key}");
    eprintln!("Wrote {}. The line above is a key for it: keep it now, only its hash is stored.", path.display());
    eprintln!("To administer it, as with `tollgate teams list`: export TOLLGATE_ADMIN_KEY={admin_key}");
    eprintln!("Next: tollgate up --config {}", path.display());
    Ok(ExitCode::SUCCESS)
}
