//! `tollgate demo`: everything on a temporary directory, a request of every kind, and what became of each.
//!
//! Exits 0 only if all of it came true, so it is a test as well.

use super::usage;
use crate::{cli::Demo, stack};
use anyhow::{Context, bail, ensure};
use comfy_table::Table;
use serde_json::{Value, json};
use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tollgate_bus::{Bus, Headers, Outgoing, Profile, TopicName, broadcast::Start};
use tollgate_runtime::{
    Config, Readiness,
    config::{self as file, Over, Role},
    secret::new_key,
    supervised, telemetry,
};
use tollgate_schemas::{TraceContext, headers};

const JOBS: usize = 3;
/// Every wait of the demo; it only runs out when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(arguments: &Demo) -> anyhow::Result<ExitCode> {
    let _telemetry = telemetry::init("tollgate-demo");
    let mut folder = tempfile::Builder::new().prefix("tollgate-demo-").tempdir()?;
    folder.disable_cleanup(arguments.keep);
    let (key, hash) = new_key();
    let over = Over { brokers: arguments.brokers.clone(), ..Over::default() };
    let config = config(&hash, &folder.path().display().to_string(), &over)?;
    let happened =
        stack::with_kafka(&config, "demo", &CancellationToken::new(), async |bus, _| happen(&config, &bus, key).await)
            .await?;
    let happened = happened.context("nobody stops a demo in order")?;
    report(happened, &config, &folder.path().display().to_string(), arguments.keep).await
}

