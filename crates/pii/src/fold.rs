//! Undoes disguises of a text before it is checked. Every span of the folded text can be traced back to the original.
//!
//! Cheap ones always: zero-width characters, full-width forms, exotic spaces, dashes and digits. Dearer ones in a second text,
//! [`Folded::deeper`], which is there only where it differs: letters of other scripts in Latin words, letters and digits in other dress
//! (`look_alikes`), marks put on letters, ligatures. It is looked at beside the first one, so that nothing is lost by it.
//!
//! Not here: words that are wholly of look-alikes, digits for letters, text split over several messages, encodings such as base64.

pub use crate::looks::is_word;

use crate::look_alikes::ligature;
use crate::looks::{Look, Looks, lower};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

/// A text as the checks see it, with the way back to the original. What folding leaves as it is is borrowed.
#[derive(Debug)]
pub struct Folded<'a> {
    original: &'a str,
    text: Cow<'a, str>,
    /// For every byte of `text`, and its end: where its character starts in the original. `None`: the same offsets.
    origin: Option<Vec<u32>>,
    beside: &'a str,
    closer: OnceCell<Option<Box<Folded<'a>>>>,
}

impl<'a> Folded<'a> {
    /// Folds characters; case and white space stay.
    pub fn new(original: &'a str) -> Self {
        if original.is_ascii() {
            return Self::made(original, Cow::Borrowed(original), None);
        }
        let looks = Looks::get();
        let mut folding = Folding::new(original);
        // up to where the original has been taken over
        let mut done = 0;
        for (at, c) in beyond_ascii(original) {
            let look = looks.of(c);
            if !look.is_plain() {
                folding.keep(done..at);
                look.folded(c).into_iter().for_each(|c| folding.push(c, at));
                done = at + c.len_utf8();
            }
        }
        if done == 0 {
            return Self::made(original, Cow::Borrowed(original), None);
        }
        folding.keep(done..original.len());
        folding.finish()
    }

    /// Folds characters, lower-cases, and turns every run of white space into one space: for comparing words.
    pub fn words(original: &'a str) -> Self {
        let spaced = original.as_bytes().windows(2).any(|pair| is_blank(pair[0]) && is_blank(pair[1]));
        if original.is_ascii() && !spaced {
            let lower = |byte: u8| if is_blank(byte) { ' ' } else { char::from(byte.to_ascii_lowercase()) };
            return Self::made(original, Cow::Owned(original.bytes().map(lower).collect()), None);
        }
        Folding::of(original, |folding| plain(original, in_words(|c, at| folding.push(c, at))))
    }

    /// Undoes dearer disguises as well; case and white space stay. `None` if there are none.
    pub fn deeper(original: &'a str) -> Option<Self> {
        let first = first_disguise(original)?;
        Some(Folding::of(original, |folding| closer(original, first, |c, at| folding.push(c, at))))
    }

    /// The same for comparing words; see [`Folded::words`].
    pub fn deeper_words(original: &'a str) -> Option<Self> {
        let first = first_disguise(original)?;
        Some(Folding::of(original, |folding| closer(original, first, in_words(|c, at| folding.push(c, at)))))
    }

