//! How fast the checks are that run in this process: a megabyte, a prompt of 1 KB, a chat of 20 messages, and the slowest of several
//! megabytes that were made to be slow. Tables as `docs/guardrails.md` has them.
//!
//! ```text
//! cargo run --release -p tollgate-guardrail --example guardrails
//! ```

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate_guardrail::checks::keywords::Keywords;
use tollgate_guardrail::checks::pii::{DEFAULT_ENTITIES, Entity, Pii};
use tollgate_guardrail::checks::{Action, Check};
use tollgate_guardrail::injection::Score;
use tollgate_guardrail::pipeline::{Configured, Judged, Seat, Side, Stage, Subject, sift};

const MEGABYTE: usize = 1 << 20;
const KILOBYTE: usize = 1 << 10;
const RUNS: usize = 3;
const SHORT_RUNS: u32 = 1_000;

/// What people and developers write.
const ORDINARY: &str = "Please write to jane.roe@example.com about order 100234567890, or call (212) 555-0123 before 2026-11-23. \
    let total: u64 = items.iter().map(|item| item.price_cents * item.count).sum(); // see https://example.com/docs?page=7#sum \
    The quick brown fox, version 1.54.0 (sha256 9f86d081884c7d659a2feaa0c55ad015), jumped over 192.168.0.1:8080 in 3.14 seconds. \
    {\"id\": \"0192f3a4-7c1e-7b2a-9d3e-4455667788aa\", \"amount\": 1234.56, \"note\": \"naïve café — déjà vu\"}\n";

/// Pieces that keep a check busy when they are repeated.
const NASTY: &[&str] = &[
    "a",
    " ",
    "term1x ",
    "term1x term",
    "ignore all ",
    "ignore your your ",
    "act without any ",
    "show your the ",
    "forget everything ",
    "<|",
    "[INST",
    "\n## ",
    "aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxk ",
    "aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxk",
    "aaaaaaaaaaaaaaaaaaaaaaaa ",
    "a\u{430}",
    "a\u{430} ",
    "\u{430}",
    "a\u{301}",
    "𝐚",
    "ﬁ",
    "\u{200b}",
    "机",
    "เ",
    "\u{e0041}",
];

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut out = io::stdout().lock();
    writeln!(out, "| what | MB/s | µs per KB | µs per chat of 20 KB |\n| --- | --- | --- | --- |")?;
    for (name, stage) in [
        ("`pii`, the default set", stage(vec![pii(DEFAULT_ENTITIES)?], false)),
        ("`pii`, every entity", stage(vec![pii(Entity::ALL)?], false)),
        ("`keywords`, 100 words", stage(vec![keywords(100)?], false)),
        ("`keywords`, 10,000 words", stage(vec![keywords(10_000)?], false)),
        ("`injection`, its score", stage(vec![], true)),
        ("the default set, 100 words, the score", stage(vec![pii(DEFAULT_ENTITIES)?, keywords(100)?], true)),
        ("every entity, 10,000 words, the score", stage(vec![pii(Entity::ALL)?, keywords(10_000)?], true)),
    ] {
        let long = best(&stage, &one(&filled(ORDINARY, MEGABYTE))?);
        let short = many(&stage, &one(&filled(ORDINARY, KILOBYTE))?);
        let talk = many(&stage, &chat(20)?);
        let megabytes = 1.0 / long.as_secs_f64();
        writeln!(out, "| {name} | {megabytes:.0} | {short:.1} | {talk:.0} |")?;
    }
    for count in [1_000, 10_000] {
        let begun = Instant::now();
        let compiled = Keywords::new(&words(count))?;
        let (took, bytes) = (begun.elapsed(), compiled.memory());
        let (millis, kib) = (took.as_secs_f64() * 1e3, bytes / KILOBYTE);
        writeln!(out, "\n{count} words are compiled in {millis:.0} ms and take {kib} KiB")?;
    }
    writeln!(out, "\nthe slowest megabyte of {}, each alone and in turn with every other", NASTY.len())?;
    let (words, people) = (Keywords::new(&words(10_000))?, Pii::new(DEFAULT_ENTITIES, &[])?);
    let mut found = Vec::new();
    slowest(&mut out, "keywords", |text| {
        found.clear();
        words.scan(text, &mut found);
    })?;
    let mut found = Vec::new();
    slowest(&mut out, "pii, the default set", |text| {
        found.clear();
        people.scan(&tollgate_guardrail::checks::fold::Folded::new(text), &mut found);
    })?;
    slowest(&mut out, "injection", |text| {
        black_box(Score::of(text));
    })?;
    Ok(())
}

