//! The topic configs that exist here: names, types, defaults and ranges as in Apache Kafka's "Topic Configs"
//! (documentation of 4.x) unless noted, one table.
//!
//! Three kinds: those with an effect; those that tune what this broker does not have (index sizes, elections) and so
//! are accepted, shown and without effect; and those that promise what it does not keep, accepted only with the value
//! that holds anyway: `flush.*` (the broker's fsync setting decides), `max.compaction.lag.ms`, `compression.type`.
//! Everything else is refused with `INVALID_CONFIG`: `compression.*.level`, `remote.*`, `local.retention.*`,
//! `*.replication.throttled.replicas`, and what Kafka 4.0 removed (`message.format.version`,
//! `message.timestamp.difference.max.ms`). Deliberately absent: where configs are stored, and configs of brokers.

use crate::log::Settings;
use std::collections::BTreeMap;

/// Longest value, in bytes; all that are valid are far shorter.
const VALUE_BYTES_MAX: usize = 256;
/// Smaller than Kafka's 1 MiB, so that a test can fill many segments.
const SEGMENT_BYTES_MIN: i64 = 16 * 1024;

const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPACT: &str = "compact";
const DELETE: &str = "delete";
const LOG_APPEND_TIME: &str = "LogAppendTime";

/// What a value must be, as the numbers of `ConfigType` in the protocol's `DescribeConfigs` (KIP-569).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// Where a value comes from, as the numbers of `ConfigSource` in the protocol's `DescribeConfigs` (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum Source {
    /// Set for this topic.
    Topic = 1,
    Default = 5,
}

enum Rule {
    Boolean,
    /// At least, at most.
    Int(i64, i64),
    /// At least, at most.
    Long(i64, i64),
    /// 0 to 1.
    Ratio,
    OneOf(&'static [&'static str]),
    /// At least one of them, separated by commas.
    ListOf(&'static [&'static str]),
}

struct Config {
    name: &'static str,
    default: &'static str,
    rule: Rule,
    documentation: &'static str,
}

const fn config(name: &'static str, default: &'static str, rule: Rule, documentation: &'static str) -> Config {
    Config { name, default, rule, documentation }
}

const EVER: i64 = i64::MAX;
const EVER_TEXT: &str = "9223372036854775807";
const INT: i64 = i32::MAX as i64;

