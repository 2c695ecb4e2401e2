//! `tollgate guardrails`: the verbs of every kind of object, and `replay`: what other guardrails would have made of past traffic.
//!
//! ```text
//! requests.*            ─┐             ┌─ the guardrails there are ─┐
//! approved.* (unchecked) ┼─► bodies ──►┤                            ├─► what differs
//! completions           ─┘             └─ those to try ─────────────┘
//! ```
//!
//! Deliberately absent: judges, whose answers would cost calls; answers that no output check was there for, because no topic keeps them;
//! and any text of a request or an answer in what is printed.

use super::{dead_letters::time, load, objects, settings};
use crate::{
    cli::{Format, Guardrails, Replay as Arguments},
    live,
};
use anyhow::{Context, bail};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::{BTreeMap, HashSet},
    ops::ControlFlow,
    process::ExitCode,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Bus, Error, Incoming, Retained, broadcast::Start};
use tollgate_guardrail::{
    config::{Endpoints, endpoints},
    pipeline::{Checked, Outcome, Side},
    replay::{Counts, Ran, Replay},
};
use tollgate_runtime::{
    BlobStore, Config,
    config::{Over, Role},
    store,
};
use tollgate_schemas::{Body, Lane, ObjectKind, Request, RequestId, Terminal, topic};

/// Requests whose ids are remembered, so that one that was written twice counts once.
const SEEN_MAX: usize = 1_000_000;

pub(crate) async fn run(command: &Guardrails) -> anyhow::Result<ExitCode> {
    match command {
        Guardrails::Replay(arguments) => replay(arguments).await,
        Guardrails::Verb(verb) => objects::run(ObjectKind::Guardrail, verb).await,
    }
}

async fn replay(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let over = Over { brokers: arguments.at.brokers.clone(), ..Over::default() };
    // Nobody is asked anything and no pseudonym is shown, so no secret of guardrails is needed.
    let config = load(&arguments.at.config, Role::UsageAggregator, &over)?;
    let candidate = load(&arguments.policy, Role::UsageAggregator, &Over::default())?;
    let bus = Bus::new(settings(&config, "replay")?);
    let blobs = BlobStore::new(store::open(&config)?);
    let since_ms = chrono::Utc::now().timestamp_millis() - i64::try_from(arguments.since.0).unwrap_or(i64::MAX / 2);
    let opening = bus.clone();
    let sources = tokio::task::spawn_blocking(move || open(&opening, since_ms)).await.context("reader")??;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let present = live::follow(config, &bus, stop).await?.config();
    let (before, after) = compiled(&present, &candidate, arguments)?;
    let mut past = Past::new(Replay::new(before, after), since_ms, arguments.show);
    let handle = Handle::current();
    let reading = move || {
        let fetch = |body: &Body| handle.block_on(blobs.check_out(body)).ok();
        past.read(sources, &fetch).map(|()| past)
    };
    let past = tokio::task::spawn_blocking(reading).await.context("reader")??;
    if past.requests + past.answers == 0 {
        bail!(
            "nothing was asked or answered since {} that the topics still have; try a longer --since, up to retention.requests",
            time(since_ms)
        );
    }
    past.print(arguments.format)?;
    Ok(ExitCode::SUCCESS)
}

/// The guardrails there are, and those to try.
fn compiled(present: &Config, candidate: &Config, arguments: &Arguments) -> anyhow::Result<(Endpoints, Endpoints)> {
    let tried = present.with_guardrails_of(candidate);
    let mut problems = tried.problems();
    problems.extend(tollgate_guardrail::config::problems(&tried));
    problems.retain(|problem| problem.fatal);
    if !problems.is_empty() {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        bail!("{} does not go with this gateway:\n  {}", arguments.policy.display(), told.join("\n  "));
    }
    let before = endpoints(present).context("the gateway's own guardrails cannot be compiled")?;
    Ok((before, endpoints(&tried)?))
}

/// What records of a topic are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Requests on their way to their checks.
    Asked,
    /// Requests on their way to a provider; those that had no checks have come straight from the door.
    Approved,
    /// Answers on their way to their checks.
    Answered,
}

/// Records to read.
struct Source {
    what: What,
    records: Retained,
}

fn open(bus: &Bus, since_ms: i64) -> Result<Vec<Source>, Error> {
    let lanes = [Lane::Interactive, Lane::Batch];
    let asked = lanes.map(|lane| (What::Asked, topic::requests(lane).spec.name));
    let approved = lanes.map(|lane| (What::Approved, topic::approved(lane).spec.name));
    let all = asked.into_iter().chain(approved).chain([(What::Answered, topic::COMPLETIONS.spec.name)]);
    let start = Start::Since(since_ms.max(0));
    all.map(|(what, name)| Ok(Source { what, records: bus.retained(&bus.full_name(name), &start)? })).collect()
}

