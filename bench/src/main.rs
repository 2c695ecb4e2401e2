//! What the embedded broker costs beside Apache Kafka, and what Tollgate and its streams cost beside bare hops: one command, one
//! run.
//!
//! ```text
//! main ─► broker    Apache Kafka and the embedded broker, each a process of its own
//!      └► sides     on both, in turn:
//!           ├─ bare      produce → consume and produce → … → consume, with nothing but rdkafka
//!           ├─ pipeline  the four services in this process, mock provider, no checks, called in process
//!           ├─ http      the same through the HTTP door
//!           └─ streams   the same with a provider that streams (fake), and that provider called directly
//!                └─ all driven by load (closed loop), timed by process, printed by report
//! ```
//!
//! Writes nothing but standard output (progress and logs go to standard error); its topics and its temporary directories are
//! deleted at the end.

mod bare;
mod broker;
mod fake;
mod http;
mod load;
mod pipeline;
mod process;
mod report;
mod sides;
mod streams;
mod topics;

use anyhow::Context;
use broker::Broker;
use clap::Parser;
use process::Process;
use report::{MemoryUse, Report};
use sides::Side;
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Builder;

/// Measures bare hops, the pipeline, the pipeline behind HTTP and its streams, on the embedded broker and on Apache Kafka.
#[derive(Debug, Parser)]
struct Arguments {
    /// Bootstrap address of one Apache Kafka broker, which nothing else should use meanwhile. Without it the embedded broker
    /// is measured alone.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Kafka's process, if it is not the one that listens there (say, in a container).
    #[arg(long, value_name = "PID", requires = "kafka")]
    kafka_pid: Option<u32>,
    /// When the embedded broker syncs what it writes; Kafka leaves that to the operating system.
    #[arg(long, value_enum, default_value = "interval")]
    fsync: broker::Durability,
    /// Requests per kind, broker and load level, over all rounds; a quarter of it one at a time.
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
    /// Leave HTTP out of what is measured of the pipeline.
    #[arg(long)]
    no_http: bool,
    /// What to measure; each has its own tables.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Phase::Hops, Phase::Pipeline, Phase::Streams])]
    phases: Vec<Phase>,
    /// Serve the embedded broker from this folder until standard input ends: what the run starts as another process.
    #[arg(long, hide = true, value_name = "DIR")]
    serve: Option<PathBuf>,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Phase {
    /// Hops alone, by which the brokers are compared.
    Hops,
    /// The pipeline, also over HTTP, beside bare hops.
    Pipeline,
    /// Streams over HTTP, beside bare hops and the provider itself.
    Streams,
}

impl Phase {
    /// As it is told of.
    fn name(self) -> &'static str {
        match self {
            Phase::Hops => "hops",
            Phase::Pipeline => "the pipeline",
            Phase::Streams => "streams",
        }
    }

    /// More in flight are left out.
    fn in_flight_max(self) -> usize {
        match self {
            Phase::Hops | Phase::Pipeline => usize::MAX,
            Phase::Streams => STREAMS_MAX,
        }
    }
}

fn in_flight(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=8192).contains(n)).ok_or_else(|| "must be from 1 to 8192".to_owned())
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(dir) = &arguments.serve {
        // logs only; the broker has a thread of its own
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let _telemetry = runtime.block_on(async { tollgate_runtime::telemetry::init("tollgate-bench-broker") });
        return broker::serve(dir, arguments.fsync);
    }
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(&arguments));
    // what does not end, because its broker went first, does not keep the process
    runtime.shutdown_timeout(ENDS_WITHIN);
    result
}

