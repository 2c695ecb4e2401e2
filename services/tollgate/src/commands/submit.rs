//! `tollgate submit FILE.jsonl`: jobs to a team's topic, answers back from its response topic, in the order of the file.
//!
//! Ids on the topic carry this run's own prefix, so that two runs (or another reader's jobs) never mix; it is taken off
//! again in the output.

use super::{load, settings};
use crate::cli::Submit;
use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, value::RawValue};
use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Ack, Bus, Headers, Outgoing, Producer, Profile, TopicName, broadcast::Start};
use tollgate_runtime::{
    Config,
    config::{Over, Role},
};
use tollgate_schemas::{TraceContext, headers};

/// Jobs in one file, as OpenAI bounds its batches.
const JOBS_MAX: usize = 50_000;

/// A job line: its place in the file, its own id, and the record to send.
struct Line {
    custom_id: String,
    record: String,
}

pub(crate) async fn run(arguments: &Submit) -> anyhow::Result<ExitCode> {
    let over = Over { brokers: arguments.brokers.clone(), ..Over::default() };
    let config = load(&arguments.config, Role::UsageAggregator, &over)?;
    let (requests, replies) = topics(&config, arguments.team.as_deref())?;
    let run_id = uuid::Uuid::new_v4().simple().to_string();
    let lines = read(&arguments.file, &run_id)?;
    let bus = Bus::new(settings(&config, "submit")?);
    let output = arguments.output.clone().unwrap_or_else(|| default_output(&arguments.file));
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let answers = listen(&bus, replies, format!("{run_id}:"), stop).await?;
    let producer = bus.producer(Profile::Bulk)?;
    let progress = bar(lines.len());
    for line in &lines {
        send(&producer, &requests, &format!("{run_id}:{}", line.custom_id), line.record.clone()).await?;
    }
    let collected = collect(&lines, answers, Duration::from_secs(arguments.timeout_s), &progress).await;
    progress.finish();
    finish(&lines, &collected, &output)
}

fn topics(config: &Config, team: Option<&str>) -> anyhow::Result<(String, String)> {
    let mut with_door = config.teams.iter().filter(|t| t.kafka.is_some() && team.is_none_or(|name| t.name == name));
    match (with_door.next(), with_door.next()) {
        (Some(one), None) => config.team_topics(one).context("the team has no topics"),
        (None, _) => bail!(
            "no {} has topics: add `kafka: {{ requests: in.NAME, replies: out.NAME }}` to it",
            team.map_or("team".into(), |t| format!("team `{t}`"))
        ),
        (Some(_), Some(_)) => bail!("several teams have topics: pass --team"),
    }
}

fn read(path: &Path, run_id: &str) -> anyhow::Result<Vec<Line>> {
    let file = std::fs::File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let (mut lines, mut seen) = (Vec::new(), HashMap::new());
    for (number, text) in BufReader::new(file).lines().enumerate() {
        let number = number + 1;
        let text = text.with_context(|| format!("{}:{number}: not UTF-8", path.display()))?;
        if text.trim().is_empty() {
            continue;
        }
        // Values stay as they were written: a body passes through byte for byte.
        let mut job: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(&text).with_context(|| format!("{}:{number}: not a JSON object", path.display()))?;
        let given = job.get("custom_id").and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        let custom_id = given.unwrap_or_else(|| format!("line-{number}"));
        if !job.contains_key("body") {
            bail!("{}:{number}: a job needs `body`", path.display());
        }
        if let Some(first) = seen.insert(custom_id.clone(), number) {
            bail!("{}:{number}: custom_id `{custom_id}` is already used in line {first}", path.display());
        }
        job.insert("custom_id".to_owned(), serde_json::value::to_raw_value(&format!("{run_id}:{custom_id}"))?);
        lines.push(Line { custom_id, record: serde_json::to_string(&job)? });
        if lines.len() > JOBS_MAX {
            bail!("{} has more than {JOBS_MAX} jobs; split it", path.display());
        }
    }
    Ok(lines)
}

fn default_output(file: &Path) -> PathBuf {
    file.with_extension("out.jsonl")
}

/// Reads answers of this run from now on.
async fn listen(
    bus: &Bus,
    replies: String,
    prefix: String,
    stop: CancellationToken,
) -> anyhow::Result<mpsc::Receiver<Value>> {
    let (sender, receiver) = mpsc::channel(JOBS_MAX);
    let bus = bus.clone();
    let listening = tokio::task::spawn_blocking(move || {
        bus.broadcast(&replies, &[], Start::End, stop, move |record| {
            if record.header(headers::CORRELATION_ID).is_some_and(|id| id.starts_with(&prefix))
                && let Ok(answer) = serde_json::from_slice(record.value())
            {
                // Full only if more answers come than jobs were sent; the rest would be repeats.
                let _ = sender.try_send(answer);
            }
        })
    });
    listening
        .await
        .context("reader")?
        .context("the response topic cannot be read; has the gateway been started with this configuration?")?;
    Ok(receiver)
}

async fn send(producer: &Producer, topic: &str, key: &str, record: String) -> anyhow::Result<()> {
    let mut out = Outgoing {
        topic: TopicName::Full(topic.to_owned()),
        partition: None,
        key: Some(key.as_bytes().to_vec()),
        headers: Headers::default(),
        payload: record.into_bytes(),
        is_tombstone: false,
        relaxed: true,
    };
    out.cloud_event(key, "tollgate.job", &TraceContext::new());
    Ok(producer.send(out, Ack::None).await?)
}

fn bar(total: usize) -> ProgressBar {
    let bar = ProgressBar::new(total as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} answered, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Answers by id, until all are there or none came for `patience`.
async fn collect(
    lines: &[Line],
    mut answers: mpsc::Receiver<Value>,
    patience: Duration,
    progress: &ProgressBar,
) -> HashMap<String, Value> {
    let mut collected = HashMap::new();
    while collected.len() < lines.len() {
        let Ok(Some(mut answer)) = tokio::time::timeout(patience, answers.recv()).await else { break };
        let Some((_, custom_id)) = answer["custom_id"].as_str().and_then(|id| id.split_once(':')) else { continue };
        let custom_id = custom_id.to_owned();
        answer["custom_id"] = custom_id.clone().into();
        collected.insert(custom_id, answer);
        progress.set_position(collected.len() as u64);
    }
    collected
}

fn finish(lines: &[Line], collected: &HashMap<String, Value>, output: &Path) -> anyhow::Result<ExitCode> {
    let mut file = BufWriter::new(
        std::fs::File::create(output).with_context(|| format!("{} cannot be written", output.display()))?,
    );
    let answered: Vec<&Value> = lines.iter().filter_map(|line| collected.get(&line.custom_id)).collect();
    for answer in &answered {
        writeln!(file, "{answer}")?;
    }
    file.flush()?;
    let failed = answered.iter().filter(|answer| !answer["error"].is_null()).count();
    let missing = lines.len() - answered.len();
    eprintln!(
        "{} jobs: {} answered, {failed} of them with an error, {missing} without an answer; written to {}",
        lines.len(),
        answered.len(),
        output.display()
    );
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
