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
use tollgate_bus::{
    Ack, Bus, Headers, Outgoing, Producer, Profile, TEAM_RECORD_MAX_BYTES, TopicName, broadcast::Start,
};
use tollgate_runtime::{
    Config,
    config::{Over, Role},
};
use tollgate_schemas::{TraceContext, headers};

/// Jobs in one file, as OpenAI bounds its batches.
const JOBS_MAX: usize = 50_000;
/// A job as it is sent; key and headers go beside it. The broker would refuse a longer one after others were sent.
const JOB_MAX_BYTES: usize = TEAM_RECORD_MAX_BYTES - (16 << 10);
/// So that it may go with this run's prefix; an answer to a longer one could not name it.
const CUSTOM_ID_MAX_BYTES: usize = 512 - 33;

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
        // Some editors begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').filter(|_| number == 1).unwrap_or(&text);
        if text.trim().is_empty() {
            continue;
        }
        // Values stay as they were written: a body passes through byte for byte.
        let mut job: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(text).with_context(|| format!("{}:{number}: not a JSON object", path.display()))?;
        let given = job.get("custom_id").and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        let custom_id = given.unwrap_or_else(|| format!("line-{number}"));
        if !job.contains_key("body") {
            bail!("{}:{number}: a job needs `body`", path.display());
        }
        if custom_id.len() > CUSTOM_ID_MAX_BYTES {
            bail!("{}:{number}: custom_id may have at most {CUSTOM_ID_MAX_BYTES} bytes", path.display());
        }
        if let Some(first) = seen.insert(custom_id.clone(), number) {
            bail!("{}:{number}: custom_id `{custom_id}` is already used in line {first}", path.display());
        }
        job.insert("custom_id".to_owned(), serde_json::value::to_raw_value(&format!("{run_id}:{custom_id}"))?);
        let record = serde_json::to_string(&job)?;
        if record.len() > JOB_MAX_BYTES {
            let bytes = record.len();
            bail!("{}:{number}: a job may have at most {JOB_MAX_BYTES} bytes; this one has {bytes}", path.display());
        }
        lines.push(Line { custom_id, record });
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The jobs of a file as (id, record).
    fn jobs_of(content: impl AsRef<[u8]>) -> Result<Vec<(String, String)>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.jsonl");
        std::fs::write(&file, content).expect("it is written");
        let lines = read(&file, "run").map_err(|error| format!("{error:#}"))?;
        Ok(lines.into_iter().map(|line| (line.custom_id, line.record)).collect())
    }

    #[test]
    fn a_file_is_read_as_any_editor_writes_it() {
        let file = "\u{feff}{\"custom_id\":\"a\",\"body\":{\"n\": 1.50}}\r\n\r\n   \n{\"body\":{}}\r\n\n";
        let jobs = [
            ("a", r#"{"body":{"n": 1.50},"custom_id":"run:a"}"#),
            ("line-4", r#"{"body":{},"custom_id":"run:line-4"}"#),
        ];
        assert_eq!(jobs_of(file), Ok(jobs.map(|(id, record)| (id.to_owned(), record.to_owned())).to_vec()));
        assert_eq!(jobs_of("\n"), Ok(Vec::new()));
    }

    #[test]
    fn a_line_that_is_no_job_is_named() {
        let cases: [(&[u8], &str); 7] = [
            (b"{\"body\":{}}\n\nnonsense", "jobs.jsonl:3: not a JSON object"),
            (b"{\"body\":{}}\r\n{\"body\":\r\n{}}", "jobs.jsonl:2: not a JSON object"),
            (b"[1]", "jobs.jsonl:1: not a JSON object"),
            ("{\"body\":{}}\n\u{feff}{\"body\":{}}".as_bytes(), "jobs.jsonl:2: not a JSON object"),
            (b"{\"body\":\"\xff\"}", "jobs.jsonl:1: not UTF-8"),
            (b"{\"custom_id\":\"a\"}", "jobs.jsonl:1: a job needs `body`"),
            (
                b"{\"custom_id\":\"a\",\"body\":1}\n{\"custom_id\":\"a\",\"body\":2}",
                "jobs.jsonl:2: custom_id `a` is already used in line 1",
            ),
        ];
        for (content, says) in cases {
            let refused = jobs_of(content).expect_err(says);
            assert!(refused.contains(says), "{refused}");
        }
    }

    /// Found by reading: the broker refused such a job, and whoever waited for its answer did so until the time was over.
    #[test]
    fn a_line_that_is_too_long_is_named_before_anything_is_sent() {
        let of = |bytes: usize| jobs_of(format!("{{\"body\":\"{}\"}}", "x".repeat(bytes)));
        let beside = of(0).expect("it is short")[0].1.len();
        assert_eq!(of(JOB_MAX_BYTES - beside).expect("it fits")[0].1.len(), JOB_MAX_BYTES);
        let refused = of(JOB_MAX_BYTES - beside + 1).expect_err("too long");
        assert!(refused.contains("jobs.jsonl:1: a job may have at most 3129344 bytes"), "{refused}");
        let named = |bytes: usize| jobs_of(format!("{{\"custom_id\":\"{}\",\"body\":1}}", "x".repeat(bytes)));
        assert!(named(CUSTOM_ID_MAX_BYTES).is_ok());
        let refused = named(CUSTOM_ID_MAX_BYTES + 1).expect_err("too long");
        assert!(refused.contains("jobs.jsonl:1: custom_id may have at most 479 bytes"), "{refused}");
    }
}
