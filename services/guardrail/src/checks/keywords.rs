//! Words and phrases, found in one pass however many there are.
//!
//! Text and words are folded, lower-cased and their white space collapsed, so that neither case, line breaks nor
//! zero-width characters hide a word. A match must stand at word boundaries; scripts that write without spaces have none. A text with
//! dearer disguises is looked at a second time without them. A match inside an allowed phrase is none.

use super::Finding;
use super::fold::Folded;
use super::mask::Instead;
use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use std::borrow::Cow;
use std::ops::Range;

/// What masked keywords become.
pub const LABEL: &str = "KEYWORD";

/// A word says less about what it covers than a number that was checked.
const SCORE: f32 = 0.5;

/// A set of words, compiled.
#[derive(Debug)]
pub struct Keywords {
    words: AhoCorasick,
    /// Phrases in which they may stand; `None`: there are none.
    allowed: Option<AhoCorasick>,
    /// Of the longest word or phrase, in characters.
    longest: usize,
}

impl Keywords {
    /// Compiles the words; those that are empty after normalisation are ignored. Errors if the set is too large.
    pub fn new(words: &[String]) -> Result<Self, BuildError> {
        let (words, longest) = compile(words)?;
        Ok(Self { words, allowed: None, longest })
    }

    /// Lets the words stand in these phrases. Errors if the set is too large.
    pub fn allowing(self, phrases: &[String]) -> Result<Self, BuildError> {
        if phrases.is_empty() {
            return Ok(Self { allowed: None, ..self });
        }
        let (allowed, longest) = compile(phrases)?;
        Ok(Self { allowed: Some(allowed), longest: self.longest.max(longest), ..self })
    }

    /// A word as it is compared with others.
    pub fn normalised(word: &str) -> String {
        Folded::words(word).text().trim().to_owned()
    }

    /// What it takes in memory, in bytes.
    pub fn memory(&self) -> usize {
        self.words.memory_usage() + self.allowed.as_ref().map_or(0, AhoCorasick::memory_usage)
    }

    /// How many characters decide whether a word begins somewhere: the longest word or allowed phrase, and what follows it.
    pub fn window(&self) -> usize {
        self.longest + 1
    }

    /// Appends every match at word boundaries.
    pub fn scan(&self, text: &str, out: &mut Vec<Finding>) {
        self.scan_folded(&Folded::words(text), out);
        if let Some(deeper) = Folded::deeper_words(text) {
            self.scan_folded(&deeper, out);
        }
    }

    fn scan_folded(&self, folded: &Folded<'_>, out: &mut Vec<Finding>) {
        let lower = folded.text();
        let mut found = matches(&self.words, lower).peekable();
        if found.peek().is_none() {
            return;
        }
        let allowed = self.allowed.as_ref().map(|phrases| Phrases::new(matches(phrases, lower))).unwrap_or_default();
        for span in found.filter(|span| !allowed.hold(span)) {
            let (span, label) = (folded.span(span), Cow::Borrowed(LABEL));
            out.push(Finding { span, label, score: SCORE, instead: Instead::default() });
        }
    }
}

/// Compiled, and how many characters the longest has.
fn compile(words: &[String]) -> Result<(AhoCorasick, usize), BuildError> {
    let words = words.iter().map(|word| Keywords::normalised(word)).filter(|word| !word.is_empty());
    let words: Vec<String> = words.collect();
    let longest = words.iter().map(|word| word.chars().count()).max().unwrap_or(0);
    // overlapping search needs the standard kind: a longer match without a boundary must not hide a shorter one
    AhoCorasick::builder().match_kind(MatchKind::Standard).build(words).map(|words| (words, longest))
}

/// Matches at word boundaries.
fn matches<'t>(words: &'t AhoCorasick, text: &'t str) -> impl Iterator<Item = Range<usize>> + 't {
    let found = words.find_overlapping_iter(text).map(|found| found.start()..found.end());
    found.filter(move |span| boundary(text, span.start) && boundary(text, span.end))
}

/// Where allowed phrases stand: by their starts, with the furthest end of all that start there or before.
#[derive(Default)]
struct Phrases(Vec<(usize, usize)>);

impl Phrases {
    fn new(spans: impl Iterator<Item = Range<usize>>) -> Self {
        let mut phrases: Vec<(usize, usize)> = spans.map(|span| (span.start, span.end)).collect();
        phrases.sort_unstable();
        let mut furthest = 0;
        for (_, end) in &mut phrases {
            furthest = furthest.max(*end);
            *end = furthest;
        }
        Self(phrases)
    }

