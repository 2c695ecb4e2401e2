//! What translation costs a request: 2 KB of prompt with two tools and an answer of 300 tokens, from the caller's bytes to the
//! provider's and back; chat completions to each kind of provider, and the other APIs; whole and as a stream.
//!
//! ```text
//! cargo run --release -p tollgate-router-worker --features cost --example translation
//! ```
//!
//! One thread, no I/O. Every round calls every way, so that a machine that drifts does so for all of them. × is beside chat
//! completions to OpenAI in the same run, which are passed on as they are.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::{hint::black_box, time::Instant};
use tollgate_router_worker::cost::{CHUNKS, Way, ways};

/// And one more before them, which is not counted.
const ROUNDS: usize = 20;
const CALLS: usize = 50;

/// Microseconds of each call.
#[derive(Default)]
struct Times {
    encode: Vec<f64>,
    decode: Vec<f64>,
    whole: Vec<f64>,
    stream: Vec<f64>,
    streamed: Vec<f64>,
}

impl Times {
    fn call(&mut self, way: &Way) {
        let (encode, decode) = (clocked(|| way.encode(false)), clocked(|| way.decode()));
        let (encode_streamed, stream) = (clocked(|| way.encode(true)), clocked(|| way.decode_stream()));
        self.encode.push(encode);
        self.decode.push(decode);
        self.whole.push(encode + decode);
        self.stream.push(stream);
        self.streamed.push(encode_streamed + stream);
    }
}

fn clocked(work: impl FnOnce() -> usize) -> f64 {
    let begun = Instant::now();
    black_box(work());
    begun.elapsed().as_secs_f64() * 1e6
}

/// At a quantile from 0 to 1.
fn quantile(times: &[f64], quantile: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let at = (times.len().saturating_sub(1) as f64 * quantile).round() as usize;
    times.get(at).copied().unwrap_or(f64::NAN)
}

fn main() {
    let ways = ways();
    let mut times = ways.iter().map(|_| Times::default()).collect::<Vec<_>>();
    for round in 0..=ROUNDS {
        for (way, times) in ways.iter().zip(&mut times) {
            let mut warm_up = Times::default();
            let times = if round == 0 { &mut warm_up } else { times };
            (0..CALLS).for_each(|_| times.call(way));
        }
    }
    println!("{} calls of each, in {ROUNDS} rounds; µs\n", ROUNDS * CALLS);
    println!("| caller | provider | encode | decode | whole | p99 | × | decode | a chunk | streamed | p99 | × |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let Some(passed_on) = times.first() else { return };
    for (way, times) in ways.iter().zip(&times) {
        let p50 = |times: &[f64]| quantile(times, 0.5);
        let (encode, decode, stream) = (p50(&times.encode), p50(&times.decode), p50(&times.stream));
        let (whole, whole_p99) = (p50(&times.whole), quantile(&times.whole, 0.99));
        let (streamed, streamed_p99) = (p50(&times.streamed), quantile(&times.streamed, 0.99));
        let (whole_times, streamed_times) = (whole / p50(&passed_on.whole), streamed / p50(&passed_on.streamed));
        print!("| {} | {} | {encode:.1} | {decode:.1} ", way.caller, way.provider);
        print!("| {whole:.1} | {whole_p99:.1} | {whole_times:.2} × ");
        print!("| {stream:.0} | {:.2} ", stream / CHUNKS as f64);
        println!("| {streamed:.0} | {streamed_p99:.0} | {streamed_times:.2} × |");
    }
}
