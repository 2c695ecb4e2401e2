//! Judges: what they are asked and what their answers mean. Pure; `court` asks. This file alone matches their kinds.
//!
//! `llm` and `llama_guard` chat, `moderations` reads what moderations say, `presidio` and `webhook` are called by the guardrail itself.
//! Whatever an answer is, it is a ruling only if it is exactly what was asked for: anything else has failed, and a judge that
//! has failed has never passed a text. Categories are names, never a piece of a text: what cannot be a name is left out.

pub mod cache;
mod labels;
mod llama_guard;
mod llm;
mod moderations;
mod presidio;
mod webhook;

pub use labels::is_known as is_known_to_presidio;
pub use presidio::Looked;

use crate::checks::Finding;
use crate::pipeline::{Case, Judged, Side, Subject};
use cache::Cache;
use serde_json::Value;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tollgate_runtime::outbound::Target;
use tollgate_schemas::{ApiType, RequestId};

/// All texts of a body that a judge is shown, in bytes, and how many. More has to fail: what is not shown is not judged.
pub const SHOWN_MAX_BYTES: usize = 512 * 1024;
const SHOWN_MAX: usize = 4_096;
/// Pictures that a judge is shown.
const IMAGES_MAX: usize = 8;

/// Somebody who can be asked.
#[derive(Debug)]
pub struct Judge {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// What it is.
    pub kind: Kind,
    /// What it has ruled before.
    pub cache: Option<Cache>,
    /// Whether it is shown pictures too.
    pub sees_images: bool,
}

/// What a judge is. `endpoint`: of the router.
#[derive(Debug)]
#[allow(missing_docs, reason = "as in the configuration")]
pub enum Kind {
    /// Any service that answers in the shape of OpenAI's moderations.
    Moderations {
        endpoint: String,
        takes: Takes,
        counts: Counts,
    },
    LlamaGuard {
        endpoint: String,
        counts: Counts,
    },
    Llm {
        endpoint: String,
        by_schema: bool,
    },
    /// An `Err` says why it cannot be called.
    Presidio {
        target: Result<Target, String>,
        looked: Looked,
    },
    Webhook {
        target: Result<Target, String>,
    },
}

/// How a moderation takes several texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// As a list of inputs, with a result for each.
    Inputs,
    /// As the parts of one input.
    Parts,
    /// As one text, so many characters a call.
    Windows(usize),
}

impl Takes {
    /// Whether an answer names every category that was looked for; Bedrock's names those that were found alone.
    fn names_all(self) -> bool {
        self != Takes::Parts
    }
}

/// What of a moderation counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// These categories alone; empty: all.
    pub categories: Vec<String>,
    /// From this score on; `None`: as the judge says itself.
    pub threshold: Option<f64>,
}

impl Counts {
    fn is_counted(&self, category: &str) -> bool {
        self.categories.is_empty() || self.categories.iter().any(|counted| counted == category)
    }

    /// Whether an object says something of every category that counts, or of any if all do. `null` says nothing.
    fn are_told(&self, object: &Value) -> bool {
        let is_any = || object.as_object().is_some_and(|fields| fields.values().any(|value| !value.is_null()));
        let is_told = |category: &String| object.get(category).is_some_and(|value| !value.is_null());
        if self.categories.is_empty() { is_any() } else { self.categories.iter().all(is_told) }
    }
}

/// What is asked, of which text.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The check.
    pub judged: &'a Judged,
    /// The texts.
    pub case: &'a Case,
    /// The request they belong to.
    pub request_id: RequestId,
}

impl About<'_> {
    fn subject(&self) -> &Subject {
        &self.judged.subject
    }

    fn side(&self) -> Side {
        self.case.side
    }

    /// What counts of what was found in a text: nothing in a placeholder that masking has put there, and nothing that the check allows.
    fn counted(&self, at: usize, span: Range<usize>) -> Vec<Range<usize>> {
        let text = &self.case.texts[at];
        let mut counted = outside(text, span, self.case.own.get(at).map(Vec::as_slice).unwrap_or_default());
        counted.retain(|span| !self.allows(&text[span.clone()]));
        counted
    }

    /// Whether the check allows what was found.
    fn allows(&self, found: &str) -> bool {
        matches!(self.subject(), Subject::Pii { allowed } if allowed.iter().any(|allowed| allowed.is(found)))
    }
}

/// What of a span lies outside of these, which are in order. Of what is cut, white space and punctuation alone are nothing.
fn outside(text: &str, span: Range<usize>, own: &[Range<usize>]) -> Vec<Range<usize>> {
    let first = own.partition_point(|own| own.end <= span.start);
    let (mut pieces, mut from) = (Vec::new(), span.start);
    for own in own[first..].iter().take_while(|own| own.start < span.end) {
        pieces.push(from..own.start.max(from));
        from = own.end;
    }
    if pieces.is_empty() {
        return vec![span];
    }
    pieces.push(from..span.end.max(from));
    let trimmed = |piece: Range<usize>| {
        let cut = &text[piece.clone()];
        let start = piece.start + cut.len() - cut.trim_start().len();
        start..start + cut.trim().len()
    };
    let says_nothing = |c: char| c.is_whitespace() || c.is_ascii_punctuation();
    let pieces = pieces.into_iter().map(trimmed);
    pieces.filter(|piece| !text[piece.clone()].chars().all(says_nothing)).collect()
}

