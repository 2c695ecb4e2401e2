//! The tables: the middle of all rounds for each figure, the embedded broker beside Kafka, the pipeline and its streams beside bare
//! hops.

use crate::bare::{AS_THE_PIPELINE, AS_WITH_A_CHECK, PLAIN};
use crate::broker::On;
use crate::load::Sample;
use crate::streams::LONG;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeMap;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Clients and a broker alone, as librdkafka comes.
    Hops,
    /// A short stream of the provider itself.
    Provider,
    /// Clients and a broker alone, as the pipeline uses them.
    Bare,
    /// The same with a hop more.
    BareChecked,
    /// The gateway, called in process.
    Pipeline,
    /// The gateway, called over HTTP.
    Http,
    /// A short stream through the gateway.
    Stream,
    /// The same with a hop more.
    StreamChecked,
    /// The same as many hops, with the default set of personal data masked.
    StreamMasked,
    /// A long stream of the provider itself.
    ProviderLong,
    /// A long stream through the gateway.
    StreamLong,
}

impl Kind {
    /// As printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Hops => "hops",
            Kind::Provider => "provider itself",
            Kind::Bare => "bare hops",
            Kind::BareChecked => "bare hops, one more",
            Kind::Pipeline => "pipeline",
            Kind::Http => "pipeline over HTTP",
            Kind::Stream => "Tollgate",
            Kind::StreamChecked => "Tollgate, one hop more",
            Kind::StreamMasked => "Tollgate, personal data masked",
            Kind::ProviderLong => "provider itself, long",
            Kind::StreamLong => "Tollgate, long",
        }
    }

    /// Of a run's requests the one-th part is enough: a short stream waits for its pauses, a long one is many chunks.
    pub(crate) fn share(self) -> u32 {
        match self {
            Kind::Hops | Kind::Bare | Kind::BareChecked | Kind::Pipeline | Kind::Http => 1,
            Kind::Provider | Kind::Stream | Kind::StreamChecked | Kind::StreamMasked => 4,
            Kind::ProviderLong | Kind::StreamLong => 20,
        }
    }
}

/// Figures of one kind on one broker at one level; not a number where unknown.
#[derive(Debug, Clone, Copy)]
struct Figures {
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    throughput: f64,
    /// Per stream.
    chunks: f64,
    /// CPU of this process, without the load generator's own.
    client_us: f64,
    /// CPU of the broker's process.
    broker_us: f64,
}

/// A column of figures, with its digits after the point. `per …` are requests.
type Column = (&'static str, fn(&Figures) -> f64, usize);

const P50: Column = ("p50 ms", |f| f.p50_us / 1e3, 2);
const P95: Column = ("p95 ms", |f| f.p95_us / 1e3, 2);
const P99: Column = ("p99 ms", |f| f.p99_us / 1e3, 2);
const THROUGHPUT: Column = ("requests/s", |f| f.throughput, 0);
const CHUNKS: Column = ("chunks/s", |f| f.throughput * f.chunks, 0);
const CLIENT: Column = ("client µs", |f| f.client_us, 0);
const PER_CHUNK: Column = ("client µs a chunk", |f| f.client_us / f.chunks, 1);
const BROKER: Column = ("broker µs", |f| f.broker_us, 0);
const PER_CLIENT_CPU: Column = ("per client CPU-s", |f| 1e6 / f.client_us, 0);
const PER_BROKER_CPU: Column = ("per broker CPU-s", |f| 1e6 / f.broker_us, 0);
const PER_CPU: Column = ("per CPU-s of both", |f| 1e6 / (f.client_us + f.broker_us), 0);

/// The goal of the embedded broker, in times Kafka's figure.
const GOAL_P50: f64 = 0.5;
const GOAL_PER_CPU: f64 = 2.0;

/// Resident memory of a broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryUse {
    pub(crate) on: On,
    pub(crate) before_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) after_kib: u64,
}

