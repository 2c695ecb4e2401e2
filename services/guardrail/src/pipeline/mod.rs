//! The pure core: (policy, body) → verdict. No I/O, no clock.
//!
//! All checks look at the text as it came, so their order does not matter; what masking checks find is then replaced
//! together. A check that cannot run is never counted as passed: it refuses the request, or is recorded as `not_run`.

mod policy;

pub use policy::{Configured, Policy, Stage};

use crate::checks::fold::Folded;
use crate::checks::mask::Masker;
use crate::checks::{Action, Finding};
use crate::inspect::{self, MapText};
use serde_json::value::RawValue;
use tollgate_schemas::{ApiError, ErrorCode};

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
    /// A check could not run.
    NotRun,
    /// Something was found and nothing goes on.
    Blocked,
}

impl Outcome {
    const ALL: [Outcome; 6] =
        [Outcome::None, Outcome::Passed, Outcome::Flagged, Outcome::Masked, Outcome::NotRun, Outcome::Blocked];

    /// As in the usage table and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::None => "none",
            Outcome::Passed => "passed",
            Outcome::Flagged => "flagged",
            Outcome::Masked => "masked",
            Outcome::NotRun => "not_run",
            Outcome::Blocked => "blocked",
        }
    }

    /// The outcome of that name; `None` if there is no such name.
    pub fn parse(text: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|o| o.as_str() == text)
    }
}

/// What a stage decided about a body.
#[derive(Debug)]
pub struct Verdict {
    /// The gravest outcome of all checks.
    pub outcome: Outcome,
    /// Each configured check by name (`input.pii`) with its own outcome.
    pub checks: Vec<(&'static str, Outcome)>,
    /// The new body, if masking changed it. The old one must not be used then.
    pub body: Option<Box<RawValue>>,
    /// Why nothing goes on, if nothing goes on.
    pub error: Option<ApiError>,
}

/// Runs the input checks on a request body.
pub fn check_request(policy: &Policy, body: &RawValue) -> Verdict {
    run(&policy.input, "request", body, inspect::request)
}

/// Runs the output checks on an answer.
pub fn check_answer(policy: &Policy, body: &RawValue) -> Verdict {
    run(&policy.output, "answer", body, inspect::answer)
}

/// The verdict when the checks themselves broke: nothing goes on.
pub fn broken(stage: &Stage) -> Verdict {
    let checks = stage.checks.iter().map(|c| (c.name, Outcome::NotRun)).collect::<Vec<_>>();
    let names = stage.checks.iter().map(|c| c.name).collect::<Vec<_>>();
    let message = "the checks of this endpoint failed to run; report it with the request id";
    Verdict { outcome: Outcome::NotRun, checks, body: None, error: Some(unavailable(&names, message.to_owned())) }
}

fn run(stage: &Stage, what: &str, body: &RawValue, inspect: fn(&RawValue, MapText<'_>) -> Option<String>) -> Verdict {
    let mut texts = Texts { stage, hit: vec![false; stage.checks.len()], masker: Masker::default() };
    let runnable = stage.checks.iter().any(|c| c.check.available());
    let changed = if runnable { inspect(body, &mut |key, text| texts.check(key, text)) } else { None };
    let checks = stage.checks.iter().zip(&texts.hit).map(|(c, hit)| (c.name, outcome(c, *hit))).collect::<Vec<_>>();
    let of = |wanted: Outcome| checks.iter().filter(|(_, o)| *o == wanted).map(|(name, _)| *name).collect::<Vec<_>>();
    let (blocked, demanded) = (of(Outcome::Blocked), stage.demanded_but_unavailable());
    let error = if !blocked.is_empty() {
        let message = format!("the {what} was blocked by {}", blocked.join(", "));
        Some(ApiError { checks: owned(&blocked), ..ApiError::new(ErrorCode::GuardrailBlocked, message) })
    } else if !demanded.is_empty() {
        let message = format!("the {what} cannot be checked by {}, which this version cannot run", demanded.join(", "));
        Some(unavailable(&demanded, message))
    } else {
        None
    };
    let outcome = checks.iter().map(|(_, o)| *o).max().unwrap_or(Outcome::None);
    match changed.filter(|_| error.is_none()).map(RawValue::from_string) {
        None => Verdict { outcome, checks, body: None, error },
        Some(Ok(body)) => Verdict { outcome, checks, body: Some(body), error },
        // splicing strings into JSON gives JSON; if it ever did not, the unmasked body must not go on
        Some(Err(_)) => broken(stage),
    }
}

fn outcome(configured: &Configured, hit: bool) -> Outcome {
    match (configured.check.available(), hit, configured.action) {
        (false, ..) => Outcome::NotRun,
        (true, false, _) => Outcome::Passed,
        (true, true, Action::Block) => Outcome::Blocked,
        (true, true, Action::Mask) => Outcome::Masked,
        (true, true, Action::Log) => Outcome::Flagged,
    }
}

fn unavailable(checks: &[&str], message: String) -> ApiError {
    ApiError { checks: owned(checks), ..ApiError::new(ErrorCode::GuardrailUnavailable, message) }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// The checks of a stage on the texts of one body.
struct Texts<'s> {
    stage: &'s Stage,
    /// Per check: whether it has found something.
    hit: Vec<bool>,
    masker: Masker,
}

/// Masking can bring a value into view that its neighbour hid, so masked text is looked at again. Each round replaces
/// something that no earlier one did; this bound is never met by text that was not made to meet it.
const ROUNDS_MAX: usize = 16;

impl Texts<'_> {
    fn check(&mut self, key: &str, text: &str) -> Option<String> {
        self.scan(key, text, |action| action != Action::Mask);
        if self.blocked() {
            return None;
        }
        let mut masked = None::<String>;
        for _ in 0..ROUNDS_MAX {
            let current = masked.as_deref().unwrap_or(text);
            let findings = self.scan(key, current, |action| action == Action::Mask);
            match self.masker.mask(current, findings) {
                Some(text) => masked = Some(text),
                None => return masked,
            }
        }
        Some(self.masker.whole(text))
    }

    /// What the checks with such an action find; notes which of them did.
    fn scan(&mut self, key: &str, text: &str, wanted: impl Fn(Action) -> bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.stage.checks.iter().any(|c| wanted(c.action)) {
            return findings;
        }
        let folded = Folded::new(text).beside(key);
        for (configured, hit) in self.stage.checks.iter().zip(&mut self.hit).filter(|(c, _)| wanted(c.action)) {
            let before = findings.len();
            configured.check.scan(&folded, &mut findings);
            *hit |= findings.len() > before;
        }
        findings
    }

    fn blocked(&self) -> bool {
        self.stage.checks.iter().zip(&self.hit).any(|(c, hit)| *hit && c.action == Action::Block)
    }
}

#[cfg(test)]
mod tests;
