//! Undoes disguises of a text before it is checked. Every span of the folded text can be traced back to the original.
//!
//! Cheap ones always: zero-width characters, full-width forms, exotic spaces, dashes and digits. Dearer ones in a second text,
//! [`Folded::deeper`], which is there only where it differs: letters of other scripts in Latin words, letters and digits in other dress
//! (`look_alikes`), marks put on letters, ligatures. It is looked at beside the first one, so that nothing is lost by it.
//!
//! Not here: words that are wholly of look-alikes, digits for letters, text split over several messages, encodings such as base64.

use crate::look_alikes::{is_mark, latin, ligature, undressed};
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

    /// Undoes dearer disguises as well; case and white space stay. `None` if there are none.
    pub fn deeper(original: &'a str) -> Option<Self> {
        is_disguised(original).then(|| Self::deep(original, false))
    }

    /// The same for comparing words; see [`Folded::words`].
    pub fn deeper_words(original: &'a str) -> Option<Self> {
        is_disguised(original).then(|| Self::deep(original, true))
    }

    fn deep(original: &'a str, is_for_words: bool) -> Self {
        let mut folding = Folding::with_capacity(original.len());
        for (start, word) in words(original) {
            let is_mixed = is_mixed(word);
            for (at, c) in word.char_indices().map(|(at, c)| (start + at, c)) {
                let mut push = |c: char| match c {
                    c if !is_for_words => folding.push(c, at),
                    c if c.is_whitespace() && folding.text.ends_with(' ') => {}
                    c if c.is_whitespace() => folding.push(' ', at),
                    c => c.to_lowercase().for_each(|c| folding.push(c, at)),
                };
                if let Some(letters) = ligature(c) {
                    letters.chars().for_each(push);
                } else if !is_mark(c) {
                    let plain = undressed(c).or_else(|| latin(c).filter(|_| is_mixed)).or_else(|| fold_char(c));
                    plain.into_iter().for_each(&mut push);
                }
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
/// Cyrillic end them, because no value is written in those, but for letters and digits that are Latin ones in another dress.
pub fn decided(text: &str, ahead: usize) -> usize {
    if ahead == 0 {
        return text.len();
    }
    let mut back = text.char_indices().rev();
    let (mut counted, mut is_spaced, mut at) = (0, false, text.len());
    while counted < ahead {
        let Some((start, c)) = back.next() else { return 0 };
        at = start;
        let Some(c) = seen(c) else { continue };
        counted += usize::from(!(is_spaced && c.is_whitespace()));
        is_spaced = c.is_whitespace();
    }
    if text[at..].chars().next().and_then(seen).is_some_and(parts) {
        return at;
    }
    for (start, c) in back {
        if seen(c).is_some_and(parts) {
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
    for c in text.chars().rev().filter_map(seen).map(|c| undressed(c).unwrap_or(c)) {
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

/// The plain form of a character, in front of dearer disguises; `None` for one that some form of the text is without.
fn seen(c: char) -> Option<char> {
    fold_char(c).filter(|c| !is_mark(*c))
}

/// Characters that no single value reaches across, in whatever dress.
fn parts(c: char) -> bool {
    let is_dressed = || undressed(c).is_some() || latin(c).is_some() || ligature(c).is_some();
    c.is_whitespace() || ((c as u32) >= 0x530 && !is_dressed())
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

/// Words and what stands between them, in order, each with its place.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let is_in_word = joins(rest.chars().next()?);
        let length = rest.find(|c: char| joins(c) != is_in_word).unwrap_or(rest.len());
        at += length;
        Some((at - length, &rest[..length]))
    })
}

/// Whether a character is of a word, or of nothing. Where a text that grows is decided no word goes on; see [`decided`].
fn joins(c: char) -> bool {
    seen(c).is_none_or(|c| c.is_alphanumeric() && !parts(c))
}

/// Whether a word has Latin letters and some that only look like them.
fn is_mixed(word: &str) -> bool {
    let is_latin = |c: char| c.is_ascii_alphabetic() || undressed(c).is_some_and(|plain| plain.is_ascii_alphabetic());
    word.chars().any(is_latin) && word.chars().any(|c| latin(c).is_some())
}

/// Whether there is anything that only [`Folded::deeper`] undoes.
fn is_disguised(text: &str) -> bool {
    let is_dressed = |c: char| is_mark(c) || ligature(c).is_some() || undressed(c).is_some();
    let is_hidden = |word: &str| !word.is_ascii() && (is_mixed(word) || word.chars().any(is_dressed));
    !text.is_ascii() && words(text).any(|(_, word)| is_hidden(word))
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
    fn dearer_disguises_are_undone_beside() {
        let deeper = |text: &str| Folded::deeper(text).map(|folded| folded.text().to_owned());
        for (text, plain) in [
            ("j\u{430}ne@exampl\u{435}.com", "jane@example.com"),
            ("\u{410}KIA123", "AKIA123"),
            ("𝐣𝐚𝐧𝐞 ⓡⓞⓔ", "jane roe"),
            ("o\u{336}r\u{336}ion", "orion"),
            ("ﬁle ៤១", "file 41"),
            ("p\u{200b}r\u{43e}ject", "project"),
        ] {
            assert_eq!(deeper(text).as_deref(), Some(plain), "{text}");
        }
        for text in ["", "plain", "Größe café", "привет мир", "γειά σου", "机密 ４１", "сорт x"]
        {
            assert_eq!(deeper(text), None, "{text}");
        }
        let text = "x  \u{41f}r\u{43e}j  ﬁ";
        let folded = Folded::deeper_words(text).expect("disguised");
        assert_eq!(folded.text(), "x \u{43f}roj fi");
        let at = folded.text().find("fi").expect("there");
        assert_eq!(&text[folded.span(at..at + 2)], "ﬁ");
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
            ("to jane@\u{1d41e}x", 1, "to "),
            ("to j\u{336}a\u{336}n", 3, "to "),
            ("to jane@exam\u{3164}p", 1, "to "),
            ("\u{673a}\u{441}\u{43e}", 1, "\u{673a}"),
        ] {
            assert_eq!(&text[..decided(text, ahead)], decided_part, "{text} {ahead}");
        }
        assert!(is_quiet("only words -- here", 100) && !is_quiet("in \u{ff11}980", 4) && !is_quiet("-----BEGIN", 40));
        assert!(is_quiet("1980 was a year", 6) && is_quiet("to [EMAIL_ADDRESS_12] and", 40) && !is_quiet("1 and", 40));
        assert!(!is_quiet("in \u{9e7}\u{9ef}\u{336}8", 4));
    }

    proptest! {
        #[test]
        fn every_span_is_a_slice_of_the_original(text in "\\PC{0,60}", a in 0usize..80, b in 0usize..80) {
            let deeper = Folded::deeper(&text).into_iter().chain(Folded::deeper_words(&text));
            for folded in [Folded::new(&text), Folded::words(&text)].into_iter().chain(deeper) {
                let (a, b) = (a.min(folded.text().len()), b.min(folded.text().len()));
                if a <= b && folded.text().is_char_boundary(a) && folded.text().is_char_boundary(b) {
                    prop_assert!(text.get(folded.span(a..b)).is_some());
                }
            }
        }
    }
}
