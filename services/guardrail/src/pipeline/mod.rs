//! The pure core: (policy, body) → verdict. No I/O, no clock.
//!
//! ```text
//! body ─► sift: patterns, scores ─┬─ blocked ────────────────────────► conclude ─► verdict
//!                                 └─ masked ─► case ─► (judges rule) ──┘
//! ```
//!
//! All patterns look at the text as it came, so their order does not matter; what masking checks find is then replaced
//! together. Judges are shown what is left of it, and nothing that has been blocked. A check that could not be answered is never
//! counted as passed: it refuses the request, or is recorded as `failed`; one that was not needed any more as `not_run`.

mod case;
mod policy;
mod verdict;

pub use case::{Case, Turn};
pub use policy::{Configured, Judged, Policy, Seat, Stage, Streaming, Subject};
pub use verdict::{Checked, Outcome, Verdict, conclude};
pub(crate) use verdict::{error, outcome};

use crate::checks::fold::Folded;
use crate::checks::mask::Masker;
use crate::checks::{Action, Finding, keywords};
use crate::injection::Score;
use crate::inspect::{self, MapText};
use crate::judges::Found;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use tollgate_schemas::Originals;

/// Which way a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// To a provider.
    Input,
    /// To a caller.
    Output,
}

impl Side {
    /// As in the names of checks.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Input => "input",
            Side::Output => "output",
        }
    }

    /// What is checked there, for people.
    pub fn what(self) -> &'static str {
        match self {
            Side::Input => "request",
            Side::Output => "answer",
        }
    }

    /// The checks of this side.
    pub fn stage(self, policy: &Policy) -> &Stage {
        match self {
            Side::Input => &policy.input,
            Side::Output => &policy.output,
        }
    }

    /// Shows every text of a body. The new body, if any text was replaced.
    pub fn inspect(self, body: &RawValue, map: MapText<'_>) -> Option<String> {
        match self {
            Side::Input => inspect::request(body, map),
            Side::Output => inspect::answer(body, map),
        }
    }
}

/// What patterns and scores have said of a body, and what is still to be asked.
#[derive(Debug)]
pub struct Sifted {
    /// The body as it would go on.
    pub body: Box<RawValue>,
    /// What judges are shown; `None`: nobody has to be asked.
    pub case: Option<Case>,
    is_changed: bool,
    is_blocked: bool,
    is_broken: bool,
    checks: Vec<Checked>,
    /// Of each judged check: what the score has found.
    scored: Vec<Option<Found>>,
    masker: Masker,
}

impl Sifted {
    /// The checks broke: nothing goes on.
    pub fn broken(body: Box<RawValue>) -> Self {
        Self {
            body,
            case: None,
            is_changed: false,
            is_blocked: true,
            is_broken: true,
            checks: Vec::new(),
            scored: Vec::new(),
            masker: Masker::default(),
        }
    }

    /// Places of the judged checks that somebody has to answer.
    pub fn open(&self, stage: &Stage) -> Vec<usize> {
        let is_open = |(at, judged): (usize, &Judged)| {
            let is_found = self.scored.get(at).is_some_and(Option::is_some);
            (!self.is_blocked && !is_found && !matches!(judged.seat, Seat::Empty)).then_some(at)
        };
        stage.judged.iter().enumerate().filter_map(is_open).collect()
    }
}

/// Runs the patterns and the scores of a side.
pub fn sift(stage: &Stage, side: Side, body: Box<RawValue>) -> Sifted {
    sift_beside(&Originals::default(), stage, side, body)
}

/// As [`sift`], of the answer to a request that is to have these back: none of their placeholders stands for anything else in it.
pub(crate) fn sift_beside(restore: &Originals, stage: &Stage, side: Side, body: Box<RawValue>) -> Sifted {
    let mut texts = Texts::new(stage);
    texts.avoid(restore);
    if stage.restores() {
        // A placeholder that the caller has written stands for nothing that is masked.
        inspect::everything(&body, &mut |text| texts.masker.avoid(text));
    }
    let has_work = !stage.checks.is_empty() || stage.judged.iter().any(|judged| judged.threshold().is_some());
    let changed = if has_work { side.inspect(&body, &mut |key, text| texts.check(stage, key, text)) } else { None };
    let Texts { found, scores, masker } = texts;
    let score_of = |(judged, score): (&Judged, Score)| {
        let threshold = judged.threshold()?;
        score.reaches(threshold).then(|| Found::named(score.signals().map(str::to_owned).collect()))
    };
    let scored: Vec<Option<Found>> = stage.judged.iter().zip(scores).map(score_of).collect();
    let is_hit = |(configured, found): (&Configured, &Labels)| configured.action == Action::Block && !found.is_empty();
    let is_scored = |(judged, found): (&Judged, &Option<Found>)| judged.action == Action::Block && found.is_some();
    let is_blocked = stage.checks.iter().zip(&found).any(is_hit) || stage.judged.iter().zip(&scored).any(is_scored);
    let checks = stage.checks.iter().zip(found).map(|(configured, found)| pattern(configured, &found, is_blocked));
    let checks: Vec<Checked> = checks.collect();
    let (body, is_changed) = match changed.filter(|_| !is_blocked).map(RawValue::from_string) {
        None => (body, false),
        Some(Ok(masked)) => (masked, true),
        // splicing strings into JSON gives JSON; if it ever did not, the unmasked body must not go on
        Some(Err(_)) => return Sifted::broken(body),
    };
    let mut sifted = Sifted { body, case: None, is_changed, is_blocked, is_broken: false, checks, scored, masker };
    if !sifted.open(stage).is_empty() {
        sifted.case = Some(Case::of(side, &sifted.body));
    }
    sifted
}

