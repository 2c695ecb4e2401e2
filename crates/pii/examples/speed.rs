//! How fast the recognisers are: the default set and each entity over a megabyte of prose, code and values, a prompt of 1 KB, and for
//! each entity the slowest of many megabytes that were made to be slow.
//!
//! ```text
//! cargo run --release -p tollgate-pii --example speed
//! ```

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

/// Pieces that keep a recogniser busy when they are repeated, alone or all in turn.
const NASTY: &[&str] = &[
    "1",
    "1 ",
    "12 ",
    "123 ",
    "1234 ",
    "12345678 ",
    "1-",
    "1.",
    "4111 1111 1111 1111 ",
    "4111111111111111 ",
    "212 555 0123 ",
    "+1 212 555 0123 ",
    "+49 30 901820 ",
    "2125550123 phone ",
    "112 555 0123 ",
    "+1",
    "00 1 ",
    "(1)",
    "phone 123 4567 ",
    "a@",
    "@",
    "a@b.",
    "a@1.",
    "@1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1",
    "DE89 ",
    "DE89370400440532013000 ",
    "DE 1 ",
    "DE136695976 ",
    "ATU",
    "eyJ",
    "eyJaaaaaaaa-",
    "eyJaaaaaaaa.",
    "SG.aaaaaaaaaaaaaaaa-",
    "eyJ-AKIAAAAAAAAAAAAAAAAA-",
    "sk-",
    "sk-1-",
    "sk-aaaaaaaaaaaaaaaaaaaa-",
    "ghp_",
    "AKIA",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "://",
    "a://",
    "ab://a:",
    "ab://:aaa@",
    "api_key=",
    "api_key=a1b2c3d4e5f6a7b8 ",
    "authorization: bearer ",
    "http://",
    "http://(a) ",
    "www.",
    "www.a.b ",
    ":",
    "::",
    "a:",
    "fe80::1 ",
    "1.1.1.1 ",
    "1.1.1.1.",
    "00:1a:2b:3c:4d:5e ",
    "00:",
    "bc1",
    "bc1q",
    "0x",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed ",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa ",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4 ",
    "1980-03-12 ",
    "born 1/1/1980 ",
    "1/1/",
    "march 1, ",
    "may ",
    "AB123456C ",
    "ab 12 ",
    "12345678Z ",
    "X1234567L ",
    "RSSMRA85T10A562S ",
    "44051401359 ",
    "86095742719 ",
    "184127645108946 ",
    "85.07.30-033.28 ",
    "811218-9876 ",
    "131052-308T ",
    "460-89-9847 ",
    "943 476 5919 ",
    "911-70-1234 ",
    "ssn 460899847 ",
    "account 12345678 ",
    "passport 912803456 ",
    "license D1234567 ",
    "order 1 ",
    "D1234567 ",
    "ssn ",
    "account ",
    "born ",
    "é",
    "机",
    "\u{200b}",
    "a",
    " ",
    "\n",
    "aB",
    "_",
    "Aa1",
    "1234567T ",
];

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
