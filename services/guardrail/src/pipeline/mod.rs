//! The pure core: (policy, body) → verdict. No I/O, no clock.
//!
//! ```text
//! body ─► sift: patterns, scores ─┬─ blocked ────────────────────────► conclude ─► verdict
//!                                 └─ masked ─► case ─► (judges rule) ──┘
//! ```
//!
//! All patterns look at the text as it came, so their order does not matter; what masking checks find is then replaced
//! together. Judges are shown what is left of it, and nothing that has been blocked. What lies within a placeholder that masking has
//! put there is nobody's finding. A check that could not be answered is never counted as passed: it refuses the request, or is
//! recorded as `failed`; one that was not needed any more as `not_run`.

mod case;
mod policy;
mod seams;
mod verdict;

pub use case::{Case, Turn};
pub use policy::{Configured, Judged, Policy, Seat, Stage, Streaming, Subject, Unreadable};
pub use verdict::{Checked, Outcome, Verdict, conclude};
pub(crate) use verdict::{error, not_run, outcome};

use crate::checks::fold::Folded;
use crate::checks::mask::Masker;
use crate::checks::{Action, Finding, keywords};
use crate::encoded;
use crate::injection::Score;
use crate::inspect::{self, Kind, MapText, Part, Place, Reader, Unread};
use crate::judges::Found;
use seams::Across;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

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

    /// Shows all of a body. The new body, if any text was replaced.
    pub fn read(self, body: &RawValue, reader: &mut dyn Reader) -> Option<String> {
        match self {
            Side::Input => inspect::read_request(body, reader),
            Side::Output => inspect::read_answer(body, reader),
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
    /// What the patterns did.
    checks: Vec<Checked>,
    unread: BTreeSet<Kind>,
    /// There is a picture that a judge is to see.
    has_pictures: bool,
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
            unread: BTreeSet::new(),
            has_pictures: false,
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
    sift_beside(&[], stage, side, body)
}

/// As [`sift`], of the answer to a request in which masking has put these placeholders: in the answer, too, they stand for what stood there
/// and for nothing else.
pub(crate) fn sift_beside(placeholders: &[String], stage: &Stage, side: Side, body: Box<RawValue>) -> Sifted {
    let mut texts = Texts::new(stage);
    texts.adopt(placeholders);
    if stage.restores() {
        // A placeholder that the caller has written stands for nothing that is masked, not even one in a file.
        inspect::everything(&body, &mut |text| texts.masker.avoid(text));
        side.inspect(&body, &mut |_, text| {
            texts.masker.avoid(text);
            None
        });
    }
    let has_scores = stage.judged.iter().any(|judged| judged.threshold().is_some());
    let has_work = !stage.checks.is_empty() || stage.unreadable.is_some() || has_scores;
    let has_seams = side == Side::Input && !stage.checks.is_empty();
    let across = if has_seams { seams::find(stage, &body) } else { Across::new() };
    let mut sifting = Sifting { stage, texts, across, said: 0 };
    let changed = if has_work { side.read(&body, &mut sifting) } else { None };
    let Texts { found, scores, masker, unread, has_pictures } = sifting.texts;
    let score_of = |(judged, score): (&Judged, Score)| {
        let threshold = judged.threshold()?;
        score.reaches(threshold).then(|| Found::named(score.signals().map(str::to_owned).collect()))
    };
    let scored: Vec<Option<Found>> = stage.judged.iter().zip(scores).map(score_of).collect();
    let is_hit = |(configured, found): (&Configured, &Labels)| configured.action == Action::Block && !found.is_empty();
    let is_scored = |(judged, found): (&Judged, &Option<Found>)| judged.action == Action::Block && found.is_some();
    let is_blocked = stage.checks.iter().zip(&found).any(is_hit)
        || stage.judged.iter().zip(&scored).any(is_scored)
        || stage.blocks(&unread);
    let checks = stage.checks.iter().zip(found).map(|(configured, found)| pattern(configured, &found, is_blocked));
    let checks = checks.collect();
    let (body, is_changed) = match changed.filter(|_| !is_blocked).map(RawValue::from_string) {
        None => (body, false),
        Some(Ok(masked)) => (masked, true),
        // splicing strings into JSON gives JSON; if it ever did not, the unmasked body must not go on
        Some(Err(_)) => return Sifted::broken(body),
    };
    let (case, is_broken) = (None, false);
    let mut sifted =
        Sifted { body, case, is_changed, is_blocked, is_broken, checks, unread, has_pictures, scored, masker };
    if !sifted.open(stage).is_empty() {
        let case = Case::of(side, &sifted.body).sparing(&sifted.masker);
        sifted.case = Some(if stage.sees_images() { case.pictured(&sifted.body) } else { case });
    }
    sifted
}

/// What a body holds that nobody can read, where the configuration says what becomes of that.
pub(crate) fn unreadable(stage: &Stage, unread: &BTreeSet<Kind>) -> Option<Checked> {
    let Unreadable { name, blocks } = stage.unreadable.as_ref()?;
    let outcome = match (unread.is_empty(), blocks) {
        (true, _) => Outcome::Passed,
        (false, true) => Outcome::Blocked,
        (false, false) => Outcome::Flagged,
    };
    let categories = unread.iter().map(|kind| kind.as_str().to_owned()).collect();
    Some(Checked { name: name.clone(), outcome, categories, judge: None, took: None })
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
    /// What nobody can read, and no judge is shown.
    pub(crate) unread: BTreeSet<Kind>,
    /// There is a picture that a judge is to see; until one has, nobody has.
    has_pictures: bool,
}

/// The texts of a body on their way.
struct Sifting<'s> {
    stage: &'s Stage,
    texts: Texts,
    /// What stands partly in one text and partly in the next.
    across: Across,
    /// Texts of the conversation so far.
    said: usize,
}

