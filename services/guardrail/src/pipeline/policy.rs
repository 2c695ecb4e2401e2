//! An endpoint's checks, compiled.

use crate::checks::fold::Folded;
use crate::checks::mask::{HashKey, Instead};
use crate::checks::pii::custom::Allowed;
use crate::checks::{Action, Check, Finding};
use crate::inspect::Kind;
use crate::judges::Judge;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A check with its name and what it does when it finds something.
#[derive(Debug, Clone)]
pub struct Configured {
    /// Stage and kind: `input.pii`, `output.keywords`, …
    pub name: Arc<str>,
    /// What a finding leads to.
    pub action: Action,
    /// The check itself, which several policies may share.
    pub check: Arc<Check>,
}

impl Configured {
    pub(crate) fn masks(&self) -> bool {
        self.action.replaces()
    }

    /// The same beside the judges of another policy: they are shown what patterns have left, so what they would replace for good must not
    /// come back because a pattern has seen it first.
    #[must_use]
    pub(crate) fn beside<'j>(&self, judged: impl Iterator<Item = &'j Judged>) -> Self {
        let replacing = judged.map(|judged| judged.action).filter(|action| self.masks() && action.replaces());
        Self { action: replacing.fold(self.action, stricter), ..self.clone() }
    }

    /// The same where nothing comes back, or where it may.
    #[must_use]
    pub(crate) fn for_good(self, nothing_comes_back: bool) -> Self {
        Self { action: for_good(self.action, nothing_comes_back), ..self }
    }

    /// Appends what the check finds in a text, with what is to stand there instead.
    pub(crate) fn scan(&self, text: &Folded<'_>, out: &mut Vec<Finding>) {
        let before = out.len();
        self.check.scan(text, out);
        let instead = self.action.instead().unwrap_or_default();
        out[before..].iter_mut().for_each(|finding| finding.instead = instead);
    }
}

/// A check that somebody else answers, or a score.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Stage and kind: `input.safety`, `output.custom.tone`, …
    pub name: Arc<str>,
    /// What a finding leads to.
    pub action: Action,
    /// A judge that fails to answer lets a text pass.
    pub allows_failure: bool,
    /// What it is about.
    pub subject: Subject,
    /// Who answers.
    pub seat: Seat,
}

/// What a judge is asked about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// What a text may be about, and what not.
    Topics {
        /// If there are any, nothing else.
        allow: Vec<String>,
        /// None of these.
        deny: Vec<String>,
        /// Texts, and whether they may pass.
        examples: Vec<(String, bool)>,
    },
    /// Harmful content.
    Safety,
    /// Prompt injections and jailbreaks. From this score of the heuristics on nobody has to be asked.
    Injection {
        /// From 0 to 1.
        threshold: f64,
    },
    /// A policy in an administrator's own words.
    Custom {
        /// The words.
        policy: String,
    },
    /// Personal data.
    Pii {
        /// What is none.
        allowed: Arc<[Allowed]>,
    },
}

/// Who answers a check.
#[derive(Debug, Clone)]
pub enum Seat {
    /// Nobody: the score decides alone.
    Empty,
    /// A judge that is not there any more, by name. It fails.
    Vacant(Arc<str>),
    /// A judge.
    Taken(Arc<Judge>),
}

impl Seat {
    /// The judge's name.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Seat::Empty => None,
            Seat::Vacant(name) => Some(name),
            Seat::Taken(judge) => Some(&judge.name),
        }
    }
}

impl Judged {
    /// The score from which on nobody is asked; `None`: there is no score.
    pub fn threshold(&self) -> Option<f64> {
        match self.subject {
            Subject::Injection { threshold } => Some(threshold),
            _ => None,
        }
    }

    /// The same where nothing comes back, or where it may.
    #[must_use]
    pub(crate) fn for_good(self, nothing_comes_back: bool) -> Self {
        Self { action: for_good(self.action, nothing_comes_back), ..self }
    }

    /// Whether its judge is shown pictures.
    pub(crate) fn sees_images(&self) -> bool {
        matches!(&self.seat, Seat::Taken(judge) if judge.sees_images)
    }

