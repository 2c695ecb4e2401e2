//! How fast the recognisers are: the default set and each entity over a megabyte of prose, code and values, a prompt of 1 KB, and for
//! each entity the slowest of many megabytes that were made to be slow.
//!
//! ```text
//! cargo run --release -p tollgate-pii --example speed
//! ```

#[path = "../src/nasty.rs"]
mod nasty;

use nasty::NASTY;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use tollgate_pii::fold::Folded;
use tollgate_pii::{DEFAULT_ENTITIES, Entity, Pii};

const MEGABYTE: usize = 1 << 20;
const KILOBYTE: usize = 1 << 10;
const RUNS: usize = 3;

/// What a developer's prompts are made of.
const ORDINARY: &str = "Please write to jane.roe@example.com about order 100234567890, or call (212) 555-0123 before 2026-11-23. \
    let total: u64 = items.iter().map(|item| item.price_cents * item.count).sum(); // see https://example.com/docs?page=7#sum \
    The quick brown fox, version 1.54.0 (sha256 9f86d081884c7d659a2feaa0c55ad015), jumped over 192.168.0.1:8080 in 3.14 seconds. \
    {\"id\": \"0192f3a4-7c1e-7b2a-9d3e-4455667788aa\", \"amount\": 1234.56, \"note\": \"naïve café — déjà vu\"}\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let regions = ["US", "GB", "DE", "ES", "IN"].map(str::to_owned);
    let sets = |entities: &[Entity]| Pii::new(entities, &regions);
    let ordinary = filled(ORDINARY, MEGABYTE);
    let mut out = io::stdout().lock();
    writeln!(out, "{:28} {:>9} {:>12}", "", "MB/s", "µs per KB")?;
    let rows = [("the default set", DEFAULT_ENTITIES.to_vec()), ("all entities", Entity::ALL.to_vec())];
    let rows = rows.into_iter().chain(Entity::ALL.iter().map(|entity| (entity.as_str(), vec![*entity])));
    for (name, entities) in rows {
        let pii = sets(&entities)?;
        let long = best(&pii, &ordinary);
        let short = filled(ORDINARY, KILOBYTE);
        let many = (0..1_000).map(|_| once(&pii, &short)).sum::<Duration>();
        writeln!(out, "{name:28} {:>9.0} {:>12.1}", 1.0 / long.as_secs_f64(), many.as_secs_f64() * 1e3)?;
    }
    writeln!(out, "\nthe slowest megabyte of {}, each alone and in turn with every other", NASTY.len())?;
    for entity in Entity::ALL {
        let pii = sets(&[*entity])?;
        let (took, piece) = slowest(&pii);
        writeln!(out, "{:28} {:>9.1} ms {:?}", entity.as_str(), took.as_secs_f64() * 1e3, piece)?;
    }
    Ok(())
}

/// The slowest input, first looked for in small ones.
fn slowest(pii: &Pii) -> (Duration, String) {
    let pairs = NASTY.iter().flat_map(|a| NASTY.iter().map(move |b| format!("{a}{b}")));
    let mut pieces = NASTY.iter().map(|piece| (*piece).to_owned()).chain(pairs).collect::<Vec<_>>();
    pieces.push(NASTY.concat());
    let mut timed =
        pieces.into_iter().map(|piece| (once(pii, &filled(&piece, 16 * KILOBYTE)), piece)).collect::<Vec<_>>();
    timed.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
    timed.truncate(20);
    let whole = timed.into_iter().map(|(_, piece)| (best(pii, &filled(&piece, MEGABYTE)), piece));
    whole.max_by_key(|(took, _)| *took).unwrap_or_default()
}

fn filled(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len() + 1)
}

fn best(pii: &Pii, text: &str) -> Duration {
    (0..RUNS).map(|_| once(pii, text)).min().unwrap_or_default()
}

fn once(pii: &Pii, text: &str) -> Duration {
    let mut found = Vec::new();
    let begun = Instant::now();
    pii.scan(&Folded::new(text), &mut found);
    begun.elapsed()
}