/// What a pattern did. One that masks stops at what another one blocks.
pub(crate) fn pattern(configured: &Configured, found: &Labels, is_blocked: bool) -> Checked {
    let outcome = match (found.is_empty(), configured.action) {
        (true, action) if is_blocked && action.replaces() => Outcome::NotRun,
        (true, _) => Outcome::Passed,
        (false, Action::Block) => Outcome::Blocked,
        (false, Action::Mask | Action::MaskAndRestore | Action::Hash) => Outcome::Masked,
        (false, Action::Log) => Outcome::Flagged,
    };
    let categories = found.iter().filter(|label| **label != keywords::LABEL).map(|label| label.to_string());
    Checked { name: configured.name.clone(), outcome, categories: categories.collect(), judge: None, took: None }
}

/// What one check has found, as placeholders name it.
pub(crate) type Labels = BTreeSet<Cow<'static, str>>;

/// What the checks of a stage have found in the texts of one body.
#[derive(Debug)]
pub(crate) struct Texts {
    /// Per check: the labels of what it has found.
    pub(crate) found: Vec<Labels>,
    /// Per judged check: the score of the worst text.
    scores: Vec<Score>,
    pub(crate) masker: Masker,
}

/// Findings, each with the place of the check that has it.
pub(crate) type Scanned = Vec<(usize, Finding)>;

/// Masking can bring a value into view that its neighbour hid, so masked text is looked at again. Each round replaces
/// something that no earlier one did; this bound is never met by text that was not made to meet it.
pub(crate) const ROUNDS_MAX: usize = 16;

impl Texts {
    pub(crate) fn new(stage: &Stage) -> Self {
        let (found, masker) = (vec![Labels::new(); stage.checks.len()], Masker::keyed(stage.hash_key.clone()));
        Self { found, scores: vec![Score::default(); stage.judged.len()], masker }
    }

    /// Hands out none of these placeholders.
    pub(crate) fn avoid(&mut self, restore: &Originals) {
        restore.0.keys().for_each(|placeholder| self.masker.avoid(placeholder));
    }

    /// Runs all checks on a text. The masked text, if anything is masked.
    pub(crate) fn check(&mut self, stage: &Stage, key: &str, text: &str) -> Option<String> {
        for (judged, worst) in stage.judged.iter().zip(&mut self.scores) {
            if judged.threshold().is_some() {
                worst.take_worse(Score::of(text));
            }
        }
        self.note(&scan(stage, key, text, false));
        if self.blocked(stage) {
            return None;
        }
        let mut masked = None::<String>;
        for _ in 0..ROUNDS_MAX {
            let current = masked.as_deref().unwrap_or(text);
            let scanned = scan(stage, key, current, true);
            self.note(&scanned);
            match self.masker.mask(current, findings(scanned)) {
                Some(text) => masked = Some(text),
                None => return masked,
            }
        }
        Some(self.masker.whole(text, stage.strictest()))
    }

    /// Notes which checks have found something.
    pub(crate) fn note(&mut self, scanned: &[(usize, Finding)]) {
        for (at, finding) in scanned {
            self.found[*at].insert(finding.label.clone());
        }
    }

    /// Whether something was found that blocks.
    pub(crate) fn blocked(&self, stage: &Stage) -> bool {
        stage.checks.iter().zip(&self.found).any(|(c, found)| !found.is_empty() && c.action == Action::Block)
    }
}

/// What the checks of a stage find that mask, or else the others.
pub(crate) fn scan(stage: &Stage, key: &str, text: &str, that_mask: bool) -> Scanned {
    let mut scanned = Scanned::new();
    if !stage.has(that_mask) {
        return scanned;
    }
    let (folded, mut found) = (Folded::new(text).beside(key), Vec::new());
    for (at, configured) in stage.checks.iter().enumerate().filter(|(_, c)| c.masks() == that_mask) {
        configured.scan(&folded, &mut found);
        scanned.extend(found.drain(..).map(|finding| (at, finding)));
    }
    scanned
}

pub(crate) fn findings(scanned: Scanned) -> Vec<Finding> {
    scanned.into_iter().map(|(_, finding)| finding).collect()
}

#[cfg(test)]
mod tests;
