//! Undoes cheap disguises of a text before it is checked: zero-width characters, full-width forms, exotic spaces, dashes
//! and digits. Every span of the folded text can be traced back to the original.
//!
//! Not here: homoglyphs of other scripts, text split over several messages, and encodings such as base64.

use std::borrow::Cow;
use std::ops::Range;

/// A text as the checks see it, with the way back to the original. ASCII text is borrowed as it is.
#[derive(Debug)]
pub struct Folded<'a> {
    original: &'a str,
    text: Cow<'a, str>,
    /// For every byte of `text`, and its end: where its character starts in the original. `None`: the same offsets.
    origin: Option<Vec<u32>>,
    beside: &'a str,
}

impl<'a> Folded<'a> {
    /// Folds characters; case and white space stay.
    pub fn new(original: &'a str) -> Self {
        if original.is_ascii() {
            return Self { original, text: Cow::Borrowed(original), origin: None, beside: "" };
        }
        let mut folding = Folding::with_capacity(original.len());
        for (at, c) in original.char_indices() {
            if let Some(c) = fold_char(c) {
                folding.push(c, at);
            }
        }
        folding.finish(original)
    }

    /// Folds characters, lower-cases, and turns every run of white space into one space: for comparing words.
    pub fn words(original: &'a str) -> Self {
        let spaced = original.as_bytes().windows(2).any(|w| w[0].is_ascii_whitespace() && w[1].is_ascii_whitespace());
        if original.is_ascii() && !spaced {
            let lower = |c: char| if c.is_ascii_whitespace() { ' ' } else { c.to_ascii_lowercase() };
            let text = original.chars().map(lower).collect::<String>();
            return Self { original, text: Cow::Owned(text), origin: None, beside: "" };
        }
        let mut folding = Folding::with_capacity(original.len());
        for (at, c) in original.char_indices() {
            match fold_char(c) {
                Some(c) if c.is_whitespace() && folding.text.ends_with(' ') => {}
                Some(c) if c.is_whitespace() => folding.push(' ', at),
                Some(c) => c.to_lowercase().for_each(|c| folding.push(c, at)),
                None => {}
            }
        }
        folding.finish(original)
    }

    /// The same text, standing under this key of a JSON object: context for what it means.
    #[must_use]
    pub fn beside(self, key: &'a str) -> Self {
        Self { beside: key, ..self }
    }

    /// The key it stands under; empty if there is none.
    pub fn key(&self) -> &'a str {
        self.beside
    }

    /// The folded text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text as it came.
    pub fn original(&self) -> &'a str {
        self.original
    }

    /// The range of the original that a range of the folded text stands for.
    pub fn span(&self, folded: Range<usize>) -> Range<usize> {
        match &self.origin {
            None => folded,
            Some(origin) => {
                let at = |i: usize| origin.get(i).map_or(self.original.len(), |o| *o as usize);
                at(folded.start)..at(folded.end)
            }
        }
    }
}

/// Where a text that still grows is decided, for whoever reads no further than `ahead` visible characters beyond what it decides: nothing
/// that comes later changes what is in front of it. A run of white space counts as one character, what nobody sees as none. It never
/// stands within a word, a number or an address, however long: these are decided when they have ended. Scripts beyond
/// Cyrillic end them, because no value is written in those.
pub fn decided(text: &str, ahead: usize) -> usize {
    if ahead == 0 {
        return text.len();
    }
    let mut back = text.char_indices().rev();
    let (mut counted, mut is_spaced, mut at) = (0, false, text.len());
    while counted < ahead {
        let Some((start, c)) = back.next() else { return 0 };
        at = start;
        let Some(c) = fold_char(c) else { continue };
        counted += usize::from(!(is_spaced && c.is_whitespace()));
        is_spaced = c.is_whitespace();
    }
    if text[at..].chars().next().and_then(fold_char).is_some_and(parts) {
        return at;
    }
    for (start, c) in back {
        if fold_char(c).is_some_and(parts) {
            return at;
        }
        at = start;
    }
    0
}