/// All samples of a phase.
pub(crate) struct Report {
    bytes: usize,
    generator_us: Option<f64>,
    idle: Vec<(Option<On>, f64)>,
    memory: Vec<MemoryUse>,
    samples: BTreeMap<(usize, Kind, On), Vec<Figures>>,
}

impl Report {
    /// `generator_us`: CPU microseconds per request of the load generator.
    pub(crate) fn new(bytes: usize, generator_us: Option<f64>) -> Self {
        Self { bytes, generator_us, idle: Vec::new(), memory: Vec::new(), samples: BTreeMap::new() }
    }

    /// The next phase begins.
    pub(crate) fn begin(&mut self) {
        self.samples.clear();
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, kind: Kind, on: On, in_flight: usize, sample: &Sample) {
        let client_us = sample.client_us().map(|cpu| (cpu - self.generator_us.unwrap_or(0.0)).max(0.0));
        let figures = Figures {
            p50_us: sample.quantile_us(0.50),
            p95_us: sample.quantile_us(0.95),
            p99_us: sample.quantile_us(0.99),
            throughput: sample.throughput(),
            chunks: sample.chunks_each(),
            client_us: client_us.unwrap_or(f64::NAN),
            broker_us: sample.broker_us().unwrap_or(f64::NAN),
        };
        self.samples.entry((in_flight, kind, on)).or_default().push(figures);
    }

    /// Shares of a CPU that the brokers and (`None`) this process take without load.
    pub(crate) fn idle(&mut self, shares: impl Iterator<Item = (Option<On>, Option<f64>)>) {
        self.idle = shares.filter_map(|(on, share)| Some((on, share?))).collect();
    }

    /// Of the phase that has just ended.
    pub(crate) fn memory(&mut self, used: Vec<MemoryUse>) {
        self.memory = used;
    }

    /// Prints what holds for all tables.
    #[allow(clippy::print_stdout, reason = "with the next three, the one output of this program")]
    pub(crate) fn print_head(&self) {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        println!("{} B a record, {cpus} CPUs; each figure is the middle one of its rounds", self.bytes);
        if let Some(generator) = self.generator_us {
            println!("load generator: {generator:.1} µs of CPU a request, subtracted from the client's");
        }
    }

    /// Prints what the brokers are compared by.
    #[allow(clippy::print_stdout, reason = "see above")]
    pub(crate) fn print_hops(&self) {
        println!("\n## {} hops, {} partitions: client and broker alone\n", PLAIN.hops, PLAIN.partitions);
        let columns = [P50, P95, P99, THROUGHPUT, CLIENT, BROKER, PER_BROKER_CPU, PER_CPU];
        println!("{}\n", self.table(&[Kind::Hops], &columns));
        let columns = [P50, P99, THROUGHPUT, CLIENT, BROKER, PER_BROKER_CPU, PER_CPU];
        self.print_beside_kafka(&[Kind::Hops], &columns);
        println!("{}\n", self.used());
        self.goal().iter().for_each(|line| println!("{line}"));
    }

    /// Prints what the pipeline costs.
    #[allow(clippy::print_stdout, reason = "see above")]
    pub(crate) fn print_pipeline(&self) {
        let kinds = [Kind::Bare, Kind::Pipeline, Kind::Http];
        println!("\n## The pipeline: {} hops, {} partitions\n", AS_THE_PIPELINE.hops, AS_THE_PIPELINE.partitions);
        println!("{}\n", self.table(&kinds, &[P50, P95, P99, THROUGHPUT, CLIENT, BROKER, PER_CLIENT_CPU]));
        println!("beside bare hops on the same broker:\n");
        println!("{}\n", self.ratios(&kinds[1..], |_, on| (Kind::Bare, on), &[P50, THROUGHPUT, CLIENT, BROKER]));
        self.print_beside_kafka(&kinds, &[P50, P99, THROUGHPUT, CLIENT, BROKER, PER_CPU]);
        println!("{}", self.used());
    }

