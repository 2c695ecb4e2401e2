//! The table: the middle of all rounds for each figure, and what the pipeline and HTTP cost beside bare hops.

use crate::load::Sample;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeMap;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Kafka alone.
    Bare,
    /// The gateway, called in process.
    Pipeline,
    /// The gateway, called over HTTP.
    Http,
}

impl Kind {
    /// As printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bare => "bare hops",
            Kind::Pipeline => "pipeline",
            Kind::Http => "pipeline over HTTP",
        }
    }
}

/// Figures of one kind at one level.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    p50_us: f64,
    p95_us: f64,
    p99_us: f64,
    throughput: f64,
    /// Without the load generator's own.
    cpu_us: Option<f64>,
}

/// All samples of a run.
pub(crate) struct Report {
    hops: usize,
    bytes: usize,
    generator_us: Option<f64>,
    idle: Option<f64>,
    samples: BTreeMap<(usize, Kind), Vec<Figures>>,
}

impl Report {
    /// `generator_us`: CPU microseconds per request of the load generator; `idle`: share of a CPU without load.
    pub(crate) fn new(hops: usize, bytes: usize, generator_us: Option<f64>, idle: Option<f64>) -> Self {
        Self { hops, bytes, generator_us, idle, samples: BTreeMap::new() }
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, kind: Kind, in_flight: usize, sample: Sample) {
        let figures = Figures {
            p50_us: sample.quantile_us(0.50),
            p95_us: sample.quantile_us(0.95),
            p99_us: sample.quantile_us(0.99),
            throughput: sample.throughput(),
            cpu_us: sample.cpu_us().map(|cpu| (cpu - self.generator_us.unwrap_or(0.0)).max(0.0)),
        };
        self.samples.entry((in_flight, kind)).or_default().push(figures);
    }

    /// Prints everything.
    #[allow(clippy::print_stdout, reason = "the one output of this program")]
    pub(crate) fn print(&self) {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "{} hops, {} B a record, {cpus} CPUs; each figure is the middle one of its rounds",
            self.hops, self.bytes
        );
        if let Some(generator) = self.generator_us {
            println!("load generator: {generator:.1} µs of CPU a request, subtracted below");
        }
        if let Some(idle) = self.idle {
            println!("all services idle: {:.1} % of one CPU, not subtracted", idle * 100.0);
        }
        println!(
            "CPU is that of this process: services, Kafka clients and, over HTTP, the HTTP client; not the broker's\n"
        );
        println!("{}\n", self.table());
        println!("{}", self.ratios());
    }

    fn table(&self) -> Table {
        let headers =
            ["in flight", "what", "p50 ms", "p95 ms", "p99 ms", "requests/s", "CPU µs/request", "requests/CPU-s"];
        let rows = self.samples.iter().map(|((in_flight, kind), rounds)| {
            let f = middle(rounds);
            let ms = |us: f64| format!("{:.2}", us / 1000.0);
            let cpu = f.cpu_us.map_or_else(|| "–".to_owned(), |us| format!("{us:.0}"));
            let per_cpu = f.cpu_us.map_or_else(|| "–".to_owned(), |us| format!("{:.0}", 1e6 / us));
            let numbers = [ms(f.p50_us), ms(f.p95_us), ms(f.p99_us), format!("{:.0}", f.throughput), cpu, per_cpu];
            [in_flight.to_string(), kind.name().to_owned()].into_iter().chain(numbers).collect()
        });
        table(&headers, rows)
    }

    fn ratios(&self) -> Table {
        let headers = ["in flight", "beside bare hops", "p50", "throughput", "CPU a request"];
        let rows = self.samples.iter().filter(|((_, kind), _)| *kind != Kind::Bare).filter_map(
            |((in_flight, kind), rounds)| {
                let (ours, bare) = (middle(rounds), middle(self.samples.get(&(*in_flight, Kind::Bare))?));
                let cpu = ours.cpu_us.zip(bare.cpu_us).map_or_else(|| "–".to_owned(), |(a, b)| times(a, b));
                let ratios = [times(ours.p50_us, bare.p50_us), times(ours.throughput, bare.throughput), cpu];
                Some([in_flight.to_string(), kind.name().to_owned()].into_iter().chain(ratios).collect())
            },
        );
        table(&headers, rows)
    }
}

fn times(a: f64, b: f64) -> String {
    format!("{:.2} ×", a / b)
}

/// The middle of each figure by itself.
fn middle(rounds: &[Figures]) -> Figures {
    let of = |pick: &dyn Fn(&Figures) -> f64| {
        let mut values = rounds.iter().map(pick).collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let known = rounds.iter().all(|r| r.cpu_us.is_some());
    Figures {
        p50_us: of(&|r| r.p50_us),
        p95_us: of(&|r| r.p95_us),
        p99_us: of(&|r| r.p99_us),
        throughput: of(&|r| r.throughput),
        cpu_us: known.then(|| of(&|r| r.cpu_us.unwrap_or(f64::NAN))),
    }
}

fn table(headers: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(headers.to_vec()).add_rows(rows);
    for column in table.column_iter_mut().enumerate().filter(|(i, _)| *i != 1).map(|(_, column)| column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_middle_round_counts_and_ratios_are_beside_bare() {
        let mut report = Report::new(2, 1024, Some(1.0), Some(0.01));
        let sample = |us: u64| Sample {
            latencies_us: vec![us; 10],
            elapsed: Duration::from_secs(1),
            cpu: Some(Duration::from_micros(10 * us)),
        };
        for us in [3_000, 1_000, 2_000] {
            report.add(Kind::Bare, 1, sample(us));
            report.add(Kind::Pipeline, 1, sample(us * 2));
        }
        let table = report.table().to_string();
        assert!(table.contains("bare hops") && table.contains(" 2.00 ") && table.contains(" 4.00 "), "{table}");
        assert!(report.ratios().to_string().contains("2.00 ×"));
    }
}
