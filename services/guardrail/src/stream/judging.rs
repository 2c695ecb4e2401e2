//! What the judges of a stream are asked: the next part of the answer, when there is enough of it.

use crate::judges::{Ruled, Ruling};
use crate::pipeline::{Case, Checked, Judged, Outcome, outcome};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tollgate_schemas::StreamEvent;

/// What judges are shown of what came before the part that they judge, in characters of each text.
const BEFORE_CHARS: usize = 2_000;
/// What a sentence ends with.
const SENTENCE_ENDS: [char; 7] = ['.', '!', '?', '\n', '。', '！', '？'];

/// An event as the patterns let it go.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) event: StreamEvent,
    /// Its texts that are not judged yet, each with its channel.
    pub(super) said: Vec<(String, String)>,
    /// It had a text.
    has_text: bool,
}

impl Shown {
    pub(super) fn new(event: StreamEvent, said: Vec<(String, String)>) -> Self {
        let has_text = said.iter().any(|(_, text)| !text.is_empty());
        Self { event, said, has_text }
    }

    fn chars(&self) -> usize {
        self.said.iter().map(|(_, text)| text.chars().count()).sum()
    }

    fn ends_sentence(&self) -> bool {
        self.said.last().is_some_and(|(_, text)| text.trim_end_matches([' ', '"', ')']).ends_with(SENTENCE_ENDS))
    }
}

/// What a check has come to in all parts.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// `None`: nobody was asked yet.
    outcome: Option<Outcome>,
    categories: BTreeSet<String>,
    took: Duration,
}

/// Events that wait for judges, and what these have said.
#[derive(Debug)]
pub(super) struct Judging {
    waiting: VecDeque<Shown>,
    /// Something has gone out.
    is_begun: bool,
    /// Characters that wait.
    chars: usize,
    /// How many of those that wait are being judged.
    asked: Option<usize>,
    /// How many of those that wait were judged, and wait because something was wrong.
    judged: usize,
    /// Texts of the whole answer that came in no part.
    whole: Vec<(String, String)>,
    /// The end of each text in front of what waits.
    before: BTreeMap<String, String>,
    part: u32,
    standing: Vec<Standing>,
    is_blocked: bool,
    /// Places of the checks that failed, and whose failure lets nothing pass.
    failed: BTreeSet<usize>,
}