    /// Whether one of them holds all of it.
    fn hold(&self, span: &Range<usize>) -> bool {
        let before = self.0.partition_point(|(start, _)| *start <= span.start);
        self.0[..before].last().is_some_and(|(_, end)| *end >= span.end)
    }
}

/// Whether a word can start or end at this byte offset.
fn boundary(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at..].chars().next();
    !matches!((before, after), (Some(a), Some(b)) if joins(a) && joins(b))
}

/// Characters that build words together with their neighbours.
fn joins(c: char) -> bool {
    (c.is_alphanumeric() || c == '_') && !spaceless(c)
}

/// Thai to Khmer, and Han, kana and Hangul: written without spaces, or with particles attached.
fn spaceless(c: char) -> bool {
    matches!(c as u32, 0xe00..=0xeff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x9fff
        | 0xac00..=0xd7af | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'t>(words: &[&str], text: &'t str) -> Vec<&'t str> {
        let words = words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let mut out = Vec::new();
        Keywords::new(&words).expect("small").scan(text, &mut out);
        out.iter().map(|f| &text[f.span.clone()]).collect()
    }

    #[test]
    fn words_are_found_however_they_are_written() {
        for text in [
            "tell me about project orion",
            "PROJECT ORION!",
            "(Project\n   Orion)",
            "pro\u{200b}ject orion",
            "ｐｒｏｊｅｃｔ　ｏｒｉｏｎ",
            "project\u{a0}orion's plan",
        ] {
            assert_eq!(found(&["Project  Orion"], text).len(), 1, "{text}");
        }
        assert_eq!(found(&["größe"], "Die GRÖSSE und GRÖßE"), ["GRÖßE"]);
        assert_eq!(found(&["机密"], "这是机密文件"), ["机密"]);
    }

    #[test]
    fn parts_of_words_are_not_found() {
        for text in ["projection", "project orions", "my_project orion_x", "subproject orion", "project, orion", ""] {
            assert!(found(&["project orion"], text).is_empty(), "{text}");
        }
        assert!(found(&["cat"], "concatenate category cat5").is_empty());
        assert!(found(&["", "  "], "anything").is_empty());
    }

    #[test]
    fn a_longer_word_without_boundary_hides_nothing() {
        assert_eq!(found(&["orion x", "orion"], "orion xylophone"), ["orion"]);
        assert_eq!(found(&["c++", ".net"], "C++ and .NET"), ["C++", ".NET"]);
    }

    #[test]
    fn look_alikes_and_marks_hide_nothing() {
        for text in [
            "project ori\u{43e}n",
            "pr\u{3bf}ject orion",
            "𝐩𝐫𝐨𝐣𝐞𝐜𝐭 𝓸𝓻𝓲𝓸𝓷",
            "ⓟⓡⓞⓙⓔⓒⓣ orion",
            "pro\u{336}ject o\u{336}rion",
        ] {
            assert_eq!(found(&["project orion"], text).len(), 1, "{text}");
        }
        assert!(found(&["hope"], "норе").is_empty(), "a word of one script is that word");
        assert_eq!(found(&["орион"], "проект орион"), ["орион"]);
    }

    #[test]
    fn a_word_may_stand_in_an_allowed_phrase() {
        let found = |text: &str| {
            let allowed = ["Orion Nebula", "the orion"].map(str::to_owned);
            let keywords = Keywords::new(&["orion".to_owned()]).expect("small").allowing(&allowed).expect("small");
            let mut out = Vec::new();
            keywords.scan(text, &mut out);
            out.into_iter().map(|found| found.span.start).collect::<Vec<_>>()
        };
        assert_eq!(found("See the ORION  nebula, and orion."), [27]);
        assert_eq!(found("orion nebulae"), [0]);
        assert_eq!(found("the orion, an orion nebula"), [0; 0]);
        assert_eq!(found("orion orion nebula"), [0]);
    }

    #[test]
    fn ten_thousand_words_are_one_pass_and_a_few_megabytes() {
        let words = (0..10_000).map(|i| format!("term{i}x of ours")).collect::<Vec<_>>();
        let keywords = Keywords::new(&words).expect("fits");
        let mut out = Vec::new();
        keywords.scan(&"term4321x of ours, term9x of ours. ".repeat(500), &mut out);
        assert_eq!(out.len(), 1_000);
        assert!(keywords.memory() < 32 << 20, "{} bytes", keywords.memory());
    }
}