/// What was read, and what came of it.
struct Past {
    replay: Replay,
    since_ms: i64,
    seen: HashSet<(Side, RequestId)>,
    requests: u64,
    answers: u64,
    /// Records that do not parse, or whose body is not stored any more.
    unreadable: u64,
    /// Of endpoints that are gone.
    unknown: u64,
    differing: u64,
    /// The first ones that differ.
    shown: Vec<Line>,
    show: usize,
}

/// A request or an answer for which something differs.
struct Line {
    at_ms: i64,
    request_id: RequestId,
    endpoint: String,
    side: Side,
    before: Vec<Checked>,
    after: Vec<Checked>,
}

impl Past {
    fn new(replay: Replay, since_ms: i64, show: usize) -> Self {
        Self {
            replay,
            since_ms,
            seen: HashSet::new(),
            requests: 0,
            answers: 0,
            unreadable: 0,
            unknown: 0,
            differing: 0,
            shown: Vec::new(),
            show,
        }
    }

    /// Blocks.
    fn read(&mut self, sources: Vec<Source>, fetch: &dyn Fn(&Body) -> Option<Box<RawValue>>) -> Result<(), Error> {
        let bar = bar(sources.iter().map(|source| source.records.offsets()).sum());
        for Source { what, records } in sources {
            records.read(|record| {
                bar.inc(1);
                self.take(what, &record, fetch);
                ControlFlow::Continue(())
            })?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn take(&mut self, what: What, record: &Incoming<Vec<u8>>, fetch: &dyn Fn(&Body) -> Option<Box<RawValue>>) {
        // A seek by time finds the first such record of a partition; an older one may stand behind it.
        if record.timestamp_ms < self.since_ms {
            return;
        }
        let Ok(found) = parsed(what, &record.value) else {
            self.unreadable += 1;
            return;
        };
        let Some((side, request, body)) = found else { return };
        if self.seen.len() >= SEEN_MAX {
            self.seen.clear();
        }
        if !self.seen.insert((side, request.request_id)) {
            return;
        }
        let Some(body) = fetch(&body) else {
            self.unreadable += 1;
            return;
        };
        match side {
            Side::Input => self.requests += 1,
            Side::Output => self.answers += 1,
        }
        match self.replay.run(side, &request, &body) {
            Ran::Unknown => self.unknown += 1,
            Ran::Same => {}
            Ran::Differs { before, after } => {
                self.differing += 1;
                if self.shown.len() < self.show {
                    let (at_ms, request_id, endpoint) = (record.timestamp_ms, request.request_id, request.endpoint);
                    self.shown.push(Line { at_ms, request_id, endpoint, side, before, after });
                }
            }
        }
    }

    #[allow(clippy::print_stdout, reason = "the command's result")]
    fn print(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Json => println!("{}", serde_json::to_string_pretty(&self.json())?),
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(std::io::stdout());
                writer.write_record(["endpoint", "check", "when", "seen", "blocked", "masked", "flagged"])?;
                for (endpoint, check, row) in self.replay.rows() {
                    for (when, counts) in [("before", row.before), ("after", row.after)] {
                        let numbers = [counts.seen, counts.blocked, counts.masked, counts.flagged];
                        let cells = [endpoint, check, when].map(str::to_owned).into_iter();
                        writer.write_record(cells.chain(numbers.map(|number| number.to_string())))?;
                    }
                }
                writer.flush()?;
            }
            Format::Table => {
                println!("since {}: {} requests, {} answers", time(self.since_ms), self.requests, self.answers);
                println!("{}", self.table());
                println!("{} differ", self.differing);
                if !self.shown.is_empty() {
                    println!("the first {}:\n{}", self.shown.len(), self.differences());
                }
                for note in self.notes() {
                    println!("{note}");
                }
            }
        }
        Ok(())
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.set_header(["endpoint", "check", "seen", "blocked", "masked", "flagged"]);
        for (endpoint, check, row) in self.replay.rows() {
            let of: [fn(&Counts) -> u64; 4] =
                [|counts| counts.seen, |counts| counts.blocked, |counts| counts.masked, |counts| counts.flagged];
            let cells = of.map(|number| changed(number(&row.before), number(&row.after)));
            table.add_row([endpoint.to_owned(), check.to_owned()].into_iter().chain(cells));
        }
        table
    }

    fn differences(&self) -> Table {
        let mut table = Table::new();
        table.set_header(["when", "request", "endpoint", "side", "before", "after"]);
        for line in &self.shown {
            table.add_row([
                time(line.at_ms),
                line.request_id.to_string(),
                line.endpoint.clone(),
                line.side.as_str().to_owned(),
                told(&line.before),
                told(&line.after),
            ]);
        }
        table
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let left_out: Vec<&str> = self.replay.left_out().collect();
        if !left_out.is_empty() {
            notes.push(format!("left out, because judges answer them: {}", left_out.join(", ")));
        }
        if self.unknown > 0 {
            notes.push(format!("{} of endpoints that are gone", self.unknown));
        }
        if self.unreadable > 0 {
            notes.push(format!("{} that cannot be read, or whose bodies are gone", self.unreadable));
        }
        notes
    }

