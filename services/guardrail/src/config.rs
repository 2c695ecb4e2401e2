//! Compiles the guardrails of the configuration, and names every problem in them at once.

use crate::checks::keywords::Keywords;
use crate::checks::pii::custom::{Allowed, Pattern};
use crate::checks::pii::{DEFAULT_ENTITIES, Entity, Pii, known_region};
use crate::checks::{Action, Check};
use crate::pipeline::{Configured, Policy, Stage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tollgate_runtime::config::{self, Checks, Config, Guardrails, Judged, PiiAllow, Problem, Problems};

/// Patterns and allowed values of one check: each is looked for in every text.
const PATTERNS_MAX: usize = 50;
const ALLOWED_MAX: usize = 1_000;

/// Hex digits of a policy's version.
const VERSION_LENGTH: usize = 12;

/// What this service needs to know of an endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its checks.
    pub policy: Policy,
    /// Its tags, a column of the usage table.
    pub tags: BTreeMap<String, String>,
}

/// Compiled endpoints by name.
pub type Endpoints = HashMap<String, Arc<Endpoint>>;

/// Compiles every endpoint's guardrails.
pub fn endpoints(config: &Config) -> Result<Endpoints, Problems> {
    let mut problems = Vec::new();
    let endpoints = config.endpoints.iter().enumerate().map(|(i, endpoint)| {
        let path = format!("endpoints[{i}].guardrails");
        let policy = policy(&endpoint.guardrails, &path, &mut problems);
        (endpoint.name.clone(), Arc::new(Endpoint { policy, tags: endpoint.tags.clone() }))
    });
    let endpoints = endpoints.collect();
    if problems.is_empty() { Ok(endpoints) } else { Err(Problems(problems)) }
}

/// What is wrong with the guardrails of a configuration, for `config check`.
pub fn problems(config: &Config) -> Vec<Problem> {
    endpoints(config).map_or_else(|problems| problems.0, |_| Vec::new())
}

fn policy(guardrails: &Guardrails, path: &str, problems: &mut Vec<Problem>) -> Policy {
    let configured = guardrails.input.any() || guardrails.output.any();
    Policy {
        version: configured.then(|| version(guardrails)),
        input: stage(&guardrails.input, &INPUT_NAMES, &format!("{path}.input"), problems),
        output: stage(&guardrails.output, &OUTPUT_NAMES, &format!("{path}.output"), problems),
    }
}

/// Check names of a stage.
struct Names {
    keywords: &'static str,
    pii: &'static str,
    topics: &'static str,
    safety: &'static str,
    injection: &'static str,
}

const INPUT_NAMES: Names = Names {
    keywords: "input.keywords",
    pii: "input.pii",
    topics: "input.topics",
    safety: "input.safety",
    injection: "input.injection",
};
const OUTPUT_NAMES: Names = Names {
    keywords: "output.keywords",
    pii: "output.pii",
    topics: "output.topics",
    safety: "output.safety",
    injection: "output.injection",
};

fn stage(checks: &Checks, names: &Names, path: &str, problems: &mut Vec<Problem>) -> Stage {
    let mut stage = Stage::default();
    let mut add = |name, action, check| stage.checks.push(Configured { name, action, check });
    if let Some(keywords) = &checks.keywords {
        match Keywords::new(&keywords.words) {
            Ok(check) => add(names.keywords, action(keywords.action), Check::Keywords(check)),
            Err(_) => {
                problems.push(fatal(format!("{path}.keywords.words"), "are too many or too long; shorten the list"))
            }
        }
    }
    if let Some(pii) = &checks.pii
        && let Some(check) = compile_pii(pii, &format!("{path}.pii"), problems)
    {
        add(names.pii, action(pii.action), Check::Pii(check));
    }
    if checks.topics.is_some() {
        add(names.topics, Action::Block, Check::Unavailable);
    }
    for (name, judged) in [(names.safety, &checks.safety), (names.injection, &checks.injection)] {
        if let Some(Judged { action: chosen, .. }) = judged {
            add(name, action(*chosen), Check::Unavailable);
        }
    }
    stage
}