    /// Prints what streams cost.
    #[allow(clippy::print_stdout, reason = "see above")]
    pub(crate) fn print_streams(&self) {
        let streams = [Kind::Stream, Kind::StreamChecked, Kind::StreamMasked];
        let kinds = [[Kind::Provider, Kind::Bare, Kind::BareChecked], streams].concat();
        let (bare, more) = (AS_THE_PIPELINE.hops, AS_WITH_A_CHECK.hops);
        println!("\n## Streams: the first chunk, {bare} hops, with a check {more}\n");
        println!("{}\n", self.table(&kinds, &[P50, P95, P99, CLIENT, BROKER]));
        println!("p50 of the first chunk, ms:\n");
        println!("{}\n", self.added());
        println!("beside as many bare hops on the same broker:\n");
        let as_many = |kind: Kind, on: On| match kind {
            Kind::StreamChecked | Kind::StreamMasked => (Kind::BareChecked, on),
            _ => (Kind::Bare, on),
        };
        println!("{}\n", self.ratios(&streams, as_many, &[P50, P95, P99]));
        self.print_beside_kafka(&kinds[1..], &[P50, P99, CLIENT, BROKER]);
        println!("## Streams: chunks per second, {} a stream\n", LONG.chunks);
        println!("{}\n", self.table(&[Kind::ProviderLong, Kind::StreamLong], &[P50, P99, CHUNKS, PER_CHUNK]));
        println!("beside the provider itself:\n");
        println!("{}\n", self.ratios(&[Kind::StreamLong], |_, on| (Kind::ProviderLong, on), &[CHUNKS, PER_CHUNK]));
        println!("{}", self.used());
    }

    #[allow(clippy::print_stdout, reason = "a part of those above")]
    fn print_beside_kafka(&self, kinds: &[Kind], columns: &[Column]) {
        if self.samples.keys().any(|(_, kind, on)| *on == On::Kafka && kinds.contains(kind)) {
            println!("embedded / Kafka:\n");
            println!("{}\n", self.ratios(kinds, |kind, _| (kind, On::Kafka), columns));
        }
    }

    fn table(&self, kinds: &[Kind], columns: &[Column]) -> Table {
        let rows = self.samples.iter().filter(|((_, kind, _), _)| kinds.contains(kind));
        let rows = rows.map(|((in_flight, kind, on), rounds)| {
            let figures = middle(rounds);
            let cells = columns.iter().map(|(_, of, digits)| shown(of(&figures), *digits, ""));
            labels(*in_flight, *kind, *on).into_iter().chain(cells).collect()
        });
        table(&headers(columns), 3, rows)
    }

    /// Each row beside the one that `other` names; rows that are their own measure, or lack it, are left out.
    fn ratios(&self, kinds: &[Kind], other: impl Fn(Kind, On) -> (Kind, On), columns: &[Column]) -> Table {
        let rows = self.samples.iter().filter(|((_, kind, _), _)| kinds.contains(kind));
        let rows = rows.filter_map(|((in_flight, kind, on), rounds)| {
            let measure = other(*kind, *on);
            let others = self.samples.get(&(*in_flight, measure.0, measure.1)).filter(|_| measure != (*kind, *on))?;
            let (ours, theirs) = (middle(rounds), middle(others));
            let cells = columns.iter().map(|(_, of, _)| shown(of(&ours) / of(&theirs), 2, " ×"));
            Some(labels(*in_flight, *kind, *on).into_iter().chain(cells).collect())
        });
        let names = headers(columns).into_iter().map(|name| name.trim_end_matches(" ms")).collect::<Vec<_>>();
        table(&names, 3, rows)
    }

