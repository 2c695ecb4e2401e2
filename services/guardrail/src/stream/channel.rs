//! One text of a stream as it grows: what of it is decided, and what stands in its place.
//!
//! Patterns look at all of the text so far, again and again, each time when it has grown by a part of itself, so that the work is linear
//! in the text but for a factor. Masking looks at what it has masked once more, as on a whole text; each such round decides a
//! little less of the text than the one before.

use crate::checks::Finding;
use crate::inspect;
use crate::pipeline::{ROUNDS_MAX, Scanned, Stage, Texts, findings};
use std::collections::BTreeSet;
use std::ops::Range;

/// A text is looked at again when it has grown by so many bytes, and by this part of itself.
const STEP_MIN_BYTES: usize = 32;
const STEP_PART: usize = 64;

/// A text, or the arguments of a tool.
#[derive(Debug, Default)]
pub(super) struct Channel {
    text: String,
    is_arguments: bool,
    is_ended: bool,
    /// Bytes that were looked at last.
    looked: usize,
    /// Nothing is to be looked at any more.
    is_final: bool,
    /// Up to here nothing changes any more.
    settled: usize,
    /// What stands in its place; `None`: the same.
    masked: Option<Masked>,
}

impl Channel {
    pub(super) fn new(is_arguments: bool) -> Self {
        Self { is_arguments, ..Self::default() }
    }

    /// Adds a part. Where it stands. A text that had ended goes on: what has gone out of a value that began before stays, and its
    /// rest does not follow.
    pub(super) fn push(&mut self, part: &str) -> Range<usize> {
        let start = self.text.len();
        if !part.is_empty() {
            (self.is_ended, self.is_final) = (false, false);
            self.text.push_str(part);
        }
        start..self.text.len()
    }

    pub(super) fn end(&mut self) {
        self.is_ended = true;
    }

    /// Whether a part is decided.
    pub(super) fn is_settled(&self, part: &Range<usize>) -> bool {
        part.end <= self.settled
    }

    /// What stands in a part's place. A placeholder stands where its value began.
    pub(super) fn shown(&self, part: &Range<usize>) -> &str {
        match &self.masked {
            None => &self.text[part.clone()],
            Some(masked) => masked.part(part),
        }
    }

    /// What stands in the place of a whole text: `None` if this is not it.
    pub(super) fn instead_of(&self, text: &str) -> Option<Option<&str>> {
        let is_it = self.is_final && !text.is_empty() && self.text == text;
        is_it.then(|| self.masked.as_ref().map(|masked| masked.text.as_str()))
    }

    /// Adds the texts of a tool's arguments.
    pub(super) fn tell_arguments(&self, told: &mut BTreeSet<String>) {
        if self.is_arguments {
            inspect::arguments(&self.text, &mut |_, text| {
                told.insert(text.to_owned());
                None
            });
        }
    }

    /// Whether it is worth a look.
    pub(super) fn is_due(&self) -> bool {
        if self.is_ended || self.is_arguments {
            return self.is_ended && !self.is_final;
        }
        self.text.len() - self.looked >= STEP_MIN_BYTES.max(self.text.len() / STEP_PART)
    }

    /// Runs the patterns.
    pub(super) fn look(&mut self, stage: &Stage, texts: &mut Texts) {
        self.looked = self.text.len();
        self.is_final = self.is_ended;
        if self.is_arguments {
            let changed = inspect::arguments(&self.text, &mut |key, text| texts.check(stage, key, text));
            self.masked = changed.map(|text| Masked { at: vec![0; text.len()], text, end: self.text.len() });
            self.settled = self.text.len();
            return;
        }
        let (scanned, mut settled) = (texts.scan(stage, "", &self.text, false), self.text.len());
        if stage.has(false) {
            settled = self.decided(stage, &self.text, false, &scanned);
            texts.note(&ended(scanned, settled));
        }
        if stage.has(true) && !texts.blocked(stage) {
            let (masked, decided) = self.mask(stage, texts);
            settled = settled.min(decided);
            if settled < self.settled && !self.is_ended {
                return;
            }
            self.masked = masked;
        }
        self.settled = self.settled.max(settled);
    }