impl Reader for Sifting<'_> {
    fn text(&mut self, part: Part<'_>) -> Option<String> {
        let mut across = Scanned::new();
        if matches!(part.place, Place::Said(_)) {
            across = self.across.remove(&self.said).unwrap_or_default();
            self.said += 1;
        }
        self.texts.check_beside(across, self.stage, part.key, part.text)
    }

    fn unread(&mut self, what: Unread<'_>) {
        self.texts.leave(self.stage, what);
    }
}

/// Findings, each with the place of the check that has it.
pub(crate) type Scanned = Vec<(usize, Finding)>;

/// Masking can bring a value into view that its neighbour hid, so masked text is looked at again. Each round replaces
/// something that no earlier one did; this bound is never met by text that was not made to meet it.
pub(crate) const ROUNDS_MAX: usize = 16;

impl Texts {
    pub(crate) fn new(stage: &Stage) -> Self {
        let (found, masker) = (vec![Labels::new(); stage.checks.len()], Masker::keyed(stage.hash_key.clone()));
        let scores = vec![Score::default(); stage.judged.len()];
        Self { found, scores, masker, unread: BTreeSet::new(), has_pictures: false }
    }

    /// Takes these placeholders for ours.
    pub(crate) fn adopt(&mut self, placeholders: &[String]) {
        placeholders.iter().for_each(|placeholder| self.masker.adopt(placeholder));
    }

    /// Notes what is no text; what a judge is to see, apart.
    pub(crate) fn leave(&mut self, stage: &Stage, what: Unread<'_>) {
        let is_shown = what.kind == Kind::Image && what.inline.is_some() && stage.sees_images();
        if is_shown {
            self.has_pictures = true;
        } else {
            self.unread.insert(what.kind);
        }
    }

    /// Runs all checks on a text. The masked text, if anything is masked.
    pub(crate) fn check(&mut self, stage: &Stage, key: &str, text: &str) -> Option<String> {
        self.check_beside(Scanned::new(), stage, key, text)
    }

    /// `across`: what begins or ends in another text.
    fn check_beside(&mut self, across: Scanned, stage: &Stage, key: &str, text: &str) -> Option<String> {
        let mut score = None;
        for (judged, worst) in stage.judged.iter().zip(&mut self.scores) {
            if judged.threshold().is_some() {
                worst.take_worse(*score.get_or_insert_with(|| Score::of(text)));
            }
        }
        self.note(&across);
        self.note(&self.scan(stage, key, text, false));
        if self.blocked(stage) {
            return None;
        }
        let mut across: Scanned = across.into_iter().filter(|(at, _)| stage.checks[*at].masks()).collect();
        let mut masked = None::<String>;
        for _ in 0..ROUNDS_MAX {
            let current = masked.as_deref().unwrap_or(text);
            let mut scanned = self.scan(stage, key, current, true);
            self.note(&scanned);
            // Their places are those of the text as it came.
            scanned.append(&mut across);
            match self.masker.mask(current, findings(scanned)) {
                Some(text) => masked = Some(text),
                None => return masked,
            }
        }
        Some(self.masker.whole(text, stage.strictest()))
    }

    /// What the checks of a stage find that mask, or else the others. Nothing in a placeholder of ours: it says what was there, and not more.
    pub(crate) fn scan(&self, stage: &Stage, key: &str, text: &str, that_mask: bool) -> Scanned {
        let mut scanned = scan(stage, key, text, that_mask);
        if !scanned.is_empty() {
            let own = self.masker.own(text);
            let is_within = |span: &Range<usize>| {
                own.get(own.partition_point(|own| own.end < span.end)).is_some_and(|own| own.start <= span.start)
            };
            scanned.retain(|(_, finding)| !is_within(&finding.span));
        }
        scanned
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
            || stage.blocks(&self.unread)
    }
}

/// What the checks of a stage find that mask, or else the others, also in what base64 hides: of that the whole run.
fn scan(stage: &Stage, key: &str, text: &str, that_mask: bool) -> Scanned {
    let mut scanned = Scanned::new();
    if !stage.has(that_mask) {
        return scanned;
    }
    let (folded, mut found) = (Folded::new(text).beside(key), Vec::new());
    let hidden: Vec<(Range<usize>, String)> = encoded::runs(text).collect();
    for (at, configured) in stage.checks.iter().enumerate().filter(|(_, c)| c.masks() == that_mask) {
        configured.scan(&folded, &mut found);
        for (run, hidden) in &hidden {
            let before = found.len();
            configured.scan(&Folded::new(hidden).beside(key), &mut found);
            found[before..].iter_mut().for_each(|finding| finding.span = run.clone());
        }
        scanned.extend(found.drain(..).map(|finding| (at, finding)));
    }
    scanned
}

pub(crate) fn findings(scanned: Scanned) -> Vec<Finding> {
    scanned.into_iter().map(|(_, finding)| finding).collect()
}

#[cfg(test)]
mod tests;