/// Says at once what failed; what follows only ends what runs. The first failure is the run's.
fn told(result: anyhow::Result<()>) -> anyhow::Result<()> {
    result.inspect_err(|error| eprintln!("failed: {error:#}"))
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let _telemetry = tollgate_runtime::telemetry::init("tollgate-bench");
    let mut brokers = Vec::new();
    if let Some(address) = &arguments.kafka {
        brokers.push(Broker::kafka(address, arguments.kafka_pid)?);
    }
    brokers.insert(0, Broker::embedded(arguments.fsync)?);
    for broker in &brokers {
        let process = broker.process.as_ref().map_or_else(|| "not found: no CPU, no memory".to_owned(), Process::name);
        eprintln!("{}: {}, process {process}", broker.on.name(), broker.address);
    }
    let prefix = format!("bench-{}.", uuid::Uuid::now_v7().simple());
    let mut result = measure(arguments, &brokers, &prefix).await;
    if arguments.phases != [Phase::Hops] {
        tokio::time::sleep(CLIENTS_END).await;
    }
    result = result.and(told(sides::clean(&brokers, &prefix).await));
    for broker in brokers {
        result = result.and(told(broker.stop()));
    }
    result
}

async fn measure(arguments: &Arguments, brokers: &[Broker], prefix: &str) -> anyhow::Result<()> {
    let mut report = Report::new(arguments.bytes as usize, load::generator_cost().await);
    report.print_head();
    for what in [Phase::Hops, Phase::Pipeline, Phase::Streams] {
        if arguments.phases.contains(&what) {
            phase(what, arguments, brokers, prefix, &mut report).await?;
        }
    }
    Ok(())
}

/// A part of the run on all brokers, and its tables. Whatever comes of it, what it started is stopped before this
/// returns.
async fn phase(
    what: Phase,
    arguments: &Arguments,
    brokers: &[Broker],
    prefix: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut sides = brokers.iter().map(Side::new).collect::<Vec<_>>();
    let provider = fake::Provider::start().await?;
    let measured = async {
        for side in &mut sides {
            eprintln!("starting {} on {}", what.name(), side.broker.on.name());
            let bytes = arguments.bytes as usize;
            match what {
                Phase::Hops => side.start_hops(prefix, bytes).await?,
                Phase::Pipeline => side.start_pipeline(prefix, bytes, !arguments.no_http).await?,
                Phase::Streams => side.start_streams(prefix, bytes, provider.address()).await?,
            }
        }
        all_levels(what, &sides, arguments, report).await?;
        match what {
            Phase::Hops => report.print_hops(),
            Phase::Pipeline => report.print_pipeline(),
            Phase::Streams => report.print_streams(),
        }
        anyhow::Ok(())
    };
    let measured = told(measured.await.with_context(|| format!("measuring {}", what.name())));
    measured.and(sides::stop(sides).await)
}

/// Everything that all sides run, with their brokers' memory before, at the peak and after.
async fn all_levels(what: Phase, sides: &[Side<'_>], arguments: &Arguments, report: &mut Report) -> anyhow::Result<()> {
    report.begin();
    let processes = || sides.iter().filter_map(|side| Some((side.broker.on, side.broker.process.as_ref()?)));
    let before = processes().map(|(_, process)| process.memory()).collect::<Vec<_>>();
    processes().for_each(|(_, process)| process.forget_peak());
    sides::warm_up(sides, arguments.requests).await?;
    let all = sides.iter().map(|side| side.broker.process.clone()).chain([Some(Process::me())]).collect::<Vec<_>>();
    report
        .idle(sides.iter().map(|side| Some(side.broker.on)).chain([None]).zip(process::idle_shares(&all, IDLE).await));
    let levels = arguments.in_flight.iter().copied().filter(|in_flight| *in_flight <= what.in_flight_max());
    sides::rounds(sides, &levels.collect::<Vec<_>>(), arguments, report).await?;
    let after = processes().zip(before).filter_map(|((on, process), before)| {
        let (before, after) = (before?, process.memory()?);
        Some(MemoryUse { on, before_kib: before.now_kib, peak_kib: after.peak_kib, after_kib: after.now_kib })
    });
    report.memory(after.collect());
    Ok(())
}

/// How long the process waits for what has not ended in order.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// Some clients of the services notice within 5 s that nobody needs them; until then they would complain of a stopped
/// broker.
const CLIENTS_END: Duration = Duration::from_secs(6);
/// Streams at once; with more, the callers and the provider, which share this machine, are what is measured.
const STREAMS_MAX: usize = 256;
/// How long an idle process is watched.
const IDLE: Duration = Duration::from_secs(3);
