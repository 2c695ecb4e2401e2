//! What Tollgate costs beside bare Kafka: one command, one broker, one run.
//!
//! ```text
//! main ─► bare      produce → consume and produce → … → consume, with nothing but rdkafka
//!      ├► pipeline  the four services in this process, mock provider, no checks, called in process
//!      └► http      the same through the HTTP door
//!           └─ all driven by load (closed loop), timed by cpu, printed by report
//! ```
//!
//! Rounds of the three alternate, because a shared machine drifts. Writes nothing but standard output (logs go to standard
//! error); its topics and its temporary directory are deleted at the end.

mod bare;
mod cpu;
mod http;
mod load;
mod pipeline;
mod report;
mod topics;

use anyhow::Context;
use clap::Parser;
use load::{Load, Sample};
use report::{Kind, Report};
use std::sync::Arc;
use std::time::Duration;

/// Measures bare Kafka hops, the pipeline, and the pipeline behind HTTP, side by side.
#[derive(Debug, Parser)]
struct Arguments {
    /// Kafka's bootstrap address; nothing else should use this broker meanwhile.
    #[arg(long, value_name = "HOST:PORT")]
    brokers: String,
    /// Requests per kind and load level, over all rounds; a quarter of it one at a time.
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u32).range(120..=10_000_000))]
    requests: u32,
    /// Rounds; the middle one of each figure is reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Requests in flight, one level after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256, 1024], value_parser = in_flight)]
    in_flight: Vec<usize>,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1024..=65_536))]
    bytes: u32,
    /// Leave HTTP out.
    #[arg(long)]
    no_http: bool,
}

fn in_flight(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=8192).contains(n)).ok_or_else(|| "must be from 1 to 8192".to_owned())
}

/// A request and the answer's way back: ingress → router-worker → ingress. Without checks the guardrail is not on the way.
const HOPS: usize = 2;
/// One measurement never takes longer.
const MEASUREMENT_MAX: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let _telemetry = tollgate_runtime::telemetry::init("tollgate-bench");
    let prefix = format!("bench-{}.", uuid::Uuid::now_v7().simple());
    let result = measure(&arguments, &prefix).await;
    let deleted = topics::delete(&arguments.brokers, &prefix).await;
    result.and(deleted)
}

async fn measure(arguments: &Arguments, prefix: &str) -> anyhow::Result<()> {
    let bytes = arguments.bytes as usize;
    let stack = pipeline::Stack::start(&arguments.brokers, prefix, bytes).await.context("starting the services")?;
    let bare = bare::Bare::start(&arguments.brokers, prefix, HOPS, bytes).await.context("starting the bare hops")?;
    let http = Arc::new(http::Client::new(stack.address(), stack.body())?);
    let kinds = Kinds { bare, pipeline: stack.pipeline(), http: (!arguments.no_http).then_some(http) };
    let generator = load::generator_cost().await;
    kinds.warm_up().await?;
    let idle = cpu::idle_share(Duration::from_secs(2)).await;
    let mut report = Report::new(HOPS, bytes, generator, idle);
    for &in_flight in &arguments.in_flight {
        let total = if in_flight == 1 { arguments.requests / 4 } else { arguments.requests };
        let load = Load { in_flight, requests: (total / arguments.rounds).max(1) as usize, limit: MEASUREMENT_MAX };
        for round in 0..arguments.rounds {
            for kind in kinds.in_turn(round) {
                let sample =
                    kinds.run(kind, load).await.with_context(|| format!("{} at {in_flight} in flight", kind.name()))?;
                report.add(kind, in_flight, sample);
            }
        }
    }
    report.print();
    drop(kinds);
    stack.stop().await
}

/// What is measured.
struct Kinds {
    bare: Arc<bare::Bare>,
    pipeline: Arc<pipeline::Pipeline>,
    http: Option<Arc<http::Client>>,
}

impl Kinds {
    /// All kinds, each round beginning with another one.
    fn in_turn(&self, round: u32) -> Vec<Kind> {
        let mut kinds = vec![Kind::Bare, Kind::Pipeline];
        kinds.extend(self.http.as_ref().map(|_| Kind::Http));
        let first = round as usize % kinds.len();
        kinds.rotate_left(first);
        kinds
    }

    /// One measurement.
    async fn run(&self, kind: Kind, load: Load) -> anyhow::Result<Sample> {
        match (kind, &self.http) {
            (Kind::Bare, _) => {
                let bare = self.bare.clone();
                load::run(load, move || bare.clone().send()).await
            }
            (Kind::Pipeline, _) => {
                let pipeline = self.pipeline.clone();
                load::run(load, move || pipeline.clone().send()).await
            }
            (Kind::Http, Some(http)) => {
                let http = http.clone();
                load::run(load, move || http.clone().send()).await
            }
            (Kind::Http, None) => anyhow::bail!("HTTP is left out"),
        }
    }

    /// Connections, partition fetchers and allocators settle before anything is counted.
    async fn warm_up(&self) -> anyhow::Result<()> {
        for kind in self.in_turn(0) {
            for (in_flight, requests) in [(1, 100), (64, 3_000), (256, 3_000)] {
                let load = Load { in_flight, requests, limit: MEASUREMENT_MAX };
                self.run(kind, load).await.with_context(|| format!("warming up: {}", kind.name()))?;
            }
        }
        Ok(())
    }
}
