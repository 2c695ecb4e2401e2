//! `tollgate keys`: the verbs of every kind of object, and two of its own.

use super::objects;
use crate::cli::Keys;
use std::process::ExitCode;
use tollgate_runtime::secret::new_key;
use tollgate_schemas::ObjectKind;

pub(crate) async fn run(command: &Keys) -> anyhow::Result<ExitCode> {
    match command {
        Keys::New { name, team } => Ok(new(name, team)),
        Keys::Rotate { at, name, grace } => objects::rotate(at, name, grace).await,
        Keys::Verb(verb) => objects::run(ObjectKind::Key, verb).await,
    }
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn new(name: &str, team: &str) -> ExitCode {
    let (key, hash) = new_key();
    println!("{key}");
    eprintln!("Keep it now: it is not stored anywhere. Put this under `keys:` in tollgate.yaml:");
    println!("  - {{ name: {name}, team: {team}, sha256: \"{hash}\" }}");
    ExitCode::SUCCESS
}