impl Judging {
    pub(super) fn new(judged: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            is_begun: false,
            chars: 0,
            asked: None,
            judged: 0,
            whole: Vec::new(),
            before: BTreeMap::new(),
            part: 0,
            standing: vec![Standing::default(); judged],
            is_blocked: false,
            failed: BTreeSet::new(),
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    pub(super) fn add(&mut self, shown: Shown) {
        self.chars += shown.chars();
        self.waiting.push_back(shown);
    }

    pub(super) fn add_whole(&mut self, said: Vec<(String, String)>) {
        self.whole.extend(said);
    }

    /// What may go out without being judged: everything where there are no judges, else what stands in front of the next text. A
    /// beginning without a text waits for the first one, so that what is blocked there is an error and not a stream.
    pub(super) fn passed(&mut self, has_judges: bool, is_last: bool) -> Vec<StreamEvent> {
        if self.asked.is_some() {
            return Vec::new();
        }
        let is_free = |shown: &&Shown| !has_judges || shown.said.iter().all(|(_, text)| text.is_empty());
        let free = self.waiting.iter().take_while(is_free).count();
        let is_all = is_last && free == self.waiting.len();
        self.is_begun |= is_all || self.waiting.iter().take(free).any(|shown| shown.has_text);
        if !self.is_begun {
            return Vec::new();
        }
        let chars: usize = self.waiting.iter().take(free).map(Shown::chars).sum();
        self.chars = self.chars.saturating_sub(chars);
        self.waiting.drain(..free).map(|shown| shown.event).collect()
    }

    /// The next part to be judged, and its number: when there is enough of it, or it is the last one.
    pub(super) fn part(&mut self, window: usize, is_last: bool) -> Option<(Case, u32)> {
        let has_any = !self.waiting.is_empty() || (is_last && !self.whole.is_empty());
        if self.asked.is_some() || !has_any || (!is_last && self.chars < window) {
            return None;
        }
        let count = if is_last { self.waiting.len() } else { self.sentences(window) };
        let (mut texts, mut order) = (BTreeMap::<&str, String>::new(), Vec::new());
        let mut alone = Vec::new();
        for (channel, text) in self.waiting.iter().take(count).flat_map(|shown| &shown.said) {
            if channel.is_empty() {
                alone.push(text.clone());
                continue;
            }
            let known = texts.entry(channel.as_str()).or_insert_with(|| {
                order.push(channel.as_str());
                self.before.get(channel).cloned().unwrap_or_default()
            });
            known.push_str(text);
        }
        let mut all: Vec<String> = order.into_iter().filter_map(|channel| texts.remove(channel)).collect();
        all.append(&mut alone);
        if is_last {
            all.extend(self.whole.drain(..).map(|(_, text)| text));
        }
        self.asked = Some(count);
        self.part += 1;
        Some((Case::of_parts(all), self.part - 1))
    }

    /// How many events there are up to the end of the last sentence in the second half of the window, or to its end.
    fn sentences(&self, window: usize) -> usize {
        let (mut chars, mut best) = (0, None);
        for (at, shown) in self.waiting.iter().enumerate() {
            chars += shown.chars();
            if chars * 2 >= window && shown.ends_sentence() {
                best = Some(at + 1);
            }
        }
        best.unwrap_or(self.waiting.len())
    }

    /// The rulings on the part. What it held may go out if nothing is wrong with it.
    pub(super) fn ruled(&mut self, judged: &[Judged], rulings: Vec<(usize, Ruled)>) {
        for (at, Ruled { ruling, took }) in rulings {
            let (Some(judged), Some(standing)) = (judged.get(at), self.standing.get_mut(at)) else { continue };
            let outcome = outcome(judged, &ruling);
            standing.outcome = standing.outcome.max(Some(outcome));
            standing.took += took;
            if outcome == Outcome::Failed && !judged.allows_failure {
                self.failed.insert(at);
            }
            if let Ruling::Found(found) = ruling {
                standing.categories.extend(found.categories);
            }
            self.is_blocked |= outcome == Outcome::Blocked;
        }
        self.is_blocked |= !self.failed.is_empty();
        let count = self.asked.take().unwrap_or(0);
        if self.is_blocked {
            self.judged = count;
        } else {
            // They go out as what nobody has to judge any more.
            self.judged_away(count);
        }
    }

    /// Whether a text waits that no judge was shown.
    fn has_unjudged(&self) -> bool {
        let waiting = self.waiting.iter().skip(self.judged).flat_map(|shown| &shown.said);
        waiting.chain(&self.whole).any(|(_, text)| !text.trim().is_empty())
    }

    fn judged_away(&mut self, count: usize) {
        for shown in self.waiting.iter_mut().take(count) {
            self.chars = self.chars.saturating_sub(shown.chars());
            for (channel, text) in shown.said.drain(..).filter(|(channel, _)| !channel.is_empty()) {
                let before = self.before.entry(channel).or_default();
                before.push_str(&text);
                keep_end(before);
            }
        }
    }

    /// The checks that must be answered and were not.
    pub(super) fn must(&self, judged: &[Judged]) -> Vec<Arc<str>> {
        self.failed.iter().filter_map(|at| judged.get(*at)).map(|judged| judged.name.clone()).collect()
    }

    /// What each check did, once. `has_more`: a text came that did not get as far as here.
    pub(super) fn checked(&self, judged: &[Judged], is_blocked: bool, has_more: bool) -> Vec<Checked> {
        let is_cut = is_blocked && (has_more || self.has_unjudged());
        let checked = judged.iter().zip(&self.standing).map(|(judged, standing)| {
            let outcome = match standing.outcome {
                // Who was shown a part alone has not passed all of it; what it has found there stays found.
                Some(Outcome::Passed) if is_cut => Outcome::NotRun,
                Some(outcome) => outcome,
                // Nobody has to be asked about nothing; but what was blocked before had something.
                None if is_blocked => Outcome::NotRun,
                None => Outcome::Passed,
            };
            Checked {
                name: judged.name.clone(),
                outcome,
                categories: standing.categories.iter().cloned().collect(),
                judge: judged.seat.name().cloned(),
                took: standing.outcome.map(|_| standing.took),
            }
        });
        checked.collect()
    }
}

/// Cuts a text down to what judges are shown of it.
fn keep_end(text: &mut String) {
    let surplus = text.chars().count().saturating_sub(BEFORE_CHARS);
    if surplus > 0 {
        let cut = text.char_indices().nth(surplus).map_or(0, |(at, _)| at);
        text.drain(..cut);
    }
}
