//! How fast the recognisers are: the default set and each entity over a megabyte of prose, code and values, and a prompt of 1 KB; and for
//! each entity the slowest megabyte that a search finds. Arguments are the entities to be looked at; none: all.
//!
//! A text is folded once for all entities, so that has rows of its own. Times are of the processor where the system tells them, and the
//! least of several.
//!
//! ```text
//! cargo run --release -p tollgate-pii --example speed -- PHONE_NUMBER
//! ```

#[path = "../src/nasty.rs"]
mod nasty;

mod measure;

use measure::{KILOBYTE, MEGABYTE, ORDINARY, Pieces, filled, least_of};
use nasty::{NASTY, took};
use std::io::{self, Write};
use std::time::Duration;
use tollgate_pii::fold::Folded;
use tollgate_pii::{DEFAULT_ENTITIES, Entity, Pii};

const PIECES: Pieces = Pieces {
    nasty: NASTY,
    signs: "012459aAxZv .-:/@+()_=#[]\néÉж机\u{1f600}\u{20000}１๑𝟏\u{430}\u{301}\u{200b}ﬁ𝐚ⓐ\u{212a}İΣ",
};

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
    row("(folding)", PIECES.slowest(|text| took(text.len() >= MEGABYTE, || folded(text))))?;
    row("(folding for words)", PIECES.slowest(|text| took(text.len() >= MEGABYTE, || words(text))))?;
    for entity in &entities {
        let pii = Pii::new(&[*entity], &regions)?;
        let slowest = PIECES.slowest(|text| {
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
