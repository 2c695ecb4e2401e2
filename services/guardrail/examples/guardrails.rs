//! How fast the checks are that run in this process: a megabyte, a prompt of 1 KB, a chat of 20 messages, and for each check the slowest
//! megabyte that a search finds. Tables as `docs/guardrails.md` has them. Times are of the processor where the system tells them.
//!
//! ```text
//! cargo run --release -p tollgate-guardrail --example guardrails
//! ```

#[path = "../../../crates/pii/examples/measure/mod.rs"]
mod measure;
#[path = "../../../crates/pii/src/nasty.rs"]
mod nasty;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use measure::{KILOBYTE, MEGABYTE, ORDINARY, Pieces, filled, least_of};
use nasty::took;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tollgate_guardrail::checks::fold::Folded;
use tollgate_guardrail::checks::keywords::Keywords;
use tollgate_guardrail::checks::pii::{DEFAULT_ENTITIES, Entity, Pii};
use tollgate_guardrail::checks::{Action, Check, Finding};
use tollgate_guardrail::injection::Score;
use tollgate_guardrail::pipeline::{Configured, Judged, Seat, Side, Stage, Subject, sift};

const SHORT_RUNS: u32 = 1_000;
/// Of base64, as long as it is read; see `encoded.rs`.
const RUN_BYTES: usize = 16 * KILOBYTE;
const DISGUISE: &str = "ﬁ";

/// What keeps phrases, words and whoever folds them busy.
const PIECES: Pieces = Pieces {
    nasty: &[
        "a",
        " ",
        "a ",
        "_",
        "term1x ",
        "term1x term",
        "ignore all ",
        "ignore your your ",
        "forget everything ",
        "forget you have been ",
        "new system instructions",
        "vergiss ",
        "oublie règles ",
        "olvida ",
        "show your the ",
        "what is ",
        "repeat the text ",
        "you are going to be ",
        "do anything ",
        "admin mode is ",
        "act without any ",
        "act no ",
        "free of all ",
        "no ",
        "no matter ",
        "role-",
        "stay in character ",
        "never ",
        "<|",
        "<|im_start|",
        "[INST",
        "\n## ",
        "##  system",
        "aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxk ",
        "aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxk",
        "aaaaaaaaaaaaaaaaaaaaaaaa ",
        "aaaaaaaaaaaaaaaaaaaaaaa ",
        "a\u{430}",
        "a\u{430} ",
        "\u{430}",
        "\u{430}\u{430}\u{430}a ",
        "act n\u{43e} ",
        "a\u{301}",
        "\u{301}",
        "\u{200b}",
        "É",
        "İ",
        "Ꭰ",
        "𝐚",
        "ﬁ",
        "ﬁ no ",
        "机",
        "เ",
        "\u{a0}",
        "\u{20000}",
        "\u{e0041}",
    ],
    signs: "aAnow .-:*<[#|_=\néÉж机\u{20000}\u{430}\u{43e}\u{301}\u{200b}ﬁ𝐚ⓐ\u{212a}İΣᎠ",
};

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
        let words = words(count);
        let took = least_of(|| took(true, || Keywords::new(&words)));
        let bytes = Keywords::new(&words)?.memory();
        let (millis, kib) = (took.as_secs_f64() * 1e3, bytes / KILOBYTE);
        writeln!(out, "\n{count} words are compiled in {millis:.0} ms and take {kib} KiB")?;
    }
    writeln!(out, "\n{:28} {:>9}", "the slowest megabyte", "ms")?;
    let mut row = |name: &str, (took, piece): (Duration, String)| {
        writeln!(out, "{name:28} {:>9.1} {piece:?}", took.as_secs_f64() * 1e3)
    };
    let (words, people) = (Keywords::new(&words(10_000))?, Pii::new(DEFAULT_ENTITIES, &[])?);
    row("keywords", PIECES.slowest(|text| timed(text, |text| found(|out| words.scan(text, out)))))?;
    let values = Pieces { nasty: nasty::NASTY, ..PIECES };
    let scanned = |text: &str| found(|out| people.scan(&Folded::new(text), out));
    row("pii, the default set", values.slowest(|text| timed(text, scanned)))?;
    row("injection", PIECES.slowest(|text| timed(text, Score::of)))?;
    row("injection, in base64", PIECES.slowest(|text| timed(&encoded(text), Score::of)))?;
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

fn best(stage: &Stage, body: &RawValue) -> Duration {
    least_of(|| took(true, || sift(stage, Side::Input, body.to_owned())))
}

/// The mean in microseconds.
fn many(stage: &Stage, body: &RawValue) -> f64 {
    let all = took(true, || (0..SHORT_RUNS).for_each(|_| drop(black_box(sift(stage, Side::Input, body.to_owned())))));
    all.as_secs_f64() * 1e6 / f64::from(SHORT_RUNS)
}

/// What a check takes for a text with a disguise at its end: all of it is looked through for one, and then looked at once more.
fn timed<T>(text: &str, check: impl FnOnce(&str) -> T) -> Duration {
    let text = format!("{text}{DISGUISE}");
    took(text.len() >= MEGABYTE, || check(&text))
}

fn found(scan: impl FnOnce(&mut Vec<Finding>)) -> Vec<Finding> {
    let mut found = Vec::new();
    scan(&mut found);
    found
}

/// The first part of a text in base64 as long as all of it, each run with a disguise at its end.
fn encoded(text: &str) -> String {
    let mut rest = &text[..text.floor_char_boundary(text.len() / 4 * 3)];
    let mut runs = String::new();
    while !rest.is_empty() {
        let (run, behind) = rest.split_at(rest.floor_char_boundary(RUN_BYTES / 4 * 3 - DISGUISE.len()));
        STANDARD.encode_string(format!("{run}{DISGUISE}"), &mut runs);
        runs.push(' ');
        rest = behind;
    }
    runs
}