/// Sorted by name.
static CONFIGS: [Config; 24] = [
    config(
        CLEANUP_POLICY,
        DELETE,
        Rule::ListOf(&[COMPACT, DELETE]),
        "What happens to old records: \"delete\" drops them by retention.ms and retention.bytes, \"compact\" keeps the \
         last record of each key.",
    ),
    config(
        "compression.type",
        "producer",
        Rule::OneOf(&["producer"]),
        "Records are kept as the producer compressed them.",
    ),
    config(
        "delete.retention.ms",
        "86400000",
        Rule::Long(0, EVER),
        "How long a compacted topic keeps a record without a value, which deletes its key.",
    ),
    config(
        "file.delete.delay.ms",
        "60000",
        Rule::Long(0, EVER),
        "No effect: files are deleted once nobody reads them.",
    ),
    config(
        "flush.messages",
        EVER_TEXT,
        Rule::Long(EVER, EVER),
        "Cannot be changed for a topic: the broker's fsync setting says when records are synced.",
    ),
    config(
        "flush.ms",
        EVER_TEXT,
        Rule::Long(EVER, EVER),
        "Cannot be changed for a topic: the broker's fsync setting says when records are synced.",
    ),
    config("index.interval.bytes", "4096", Rule::Int(0, INT), "No effect: the index has its own interval."),
    config(
        "max.compaction.lag.ms",
        EVER_TEXT,
        Rule::Long(EVER, EVER),
        "Cannot be changed: there is no time after which a record is compacted for certain.",
    ),
    config(
        "max.message.bytes",
        "1048588",
        Rule::Int(0, INT),
        "The largest batch of records, compressed. The broker's bound on a request holds too.",
    ),
    config(
        "message.downconversion.enable",
        "true",
        Rule::Boolean,
        "No effect: there are no clients so old that records must be converted for them.",
    ),
    config(
        "message.timestamp.after.max.ms",
        "3600000",
        Rule::Long(0, EVER),
        "How far a record's timestamp may be ahead of the broker's clock. For CreateTime.",
    ),
    config(
        "message.timestamp.before.max.ms",
        EVER_TEXT,
        Rule::Long(0, EVER),
        "How far a record's timestamp may be behind the broker's clock. For CreateTime.",
    ),
    config(
        "message.timestamp.type",
        "CreateTime",
        Rule::OneOf(&["CreateTime", LOG_APPEND_TIME]),
        "Whether a record's timestamp is the producer's or the time of its append.",
    ),
    config(
        "min.cleanable.dirty.ratio",
        "0.5",
        Rule::Ratio,
        "How much of what can be compacted must be new before it is; 0.5: half.",
    ),
    config("min.compaction.lag.ms", "0", Rule::Long(0, EVER), "How long a record is safe from compaction."),
    config("min.insync.replicas", "1", Rule::Int(1, INT), "No effect: this broker is the only replica."),
    config("preallocate", "false", Rule::Boolean, "No effect: files grow as they are written."),
    config(
        "retention.bytes",
        "-1",
        Rule::Long(-1, EVER),
        "How large a partition may become before its oldest segments are deleted; -1: no bound. For the policy \"delete\".",
    ),
    config(
        "retention.ms",
        "604800000",
        Rule::Long(-1, EVER),
        "How long a record is kept at least; -1: for ever. For the policy \"delete\".",
    ),
    config(
        "segment.bytes",
        "67108864",
        Rule::Int(SEGMENT_BYTES_MIN, INT),
        "How large a segment file may become. Retention and compaction work on whole segments but the newest.",
    ),
    config("segment.index.bytes", "10485760", Rule::Int(4, INT), "No effect: an index grows with its segment."),
    config("segment.jitter.ms", "0", Rule::Long(0, EVER), "No effect: segments are rolled without jitter."),
    config(
        "segment.ms",
        "604800000",
        Rule::Long(1, EVER),
        "After how long a segment is rolled even if it is not full.",
    ),
    config(
        "unclean.leader.election.enable",
        "false",
        Rule::Boolean,
        "No effect: this broker is the only replica, so none is elected.",
    ),
];

impl Rule {
    fn kind(&self) -> Kind {
        match self {
            Self::Boolean => Kind::Boolean,
            Self::Int(..) => Kind::Int,
            Self::Long(..) => Kind::Long,
            Self::Ratio => Kind::Double,
            Self::OneOf(_) => Kind::String,
            Self::ListOf(_) => Kind::List,
        }
    }

    fn allows(&self, value: &str) -> bool {
        match self {
            Self::Boolean => ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(value)),
            Self::Int(min, max) | Self::Long(min, max) => {
                value.parse().is_ok_and(|value: i64| (*min..=*max).contains(&value))
            }
            Self::Ratio => value.parse().is_ok_and(|value: f64| (0.0..=1.0).contains(&value)),
            Self::OneOf(words) => words.contains(&value),
            Self::ListOf(words) => items(value).all(|item| words.contains(&item)) && items(value).next().is_some(),
        }
    }

    /// What is allowed, to follow "must be".
    fn range(&self) -> String {
        match self {
            Self::Boolean => "true or false".into(),
            Self::Int(min, max) | Self::Long(min, max) if min == max => min.to_string(),
            Self::Int(min, max) | Self::Long(min, max) => format!("a whole number from {min} to {max}"),
            Self::Ratio => "a number from 0 to 1".into(),
            Self::OneOf(words) => words.join(" or "),
            Self::ListOf(words) => format!("{} or both, separated by a comma", words.join(" or ")),
        }
    }
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn find(name: &str) -> Result<&'static Config, String> {
    let unknown = || format!("{name}: there is no such topic config here, or it cannot be set");
    CONFIGS.iter().find(|config| config.name == name).ok_or_else(unknown)
}

fn value<'a>(set: &'a BTreeMap<String, String>, config: &Config) -> &'a str {
    set.get(config.name).map_or(config.default, |value| value.trim())
}