/// One question to a model behind the router.
#[derive(Debug, PartialEq)]
pub struct Question {
    /// The API it is asked by.
    pub api: ApiType,
    /// The request's body.
    pub body: Value,
}

/// How a judge is asked.
#[derive(Debug)]
pub enum Asking<'j> {
    /// By requests to an endpoint of the router.
    Routed(&'j str, Vec<Question>),
    /// By a call of one's own.
    Called(&'j Target, Value),
    /// Not at all: there is nothing in the texts.
    Nothing,
}

/// What a judge found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Kinds of things.
    pub categories: Vec<String>,
    /// Where, by the place of a text in [`Case::texts`]; `None`: it does not say.
    pub spans: Option<Vec<(usize, Finding)>>,
    /// It is to be noted, whatever the check does otherwise.
    pub is_mild: bool,
}

impl Found {
    /// Of these kinds; where is not said.
    pub fn named(categories: Vec<String>) -> Self {
        Self { categories, spans: None, is_mild: false }
    }
}

/// What a judge says.
#[derive(Debug, Clone, PartialEq)]
pub enum Ruling {
    /// Nothing is wrong.
    Passed,
    /// Something is.
    Found(Found),
    /// It could not say; why is for the log.
    Failed(&'static str),
    /// It was not asked.
    NotAsked,
}

/// A ruling, and how long it took.
#[derive(Debug)]
pub struct Ruled {
    /// The ruling.
    pub ruling: Ruling,
    /// From the question on.
    pub took: Duration,
}

impl Judge {
    /// How it is asked. Errors with why it cannot be.
    pub fn asking(&self, about: &About<'_>) -> Result<Asking<'_>, &'static str> {
        let mut shown = about.case.spoken().map(|(_, text)| text.len());
        let first = shown.next();
        let (bytes, count) = shown.fold((first.unwrap_or(0), 1), |(bytes, count), text| (bytes + text, count + 1));
        let images = self.images(about);
        if first.is_none() && images.is_empty() {
            return Ok(Asking::Nothing);
        }
        if bytes > SHOWN_MAX_BYTES || count > SHOWN_MAX || images.len() > IMAGES_MAX {
            return Err("there is more than a judge is shown");
        }
        let unreachable = |why: &String| {
            tracing::error!(judge = &*self.name, why, "a judge cannot be called");
            "it cannot be called as it is configured"
        };
        Ok(match &self.kind {
            Kind::Moderations { endpoint, takes, .. } => {
                Asking::Routed(endpoint, moderations::questions(about, *takes, images)?)
            }
            Kind::LlamaGuard { endpoint, .. } => Asking::Routed(endpoint, vec![llama_guard::question(about)]),
            Kind::Llm { endpoint, by_schema } => {
                Asking::Routed(endpoint, vec![llm::question(about, *by_schema, images)])
            }
            Kind::Presidio { target, looked } => {
                Asking::Called(target.as_ref().map_err(unreachable)?, presidio::question(about, looked))
            }
            Kind::Webhook { target } => Asking::Called(target.as_ref().map_err(unreachable)?, webhook::question(about)),
        })
    }

    /// What it is shown of the pictures.
    fn images<'c>(&self, about: &About<'c>) -> &'c [String] {
        if self.sees_images { &about.case.images } else { &[] }
    }

    /// What its answers mean: one to each question, in order.
    pub fn ruling(&self, about: &About<'_>, answers: &[Value]) -> Ruling {
        let ruling = match (&self.kind, answers) {
            (Kind::Moderations { takes, counts, .. }, answers) => moderations::ruling(about, *takes, counts, answers),
            (Kind::LlamaGuard { counts, .. }, [answer]) => llama_guard::ruling(counts, answer),
            (Kind::Llm { .. }, [answer]) => llm::ruling(about, answer),
            (Kind::Presidio { .. }, [answer]) => presidio::ruling(about, answer),
            (Kind::Webhook { .. }, [answer]) => webhook::ruling(about, answer),
            _ => Err("there are not as many answers as questions"),
        };
        ruling.unwrap_or_else(Ruling::Failed)
    }
}

/// What a parser of answers comes to; an error says why the answer is none.
type Parsed = Result<Ruling, &'static str>;

/// A name of a category as it may be told to a caller: short, and nothing that could be a piece of a text.
fn name(category: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '.' | ':' | ' ' | '&');
    let fits = !category.is_empty() && category.len() <= 64 && category.chars().all(is_name);
    fits.then(|| category.to_owned())
}

/// The text of a whole chat completion.
fn said(answer: &Value) -> Result<&str, &'static str> {
    let choice = &answer["choices"][0];
    if choice["finish_reason"] == "content_filter" {
        return Err("the model would not speak of it");
    }
    choice["message"]["content"].as_str().ok_or("the answer has no text")
}

/// Where characters begin in a text, and where it ends.
struct Chars(Vec<usize>);

impl Chars {
    fn of(text: &str) -> Self {
        Self(text.char_indices().map(|(at, _)| at).chain([text.len()]).collect())
    }

    /// The bytes of a range of characters, which must be one of the text.
    fn range(&self, start: usize, end: usize) -> Option<Range<usize>> {
        (start < end).then_some(())?;
        Some(*self.0.get(start)?..*self.0.get(end)?)
    }
}

#[cfg(test)]
mod tests;
