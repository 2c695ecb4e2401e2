//! What comes of a body, once patterns, scores and judges have had their say.

use super::{Case, Judged, Side, Sifted, Stage, unreadable};
use crate::checks::mask::{Instead, Masker};
use crate::checks::{Action, Finding};
use crate::inspect::Kind;
use crate::judges::{Found, Ruled, Ruling};
use serde_json::value::RawValue;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tollgate_schemas::{ApiError, ErrorCode, GuardrailCheck, Originals};

/// What checks did, from harmless to grave. Of several, the gravest is what the usage row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// There was nothing to run.
    None,
    /// Nothing was found.
    Passed,
    /// Something was found and only counted.
    Flagged,
    /// Something was found and replaced.
    Masked,
    /// Whoever was asked could not say.
    Failed,
    /// It was not run: another check had ended it, or it broke.
    NotRun,
    /// Something was found and nothing goes on.
    Blocked,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 7] = [
        Outcome::None,
        Outcome::Passed,
        Outcome::Flagged,
        Outcome::Masked,
        Outcome::Failed,
        Outcome::NotRun,
        Outcome::Blocked,
    ];

    /// As in the usage table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::None => "none",
            Outcome::Passed => "passed",
            Outcome::Flagged => "flagged",
            Outcome::Masked => "masked",
            Outcome::Failed => "failed",
            Outcome::NotRun => "not_run",
            Outcome::Blocked => "blocked",
        }
    }

    /// The outcome of that name; `None` if there is no such name.
    pub fn parse(text: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|o| o.as_str() == text)
    }
}

/// What one check did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Stage and name: `input.pii`.
    pub name: Arc<str>,
    /// Its own outcome.
    pub outcome: Outcome,
    /// What kinds of things it found.
    pub categories: Vec<String>,
    /// Who was asked.
    pub judge: Option<Arc<str>>,
    /// How long that took.
    pub took: Option<Duration>,
}

