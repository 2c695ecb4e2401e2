//! The checks, and the one place that matches their variants.
//!
//! A check looks at one text and says which spans of it matched; what then happens is the pipeline's business. What
//! needs a judge is not here.

pub mod keywords;

pub use tollgate_pii::{self as pii, Finding, fold, mask};

use fold::Folded;
use mask::Instead;

/// What happens to a text in which a check finds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The request or the answer ends with an error.
    Block,
    /// What was found is replaced by a typed placeholder.
    Mask,
    /// The same, and the answer gets it back.
    MaskAndRestore,
    /// What was found is replaced by a keyed hash.
    Hash,
    /// It is counted, and nothing else happens.
    Log,
}

impl Action {
    /// What stands in the place of what is found; `None`: nothing does.
    pub fn instead(self) -> Option<Instead> {
        match self {
            Action::Mask => Some(Instead::Number),
            Action::MaskAndRestore => Some(Instead::Restorable),
            Action::Hash => Some(Instead::Hash),
            Action::Block | Action::Log => None,
        }
    }

    /// Whether anything does.
    pub fn replaces(self) -> bool {
        self.instead().is_some()
    }
}

/// A configured check, ready to run.
#[derive(Debug)]
pub enum Check {
    /// Words and phrases.
    Keywords(keywords::Keywords),
    /// Personal data and secrets.
    Pii(pii::Pii),
}

impl Check {
    /// Appends what the check finds in `text`, in no particular order; findings may overlap.
    pub fn scan(&self, text: &Folded<'_>, out: &mut Vec<Finding>) {
        match self {
            Check::Keywords(keywords) => keywords.scan(text.original(), out),
            Check::Pii(pii) => pii.scan(text, out),
        }
    }

    /// Up to where a text that still grows is decided: nothing that comes later changes what is found in front of it.
    pub fn settled(&self, text: &str) -> usize {
        match self {
            Check::Keywords(keywords) => fold::decided(text, keywords.window()),
            Check::Pii(pii) => pii.settled(text),
        }
    }
}