    /// What Tollgate adds to the time that the provider itself takes to a stream's first chunk, and what a hop more adds to that,
    /// each beside the same of bare hops. The middle of the rounds' differences.
    fn added(&self) -> Table {
        let levels = self.samples.keys().filter(|(_, kind, _)| *kind == Kind::Stream);
        let rows = levels.filter_map(|&(in_flight, _, on)| {
            let p50_ms = |kind| {
                let rounds = self.samples.get(&(in_flight, kind, on))?;
                Some(rounds.iter().map(|round| (P50.1)(round)).collect::<Vec<_>>())
            };
            let (provider, bare, more) = (p50_ms(Kind::Provider)?, p50_ms(Kind::Bare)?, p50_ms(Kind::BareChecked)?);
            let (stream, checked) = (p50_ms(Kind::Stream)?, p50_ms(Kind::StreamChecked)?);
            let masked = p50_ms(Kind::StreamMasked)?;
            let over = |more: &[f64], less: &[f64]| median(more.iter().zip(less).map(|(more, less)| more - less));
            let bare_takes = median(bare.iter().copied());
            let policy = over(&masked, &stream);
            let added = [over(&stream, &provider), bare_takes, over(&checked, &stream), over(&more, &bare), policy];
            let names = [in_flight.to_string(), on.name().to_owned()];
            Some(names.into_iter().chain(added.map(|ms| shown(ms, 2, ""))).collect())
        });
        let adds = ["Tollgate adds", "bare hops", "a hop more adds", "a bare hop more adds", "masking adds"];
        let headers = [["in flight", "broker"].as_slice(), &adds].concat();
        table(&headers, 2, rows)
    }

    /// Memory and idle CPU.
    fn used(&self) -> Table {
        let mib = |kib: u64| format!("{:.0}", kib as f64 / 1024.0);
        let rows = self.idle.iter().map(|(on, share)| {
            let memory = self.memory.iter().find(|memory| Some(memory.on) == *on);
            let memory = memory.map_or_else(
                || ["–"; 3].map(str::to_owned).to_vec(),
                |m| [m.before_kib, m.peak_kib, m.after_kib].map(mib).to_vec(),
            );
            let name = on.map_or("client".to_owned(), |on| on.name().to_owned());
            [name, format!("{:.1}", share * 100.0)].into_iter().chain(memory).collect()
        });
        table(&["process", "idle, % of a CPU", "RSS before MiB", "RSS peak MiB", "RSS after MiB"], 1, rows)
    }

    /// How the embedded broker compares with its goal, a line each.
    fn goal(&self) -> Vec<String> {
        let levels = self.samples.keys().filter(|(_, kind, on)| (*kind, *on) == (Kind::Hops, On::Kafka));
        let lines = levels.filter_map(|&(in_flight, ..)| {
            let of = |on| Some(middle(self.samples.get(&(in_flight, Kind::Hops, on))?));
            let (ours, kafka) = (of(On::Embedded)?, of(On::Kafka)?);
            let times = |column: Column| (column.1)(&ours) / (column.1)(&kafka);
            let verdict = |met: bool| if met { "met" } else { "not met" };
            if in_flight == 1 {
                let p50 = times(P50);
                return Some(format!(
                    "goal, one at a time: p50 {p50:.2} × (≤ {GOAL_P50} ×: {})",
                    verdict(p50 <= GOAL_P50)
                ));
            }
            let (broker, both) = (times(PER_BROKER_CPU), shown(times(PER_CPU), 2, " ×"));
            let (met, broker) = (verdict(broker >= GOAL_PER_CPU), shown(broker, 2, " ×"));
            let same = format!("requests for the same broker CPU {broker} (≥ {GOAL_PER_CPU} ×: {met})");
            Some(format!("goal, {in_flight} in flight: {same}, for the same CPU of both {both}"))
        });
        lines.collect()
    }
}

fn labels(in_flight: usize, kind: Kind, on: On) -> [String; 3] {
    [in_flight.to_string(), kind.name().to_owned(), on.name().to_owned()]
}

fn headers(columns: &[Column]) -> Vec<&'static str> {
    ["in flight", "what", "broker"].into_iter().chain(columns.iter().map(|(name, ..)| *name)).collect()
}

fn shown(value: f64, digits: usize, unit: &str) -> String {
    if value.is_finite() { format!("{value:.digits$}{unit}") } else { "–".to_owned() }
}