/// Reads what was set for a topic, the rest from the defaults; else every problem, as the text of an `INVALID_CONFIG`.
pub(crate) fn parse(set: &BTreeMap<String, String>) -> Result<Settings, String> {
    let problems: Vec<_> = set.iter().filter_map(|(name, value)| check(name, value).err()).collect();
    if !problems.is_empty() {
        return Err(problems.join("; "));
    }
    let text = |name| find(name).map(|config| value(set, config));
    let number = |name| text(name).and_then(|value| value.parse().map_err(|_| format!("{name}: not a number")));
    let ratio = |name| text(name).and_then(|value| value.parse::<f64>().map_err(|_| format!("{name}: not a number")));
    let size = |name| number(name).map(|number: i64| number.unsigned_abs());
    let policy: Vec<_> = items(text(CLEANUP_POLICY)?).collect();
    Ok(Settings {
        compact: policy.contains(&COMPACT),
        delete: policy.contains(&DELETE),
        retention_ms: number("retention.ms")?,
        retention_bytes: number("retention.bytes")?,
        segment_bytes: size("segment.bytes")?,
        segment_ms: number("segment.ms")?,
        max_message_bytes: size("max.message.bytes")? as usize,
        append_time: text("message.timestamp.type")? == LOG_APPEND_TIME,
        delete_retention_ms: number("delete.retention.ms")?,
        min_compaction_lag_ms: number("min.compaction.lag.ms")?,
        min_dirty_permille: (ratio("min.cleanable.dirty.ratio")? * 1_000.0) as u64,
        timestamp_before_max_ms: number("message.timestamp.before.max.ms")?,
        timestamp_after_max_ms: number("message.timestamp.after.max.ms")?,
    })
}

/// Whether a topic may have this config with this value; else the text for `INVALID_CONFIG`.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let config = find(name)?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(format!("{name}: a value has at most {VALUE_BYTES_MAX} bytes"));
    }
    if config.rule.allows(value.trim()) {
        return Ok(());
    }
    Err(format!("{name}: must be {}, not {value:?}. {}", config.rule.range(), config.documentation))
}

/// One config as `DescribeConfigs` shows it. None is read-only or secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) name: &'static str,
    pub(crate) value: String,
    /// Also the only other value it could come from (its synonym).
    pub(crate) default: &'static str,
    pub(crate) source: Source,
    pub(crate) kind: Kind,
    pub(crate) documentation: &'static str,
}

/// All configs of a topic for which `set` was set, sorted by name.
pub(crate) fn describe(set: &BTreeMap<String, String>) -> impl Iterator<Item = Described> {
    CONFIGS.iter().map(|config| Described {
        name: config.name,
        value: value(set, config).to_owned(),
        default: config.default,
        source: if set.contains_key(config.name) { Source::Topic } else { Source::Default },
        kind: config.rule.kind(),
        documentation: config.documentation,
    })
}

/// What `IncrementalAlterConfigs` does with one config (KIP-339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Set(&'a str),
    /// Back to the default. A config that does not exist may be deleted too, as in Kafka.
    Delete,
    /// Adds to a list what it does not hold yet.
    Append(&'a str),
    Subtract(&'a str),
}

/// Changes one config of a topic; an error is the text for `INVALID_CONFIG` and `set` is as it was.
pub(crate) fn alter(set: &mut BTreeMap<String, String>, name: &str, change: Change<'_>) -> Result<(), String> {
    let list = || {
        let config = find(name)?;
        match config.rule {
            Rule::ListOf(_) => Ok(value(set, config)),
            _ => Err(format!("{name}: only a list can be appended to or subtracted from")),
        }
    };
    let new = match change {
        Change::Delete => {
            set.remove(name);
            return Ok(());
        }
        Change::Set(value) => value.trim().to_owned(),
        Change::Append(more) => {
            let mut all: Vec<_> = items(list()?).collect();
            for item in items(more) {
                if !all.contains(&item) {
                    all.push(item);
                }
            }
            all.join(",")
        }
        Change::Subtract(less) => {
            let less: Vec<_> = items(less).collect();
            items(list()?).filter(|item| !less.contains(item)).collect::<Vec<_>>().join(",")
        }
    };
    check(name, &new)?;
    set.insert(name.to_owned(), new);
    Ok(())
}