/// Runs the services, asks them everything, and stops them.
async fn happen(config: &Config, bus: &Bus, key: String) -> anyhow::Result<Vec<Happened>> {
    let listener = stack::bind(config).await?;
    let base = format!("http://{}", listener.local_addr()?);
    let (stop, readiness) = (CancellationToken::new(), Readiness::default());
    let running = supervised(
        "stack",
        stack::run_all(config.clone(), (bus.clone(), None), listener, readiness.clone(), stop.clone()),
    );
    let ready = async {
        while readiness.missing().is_none_or(|missing| !missing.is_empty()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.with_context(|| {
        format!("the services did not become ready: waiting for {}", readiness.missing().unwrap_or_default().join(", "))
    })?;
    let caller = Caller { base, key, http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()? };
    let happened = requests(&caller, bus, config).await;
    stop.cancel();
    running.await.ok().flatten().context("a service panicked")??;
    happened
}

fn config(hash: &str, folder: &str, over: &Over) -> anyhow::Result<Config> {
    let prefix = format!("tollgate-demo-{}.", uuid::Uuid::new_v4().simple());
    let text = format!(
        r#"
listen: 127.0.0.1:0
data_dir: "{folder}"
gateway: demo
kafka: {{ listen: 127.0.0.1:0, topic_prefix: "{prefix}", partitions: {{ default: 3 }} }}
providers: {{ demo: {{ kind: mock }} }}
endpoints:
  - {{ name: chat, destinations: [ {{ name: mock, provider: demo, model: mock-1 }} ] }}
  - name: unreliable
    destinations: [ {{ name: throttled, provider: demo, model: mock-429 }} ]
    fallbacks: [ {{ name: backup, provider: demo, model: mock-1 }} ]
    retry: {{ attempts: 1, max_attempts: 2 }}
  - name: guarded
    destinations: [ {{ name: mock, provider: demo, model: mock-1 }} ]
    guardrails: {{ input: {{ keywords: {{ action: block, words: [ project orion ] }} }} }}
teams: [ {{ name: demo, endpoints: [ chat, unreliable, guarded ], kafka: {{ requests: in.demo, replies: out.demo }} }} ]
keys: [ {{ name: demo-key, team: demo, sha256: "{hash}" }} ]
prices: [ {{ provider: demo, model: mock-1, input: 2.50, output: 10.00 }} ]
"#
    );
    Ok(file::parse_over(&text, Role::All, over, &|_| Ok(None))?.config)
}

/// One thing that was done, and what came of it.
struct Happened {
    what: &'static str,
    result: String,
}

struct Caller {
    base: String,
    key: String,
    http: reqwest::Client,
}

impl Caller {
    async fn chat(&self, body: Value) -> anyhow::Result<reqwest::Response> {
        let request = self.http.post(format!("{}/v1/chat/completions", self.base)).bearer_auth(&self.key);
        Ok(request.header("content-type", "application/json").body(body.to_string()).send().await?)
    }
}

fn body(model: &str, content: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": content }] })
}

async fn requests(caller: &Caller, bus: &Bus, config: &Config) -> anyhow::Result<Vec<Happened>> {
    Ok(vec![
        Happened { what: "HTTP request", result: whole(caller).await.context("HTTP request")? },
        Happened { what: "HTTP stream", result: streamed(caller).await.context("HTTP stream")? },
        Happened { what: "topic jobs", result: jobs(bus, config).await.context("topic jobs")? },
        Happened { what: "failing over", result: failing_over(caller).await.context("failing over")? },
        Happened { what: "blocked request", result: blocked(caller).await.context("blocked request")? },
    ])
}

async fn whole(caller: &Caller) -> anyhow::Result<String> {
    let response = caller.chat(body("chat", "hello")).await?;
    let status = response.status();
    let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
    ensure!(status == 200, "answered {status}: {answer}");
    let content = answer["choices"][0]["message"]["content"].as_str().context("the answer has no content")?;
    Ok(format!("200, \"{content}\""))
}

async fn streamed(caller: &Caller) -> anyhow::Result<String> {
    let mut request = body("chat", "count to three please");
    request["stream"] = true.into();
    let response = caller.chat(request).await?;
    ensure!(response.status() == 200, "answered {}", response.status());
    let text = response.text().await?;
    let events = text.lines().filter(|line| line.starts_with("data: {")).count();
    ensure!(text.trim_end().ends_with("data: [DONE]") && events > 1, "the stream was not whole: {text}");
    Ok(format!("200, {events} events and [DONE]"))
}

async fn failing_over(caller: &Caller) -> anyhow::Result<String> {
    let response = caller.chat(body("unreliable", "hello")).await?;
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (status, destination, attempts) =
        (response.status(), header("x-tollgate-destination"), header("x-tollgate-attempts"));
    ensure!(
        status == 200 && destination == "backup" && attempts == "2",
        "answered {status} by `{destination}` after {attempts} attempts"
    );
    Ok("first destination answered 429; 200 from `backup` at attempt 2".to_owned())
}

async fn blocked(caller: &Caller) -> anyhow::Result<String> {
    let response = caller.chat(body("guarded", "tell me about Project Orion")).await?;
    let status = response.status();
    let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
    ensure!(status == 400 && answer["error"]["code"] == "guardrail_blocked", "answered {status}: {answer}");
    Ok(format!("400 guardrail_blocked by {}", answer["error"]["checks"]))
}

async fn jobs(bus: &Bus, config: &Config) -> anyhow::Result<String> {
    let team = config.team("demo").and_then(|team| config.team_topics(team));
    let (requests, replies) = team.context("the demo team has no topics")?;
    let answered = Arc::new(Mutex::new(Vec::new()));
    let (sink, stop) = (answered.clone(), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let reader = bus.clone();
    tokio::task::spawn_blocking(move || {
        reader.broadcast(&replies, &[], Start::End, stop, move |record| {
            if let (Some(id), Ok(mut all)) = (record.header(headers::CORRELATION_ID), sink.lock()) {
                all.push((id.to_owned(), serde_json::from_slice::<Value>(record.value()).unwrap_or_default()));
            }
        })
    })
    .await??;
    let producer = bus.producer(Profile::Interactive)?;
    for number in 0..JOBS {
        let job = json!({ "custom_id": format!("job-{number}"), "method": "POST", "url": "/v1/chat/completions", "body": body("chat", "a job") });
        let topic = TopicName::Full(requests.clone());
        let mut record = Outgoing {
            topic,
            partition: None,
            key: None,
            headers: Headers::default(),
            payload: job.to_string().into_bytes(),
            is_tombstone: false,
            relaxed: false,
        };
        record.cloud_event(&format!("job-{number}"), "tollgate.job", &TraceContext::new());
        producer.send_acked(record).await?;
    }
    let all_there = async {
        while answered.lock().is_ok_and(|all| all.len() < JOBS) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_there).await.context("not every job was answered")?;
    let all = answered.lock().map_err(|_| anyhow::anyhow!("reader panicked"))?;
    for (id, answer) in all.iter() {
        ensure!(answer["response"]["status_code"] == 200, "job {id} was answered {answer}");
    }
    Ok(format!("{JOBS} produced, {} answered on the response topic", all.len()))
}

#[allow(clippy::print_stdout, reason = "the command's result")]
async fn report(happened: Vec<Happened>, config: &Config, folder: &str, kept: bool) -> anyhow::Result<ExitCode> {
    let mut table = Table::new();
    table.set_header(["what", "what happened"]);
    for Happened { what, result } in &happened {
        table.add_row([*what, result.as_str()]);
    }
    println!("{table}\n");
    let by = ["team".to_owned(), "model".to_owned()];
    let rows = usage::rows(config, &by, &usage::this_month()).await?;
    println!("Who used what, read back from the Parquet files:\n{}\n", usage::table(&by, &rows));
    let by = ["endpoint".to_owned()];
    let rows = usage::rows(config, &by, &usage::this_month()).await?;
    let (found, expected) = (rows.iter().map(|row| row.requests).sum::<u64>(), JOBS as u64 + 4);
    if found != expected {
        bail!("the ledger has {found} requests, {expected} were made");
    }
    println!("Files: {folder}/usage/date=*/*.parquet{}", if kept { "" } else { " (removed now; --keep keeps them)" });
    Ok(ExitCode::SUCCESS)
}