impl Checked {
    /// As the usage row has it.
    pub fn record(&self) -> GuardrailCheck {
        GuardrailCheck {
            check: self.name.to_string(),
            outcome: self.outcome.as_str().to_owned(),
            category: (!self.categories.is_empty()).then(|| self.categories.join(",")),
            judge: self.judge.as_ref().map(ToString::to_string),
            latency_ms: self.took.map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// What a stage decided about a body.
#[derive(Debug)]
pub struct Verdict {
    /// The gravest outcome of all checks.
    pub outcome: Outcome,
    /// Each configured check with its own outcome.
    pub checks: Vec<Checked>,
    /// The new body, if masking changed it. The old one must not be used then.
    pub body: Option<Box<RawValue>>,
    /// What the answer to the new body is to have back.
    pub restore: Originals,
    /// The placeholders in the new body that nothing comes back for, if it is a request's.
    pub masked: Vec<String>,
    /// Why nothing goes on, if nothing goes on.
    pub error: Option<ApiError>,
}

impl Verdict {
    /// Why nothing goes on when the checks themselves broke.
    pub(crate) fn broken_error(checks: &[Checked]) -> ApiError {
        let names: Vec<&str> = checks.iter().map(|checked| checked.name.as_ref()).collect();
        let message = "the checks of this endpoint failed to run; report it with the request id";
        unavailable(&names, message.to_owned())
    }
}

/// All checks of a stage of which none came to anything, in the order of a verdict's.
pub(crate) fn not_run(stage: &Stage) -> Vec<Checked> {
    let unreadable = stage.unreadable.iter().map(|unreadable| &unreadable.name);
    let own = stage.checks.iter().map(|configured| &configured.name).chain(unreadable).map(|name| (name, None));
    let judged = stage.judged.iter().map(|judged| (&judged.name, judged.seat.name()));
    let not_run = |(name, judge): (&Arc<str>, Option<&Arc<str>>)| Checked {
        name: name.clone(),
        outcome: Outcome::NotRun,
        categories: Vec::new(),
        judge: judge.cloned(),
        took: None,
    };
    own.chain(judged).map(not_run).collect()
}

/// The verdict when the checks themselves broke: nothing goes on.
fn broken(stage: &Stage) -> Verdict {
    let checks = not_run(stage);
    let error = Some(Verdict::broken_error(&checks));
    let (restore, masked) = (Originals::default(), Vec::new());
    Verdict { outcome: Outcome::NotRun, checks, body: None, restore, masked, error }
}

/// The verdict, with the rulings of the judges of [`Sifted::open`], by place.
pub fn conclude(stage: &Stage, side: Side, sifted: Sifted, rulings: Vec<(usize, Ruled)>) -> Verdict {
    if sifted.is_broken {
        return broken(stage);
    }
    let pictures = Pictures::of(stage, &sifted, &rulings);
    let Sifted { mut body, case, mut is_changed, is_blocked, mut checks, unread, scored, mut masker, .. } = sifted;
    let patterns = checks.len();
    let mut rulings: HashMap<usize, Ruled> = rulings.into_iter().collect();
    let (mut masking, mut must) = (Masking::default(), Vec::new());
    for (at, (judged, scored)) in stage.judged.iter().zip(scored).enumerate() {
        let (ruling, judge, took) = match (scored, rulings.remove(&at)) {
            (Some(found), _) => (Ruling::Found(found), None, None),
            (None, Some(ruled)) => (ruled.ruling, judged.seat.name().cloned(), Some(ruled.took)),
            (None, None) if judged.seat.name().is_none() => (Ruling::Passed, None, None),
            (None, None) => (Ruling::NotAsked, judged.seat.name().cloned(), None),
        };
        let outcome = outcome(judged, &ruling);
        if outcome == Outcome::Failed && !judged.allows_failure {
            must.push(judged.name.clone());
        }
        let mut categories = Vec::new();
        if let Ruling::Found(found) = ruling {
            if let (Outcome::Masked, Some(instead)) = (outcome, judged.action.instead()) {
                masking.add(&found, instead);
            }
            categories = found.categories;
        }
        checks.push(Checked { name: judged.name.clone(), outcome, categories, judge, took });
    }
    let pictures = if is_blocked || !must.is_empty() { pictures.of_ended() } else { pictures };
    if let Some(unreadable) = looked_at(stage, unread, pictures) {
        // Behind the patterns, in front of the judges.
        checks.insert(patterns, unreadable);
    }
    let error = error(side, &checks, &must);
    let outcome = checks.iter().map(|checked| checked.outcome).max().unwrap_or(Outcome::None);
    if error.is_none() && masking.any() {
        match case.map_or(Err(Unlike), |case| masking.apply(side, &body, &case, &mut masker)) {
            Ok(None) => {}
            Ok(Some(masked)) => (body, is_changed) = (masked, true),
            Err(Unlike) => return broken(stage),
        }
    }
    let goes_on = error.is_none() && !is_blocked && is_changed;
    let masked = if goes_on && side == Side::Input { masker.for_good() } else { Vec::new() };
    let restore = if goes_on { Originals(masker.originals()) } else { Originals::default() };
    Verdict { outcome, checks, body: goes_on.then_some(body), restore, masked, error }
}

/// The pictures of a body that a judge was to see.
#[derive(Clone, Copy, PartialEq)]
enum Pictures {
    /// There are none, or a judge that sees has ruled.
    Seen,
    /// Nobody that sees was asked, or could say: nobody has looked at them.
    Unseen,
    /// Nobody is asked: the body ends here for another reason, or is only replayed.
    NotAsked,
}

impl Pictures {
    /// What a score has found is no look at a picture, and a judge that has failed has seen none.
    fn of(stage: &Stage, sifted: &Sifted, rulings: &[(usize, Ruled)]) -> Self {
        let is_seeing = |at: usize| stage.judged.get(at).is_some_and(Judged::sees_images);
        let said: Vec<&Ruling> =
            rulings.iter().filter(|(at, _)| is_seeing(*at)).map(|(_, ruled)| &ruled.ruling).collect();
        if !sifted.has_pictures || said.iter().any(|ruling| matches!(ruling, Ruling::Passed | Ruling::Found(_))) {
            Pictures::Seen
        } else if said.iter().any(|ruling| matches!(ruling, Ruling::NotAsked)) {
            Pictures::NotAsked
        } else {
            Pictures::Unseen
        }
    }

    /// The same where the body ends here whatever they are.
    fn of_ended(self) -> Self {
        if self == Pictures::Unseen { Pictures::NotAsked } else { self }
    }
}

/// What came of what is no text, once it is known whether a judge has looked at the pictures.
fn looked_at(stage: &Stage, mut unread: BTreeSet<Kind>, pictures: Pictures) -> Option<Checked> {
    if pictures == Pictures::Unseen {
        unread.insert(Kind::Image);
    }
    let is_open = pictures == Pictures::NotAsked && unread.is_empty();
    let told = unreadable(stage, &unread)?;
    Some(if is_open { Checked { outcome: Outcome::NotRun, ..told } } else { told })
}

/// What a ruling means for the check that asked for it.
pub(crate) fn outcome(judged: &Judged, ruling: &Ruling) -> Outcome {
    match (ruling, judged.action) {
        (Ruling::Passed, _) => Outcome::Passed,
        (Ruling::Failed(_), _) => Outcome::Failed,
        (Ruling::NotAsked, _) => Outcome::NotRun,
        (Ruling::Found(found), _) if found.is_mild => Outcome::Flagged,
        (Ruling::Found(_), Action::Block) => Outcome::Blocked,
        (Ruling::Found(_), Action::Mask | Action::MaskAndRestore | Action::Hash) => Outcome::Masked,
        (Ruling::Found(_), Action::Log) => Outcome::Flagged,
    }
}

/// Why nothing goes on: something was found that blocks, or a check that `must` be answered was not.
pub(crate) fn error(side: Side, checks: &[Checked], must: &[Arc<str>]) -> Option<ApiError> {
    let blocked: Vec<&Checked> = checks.iter().filter(|checked| checked.outcome == Outcome::Blocked).collect();
    let what = side.what();
    if !blocked.is_empty() {
        let told: Vec<String> = blocked.iter().map(|checked| told(checked)).collect();
        let message = format!("the {what} was blocked by {}", told.join(", "));
        let categories: BTreeSet<String> = blocked.iter().flat_map(|checked| checked.categories.clone()).collect();
        return Some(ApiError {
            checks: blocked.iter().map(|checked| checked.name.to_string()).collect(),
            categories: categories.into_iter().collect(),
            ..ApiError::new(ErrorCode::GuardrailBlocked, message)
        });
    }
    let names: Vec<&str> = must.iter().map(AsRef::as_ref).collect();
    (!names.is_empty()).then(|| {
        let message = format!("the {what} could not be judged by {}, and nothing passes unjudged", names.join(", "));
        unavailable(&names, message)
    })
}

fn told(checked: &Checked) -> String {
    if checked.categories.is_empty() {
        return checked.name.to_string();
    }
    format!("{} ({})", checked.name, checked.categories.join(", "))
}

fn unavailable(checks: &[&str], message: String) -> ApiError {
    let checks = checks.iter().map(|name| (*name).to_owned()).collect();
    ApiError { checks, ..ApiError::new(ErrorCode::GuardrailUnavailable, message) }
}

/// What judges have found that is to be replaced.
#[derive(Default)]
struct Masking {
    /// Somebody did not say where: all texts are replaced, by the strictest of what was asked for.
    whole: Option<Instead>,
    spans: HashMap<usize, Vec<Finding>>,
}

/// A body did not show the same texts twice.
struct Unlike;

impl Masking {
    fn add(&mut self, found: &Found, instead: Instead) {
        match &found.spans {
            None => self.whole = self.whole.max(Some(instead)),
            Some(spans) => {
                for (at, finding) in spans {
                    self.spans.entry(*at).or_default().push(Finding { instead, ..finding.clone() });
                }
            }
        }
    }

    fn any(&self) -> bool {
        self.whole.is_some() || !self.spans.is_empty()
    }

    /// The body with all of it replaced; `None` if it was before.
    fn apply(
        self,
        side: Side,
        body: &RawValue,
        case: &Case,
        masker: &mut Masker,
    ) -> Result<Option<Box<RawValue>>, Unlike> {
        let (mut at, mut is_like) = (0, true);
        let strictest = self.spans.values().flatten().map(|finding| finding.instead).max();
        let whole = self.whole.max(self.whole.and(strictest));
        let masked = side.inspect(body, &mut |_, text| {
            let place = case.place(at, text);
            is_like &= place.is_some();
            at += 1;
            let (of, range) = place??;
            if let Some(instead) = whole {
                return (!text.trim().is_empty()).then(|| masker.whole(text, instead));
            }
            masker.mask(text, within(self.spans.get(&of)?, &range))
        });
        if !is_like {
            return Err(Unlike);
        }
        masked.map(RawValue::from_string).transpose().map_err(|_| Unlike)
    }
}

/// What of the findings in a whole lies in one part of it.
fn within(findings: &[Finding], part: &Range<usize>) -> Vec<Finding> {
    let cut = |finding: &Finding| {
        let span = finding.span.start.max(part.start)..finding.span.end.min(part.end);
        (!span.is_empty()).then(|| Finding { span: span.start - part.start..span.end - part.start, ..finding.clone() })
    };
    findings.iter().filter_map(cut).collect()
}
