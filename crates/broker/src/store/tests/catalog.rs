//! Tests of the topic configs.

use super::config;
use crate::{log::Settings, store::catalog::*};
use std::collections::BTreeMap;

#[test]
fn the_defaults_are_valid_and_as_documented() {
    let none = BTreeMap::new();
    let expected = Settings {
        compact: false,
        delete: true,
        retention_ms: 604_800_000,
        retention_bytes: -1,
        segment_bytes: 64 * 1024 * 1024,
        segment_ms: 604_800_000,
        max_message_bytes: 1_048_588,
        append_time: false,
        delete_retention_ms: 86_400_000,
        min_compaction_lag_ms: 0,
        min_dirty_permille: 500,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
    };
    assert_eq!(parse(&none), Ok(expected));
    let all: Vec<_> = describe(&none).collect();
    for described in &all {
        assert_eq!(check(described.name, described.default), Ok(()));
        assert!(described.value == described.default && described.source == Source::Default);
        assert!(described.documentation.ends_with('.'));
    }
    assert!(all.is_sorted_by_key(|described| described.name), "sorted");
}

#[test]
fn what_was_set_is_read_and_shown() {
    let set = config(&[
        ("cleanup.policy", "compact, delete"),
        ("segment.bytes", "16384"),
        ("retention.ms", " -1 "),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.insync.replicas", "2"),
        ("preallocate", "TRUE"),
    ]);
    let parsed = parse(&set).unwrap();
    assert!(parsed.compact && parsed.delete && parsed.append_time);
    assert_eq!((parsed.segment_bytes, parsed.retention_ms), (16_384, -1));
    let described: Vec<_> = describe(&set).filter(|described| described.source == Source::Topic).collect();
    assert_eq!(described.len(), 6);
    let segment = described.iter().find(|described| described.name == "segment.bytes").unwrap();
    assert_eq!((segment.value.as_str(), segment.default, segment.kind), ("16384", "67108864", Kind::Int));
}

#[test]
fn errors_say_what_is_allowed() {
    let error = |name: &str, value: &str| check(name, value).unwrap_err();
    let text = error("segment.bytes", "16383");
    assert!(
        text.starts_with("segment.bytes: must be a whole number from 16384 to 2147483647, not \"16383\""),
        "{text}"
    );
    assert!(error("retention.ms", "-2").contains("from -1 to"));
    assert!(error("retention.ms", "1h").contains("\"1h\""));
    assert!(error("max.message.bytes", "2147483648").contains("2147483647"));
    assert!(error("min.insync.replicas", "0").contains("from 1"));
    assert!(error("min.cleanable.dirty.ratio", "NaN").contains("from 0 to 1"));
    assert!(error("unclean.leader.election.enable", "yes").contains("true or false"));
    assert!(error("compression.type", "zstd").contains("must be producer"));
    assert!(error("flush.messages", "1").contains("fsync setting"));
    assert!(error("message.timestamp.type", "createtime").contains("CreateTime or LogAppendTime"));
    for policy in ["", ",", "compact,drop"] {
        assert!(error("cleanup.policy", policy).contains("compact or delete or both"), "{policy}");
    }
    assert!(error("segment.ms", &"0".repeat(300)).contains("at most 256 bytes"));
    for unknown in [
        "retention.hours",
        "message.format.version",
        "remote.storage.enable",
        "",
        "leader.replication.throttled.replicas",
    ] {
        assert!(error(unknown, "1").contains("no such topic config"), "{unknown}");
    }
    let both = parse(&config(&[("retention.ms", "x"), ("nope", "1")])).unwrap_err();
    assert!(both.contains("nope:") && both.contains("; retention.ms:"), "every problem at once: {both}");
}

#[test]
fn configs_are_altered_one_by_one() {
    let mut set = BTreeMap::new();
    alter(&mut set, "cleanup.policy", Change::Append("compact,delete")).unwrap();
    assert_eq!(set["cleanup.policy"], "delete,compact", "the default is appended to, nothing twice");
    alter(&mut set, "cleanup.policy", Change::Subtract(" delete ")).unwrap();
    assert_eq!(set["cleanup.policy"], "compact");
    alter(&mut set, "retention.ms", Change::Set(" 5 ")).unwrap();
    assert_eq!(set["retention.ms"], "5");

    let before = set.clone();
    assert!(alter(&mut set, "cleanup.policy", Change::Subtract("compact")).unwrap_err().contains("compact or delete"));
    assert!(alter(&mut set, "retention.ms", Change::Append("5")).unwrap_err().contains("only a list"));
    assert!(alter(&mut set, "nope", Change::Append("5")).unwrap_err().contains("no such"));
    assert!(alter(&mut set, "nope", Change::Set("5")).unwrap_err().contains("no such"));
    assert!(alter(&mut set, "segment.ms", Change::Set("0")).is_err());
    assert_eq!(set, before, "what is refused changes nothing");

    for name in ["retention.ms", "cleanup.policy", "never.set"] {
        alter(&mut set, name, Change::Delete).unwrap();
    }
    assert!(set.is_empty());
}