/// Whether the last `ahead` visible characters hold neither a digit nor three dashes: what every value of several words has. The number of
/// a placeholder is none, because no value begins behind a `_`.
pub(crate) fn is_quiet(text: &str, ahead: usize) -> bool {
    let (mut counted, mut dashes, mut is_number) = (0, 0, false);
    for c in text.chars().rev().filter_map(fold_char) {
        dashes = if c == '-' { dashes + 1 } else { 0 };
        if dashes == 3 || (is_number && !c.is_ascii_digit() && c != '_') {
            return false;
        }
        is_number = c.is_ascii_digit();
        counted += usize::from(!c.is_whitespace());
        if counted > ahead && !is_number {
            return true;
        }
    }
    !is_number
}

/// Characters that no single value reaches across.
fn parts(c: char) -> bool {
    c.is_whitespace() || (c as u32) >= 0x530
}

struct Folding {
    text: String,
    origin: Vec<u32>,
}

impl Folding {
    fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), origin: Vec::with_capacity(bytes + 1) }
    }

    fn push(&mut self, c: char, at: usize) {
        self.text.push(c);
        // bodies are bounded far below 4 GiB
        self.origin.resize(self.text.len(), u32::try_from(at).unwrap_or(u32::MAX));
    }

    fn finish(mut self, original: &str) -> Folded<'_> {
        self.origin.push(u32::try_from(original.len()).unwrap_or(u32::MAX));
        Folded { original, text: Cow::Owned(self.text), origin: Some(self.origin), beside: "" }
    }
}

/// The plain form of a character; `None` for one that nobody sees.
fn fold_char(c: char) -> Option<char> {
    let code = c as u32;
    let digit = |zero: u32| char::from_digit((code - zero) % 10, 10);
    match code {
        0..=0x7f => Some(c),
        // soft hyphen, combining grapheme joiner, Mongolian vowel separator, zero-width and bidi controls, BOM
        0xad | 0x34f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x2069 | 0xfeff => None,
        // variation selectors and tags
        0xfe00..=0xfe0f | 0xe0000..=0xe01ef => None,
        0x660..=0x669 => digit(0x660),
        0x6f0..=0x6f9 => digit(0x6f0),
        0x966..=0x96f => digit(0x966),
        0x1d7ce..=0x1d7ff => digit(0x1d7ce),
        // full-width ASCII
        0xff01..=0xff5e => char::from_u32(code - 0xfee0),
        0x2010..=0x2015 | 0x2212 | 0xfe58 | 0xfe63 => Some('-'),
        _ if c.is_whitespace() => Some(' '),
        _ => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn disguises_are_undone_and_traced_back() {
        let original = "a\u{200b}b ４１\u{2011}1\u{a0}x";
        let folded = Folded::new(original);
        assert_eq!(folded.text(), "ab 41-1 x");
        let at = folded.text().find("41-1").expect("folded");
        assert_eq!(&original[folded.span(at..at + 4)], "４１\u{2011}1");
        assert_eq!(Folded::words("Ein  GROSSES\n\tWort").text(), "ein grosses wort");
        assert_eq!(Folded::words("Plain\tText").text(), "plain text");
    }

    #[test]
    fn a_word_that_may_go_on_is_not_decided() {
        for (text, ahead, decided_part) in [
            ("my number is 4", 1, "my number is "),
            ("my number is 4", 3, "my number "),
            ("my number is  \u{200b} 4", 3, "my number "),
            ("my number is  \u{200b} 4", 2, "my number is  \u{200b}"),
            ("number", 1, ""),
            ("a b", 9, ""),
            ("\u{673a}\u{673a}\u{673a}", 2, "\u{673a}"),
            ("any", 0, "any"),
        ] {
            assert_eq!(&text[..decided(text, ahead)], decided_part, "{text} {ahead}");
        }
        assert!(is_quiet("only words -- here", 100) && !is_quiet("in \u{ff11}980", 4) && !is_quiet("-----BEGIN", 40));
        assert!(is_quiet("1980 was a year", 6) && is_quiet("to [EMAIL_ADDRESS_12] and", 40) && !is_quiet("1 and", 40));
    }

    proptest! {
        #[test]
        fn every_span_is_a_slice_of_the_original(text in "\\PC{0,60}", a in 0usize..80, b in 0usize..80) {
            for folded in [Folded::new(&text), Folded::words(&text)] {
                let (a, b) = (a.min(folded.text().len()), b.min(folded.text().len()));
                if a <= b && folded.text().is_char_boundary(a) && folded.text().is_char_boundary(b) {
                    prop_assert!(text.get(folded.span(a..b)).is_some());
                }
            }
        }
    }
}