fn compile_pii(pii: &config::Pii, path: &str, problems: &mut Vec<Problem>) -> Option<Pii> {
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
        problems.push(fatal(format!("{path}.allow"), &format!("are more than {ALLOWED_MAX}; use a `regex` for several")));
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

fn action(action: config::Action) -> Action {
    match action {
        config::Action::Block => Action::Block,
        config::Action::Mask => Action::Mask,
        config::Action::Log => Action::Log,
    }
}

fn fatal(path: String, message: &str) -> Problem {
    Problem { path, message: message.to_owned(), fatal: true }
}

/// The same guardrails have the same version in every process; any difference in them gives another one.
fn version(guardrails: &Guardrails) -> String {
    let canonical = json!([canonical(&guardrails.input), canonical(&guardrails.output)]).to_string();
    let digest = tollgate_runtime::blob::hex(&Sha256::digest(canonical.as_bytes()));
    digest[..VERSION_LENGTH].to_owned()
}

/// Every field by name. A field that is added to the configuration is added here too, or versions would not tell it.
fn canonical(checks: &Checks) -> Value {
    let Checks { pii, keywords, topics, safety, injection } = checks;
    let named = |action: config::Action| format!("{action:?}").to_lowercase();
    let judged = |j: &Judged| json!({ "action": named(j.action), "judge": j.judge });
    json!({
        "pii": pii.as_ref().map(|config::Pii { action, entities, phone_regions, patterns, allow }| {
            json!({
                "action": named(*action),
                "entities": entities,
                "phone_regions": phone_regions,
                "patterns": patterns,
                "allow": allow,
            })
        }),
        "keywords": keywords.as_ref().map(|config::Keywords { action, words }| {
            json!({ "action": named(*action), "words": words })
        }),
        "topics": topics.as_ref().map(|config::Topics { allow, deny, judge }| {
            json!({ "allow": allow, "deny": deny, "judge": judge })
        }),
        "safety": safety.as_ref().map(judged),
        "injection": injection.as_ref().map(judged),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Action::{Block, Log, Mask};

    fn compiled(checks: Checks) -> (Policy, Vec<String>) {
        let mut problems = Vec::new();
        let guardrails = Guardrails { input: checks, ..Guardrails::default() };
        let policy = policy(&guardrails, "endpoints[0].guardrails", &mut problems);
        (policy, problems.iter().map(ToString::to_string).collect())
    }

    fn pii(entities: Option<&[&str]>, regions: &[&str]) -> Checks {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let (entities, phone_regions) = (entities.map(owned), owned(regions));
        let pii = config::Pii { action: Mask, entities, phone_regions, patterns: vec![], allow: vec![] };
        Checks { pii: Some(pii), ..Checks::default() }
    }

    #[test]
    fn every_problem_is_named_with_its_path() {
        let (_, problems) = compiled(pii(Some(&["EMAIL", "US_SSN", "US_SSN"]), &["US", "Germany"]));
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(
            problems[0].contains("endpoints[0].guardrails.input.pii.entities[0]")
                && problems[0].contains("EMAIL_ADDRESS")
        );
        assert!(problems[1].contains("entities[2]") && problems[2].contains("phone_regions[1]"));
        assert_eq!(compiled(pii(Some(&[]), &[])).1.len(), 1);
        assert!(compiled(pii(None, &[])).1.is_empty());
    }

    #[test]
    fn patterns_and_allowed_values_are_checked() {
        let pattern = |name: &str, regex: &str| config::PiiPattern { name: name.into(), regex: regex.into(), context: vec![] };
        let mut checks = pii(None, &[]);
        let check = checks.pii.as_mut().expect("there");
        check.patterns = vec![pattern("BADGE", "[0-9]{5}"), pattern("US_SSN", "x"), pattern("BADGE", "y"), pattern("P", "(")];
        check.allow = vec![PiiAllow::Value("a@b.com".into()), PiiAllow::Value(String::new()), PiiAllow::Regex("[".into())];
        let (_, problems) = compiled(checks.clone());
        let places = ["patterns[1]", "patterns[2]", "patterns[3]", "allow[1]", "allow[2]"];
        assert_eq!(problems.len(), places.len(), "{problems:?}");
        assert!(problems.iter().zip(places).all(|(problem, place)| problem.contains(place)), "{problems:?}");
        let check = checks.pii.as_mut().expect("there");
        (check.patterns, check.allow) = (vec![pattern("BADGE", "[0-9]{5}")], vec![]);
        let (first, problems) = compiled(checks);
        assert!(problems.is_empty());
        assert_ne!(first.version, compiled(pii(None, &[])).0.version);
    }

    #[test]
    fn the_shipped_example_compiles() {
        let text = include_str!("../../../tollgate.example.yaml");
        let loaded = config::parse(text, config::Role::Guardrail, &|_| Ok(None)).expect("a valid example");
        assert_eq!(problems(&loaded.config), []);
    }

    #[test]
    fn versions_tell_policies_apart() {
        let version = |checks| compiled(checks).0.version;
        assert_eq!(version(Checks::default()), None);
        let first = version(pii(None, &["US"]));
        assert_eq!(first, version(pii(None, &["US"])));
        assert_ne!(first, version(pii(None, &["GB"])));
        assert_eq!(first.map(|v| v.len()), Some(VERSION_LENGTH));
    }

    #[test]
    fn checks_that_this_version_lacks_are_there_and_unavailable() {
        let judged = |action| Some(Judged { action, judge: None });
        let topics = config::Topics { allow: vec!["support".into()], deny: vec![], judge: "j".into() };
        let checks =
            Checks { topics: Some(topics), safety: judged(Block), injection: judged(Log), ..Checks::default() };
        let (policy, problems) = compiled(checks);
        assert!(problems.is_empty());
        assert_eq!(policy.input.demanded_but_unavailable(), ["input.topics", "input.safety"]);
        assert_eq!(policy.input.checks.len(), 3);
    }
}