    /// Takes another check in, if it asks the same judge the same: what is found then leads to the stricter of both. Whether it did.
    pub(crate) fn takes_in(&mut self, other: &Judged) -> bool {
        let is_same = self.subject == other.subject && self.seat.name() == other.seat.name();
        if is_same {
            self.action = stricter(self.action, other.action);
            self.allows_failure &= other.allows_failure;
        }
        is_same
    }
}

/// The stricter of two actions. Of two that put something in the place of what was found, the one that leaves less of it: what
/// comes back is milder than a pseudonym, and that than a number.
fn stricter(one: Action, other: Action) -> Action {
    match (one, other) {
        (Action::Block, _) | (_, Action::Block) => Action::Block,
        (Action::Log, stricter) | (stricter, Action::Log) => stricter,
        _ if one.instead() < other.instead() => other,
        _ => one,
    }
}

fn for_good(action: Action, nothing_comes_back: bool) -> Action {
    if nothing_comes_back && action == Action::MaskAndRestore { Action::Mask } else { action }
}

/// The checks of one side.
#[derive(Debug, Default)]
pub struct Stage {
    /// Those that look at texts by themselves, in the order of the configuration's documentation.
    pub checks: Vec<Configured>,
    /// Those that others answer.
    pub judged: Vec<Judged>,
    /// How long all judges may take together.
    pub budget: Duration,
    /// What becomes of a body with something that nobody can read. `None`: it passes, and nothing is said.
    pub unreadable: Option<Unreadable>,
    /// What hashes of values are keyed with.
    pub hash_key: Option<HashKey>,
    /// How a stream is checked; `None`: only when all of it has come.
    pub streaming: Option<Streaming>,
}

/// The check of what nobody can read.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// `input.unreadable`, …
    pub name: Arc<str>,
    /// Whether it ends here. If not, it is noted.
    pub blocks: bool,
}

/// How a stream is checked while it is produced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streaming {
    /// How many characters judges are shown at a time.
    pub window: usize,
    /// One that a check blocks ends as its API ends one that a content filter has stopped.
    pub is_filtered: bool,
}

impl Stage {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.judged.is_empty() && self.unreadable.is_none()
    }

    /// Whether a body with these ends here.
    pub(crate) fn blocks(&self, unread: &BTreeSet<Kind>) -> bool {
        !unread.is_empty() && self.unreadable.as_ref().is_some_and(|unreadable| unreadable.blocks)
    }

    /// Whether somebody is shown pictures.
    pub fn sees_images(&self) -> bool {
        self.judged.iter().any(Judged::sees_images)
    }

    fn actions(&self) -> impl Iterator<Item = Action> {
        self.checks.iter().map(|it| it.action).chain(self.judged.iter().map(|it| it.action))
    }

    /// Whether anything that is replaced is put back into the answer.
    pub(crate) fn restores(&self) -> bool {
        self.actions().any(|action| action == Action::MaskAndRestore)
    }

    /// Whether anything that is found does not go on as it is.
    pub(crate) fn keeps_back(&self) -> bool {
        self.actions().any(|action| action == Action::Block || action.replaces())
    }

    /// What stands in the place of a text in which masking finds no end.
    pub(crate) fn strictest(&self) -> Instead {
        self.checks.iter().filter_map(|configured| configured.action.instead()).max().unwrap_or_default()
    }

    /// Whether there are patterns that mask, or others.
    pub(crate) fn has(&self, that_mask: bool) -> bool {
        self.checks.iter().any(|configured| configured.masks() == that_mask)
    }

    /// Up to where a text that still grows is decided for the patterns that mask, or for the others.
    pub(crate) fn settled(&self, text: &str, that_mask: bool) -> usize {
        let those = self.checks.iter().filter(|configured| configured.masks() == that_mask);
        those.map(|configured| configured.check.settled(text)).min().unwrap_or(text.len())
    }
}

/// An endpoint's checks on both sides.
#[derive(Debug, Default)]
pub struct Policy {
    /// Short hash of the configuration that it was compiled from; `None` if the endpoint has no checks.
    pub version: Option<String>,
    /// Checks of requests.
    pub input: Stage,
    /// Checks of answers.
    pub output: Stage,
}
