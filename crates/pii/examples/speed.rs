//! How fast the recognisers are: the default set and each entity over a megabyte of prose, code and values, and a prompt of 1 KB; and for
//! each entity the slowest megabyte that a search finds. Arguments are the entities to be looked at; none: all.
//!
//! The search tries pieces that are known to keep a recogniser busy, alone and two by two, repeated over a small text; then it changes the
//! slowest, sign by sign, as long as that makes them slower. What is left is repeated over a megabyte. A text is folded once for all
//! entities, so that has rows of its own. Times are of the processor where the system tells them, and the least of several.
//!
//! ```text
//! cargo run --release -p tollgate-pii --example speed -- PHONE_NUMBER
//! ```

#[path = "../src/nasty.rs"]
mod nasty;

use nasty::{NASTY, took};
use std::io::{self, Write};
use std::time::Duration;
use tollgate_pii::fold::Folded;
use tollgate_pii::{DEFAULT_ENTITIES, Entity, Pii};

const MEGABYTE: usize = 1 << 20;
const KILOBYTE: usize = 1 << 10;
const RUNS: usize = 5;

/// What a developer's prompts are made of.
const ORDINARY: &str = "Please write to jane.roe@example.com about order 100234567890, or call (212) 555-0123 before 2026-11-23. \
    let total: u64 = items.iter().map(|item| item.price_cents * item.count).sum(); // see https://example.com/docs?page=7#sum \
    The quick brown fox, version 1.54.0 (sha256 9f86d081884c7d659a2feaa0c55ad015), jumped over 192.168.0.1:8080 in 3.14 seconds. \
    {\"id\": \"0192f3a4-7c1e-7b2a-9d3e-4455667788aa\", \"amount\": 1234.56, \"note\": \"naïve café — déjà vu\"}\n";

/// What the search puts into pieces beside other pieces.
const SIGNS: &str = "012459aAxZv .-:/@+()_=#[]\néÉж机\u{1f600}\u{20000}１๑𝟏\u{430}\u{301}\u{200b}ﬁ𝐚ⓐ\u{212a}İΣ";

/// Bytes of the small texts, changes that are tried, and pieces that go on at a time.
const SMALL: usize = 4 * KILOBYTE;
const CHANGES: usize = 1_500;
const KEPT: usize = 12;
const PIECE_MAX_BYTES: usize = 80;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let regions = ["US", "GB", "DE", "ES", "IN"].map(str::to_owned);
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |entity: &&Entity| wanted.is_empty() || wanted.iter().any(|name| name == entity.as_str());
    let entities = Entity::ALL.iter().filter(is_wanted).copied().collect::<Vec<_>>();
    let mut out = io::stdout().lock();
    writeln!(out, "{:28} {:>9} {:>12}", "ordinary text", "MB/s", "µs per KB")?;
    let sets = [("the default set", DEFAULT_ENTITIES.to_vec()), ("all entities", Entity::ALL.to_vec())];
    for (name, entities) in sets.into_iter().chain(entities.iter().map(|entity| (entity.as_str(), vec![*entity]))) {
        let pii = Pii::new(&entities, &regions)?;
        let whole = |text: &str| found(&pii, &Folded::new(text));
        let (long, short) = (filled(ORDINARY, MEGABYTE), filled(ORDINARY, KILOBYTE));
        let long = least_of(|| took(true, || whole(&long)));
        let many = least_of(|| took(true, || (0..1_000).map(|_| whole(&short)).sum::<usize>()));
        writeln!(out, "{name:28} {:>9.0} {:>12.1}", 1.0 / long.as_secs_f64(), many.as_secs_f64() * 1e3)?;
    }
    writeln!(out, "\n{:28} {:>9}", "the slowest megabyte", "ms")?;
    let mut row = |name: &str, (took, piece): (Duration, String)| {
        writeln!(out, "{name:28} {:>9.1} {piece:?}", took.as_secs_f64() * 1e3)
    };
    row("(folding)", slowest(|text| took(text.len() >= MEGABYTE, || folded(text))))?;
    row("(folding for words)", slowest(|text| took(text.len() >= MEGABYTE, || words(text))))?;
    for entity in &entities {
        let pii = Pii::new(&[*entity], &regions)?;
        let slowest = slowest(|text| {
            let folded = folded(text);
            took(text.len() >= MEGABYTE, || found(&pii, &folded))
        });
        row(entity.as_str(), slowest)?;
    }
    Ok(())
}

fn found(pii: &Pii, text: &Folded<'_>) -> usize {
    let mut found = Vec::new();
    pii.scan(text, &mut found);
    found.len()
}

/// With the closer look, if there is one.
fn folded(text: &str) -> Folded<'_> {
    let folded = Folded::new(text);
    folded.closer();
    folded
}

fn words(text: &str) -> (Folded<'_>, Option<Folded<'_>>) {
    (Folded::words(text), Folded::deeper_words(text))
}

/// The slowest piece and what a megabyte of it takes.
fn slowest(timed: impl Fn(&str) -> Duration) -> (Duration, String) {
    let small = |piece: String| {
        let text = filled(&piece, SMALL);
        let took = (0..2).map(|_| timed(&text)).min().unwrap_or_default();
        (took.as_secs_f64() / text.len() as f64, piece)
    };
    let pairs = NASTY.iter().flat_map(|a| NASTY.iter().map(move |b| format!("{a}{b}")));
    let pieces = NASTY.iter().map(|piece| (*piece).to_owned()).chain(pairs).chain([NASTY.concat()]);
    let mut kept = pieces.map(small).collect::<Vec<_>>();
    keep(&mut kept);
    let mut chance = Chance(1);
    for _ in 0..CHANGES {
        let piece = changed(&kept[chance.below(kept.len())].1, &mut chance);
        if (1..=PIECE_MAX_BYTES).contains(&piece.len()) && kept.iter().all(|(_, known)| *known != piece) {
            kept.push(small(piece));
            keep(&mut kept);
        }
    }
    let whole = kept.into_iter().map(|(_, piece)| {
        let text = filled(&piece, MEGABYTE);
        (least_of(|| timed(&text)), piece)
    });
    whole.max_by_key(|(took, _)| *took).unwrap_or_default()
}

fn keep(pieces: &mut Vec<(f64, String)>) {
    pieces.sort_by(|one, other| other.0.total_cmp(&one.0));
    pieces.truncate(KEPT);
}

/// With a sign or a piece put in, taken out or exchanged.
fn changed(piece: &str, chance: &mut Chance) -> String {
    let mut chars = piece.chars().collect::<Vec<_>>();
    for _ in 0..=chance.below(3) {
        let at = chance.below(chars.len() + 1);
        let end = (at + chance.below(3)).min(chars.len());
        match chance.below(6) {
            0 | 1 => chars.splice(at..end, None).count(),
            2 => chars.splice(at..end, NASTY[chance.below(NASTY.len())].chars()).count(),
            _ => chars.splice(at..end, SIGNS.chars().nth(chance.below(SIGNS.chars().count()))).count(),
        };
    }
    chars.into_iter().collect()
}

/// The same numbers in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn filled(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len() + 1)
}

fn least_of(timed: impl Fn() -> Duration) -> Duration {
    (0..RUNS).map(|_| timed()).min().unwrap_or_default()
}
