//! Words and phrases, found in one pass however many there are.
//!
//! Text and words are folded, lower-cased and their white space collapsed, so that neither case, line breaks nor
//! zero-width characters hide a word. A match must stand at word boundaries; scripts that write without spaces have none.

use super::Finding;
use super::fold::Folded;
use super::mask::Instead;
use aho_corasick::{AhoCorasick, MatchKind};
use std::borrow::Cow;

/// What masked keywords become.
pub const LABEL: &str = "KEYWORD";

/// A word says less about what it covers than a number that was checked.
const SCORE: f32 = 0.5;

/// A set of words, compiled.
#[derive(Debug)]
pub struct Keywords {
    words: AhoCorasick,
    /// Of the longest word, in characters.
    longest: usize,
}

impl Keywords {
    /// Compiles the words; those that are empty after normalisation are ignored. Errors if the set is too large.
    pub fn new(words: &[String]) -> Result<Self, aho_corasick::BuildError> {
        let words = words.iter().map(|w| Folded::words(w).text().trim().to_owned()).filter(|w| !w.is_empty());
        let words: Vec<String> = words.collect();
        let longest = words.iter().map(|word| word.chars().count()).max().unwrap_or(0);
        // overlapping search needs the standard kind: a longer match without a boundary must not hide a shorter one
        AhoCorasick::builder().match_kind(MatchKind::Standard).build(words).map(|words| Self { words, longest })
    }

    /// How many characters decide whether a word begins somewhere: the longest word, and what follows it.
    pub fn window(&self) -> usize {
        self.longest + 1
    }

    /// Appends every match at word boundaries.
    pub fn scan(&self, text: &str, out: &mut Vec<Finding>) {
        let folded = Folded::words(text);
        let lower = folded.text();
        for found in self.words.find_overlapping_iter(lower) {
            let (start, end) = (found.start(), found.end());
            if boundary(lower, start) && boundary(lower, end) {
                let (span, label) = (folded.span(start..end), Cow::Borrowed(LABEL));
                out.push(Finding { span, label, score: SCORE, instead: Instead::default() });
            }
        }
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
    fn thousands_of_words_are_one_pass() {
        let words = (0..5_000).map(|i| format!("term{i}x")).collect::<Vec<_>>();
        let mut out = Vec::new();
        Keywords::new(&words).expect("fits").scan(&"term4321x and term9x ".repeat(500), &mut out);
        assert_eq!(out.len(), 1_000);
    }
}