/// The middle of each figure by itself.
fn middle(rounds: &[Figures]) -> Figures {
    let of = |pick: fn(&Figures) -> f64| median(rounds.iter().map(pick));
    Figures {
        p50_us: of(|r| r.p50_us),
        p95_us: of(|r| r.p95_us),
        p99_us: of(|r| r.p99_us),
        throughput: of(|r| r.throughput),
        chunks: of(|r| r.chunks),
        client_us: of(|r| r.client_us),
        broker_us: of(|r| r.broker_us),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Names to the left, numbers to the right.
fn table(headers: &[&str], names: usize, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(headers.to_vec()).add_rows(rows);
    for (i, column) in table.column_iter_mut().enumerate() {
        let name = i < names && !(names > 1 && i == 0);
        column.set_cell_alignment(if name { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(us: u64, broker: Option<u64>) -> Sample {
        Sample {
            latencies_us: vec![us; 10],
            chunks: 3_000,
            elapsed: Duration::from_secs(1),
            client_cpu: Some(Duration::from_micros(10 * us)),
            broker_cpu: broker.map(|us| Duration::from_micros(10 * us)),
        }
    }

    #[test]
    fn the_middle_round_counts_and_ratios_are_beside_bare() {
        let mut report = Report::new(1024, Some(1.0));
        for us in [3_000, 1_000, 2_000] {
            report.add(Kind::Bare, On::Embedded, 1, &sample(us, None));
            report.add(Kind::Pipeline, On::Embedded, 1, &sample(us * 2, None));
        }
        let table = report.table(&[Kind::Bare, Kind::Pipeline], &[P50, BROKER]).to_string();
        assert!(table.contains("bare hops") && table.contains(" 2.00 ") && table.contains(" 4.00 "), "{table}");
        assert!(table.contains(" – "), "no process, no CPU: {table}");
        let ratios = report.ratios(&[Kind::Pipeline], |_, on| (Kind::Bare, on), &[P50]).to_string();
        assert!(ratios.contains("2.00 ×"), "{ratios}");
        assert!(report.goal().is_empty());
    }

    #[test]
    fn what_is_added_is_the_middle_of_what_rounds_add() {
        let mut report = Report::new(1024, None);
        // a machine that drifts: every round is slower
        for (drift, tollgate) in [(0, 1_000), (5_000, 3_000), (9_000, 2_000)] {
            let times = [(Kind::Provider, 0), (Kind::Bare, 500), (Kind::BareChecked, 750), (Kind::Stream, tollgate)];
            let checked = [(Kind::StreamChecked, tollgate + 400), (Kind::StreamMasked, tollgate + 600)];
            for (kind, us) in times.into_iter().chain(checked) {
                report.add(kind, On::Embedded, 1, &sample(drift + us, None));
            }
        }
        let added = report.added().to_string();
        let row = added.lines().last().expect("a row").split('|').map(str::trim).collect::<Vec<_>>();
        assert_eq!(row[1..row.len() - 1], ["1", "embedded", "2.00", "5.50", "0.40", "0.25", "0.60"]);
        // 3,000 chunks of 10 streams in a second
        assert!(report.table(&[Kind::Stream], &[CHUNKS]).to_string().contains(" 3000 "));
        report.begin();
        assert!(report.added().is_empty());
    }

    #[test]
    fn the_goal_is_told_for_each_level() {
        let mut report = Report::new(1024, None);
        for in_flight in [1, 64] {
            report.add(Kind::Hops, On::Embedded, in_flight, &sample(400, Some(100)));
            report.add(Kind::Hops, On::Kafka, in_flight, &sample(1_000, Some(150)));
        }
        let goal = report.goal();
        assert_eq!(goal[0], "goal, one at a time: p50 0.40 × (≤ 0.5 ×: met)");
        // 100 µs of broker CPU beside 150 µs; with the clients' 500 µs beside 1,150 µs
        let line = "requests for the same broker CPU 1.50 × (≥ 2 ×: not met), for the same CPU of both 2.30 ×";
        assert_eq!(goal[1], format!("goal, 64 in flight: {line}"));
    }
}
