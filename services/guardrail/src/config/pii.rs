//! Compiles what `pii` of the configuration asks for.

use super::fatal;
use crate::checks::pii::custom::{Allowed, Pattern};
use crate::checks::pii::{DEFAULT_ENTITIES, Entity, Pii, UNBOUNDED_CHARS, known_region};
use tollgate_runtime::config::{self, PiiAllow, Problem};

/// Patterns and allowed values of one check: each is looked for in every text.
const PATTERNS_MAX: usize = 50;
const ALLOWED_MAX: usize = 1_000;

pub(super) fn compile(pii: &config::Pii, path: &str, problems: &mut Vec<Problem>) -> Option<Pii> {
    let before = problems.len();
    let mut entities = Vec::new();
    for (i, name) in pii.entities.iter().flatten().enumerate() {
        match Entity::parse(name) {
            Some(entity) if entities.contains(&entity) => {
                problems.push(fatal(format!("{path}.entities[{i}]"), &format!("`{name}` is named twice; remove one")));
            }
            Some(entity) => entities.push(entity),
            None => {
                let known = Entity::ALL.iter().map(|e| e.as_str()).collect::<Vec<_>>().join(", ");
                let message = format!("`{name}` is not an entity of this version; there are {known}");
                problems.push(fatal(format!("{path}.entities[{i}]"), &message));
            }
        }
    }
    if pii.entities.as_ref().is_some_and(Vec::is_empty) {
        problems
            .push(fatal(format!("{path}.entities"), "is empty; leave it out for the default set, or remove the check"));
    }
    for (i, region) in pii.phone_regions.iter().enumerate().filter(|(_, region)| !known_region(region)) {
        let message = format!("`{region}` is not a region; write ISO 3166 codes of two upper-case letters, as in US");
        problems.push(fatal(format!("{path}.phone_regions[{i}]"), &message));
    }
    let (patterns, allowed) = (patterns(pii, path, problems), allowed(pii, path, problems));
    if problems.len() > before {
        return None;
    }
    let entities = if pii.entities.is_some() { entities } else { DEFAULT_ENTITIES.to_vec() };
    Pii::new(&entities, &pii.phone_regions).ok().map(|pii| pii.with(patterns, allowed))
}

/// Of a pattern without a longest match a stream is held back for as much as is assumed.
pub(super) fn warn_of_unbounded(pii: &Pii, path: &str, problems: &mut Vec<Problem>) {
    for (at, pattern) in pii.patterns().iter().enumerate().filter(|(_, pattern)| pattern.longest().is_none()) {
        let message = format!(
            "`{}` has no longest match; of a stream it is found only up to {UNBOUNDED_CHARS} characters and to the end of a word:              write {{1,20}} for +, or `stream: whole`",
            pattern.name()
        );
        problems.push(Problem { path: format!("{path}.patterns[{at}]"), message, fatal: false });
    }
}

fn patterns(pii: &config::Pii, path: &str, problems: &mut Vec<Problem>) -> Vec<Pattern> {
    if pii.patterns.len() > PATTERNS_MAX {
        problems.push(fatal(format!("{path}.patterns"), &format!("are more than {PATTERNS_MAX}; join some with `|`")));
        return Vec::new();
    }
    let compiled = pii.patterns.iter().enumerate().filter_map(|(i, pattern)| {
        let twice = pii.patterns[..i].iter().any(|earlier| earlier.name == pattern.name);
        let compiled = match Pattern::new(&pattern.name, &pattern.regex, &pattern.context) {
            Ok(_) if twice => Err(format!("`{}` is named twice; join both with `|`", pattern.name)),
            compiled => compiled,
        };
        compiled.map_err(|message| problems.push(fatal(format!("{path}.patterns[{i}]"), &message))).ok()
    });
    compiled.collect()
}

fn allowed(pii: &config::Pii, path: &str, problems: &mut Vec<Problem>) -> Vec<Allowed> {
    if pii.allow.len() > ALLOWED_MAX {
        problems
            .push(fatal(format!("{path}.allow"), &format!("are more than {ALLOWED_MAX}; use a `regex` for several")));
        return Vec::new();
    }
    let compiled = pii.allow.iter().enumerate().filter_map(|(i, allow)| {
        let compiled = match allow {
            PiiAllow::Value(value) => Allowed::value(value),
            PiiAllow::Regex(expression) => Allowed::matching(expression),
        };
        compiled.map_err(|message| problems.push(fatal(format!("{path}.allow[{i}]"), &message))).ok()
    });
    compiled.collect()
}