    /// What [`Folded::deeper`] gives of the same original under the same key, made once.
    pub fn closer(&self) -> Option<&Folded<'a>> {
        let closer = self.closer.get_or_init(|| Self::deeper(self.original).map(|it| Box::new(it.beside(self.beside))));
        closer.as_deref()
    }

    fn made(original: &'a str, text: Cow<'a, str>, origin: Option<Vec<u32>>) -> Self {
        Self { original, text, origin, beside: "", closer: OnceCell::new() }
    }

    /// The same text, standing under this key of a JSON object: context for what it means.
    #[must_use]
    pub fn beside(self, key: &'a str) -> Self {
        Self { beside: key, closer: OnceCell::new(), ..self }
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

/// Shows the text of [`Folded::words`] character by character, for whoever need not know where they stood.
pub fn show_words(original: &str, mut show: impl FnMut(char)) {
    plain(original, in_words(|c, _| show(c)));
}

/// The same of [`Folded::deeper_words`]; nothing if there are no dearer disguises.
pub fn show_deeper_words(original: &str, mut show: impl FnMut(char)) {
    if let Some(first) = first_disguise(original) {
        closer(original, first, in_words(|c, _| show(c)));
    }
}

/// Shows a text without its cheap disguises, each character with the place where it stood.
fn plain(original: &str, mut show: impl FnMut(char, usize)) {
    let looks = Looks::get();
    for (at, c) in original.char_indices() {
        if c.is_ascii() {
            show(c, at);
        } else if let Some(c) = looks.of(c).folded(c) {
            show(c, at);
        }
    }
}

/// Shows a text without its dearer disguises, of which the first is known, each character with the place where it stood.
fn closer(original: &str, first: usize, mut show: impl FnMut(char, usize)) {
    let mut words = Words::new(original, first);
    for (at, c) in original.char_indices() {
        if c.is_ascii() {
            show(c, at);
            continue;
        }
        let look = words.looks.of(c);
        if look.is_ligature() {
            ligature(c).into_iter().flat_map(str::chars).for_each(|c| show(c, at));
        } else if let Some(c) = look.closer(c, look.is_look_alike() && words.are_mixed(at)) {
            show(c, at);
        }
    }
}

/// Shows in lower case what it is shown, and of a run of white space the first as a space.
fn in_words(mut show: impl FnMut(char, usize)) -> impl FnMut(char, usize) {
    let mut is_spaced = false;
    move |c, at| {
        if !c.is_whitespace() {
            lower(c, |c| show(c, at));
            is_spaced = false;
        } else if !is_spaced {
            show(' ', at);
            is_spaced = true;
        }
    }
}

/// White space in ASCII, as [`char::is_whitespace`] has it: also a vertical tab.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Where a text that still grows is decided, for whoever reads no further than `ahead` visible characters beyond what it decides: nothing
/// that comes later changes what is in front of it. A run of white space counts as one character, what nobody sees as none. It never
/// stands within a word, a number or an address, however long: these are decided when they have ended. Scripts beyond
/// Cyrillic end them, because no value is written in those, but for letters and digits that are Latin ones in another dress.
pub fn decided(text: &str, ahead: usize) -> usize {
    if ahead == 0 {
        return text.len();
    }
    let looks = Looks::get();
    let parts = |c: char| looks.of(c).parts();
    let mut back = text.char_indices().rev();
    let (mut counted, mut is_spaced, mut at) = (0, false, text.len());
    while counted < ahead {
        let Some((start, c)) = back.next() else { return 0 };
        at = start;
        let Some(c) = looks.of(c).seen(c) else { continue };
        counted += usize::from(!(is_spaced && c.is_whitespace()));
        is_spaced = c.is_whitespace();
    }
    if text[at..].starts_with(parts) {
        return at;
    }
    for (start, c) in back {
        if parts(c) {
            return at;
        }
        at = start;
    }
    0
}

/// Whether the last `ahead` visible characters hold neither a digit nor three dashes: what every value of several words has. The number of
/// a placeholder is none, because no value begins behind a `_`.
pub(crate) fn is_quiet(text: &str, ahead: usize) -> bool {
    let looks = Looks::get();
    let (mut counted, mut dashes, mut is_number) = (0, 0, false);
    let seen = |c: char| looks.of(c).seen(c).map(|plain| looks.of(c).undressed(plain));
    for c in text.chars().rev().filter_map(seen) {
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

struct Folding<'a> {
    original: &'a str,
    text: String,
    origin: Vec<u32>,
}

impl<'a> Folding<'a> {
    fn new(original: &'a str) -> Self {
        let bytes = original.len();
        Self { original, text: String::with_capacity(bytes), origin: Vec::with_capacity(bytes + 1) }
    }

    /// What is filled into one.
    fn of(original: &'a str, fill: impl FnOnce(&mut Self)) -> Folded<'a> {
        let mut folding = Self::new(original);
        fill(&mut folding);
        folding.finish()
    }

    /// Takes over a part of the original.
    fn keep(&mut self, part: Range<usize>) {
        self.text.push_str(&self.original[part.clone()]);
        // interior bytes of a character are nobody's bounds
        self.origin.extend(offset(part.start)..offset(part.end));
    }

    fn push(&mut self, c: char, at: usize) {
        self.text.push(c);
        self.origin.push(offset(at));
        // most of what is pushed is ASCII
        if !c.is_ascii() {
            self.origin.extend(std::iter::repeat_n(offset(at), c.len_utf8() - 1));
        }
    }

    fn finish(mut self) -> Folded<'a> {
        self.origin.push(offset(self.original.len()));
        Folded::made(self.original, Cow::Owned(self.text), Some(self.origin))
    }
}

/// Bodies are bounded far below 4 GiB.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The words of a text, which are asked for in order.
struct Words<'a> {
    looks: &'static Looks,
    text: &'a str,
    /// Of the word that was asked for last: where it ends, and whether it is mixed.
    end: usize,
    is_mixed: bool,
}

impl<'a> Words<'a> {
    /// None is mixed that is asked for in front of `first`.
    fn new(text: &'a str, first: usize) -> Self {
        Self { looks: Looks::get(), text, end: first, is_mixed: false }
    }

    /// Whether the word of the letter that stands there has Latin letters and some that only look like them.
    fn are_mixed(&mut self, at: usize) -> bool {
        if at >= self.end {
            let (before, after) = self.text.split_at(at);
            let mut together = Look::default();
            let mut joins = |c: char| {
                let look = self.looks.of(c);
                if look.joins() {
                    together = together.and(look);
                }
                look.joins()
            };
            let _ = before.trim_end_matches(&mut joins);
            self.end = self.text.len() - after.trim_start_matches(&mut joins).len();
            self.is_mixed = together.is_mixed();
        }
        self.is_mixed
    }
}

/// Where the first character stands that only [`Folded::deeper`] undoes.
fn first_disguise(text: &str) -> Option<usize> {
    let mut words = Words::new(text, 0);
    let looks = words.looks;
    let mut disguises = beyond_ascii(text).filter(|(at, c)| {
        let look = looks.of(*c);
        look.is_dressed() || (look.is_look_alike() && words.are_mixed(*at))
    });
    disguises.next().map(|(at, _)| at)
}

/// The characters that are not ASCII, each with its place.
fn beyond_ascii(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += text.as_bytes()[at..].iter().position(|byte| !byte.is_ascii())?;
        let c = text[at..].chars().next()?;
        at += c.len_utf8();
        Some((at - c.len_utf8(), c))
    })
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
        for text in ["Plain\tText", "Plain\u{b}Text", "Plain\u{b}\u{b}Text", "Plain\u{2028}\u{b}Text"] {
            assert_eq!(Folded::words(text).text(), "plain text", "{text:?}");
        }
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
        fn what_is_shown_is_the_folded_text(text in "[\\PC\\s]{0,60}|[a-zA-Z\\s]{0,20}") {
            let (mut shown, mut deeper) = (String::new(), String::new());
            show_words(&text, |c| shown.push(c));
            show_deeper_words(&text, |c| deeper.push(c));
            let folded = [Some(Folded::words(&text)), Folded::deeper_words(&text)];
            let [words, deeper_words] = folded.each_ref().map(|it| it.as_ref().map_or("", Folded::text));
            prop_assert_eq!((shown.as_str(), deeper.as_str()), (words, deeper_words));
        }

        #[test]
        fn a_word_is_mixed_by_all_of_its_characters(text in "[aоб \u{301}\u{200b}ﬁⓐ⒜机.\u{3bf}]{0,24}|\\PC{0,24}") {
            let looks = Looks::get();
            let chars = text.chars().collect::<Vec<_>>();
            let words = chars.chunk_by(|one, next| looks.of(*one).joins() == looks.of(*next).joins());
            let (mut plain, mut is_any) = (String::new(), false);
            for word in words {
                let together = word.iter().fold(Look::default(), |together, c| together.and(looks.of(*c)));
                is_any |= together.is_dressed() || together.is_mixed();
                for c in word {
                    match ligature(*c) {
                        Some(letters) => plain.push_str(letters),
                        None => plain.extend(looks.of(*c).closer(*c, together.is_mixed())),
                    }
                }
            }
            let deeper = Folded::deeper(&text).map(|folded| folded.text().to_owned());
            prop_assert_eq!(deeper, is_any.then_some(plain));
        }

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
