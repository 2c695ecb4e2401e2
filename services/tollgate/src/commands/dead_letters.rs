//! `tollgate dead-letters list|show|redrive`: what nobody could process, for people to look at and to put back.
//!
//! Not here: what a dead letter is made of (`tollgate_bus::dead_letters`), and any memory of what was redriven before; a record
//! that comes back counts its redrives in a header of its own.

use super::{load, settings};
use crate::cli::{Chosen, DeadLetters, Log};
use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat};
use comfy_table::Table;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    ops::ControlFlow,
    process::ExitCode,
};
use tokio::sync::mpsc;
use tollgate_bus::{
    Bus, Error, Outgoing, Profile,
    broadcast::Start,
    dead_letters::{Dead, Place},
};
use tollgate_runtime::{
    Config,
    config::{Over, Role},
};
use tollgate_schemas::{RequestId, headers, topic};

/// A record that came back so often will come back again.
const REDRIVES_MAX: u32 = 10;

/// Dead letters read ahead of what is being put back: a bound on memory.
const AHEAD_MAX: usize = 4;

pub(crate) async fn run(command: &DeadLetters) -> anyhow::Result<ExitCode> {
    match command {
        DeadLetters::List { at, chosen, limit, json } => {
            let door = Door::open(at)?;
            print(&door.list(chosen, *limit).await?, *json)
        }
        DeadLetters::Show { at, place, raw } => {
            let dead = Door::open(at)?.at(*place).await?;
            let Some(dead) = dead else { bail!("{}", gone(*place)) };
            let mut out = std::io::stdout().lock();
            if *raw { out.write_all(dead.value()) } else { out.write_all(whole(&dead).as_bytes()) }?;
            out.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        DeadLetters::Redrive { at, places, chosen, dry_run, force, all: _ } => {
            let door = Door::open(at)?;
            let terms = Terms { targets: targets(&door.config), force: *force };
            door.redrive(places, chosen, &terms, *dry_run).await
        }
    }
}

/// A gateway's configuration and its log.
struct Door {
    config: Config,
    bus: Bus,
}

impl Door {
    fn open(at: &Log) -> anyhow::Result<Self> {
        let over = Over { brokers: at.brokers.clone(), ..Over::default() };
        let config = load(&at.config, Role::UsageAggregator, &over)?;
        let bus = Bus::new(settings(&config, "dead-letters")?);
        Ok(Self { config, bus })
    }

    async fn at(&self, place: Place) -> anyhow::Result<Option<Dead>> {
        let bus = self.bus.clone();
        Ok(tokio::task::spawn_blocking(move || bus.dead_letter_at(place)).await.context("reader")??)
    }

    async fn list(&self, chosen: &Chosen, limit: usize) -> anyhow::Result<Vec<Line>> {
        let filter = Filter::of(chosen, &self.config);
        let (bus, prefix) = (self.bus.clone(), self.config.kafka.topic_prefix.clone());
        let teams = team_topics(&self.config);
        let read = move || {
            let mut newest: BTreeMap<(i64, Place), Line> = BTreeMap::new();
            bus.dead_letters(filter.start.clone(), |dead| {
                if filter.takes(&dead) {
                    newest.insert((dead.at_ms(), dead.place()), Line::of(&dead, &prefix, &teams));
                }
                while newest.len() > limit {
                    newest.pop_first();
                }
                ControlFlow::Continue(())
            })?;
            Ok::<_, Error>(newest.into_values().collect())
        };
        Ok(tokio::task::spawn_blocking(read).await.context("reader")??)
    }

    /// The places, or all that are chosen, one after the other: each is acknowledged before the next is sent.
    async fn redrive(
        &self,
        places: &[Place],
        chosen: &Chosen,
        terms: &Terms,
        dry_run: bool,
    ) -> anyhow::Result<ExitCode> {
        let producer = self.bus.producer(Profile::Interactive)?;
        let (mut done, mut refused) = (0, 0);
        let mut records = self.records(places, chosen);
        while let Some(next) = records.recv().await {
            let (place, plan) = match next? {
                (place, Some(dead)) => (place, terms.plan(&dead)),
                (place, None) => (place, Err(gone(place))),
            };
            match plan {
                Ok(plan) => {
                    let count = plan.count;
                    if !dry_run {
                        let sent = producer.send_acked(plan.record).await;
                        sent.with_context(|| format!("{place} was not put back ({done} others were)"))?;
                    }
                    done += 1;
                    say(&format!("{place} → {} (redrive {count})", plan.topic));
                }
                Err(reason) => {
                    refused += 1;
                    eprintln!("{place} refused: {reason}");
                }
            }
        }
        let verb = if dry_run { "would be put back" } else { "put back" };
        eprintln!("{done} {verb}, {refused} refused");
        Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn records(&self, places: &[Place], chosen: &Chosen) -> mpsc::Receiver<Result<(Place, Option<Dead>), Error>> {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let (bus, places, filter) = (self.bus.clone(), places.to_vec(), Filter::of(chosen, &self.config));
        // Ends with its work, or with whoever receives.
        tokio::task::spawn_blocking(move || {
            let give = |record| match sender.blocking_send(record) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            for place in &places {
                if give(bus.dead_letter_at(*place).map(|dead| (*place, dead))).is_break() {
                    return;
                }
            }
            if places.is_empty() {
                let each = |dead: Dead| {
                    if filter.takes(&dead) { give(Ok((dead.place(), Some(dead)))) } else { ControlFlow::Continue(()) }
                };
                if let Err(error) = bus.dead_letters(filter.start.clone(), each) {
                    let _ = give(Err(error));
                }
            }
        });
        receiver
    }
}

/// What is asked for.
struct Filter {
    start: Start,
    /// A topic with and without the prefix.
    topics: Option<[String; 2]>,
}

impl Filter {
    fn of(chosen: &Chosen, config: &Config) -> Self {
        let now = chrono::Utc::now().timestamp_millis();
        let since = |age: tollgate_runtime::config::Millis| now - i64::try_from(age.0).unwrap_or(now);
        let names = |name: &String| [name.clone(), format!("{}{name}", config.kafka.topic_prefix)];
        Self {
            start: chosen.since.map_or(Start::Beginning, |age| Start::Since(since(age))),
            topics: chosen.topic.as_ref().map(names),
        }
    }

    fn takes(&self, dead: &Dead) -> bool {
        // A seek by time finds the first such record of a partition; an older one may stand behind it.
        let recent = match self.start {
            Start::Since(ms) => dead.at_ms() >= ms,
            _ => true,
        };
        let from = |names: &[String; 2]| dead.origin().is_some_and(|origin| names.contains(&origin.topic));
        recent && self.topics.as_ref().is_none_or(from)
    }
}

/// A line of the list.
struct Line {
    at: String,
    place: Place,
    /// Topic, partition and offset.
    origin: Option<(String, i32, i64)>,
    stage: String,
    reason: String,
    request_id: Option<RequestId>,
    redrives: u32,
    bytes: usize,
}

impl Line {
    fn of(dead: &Dead, prefix: &str, teams: &BTreeSet<String>) -> Self {
        let origin = dead.origin();
        // On a team's topic `ce_id` is the caller's own.
        let internal = origin.as_ref().is_some_and(|o| o.topic.starts_with(prefix) && !teams.contains(&o.topic));
        let id = dead.headers().get(headers::ID).filter(|_| internal);
        Self {
            at: time(dead.at_ms()),
            place: dead.place(),
            origin: origin.map(|o| (o.topic, o.partition, o.offset)),
            stage: dead.stage().unwrap_or("?").escape_debug().to_string(),
            reason: dead.reason().unwrap_or("?").escape_debug().to_string(),
            request_id: id.and_then(|id| id.parse().ok()),
            redrives: dead.redrives(),
            bytes: dead.value().len(),
        }
    }

    fn cells(&self) -> [String; 8] {
        let unknown = || "–".to_owned();
        let from = self.origin.as_ref().map(|(topic, partition, offset)| format!("{topic} {partition}/{offset}"));
        [
            self.at.clone(),
            self.place.to_string(),
            from.unwrap_or_else(unknown),
            self.stage.clone(),
            self.reason.clone(),
            self.request_id.map_or_else(unknown, |id| id.to_string()),
            self.redrives.to_string(),
            self.bytes.to_string(),
        ]
    }

    fn json(&self) -> Value {
        let (topic, partition, offset) =
            self.origin.clone().map_or((None, None, None), |(t, p, o)| (Some(t), Some(p), Some(o)));
        json!({
            "at": self.at, "place": self.place.to_string(), "topic": topic, "partition": partition, "offset": offset,
            "stage": self.stage, "reason": self.reason, "request_id": self.request_id, "redrives": self.redrives,
            "bytes": self.bytes,
        })
    }
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn print(lines: &[Line], as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(&lines.iter().map(Line::json).collect::<Vec<_>>())?);
    } else if lines.is_empty() {
        println!("no dead letters");
    } else {
        let mut table = Table::new();
        table.set_header(["when", "place", "from", "stage", "reason", "request", "redrives", "bytes"]);
        table.add_rows(lines.iter().map(Line::cells));
        println!("{table}");
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn say(line: &str) {
    println!("{line}");
}

fn gone(place: Place) -> String {
    format!("there is no dead letter at {place}, or none any more; `tollgate dead-letters list` shows what there is")
}

pub(super) fn time(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| "?".to_owned(), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn team_topics(config: &Config) -> BTreeSet<String> {
    config.teams.iter().filter_map(|team| config.team_topics(team)).map(|(requests, _)| requests).collect()
}

/// Where a redrive may go: what a group of the services works off, and the teams' jobs. Not replies, answers and broadcasts,
/// which somebody waited for and nobody does now.
fn targets(config: &Config) -> BTreeSet<String> {
    let work = ["requests.", "approved.", "parked.", topic::COMPLETIONS.spec.name, topic::USAGE.spec.name];
    let internal =
        topic::all().into_iter().map(|spec| spec.name).filter(|name| work.iter().any(|w| name.starts_with(w)));
    let internal = internal.map(|name| format!("{}{name}", config.kafka.topic_prefix));
    internal.chain(team_topics(config)).collect()
}

/// What may be put back.
struct Terms {
    targets: BTreeSet<String>,
    force: bool,
}

/// A dead letter that may.
struct Plan {
    topic: String,
    count: u32,
    record: Outgoing,
}

impl Terms {
    fn plan(&self, dead: &Dead) -> Result<Plan, String> {
        let Some(origin) = dead.origin() else { return Err("its headers do not say where it came from".to_owned()) };
        if let Some(omitted) = dead.omitted_bytes() {
            return Err(format!(
                "it is a stub without {omitted} bytes of the original, which {} has at partition {}, offset {} for as long as its \
                 retention lasts: read it from there",
                origin.topic.escape_debug(),
                origin.partition,
                origin.offset
            ));
        }
        let Some(record) = dead.redriven() else { return Err("it cannot be put together again".to_owned()) };
        let topic = origin.topic;
        if !self.targets.contains(&topic) {
            return Err(format!(
                "{} is neither work of the services nor a team's in topic of this configuration",
                topic.escape_debug()
            ));
        }
        let count = dead.redrives().saturating_add(1);
        if count > REDRIVES_MAX && !self.force {
            return Err(format!("it came back {REDRIVES_MAX} times already; with --force it is put back nevertheless"));
        }
        Ok(Plan { topic, count, record })
    }
}

/// Everything about one dead letter, for a terminal.
fn whole(dead: &Dead) -> String {
    let from = dead.origin().map_or_else(
        || "?".to_owned(),
        |o| {
            let at = o.timestamp_ms.map(|ms| format!(" of {}", time(ms))).unwrap_or_default();
            format!("{} {}/{}{at}", o.topic.escape_debug(), o.partition, o.offset)
        },
    );
    let mut out = format!("place: {}\nwhen: {}\nfrom: {from}\n", dead.place(), time(dead.at_ms()));
    for (name, value) in [("stage", dead.stage()), ("reason", dead.reason())] {
        out.push_str(&format!("{name}: {}\n", value.unwrap_or("?").escape_debug()));
    }
    out.push_str(&format!("key: {}\nheaders:\n", dead.key().map_or_else(|| "none".to_owned(), short)));
    for (name, value) in dead.headers().iter() {
        out.push_str(&format!("  {}: {}\n", name.escape_debug(), value.map_or_else(|| "null".to_owned(), short)));
    }
    match dead.is_tombstone() {
        true => out.push_str("value: null\n"),
        false => out.push_str(&format!("value: {} bytes\n\n{}\n", dead.value().len(), text_or_hex(dead.value()))),
    }
    out
}

/// A key or a header on one line: text, Spring's numbers, or hex.
fn short(value: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(value)
        && !text.contains(|c: char| c.is_control())
    {
        return text.to_owned();
    }
    let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let number = match value.len() {
        4 => value.try_into().ok().map(|bytes| i64::from(i32::from_be_bytes(bytes))),
        8 => value.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    };
    number.map_or_else(|| format!("0x{hex}"), |number| format!("0x{hex} ({number})"))
}

/// Text as it is, if it can do no harm to a terminal; else a hex dump.
fn text_or_hex(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => text.to_owned(),
        _ => value.chunks(16).enumerate().map(|(at, row)| hex_row(at * 16, row)).collect(),
    }
}

fn hex_row(at: usize, row: &[u8]) -> String {
    let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
    let text: String = row.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' }).collect();
    format!("{at:08x}  {:<47}  {text}\n", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_jobs_are_redriven_and_nothing_else() {
        let config = super::super::up::without_file(&"0".repeat(64), &"1".repeat(64), &Over::default())
            .expect("the built-in one");
        let prefix = &config.kafka.topic_prefix;
        let all = targets(&config);
        for name in ["requests.batch", "approved.judge", "parked.10m", "completions", "usage", "in.search"] {
            assert!(all.contains(&format!("{prefix}{name}")), "{name}: {all:?}");
        }
        for name in ["out.search", "in.other", "replies", "cancellations", "control", "idempotency", "dead-letters"] {
            assert!(!all.contains(&format!("{prefix}{name}")), "{name}");
        }
    }

    #[test]
    fn nothing_that_moves_a_cursor_reaches_the_terminal() {
        assert_eq!(text_or_hex("é\n\t{}".as_bytes()), "é\n\t{}");
        assert_eq!(text_or_hex(b"\x1b[2J"), format!("00000000  {:<47}  .[2J\n", "1b 5b 32 4a"));
        assert_eq!(short(b"a\x1bc"), "0x611b63");
        assert_eq!(short(&7i32.to_be_bytes()), "0x00000007 (7)");
        assert_eq!(short(&(-1i64).to_be_bytes()), "0xffffffffffffffff (-1)");
    }
}