fn stage(checks: Vec<Check>, is_scored: bool) -> Stage {
    let checks = checks
        .into_iter()
        .map(|check| Configured { name: "input.check".into(), action: Action::Mask, check: Arc::new(check) })
        .collect();
    let injection = || Judged {
        name: "input.injection".into(),
        action: Action::Log,
        allows_failure: true,
        subject: Subject::Injection { threshold: 0.6 },
        seat: Seat::Empty,
    };
    Stage { checks, judged: is_scored.then(injection).into_iter().collect(), ..Stage::default() }
}

fn pii(entities: &[Entity]) -> Result<Check, Error> {
    Ok(Check::Pii(Pii::new(entities, &["US", "GB", "DE"].map(str::to_owned))?))
}

fn keywords(count: usize) -> Result<Check, Error> {
    Ok(Check::Keywords(Keywords::new(&words(count))?))
}

fn words(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("term{i}x of ours")).collect()
}

/// One message.
fn one(text: &str) -> Result<Box<RawValue>, Error> {
    Ok(to_raw_value(&json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }))?)
}

/// A conversation of so many messages, 1 KB each.
fn chat(messages: usize) -> Result<Box<RawValue>, Error> {
    let message = |at: usize| {
        let role = if at.is_multiple_of(2) { "user" } else { "assistant" };
        json!({ "role": role, "content": filled(ORDINARY, KILOBYTE) })
    };
    let messages: Vec<Value> = (0..messages).map(message).collect();
    Ok(to_raw_value(&json!({ "model": "m", "messages": messages }))?)
}

fn filled(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len() + 1)
}

fn once(stage: &Stage, body: &RawValue) -> Duration {
    let body = body.to_owned();
    let begun = Instant::now();
    black_box(sift(stage, Side::Input, body));
    begun.elapsed()
}

fn best(stage: &Stage, body: &RawValue) -> Duration {
    (0..RUNS).map(|_| once(stage, body)).min().unwrap_or_default()
}

/// The mean in microseconds.
fn many(stage: &Stage, body: &RawValue) -> f64 {
    let all = (0..SHORT_RUNS).map(|_| once(stage, body)).sum::<Duration>();
    all.as_secs_f64() * 1e6 / f64::from(SHORT_RUNS)
}

/// Prints the slowest input, first looked for in small ones.
fn slowest(out: &mut impl Write, name: &str, mut check: impl FnMut(&str)) -> io::Result<()> {
    let mut timed = |text: &str| {
        let begun = Instant::now();
        check(text);
        begun.elapsed()
    };
    let pairs = NASTY.iter().flat_map(|a| NASTY.iter().map(move |b| format!("{a}{b}")));
    let pieces = NASTY.iter().map(|piece| (*piece).to_owned()).chain(pairs);
    let mut small: Vec<(Duration, String)> =
        pieces.map(|piece| (timed(&filled(&piece, 16 * KILOBYTE)), piece)).collect();
    small.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
    small.truncate(20);
    let whole = small.into_iter().map(|(_, piece)| {
        let text = filled(&piece, MEGABYTE);
        ((0..RUNS).map(|_| timed(&text)).min().unwrap_or_default(), piece)
    });
    let (took, piece) = whole.max_by_key(|(took, _)| *took).unwrap_or_default();
    writeln!(out, "{name:28} {:>9.1} ms {piece:?}", took.as_secs_f64() * 1e3)
}
