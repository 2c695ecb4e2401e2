//! The records that Tollgate's services exchange, the topics that carry them, their headers and the closed set of errors.
//!
//! Everything here is data: no I/O, no clock except id making, no Kafka client. A topic constant binds a name to its
//! record type (see [`topic`]), so a name and its schema cannot drift. JSON schemas are generated from these types into
//! `schemas/json/`; records of older versions still parse, because fields are only ever added with a default.
//!
//! Deliberately absent: provider wire formats (router-worker's leaves), configuration (`runtime`), and anything that
//! would need to understand a body: provider bodies travel as raw JSON, byte for byte.

pub mod body;
pub mod cancellation;
pub mod completion;
pub mod control;
pub mod cooldown;
pub mod error;
pub mod headers;
pub mod idempotency;
pub mod ids;
pub mod job;
pub mod originals;
pub mod reply;
pub mod request;
pub mod topic;
pub mod trace;
pub mod usage;

pub use body::Body;
pub use cancellation::Cancellation;
pub use completion::{Completion, CompletionChunk, Produced};
pub use control::{Actor, Change, ObjectKind};
pub use cooldown::Cooldown;
pub use error::{ApiError, ErrorCode};
pub use idempotency::{IdempotencyRecord, KeyDoor, KeyState};
pub use ids::{ExecutionId, RequestId};
pub use originals::Originals;
pub use reply::{Origin, Reply, ReplyEvent, StreamEvent, Terminal};
pub use request::{ApiType, CacheUse, Caller, Lane, OnDisconnect, ReplyTo, Request, Reserved, TopicReply, Waiting};
pub use topic::{Topic, TopicSpec};
pub use trace::TraceContext;
pub use usage::{Attempt, AttemptAction, GuardrailCheck, PriceStatus, TokenDetails, TokenSource, UsageRow};

/// Microseconds since the Unix epoch, UTC. Used for every stored time.
pub fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// How long it is until a time in milliseconds since the Unix epoch; nothing if it is over.
pub fn left_until(until_ms: i64, now_ms: i64) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// The committed schemas are those of the types. `UPDATE_SCHEMAS=1 cargo test -p tollgate-schemas` rewrites them.
    #[test]
    fn json_schemas_are_current() {
        let all = [
            ("request", schemars::schema_for!(Request)),
            ("reply", schemars::schema_for!(Reply)),
            ("completion", schemars::schema_for!(Completion)),
            ("completion-chunk", schemars::schema_for!(CompletionChunk)),
            ("cancellation", schemars::schema_for!(Cancellation)),
            ("control", schemars::schema_for!(Change)),
            ("cooldown", schemars::schema_for!(Cooldown)),
            ("idempotency", schemars::schema_for!(IdempotencyRecord)),
            ("usage", schemars::schema_for!(UsageRow)),
            ("job-output", schemars::schema_for!(job::JobOutput)),
        ];
        for (name, schema) in all {
            let path = folder("json").join(format!("{name}.json"));
            let text = format!("{}\n", serde_json::to_string_pretty(&schema).expect("a schema is JSON"));
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                std::fs::write(&path, &text).expect("schemas/json can be written");
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == text, "schemas/json/{name}.json is not what the types say; run with UPDATE_SCHEMAS=1");
        }
    }

    /// Records written by every earlier version still parse. Files are only ever added to `samples/`.
    #[test]
    fn old_records_parse() {
        fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<(), serde_json::Error> {
            serde_json::from_str::<T>(text).map(drop)
        }
        let mut count = 0;
        for entry in std::fs::read_dir(folder("samples")).expect("samples") {
            let path = entry.expect("entry").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            let parsed = match name.split('-').next() {
                Some("request") => parse::<Request>(&text),
                Some("reply") => parse::<Reply>(&text),
                Some("completion") => parse::<Produced>(&text),
                Some("cancellation") => parse::<Cancellation>(&text),
                Some("control") => parse::<Change>(&text),
                Some("cooldown") => parse::<Cooldown>(&text),
                Some("idempotency") => parse::<IdempotencyRecord>(&text),
                Some("usage") => parse::<UsageRow>(&text),
                _ => panic!("{name}: name a sample RECORD-vN….json"),
            };
            assert!(parsed.is_ok(), "{name} no longer parses: {}", parsed.expect_err("checked"));
            count += 1;
        }
        assert!(count >= 6, "samples are missing");
    }
}
