//! Any bytes through every parser of outside bytes, and what must hold of what comes of them. Panics are how a fuzzer is told.
//!
//! `fuzz.rs` runs them under libFuzzer (`fuzz/run`); as a test, every input that a fuzzer begins from goes through its target.

mod envelopes;
mod guardrail;
mod pii;

use tollgate_runtime::config::{Role, parse};

/// One way in for any bytes.
pub struct Target {
    /// As `fuzz/run` takes it.
    pub name: &'static str,
    /// Panics if something that must hold does not.
    pub run: fn(&[u8]),
    /// Files and folders of inputs to begin from, below the project's root.
    pub seeds: &'static [&'static str],
}

const FIXTURES: &str = "services/router-worker/fixtures";

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "answers", run: answers, seeds: &["fuzz/seeds/answers"] },
    Target { name: "commit_metadata", run: tollgate_bus::fuzz::commit_metadata, seeds: &[] },
    Target { name: "config", run: config, seeds: &["fuzz/seeds/config"] },
    Target { name: "envelopes", run: envelopes::run, seeds: &["fuzz/seeds/envelopes", "schemas/samples"] },
    Target { name: "event_stream", run: event_stream, seeds: &[] },
    Target { name: "frame", run: tollgate_broker::fuzz::frame, seeds: &[] },
    Target { name: "guardrail", run: guardrail::run, seeds: &["fuzz/seeds/guardrail"] },
    Target { name: "jobs", run: jobs, seeds: &["fuzz/seeds/jobs"] },
    Target { name: "pii", run: pii::run, seeds: &["fuzz/seeds/pii"] },
    Target { name: "records", run: records, seeds: &["fuzz/seeds/records"] },
    Target { name: "sse", run: sse, seeds: &[FIXTURES] },
    Target { name: "streams", run: tollgate_router_worker::fuzz::stream, seeds: &[FIXTURES] },
];

/// A provider's whole answer or error document, of each kind, and a caller's body translated for it.
fn answers(data: &[u8]) {
    tollgate_router_worker::fuzz::answer(data);
    tollgate_router_worker::fuzz::request(data);
}

/// A configuration, for every role: one that passes says the same when it is printed and read again.
fn config(data: &[u8]) {
    /// Every variable has a value; no file is opened.
    fn lookup(name: &str) -> Result<Option<String>, String> {
        if name.starts_with("file:") { Err("no files here".to_owned()) } else { Ok(Some("value".to_owned())) }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    for role in [Role::Ingress, Role::Guardrail, Role::RouterWorker, Role::UsageAggregator, Role::All] {
        let Ok(loaded) = parse(text, role, &lookup) else { continue };
        let printed = serde_json::to_string(&loaded.config).expect("it can be printed");
        // JSON is YAML.
        let again = parse(&printed, role, &lookup).expect("what was printed is read");
        assert_eq!(serde_json::to_string(&again.config).expect("it can be printed"), printed);
    }
}

/// Amazon's binary event stream: the first byte says the size of a piece, and how many bytes are headers where the checksums are
/// made to fit.
fn event_stream(data: &[u8]) {
    if let Some((piece, stream)) = data.split_first() {
        tollgate_router_worker::fuzz::event_stream(stream, usize::from(*piece));
    }
}

/// A record of a team's in topic, and the body of a call. Headers follow the value, each after a byte that no UTF-8 text holds.
fn jobs(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == 0xff);
    let value = parts.next().unwrap_or_default();
    tollgate_ingress::fuzz::job(value, parts.next(), parts.next(), parts.next());
    tollgate_ingress::fuzz::body(value);
}

/// A batch of records, in every codec. A fuzzer does not guess a checksum, so the same bytes are also tried with a length, a format
/// and a checksum that fit.
fn records(data: &[u8]) {
    /// Bytes of a batch up to its records; <https://kafka.apache.org/documentation/#recordbatch>.
    const HEADER_BYTES: usize = 61;
    tollgate_broker::fuzz::records(data);
    if data.len() > HEADER_BYTES {
        let mut batch = data.to_vec();
        let len = u32::try_from(data.len() - 12).unwrap_or(u32::MAX);
        batch[8..12].copy_from_slice(&len.to_be_bytes());
        batch[16] = 2;
        let checksum = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
        tollgate_broker::fuzz::records(&batch);
    }
}

/// A provider's event stream: the first byte says the size of a piece.
fn sse(data: &[u8]) {
    if let Some((piece, stream)) = data.split_first() {
        tollgate_router_worker::fuzz::sse(stream, usize::from(*piece));
    }
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::{fs, path::Path};

    fn files(at: &Path) -> Vec<(String, Vec<u8>)> {
        if at.is_dir() {
            let entries = fs::read_dir(at).expect("a folder of inputs").map(|entry| entry.expect("an entry").path());
            return entries.flat_map(|entry| files(&entry)).collect();
        }
        vec![(at.display().to_string(), fs::read(at).expect("an input"))]
    }

    /// What a fuzzer begins from, and each half of it.
    #[test]
    fn every_seed_holds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for target in TARGETS {
            let inputs: Vec<_> = target.seeds.iter().flat_map(|seeds| files(&root.join(seeds))).collect();
            assert_eq!(inputs.is_empty(), target.seeds.is_empty(), "{} has no input", target.name);
            for (name, input) in inputs {
                // Shown if it panics.
                println!("{} takes {name}", target.name);
                (target.run)(&input);
                let (first, second) = input.split_at(input.len() / 2);
                (target.run)(first);
                (target.run)(second);
            }
        }
    }
}
