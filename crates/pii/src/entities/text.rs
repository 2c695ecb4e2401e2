//! A text with what several recognisers ask of it, each found once and only when it is asked for.

use super::context::{self, Words};
use super::score::{CHECKSUM, weigh};
use super::{Entity, Report, digits};
use std::cell::OnceCell;
use std::ops::Range;

/// Codes outside these lengths, in bytes, are of no interest to anybody.
const CODE_BYTES: Range<usize> = 6..91;

/// A folded text under the key of a JSON object.
pub(crate) struct Text<'t> {
    text: &'t str,
    key: &'t str,
    groups: OnceCell<Vec<Range<usize>>>,
    codes: OnceCell<Vec<Range<usize>>>,
    words: OnceCell<Words>,
}

impl<'t> Text<'t> {
    /// `key` is empty where there is none.
    pub(crate) fn new(text: &'t str, key: &'t str) -> Self {
        Self { text, key, groups: OnceCell::new(), codes: OnceCell::new(), words: OnceCell::new() }
    }

    /// The text itself.
    pub(crate) fn as_str(&self) -> &'t str {
        self.text
    }

    /// Maximal runs of ASCII digits.
    pub(super) fn groups(&self) -> &[Range<usize>] {
        self.groups.get_or_init(|| digits::groups(self.text))
    }

    /// Words of ASCII letters and digits with a digit among them, as identifiers are written.
    pub(super) fn codes(&self) -> &[Range<usize>] {
        self.codes.get_or_init(|| codes(self.text))
    }

    fn words(&self) -> &Words {
        self.words.get_or_init(|| Words::new(self.text, self.key))
    }

    /// Reports the codes of a shape that nothing checks: only beside a word for what they are.
    pub(super) fn labelled_codes(&self, entity: Entity, report: Report<'_>, is_shaped: impl Fn(&[u8]) -> bool) {
        for code in self.codes().iter().filter(|code| is_shaped(&self.text.as_bytes()[(*code).clone()])) {
            if let Some(score) = self.near(code, entity.topic()) {
                report(code.clone(), score);
            }
        }
    }

    /// Whether a word anywhere, or the key, is about one of these topics.
    pub(super) fn speaks(&self, topics: u64) -> bool {
        self.words().has(topics)
    }

    /// How much a word about these topics speaks for a span nearby; `None` if there is none.
    pub(super) fn near(&self, span: &Range<usize>, topics: u64) -> Option<f32> {
        self.words().near(self.text, span, topics)
    }

    /// See [`Words::says_another`].
    pub(super) fn says_another(&self, span: &Range<usize>, topics: u64) -> bool {
        self.words().says_another(span, topics)
    }

    /// The score of a number whose check `holds` or not. It counts for `alone` by itself, if the check holds and no label says that it
    /// is something else, and for more beside a word about these topics, if it holds.
    pub(super) fn weigh_number(
        &self,
        span: &Range<usize>,
        topics: u64,
        holds: bool,
        alone: Option<f32>,
    ) -> Option<f32> {
        let near = self.near(span, topics).map(|near| if holds { near + CHECKSUM } else { near });
        weigh(alone.filter(|_| holds && !self.says_another(span, topics)), near)
    }

    /// Whether one of these words stands near the span: for words that are not known beforehand.
    pub(crate) fn beside(&self, span: &Range<usize>, words: &[String]) -> bool {
        context::beside(self.text, self.key, span, words)
    }
}

fn codes(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut codes = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphanumeric() {
            at += 1;
            continue;
        }
        let start = at;
        let mut digit = false;
        while at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
            digit |= bytes[at].is_ascii_digit();
            at += 1;
        }
        if digit && CODE_BYTES.contains(&(at - start)) && digits::starts(text, start) && digits::ends(text, at) {
            codes.push(start..at);
        }
    }
    codes
}