    fn json(&self) -> Value {
        let counts = |counts: &Counts| {
            json!({
                "seen": counts.seen, "blocked": counts.blocked, "masked": counts.masked, "flagged": counts.flagged,
            })
        };
        let rows = self.replay.rows().map(|(endpoint, check, row)| {
            json!({
                "endpoint": endpoint, "check": check, "before": counts(&row.before), "after": counts(&row.after),
            })
        });
        let checks = |all: &[Checked]| all.iter().map(Checked::record).map(|check| json!(check)).collect::<Vec<_>>();
        let lines = self.shown.iter().map(|line| {
            json!({
                "at": time(line.at_ms), "request_id": line.request_id, "endpoint": line.endpoint,
                "side": line.side.as_str(), "before": checks(&line.before), "after": checks(&line.after),
            })
        });
        json!({
            "since": time(self.since_ms), "requests": self.requests, "answers": self.answers,
            "checks": rows.collect::<Vec<_>>(), "differing": self.differing, "differences": lines.collect::<Vec<_>>(),
            "left_out": self.replay.left_out().collect::<Vec<_>>(), "endpoint_gone": self.unknown,
            "unreadable": self.unreadable,
        })
    }
}

/// What a record holds that checks look at; `None`: it is no such record.
fn parsed(what: What, value: &[u8]) -> serde_json::Result<Option<(Side, Request, Body)>> {
    if what == What::Answered {
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(value)?;
        let field = |name: &str| fields.get(name).map_or("null", |raw| raw.get());
        let request: Option<Request> = serde_json::from_str(field("request"))?;
        // A part of a stream has none; the whole comes after it.
        let terminal: Option<Terminal> = serde_json::from_str(field("terminal"))?;
        let body = terminal.and_then(|terminal| terminal.body);
        return Ok(request.zip(body).map(|(request, body)| (Side::Output, request, body)));
    }
    let request: Request = serde_json::from_slice(value)?;
    if what == What::Approved && !is_unchecked(&request) {
        return Ok(None);
    }
    let body = request.body.clone();
    Ok(Some((Side::Input, request, body)))
}

/// Whether an approved request has come straight from the door: it stands in no other topic, and it is as it was asked.
fn is_unchecked(request: &Request) -> bool {
    let had_no_checks = request.guardrail_outcome.as_deref() == Some(Outcome::None.as_str());
    had_no_checks && request.policy_version.is_none() && request.waiting.is_none() && request.shadow.is_none()
}

fn changed(before: u64, after: u64) -> String {
    if before == after { before.to_string() } else { format!("{before} → {after}") }
}

fn told(checks: &[Checked]) -> String {
    let each = checks.iter().map(|check| {
        let categories = check.categories.join(",");
        let what = if categories.is_empty() { String::new() } else { format!(" ({categories})") };
        format!("{} {}{what}", check.name, check.outcome.as_str())
    });
    let told = each.collect::<Vec<_>>().join(", ");
    if told.is_empty() { "–".to_owned() } else { told }
}

fn bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {eta} left") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approved(more: &Value) -> Vec<u8> {
        let mut request = json!({
            "request_id": RequestId::new(), "lane": "interactive", "endpoint": "chat", "model": "chat",
            "api_type": "openai/v1/chat/completions", "body": { "inline": {} }, "accepted_us": 0, "deadline_ms": 0,
            "caller": { "team": "search" }, "reply": { "partition": null, "boot_id": null },
        });
        for (name, value) in more.as_object().expect("an object") {
            request[name] = value.clone();
        }
        request.to_string().into_bytes()
    }

    #[test]
    fn of_what_was_approved_only_what_no_check_has_seen_is_read() {
        let is_read = |more: Value| parsed(What::Approved, &approved(&more)).expect("a request").is_some();
        assert!(is_read(json!({ "guardrail_outcome": "none" })));
        assert!(!is_read(json!({})));
        assert!(!is_read(json!({ "guardrail_outcome": "masked", "policy_version": "1" })));
        assert!(!is_read(json!({ "guardrail_outcome": "none", "policy_version": "1" })));
        assert!(parsed(What::Asked, &approved(&json!({}))).expect("a request").is_some());
        assert!(parsed(What::Asked, b"{}").is_err());
    }

    #[test]
    fn a_part_of_an_answer_is_no_answer() {
        let part = json!({ "request": null, "request_id": RequestId::new(), "seq": 1, "events": [] }).to_string();
        assert!(parsed(What::Answered, part.as_bytes()).expect("a part").is_none());
    }

    #[test]
    fn a_number_that_stays_is_told_once() {
        assert_eq!([changed(3, 3), changed(0, 12)], ["3", "0 → 12"]);
    }
}
