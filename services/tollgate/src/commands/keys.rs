//! `tollgate keys new`.

use crate::cli::Keys;
use sha2::{Digest, Sha256};
use std::process::ExitCode;
use tollgate_runtime::blob::hex;

/// A new key and its hash. 244 random bits.
pub(crate) fn new_key() -> (String, String) {
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let key = format!("tg-{}{}", a.simple(), b.simple());
    let hash = hex(&Sha256::digest(&key));
    (key, hash)
}

#[allow(clippy::print_stdout, reason = "the command's result")]
pub(crate) fn run(command: &Keys) -> anyhow::Result<ExitCode> {
    let Keys::New { name, team } = command;
    let (key, hash) = new_key();
    println!("{key}");
    eprintln!("Keep it now: it is not stored anywhere. Put this under `keys:` in tollgate.yaml:");
    println!("  - {{ name: {name}, team: {team}, sha256: \"{hash}\" }}");
    Ok(ExitCode::SUCCESS)
}
