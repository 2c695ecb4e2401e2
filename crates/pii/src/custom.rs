//! What a configuration adds: patterns of its own, and values that are never findings.
//!
//! Expressions are those of the `regex` crate: no look-around, no back-references, and a single search is linear in the text.

use super::Entity;
use super::entities::{Report, Text, score};
use regex::{Regex, RegexBuilder};

/// Names of patterns, in bytes.
const NAME_MAX_BYTES: usize = 40;
const EXPRESSION_MAX_BYTES: usize = 1_000;
/// A compiled expression's size.
const COMPILED_MAX_BYTES: usize = 1 << 20;

/// A pattern of the configuration.
#[derive(Debug)]
pub struct Pattern {
    name: String,
    expression: Regex,
    /// In bytes; `None`: no longest.
    longest: Option<usize>,
    /// Lower case; empty: it counts anywhere.
    context: Vec<String>,
}

impl Pattern {
    /// Compiles it. The name becomes the placeholder's; with context words it counts only near one of them.
    /// Errors with what is wrong.
    pub fn new(name: &str, expression: &str, context: &[String]) -> Result<Self, String> {
        let upper = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_') && name.starts_with(|c: char| c != '_');
        if !upper || !(2..=NAME_MAX_BYTES).contains(&name.len()) {
            return Err(format!(
                "`{name}` must be 2 to {NAME_MAX_BYTES} upper-case letters and `_`, as in EMPLOYEE_ID"
            ));
        }
        if Entity::parse(name).is_some() {
            return Err(format!("`{name}` is a built-in entity; choose another name"));
        }
        let longest = regex_syntax::parse(expression).ok().and_then(|parsed| parsed.properties().maximum_len());
        let expression = compile(expression, expression)?;
        let context = context.iter().map(|word| word.to_lowercase()).collect();
        Ok(Self { name: name.to_owned(), expression, longest, context })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The length of its longest match in bytes; `None`: there is no longest.
    pub fn longest(&self) -> Option<usize> {
        self.longest
    }

    pub(super) fn has_context(&self) -> bool {
        !self.context.is_empty()
    }

    pub(super) fn find(&self, text: &Text<'_>, report: Report<'_>) {
        for found in self.expression.find_iter(text.as_str()) {
            if self.context.is_empty() {
                report(found.range(), score::FORMAT);
            } else if text.beside(&found.range(), &self.context) {
                report(found.range(), score::CONTEXT);
            }
        }
    }
}

/// What is never a finding.
#[derive(Debug)]
pub enum Allowed {
    /// This value, whatever the case of its ASCII letters.
    Value(String),
    /// Every value that this expression matches as a whole.
    Matching(Regex),
}

impl Allowed {
    /// A single value. Errors if it is empty.
    pub fn value(value: &str) -> Result<Self, String> {
        if value.is_empty() { Err("is empty".to_owned()) } else { Ok(Self::Value(value.to_owned())) }
    }

    /// All values that the expression matches from end to end. Errors with what is wrong.
    pub fn matching(expression: &str) -> Result<Self, String> {
        compile(expression, &format!("^(?:{expression})$")).map(Self::Matching)
    }

    /// Whether it is this value that may stand there.
    pub fn is(&self, found: &str) -> bool {
        match self {
            Allowed::Value(value) => value.eq_ignore_ascii_case(found),
            Allowed::Matching(expression) => expression.is_match(found),
        }
    }
}

impl PartialEq for Allowed {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Allowed::Value(one), Allowed::Value(other)) => one.eq_ignore_ascii_case(other),
            (Allowed::Matching(one), Allowed::Matching(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

fn compile(written: &str, expression: &str) -> Result<Regex, String> {
    if written.is_empty() || written.len() > EXPRESSION_MAX_BYTES {
        return Err(format!("must have 1 to {EXPRESSION_MAX_BYTES} bytes"));
    }
    let compiled = RegexBuilder::new(expression).size_limit(COMPILED_MAX_BYTES).build().map_err(|e| e.to_string())?;
    if compiled.is_match("") { Err("matches the empty text".to_owned()) } else { Ok(compiled) }
}
