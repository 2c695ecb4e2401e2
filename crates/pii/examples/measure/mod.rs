//! What checks are measured with, here and by the example of the guardrail: an ordinary text, and a search for the slowest one.
//!
//! The search tries pieces that are known to keep a check busy, alone and two by two, repeated over a small text; then it changes the slowest,
//! sign by sign, as long as that makes them slower. What is left is repeated over a megabyte.

use std::time::Duration;

pub(crate) const MEGABYTE: usize = 1 << 20;
pub(crate) const KILOBYTE: usize = 1 << 10;
const RUNS: usize = 5;

/// What a developer's prompts are made of.
pub(crate) const ORDINARY: &str = "Please write to jane.roe@example.com about order 100234567890, or call (212) 555-0123 before 2026-11-23. \
    let total: u64 = items.iter().map(|item| item.price_cents * item.count).sum(); // see https://example.com/docs?page=7#sum \
    The quick brown fox, version 1.54.0 (sha256 9f86d081884c7d659a2feaa0c55ad015), jumped over 192.168.0.1:8080 in 3.14 seconds. \
    {\"id\": \"0192f3a4-7c1e-7b2a-9d3e-4455667788aa\", \"amount\": 1234.56, \"note\": \"naïve café — déjà vu\"}\n";

/// Bytes of the small texts, changes that are tried, and pieces that go on at a time.
const SMALL: usize = 4 * KILOBYTE;
const CHANGES: usize = 1_500;
const KEPT: usize = 12;
/// How often a small text is timed; on a busy machine the least of few is too much.
const TRIES: usize = 4;
const PIECE_MAX_BYTES: usize = 80;

/// What pieces are made of.
pub(crate) struct Pieces {
    /// Those that are slow, as far as is known.
    pub(crate) nasty: &'static [&'static str],
    /// What is put in beside them.
    pub(crate) signs: &'static str,
}

impl Pieces {
    /// The slowest piece and what a megabyte of it takes; `timed` says what a text does.
    pub(crate) fn slowest(&self, timed: impl Fn(&str) -> Duration) -> (Duration, String) {
        let small = |piece: String| {
            let text = filled(&piece, SMALL);
            let took = (0..TRIES).map(|_| timed(&text)).min().unwrap_or_default();
            (took.as_secs_f64() / text.len() as f64, piece)
        };
        let pairs = self.nasty.iter().flat_map(|a| self.nasty.iter().map(move |b| format!("{a}{b}")));
        let pieces = self.nasty.iter().map(|piece| (*piece).to_owned()).chain(pairs).chain([self.nasty.concat()]);
        let mut kept = pieces.map(small).collect::<Vec<_>>();
        keep(&mut kept);
        let mut chance = Chance(1);
        for _ in 0..CHANGES {
            let piece = self.changed(&kept[chance.below(kept.len())].1, &mut chance);
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

    /// With a sign or a piece put in, taken out or exchanged.
    fn changed(&self, piece: &str, chance: &mut Chance) -> String {
        let mut chars = piece.chars().collect::<Vec<_>>();
        for _ in 0..=chance.below(3) {
            let at = chance.below(chars.len() + 1);
            let end = (at + chance.below(3)).min(chars.len());
            match chance.below(6) {
                0 | 1 => chars.splice(at..end, None).count(),
                2 => chars.splice(at..end, self.nasty[chance.below(self.nasty.len())].chars()).count(),
                _ => chars.splice(at..end, self.signs.chars().nth(chance.below(self.signs.chars().count()))).count(),
            };
        }
        chars.into_iter().collect()
    }
}

fn keep(pieces: &mut Vec<(f64, String)>) {
    pieces.sort_by(|one, other| other.0.total_cmp(&one.0));
    pieces.truncate(KEPT);
}

/// The same numbers in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// A text of at least so many bytes.
pub(crate) fn filled(piece: &str, bytes: usize) -> String {
    piece.repeat(bytes / piece.len() + 1)
}

/// The least of several times.
pub(crate) fn least_of(timed: impl Fn() -> Duration) -> Duration {
    (0..RUNS).map(|_| timed()).min().unwrap_or_default()
}
