//! A policy's version: a short hash of its checks and of the judges that they ask.

use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tollgate_runtime::config::{Checks, Config, Guardrails, Judge};

/// Hex digits of a policy's version.
pub(super) const VERSION_LENGTH: usize = 12;

/// The same guardrails have the same version in every process; any difference in them gives another one.
pub(super) fn version(guardrails: &Guardrails, config: &Config) -> String {
    let judges: BTreeMap<&str, Option<&Judge>> = [&guardrails.input, &guardrails.output]
        .into_iter()
        .flat_map(judges)
        .map(|n| (n, config.judges.get(n)))
        .collect();
    // Secrets are written as `***`.
    let Guardrails { input, output, budget, stream, stream_window, on_block, policy: _, allow_weaker: _ } = guardrails;
    short(&json!([input, output, budget, judges, stream, stream_window, on_block]).to_string())
}

/// The version of policies that apply together: of one alone, its own.
pub(super) fn together<'v>(versions: impl Iterator<Item = &'v str>) -> Option<String> {
    let versions: Vec<&str> = versions.collect();
    match versions[..] {
        [] => None,
        [only] => Some(only.to_owned()),
        _ => Some(short(&json!(versions).to_string())),
    }
}

fn short(canonical: &str) -> String {
    let digest = tollgate_runtime::blob::hex(&Sha256::digest(canonical.as_bytes()));
    digest[..VERSION_LENGTH].to_owned()
}

/// The names of the judges that are asked.
fn judges(checks: &Checks) -> Vec<&str> {
    let Checks { pii, keywords: _, topics, safety, injection, custom, unreadable: _ } = checks;
    let one = [
        pii.as_ref().and_then(|it| it.judge.as_ref()),
        topics.as_ref().map(|it| &it.judge),
        safety.as_ref().and_then(|it| it.judge.as_ref()),
        injection.as_ref().and_then(|it| it.judge.as_ref()),
    ];
    one.into_iter().flatten().chain(custom.iter().map(|it| &it.judge)).map(String::as_str).collect()
}