    /// Up to where a text is decided, never within a finding.
    fn decided(&self, stage: &Stage, text: &str, that_mask: bool, scanned: &[(usize, Finding)]) -> usize {
        if self.is_ended {
            return text.len();
        }
        let mut spans: Vec<&Range<usize>> = scanned.iter().map(|(_, finding)| &finding.span).collect();
        spans.sort_by_key(|span| std::cmp::Reverse(span.start));
        let settled = stage.settled(text, that_mask);
        let cut = |at: usize, span: &Range<usize>| if span.start < at && at < span.end { span.start } else { at };
        spans.into_iter().fold(settled, cut)
    }

    /// The text with its findings replaced, as far as it is decided, and how far that is.
    fn mask(&self, stage: &Stage, texts: &mut Texts) -> (Option<Masked>, usize) {
        let mut masked = None::<Masked>;
        for round in 0..ROUNDS_MAX {
            let text = masked.as_ref().map_or(self.text.as_str(), |masked| masked.text.as_str());
            let scanned = texts.scan(stage, "", text, true);
            let decided = self.decided(stage, text, true, &scanned);
            let scanned = ended(scanned, decided);
            texts.note(&scanned);
            let replacements = texts.masker.replacements(&text[..decided], findings(scanned));
            if !replacements.is_empty() {
                let whole = masked.unwrap_or_else(|| Masked::of(&self.text));
                masked = Some(whole.replaced(replacements, decided));
                continue;
            }
            // What comes may change, by what is masked of it, what stands in front of it: so even the first look is a second one.
            let decided = match round {
                0 if !self.is_ended => stage.settled(&text[..decided], true),
                _ => decided,
            };
            let settled = masked.as_ref().map_or(decided, |masked| masked.origin(decided));
            return (masked, settled);
        }
        if self.is_ended {
            // As on a whole text, as far as it has not gone out.
            let placeholder = texts.masker.whole(&self.text, stage.strictest());
            let end = self.text.len();
            return (Some(Masked::of(&self.text).replaced(vec![(self.settled..end, placeholder)], end)), end);
        }
        (None, 0)
    }
}

/// Findings that lie in front of it.
fn ended(scanned: Scanned, decided: usize) -> Vec<(usize, Finding)> {
    scanned.into_iter().filter(|(_, finding)| finding.span.end <= decided).collect()
}

/// A text in which something was replaced.
#[derive(Debug)]
struct Masked {
    text: String,
    /// Of each byte: where it comes from. A placeholder comes from where its value began.
    at: Vec<usize>,
    /// Where what follows it comes from.
    end: usize,
}

impl Masked {
    fn of(text: &str) -> Self {
        Self { text: text.to_owned(), at: (0..text.len()).collect(), end: text.len() }
    }

    fn origin(&self, at: usize) -> usize {
        self.at.get(at).copied().unwrap_or(self.end)
    }

    fn part(&self, part: &Range<usize>) -> &str {
        let place = |from: usize| self.at.partition_point(|at| *at < from);
        // Characters come whole, and so do parts.
        self.text.get(place(part.start)..place(part.end)).unwrap_or_default()
    }

    /// The text up to `end`, with these ranges of it replaced.
    fn replaced(&self, replacements: Vec<(Range<usize>, String)>, end: usize) -> Self {
        let (mut text, mut at, mut done) = (String::with_capacity(end), Vec::with_capacity(end), 0);
        for (span, placeholder) in replacements {
            text.push_str(&self.text[done..span.start]);
            at.extend_from_slice(&self.at[done..span.start]);
            text.push_str(&placeholder);
            at.resize(text.len(), self.origin(span.start));
            done = span.end;
        }
        text.push_str(&self.text[done..end]);
        at.extend_from_slice(&self.at[done..end]);
        Self { text, at, end: self.origin(end) }
    }
}
