//! Compiles the guardrails of the configuration, and names every problem in them at once.

mod judges;
mod keywords;
mod overrides;
mod pii;
mod version;

pub use overrides::Endpoints;

use crate::checks::mask::HashKey;
use crate::checks::pii::custom::Allowed;
use crate::checks::{Action, Check};
use crate::pipeline::{Configured, Judged, Policy, Side, Stage, Streaming, Subject, Unreadable};
use judges::Judges;
use std::collections::BTreeMap;
use std::sync::Arc;
use tollgate_runtime::config::{
    self, Checks, Config, Guardrails, JUDGES_BUDGET, OnBlock, OnJudgeFailure, Problem, Problems, STREAM_WINDOW, Whose,
};
use version::version;

/// What this service needs to know of an endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its checks.
    pub policy: Policy,
    /// Its tags, a column of the usage table.
    pub tags: BTreeMap<String, String>,
}

/// Compiles the guardrails of every endpoint, team and key. Those of a team or a key that cannot be used refuse what they would
/// check, and nothing else: keys are not made by administrators alone.
pub fn endpoints(config: &Config) -> Result<Endpoints, Problems> {
    let (mut problems, mut of_callers) = (Vec::new(), Vec::new());
    let endpoints = Endpoints::compile(config, &mut problems, &mut of_callers);
    for problem in of_callers.iter().filter(|problem| problem.fatal) {
        tracing::error!(%problem, "guardrails of a team or a key cannot be used, so what they would check is refused");
    }
    if problems.iter().any(|problem| problem.fatal) { Err(Problems(problems)) } else { Ok(endpoints) }
}

/// What is wrong with the guardrails of a configuration, for `config check`.
pub fn problems(config: &Config) -> Vec<Problem> {
    let (mut problems, mut of_callers) = (Vec::new(), Vec::new());
    Endpoints::compile(config, &mut problems, &mut of_callers);
    problems.append(&mut of_callers);
    problems.extend(judges::unknown_entities(config));
    problems
}

/// What comes behind the names of checks that are not the endpoint's own.
fn suffix(whose: Whose) -> &'static str {
    match whose {
        Whose::Endpoint => "",
        Whose::Team => ".team",
        Whose::Key => ".key",
    }
}

fn policy(
    guardrails: &Guardrails,
    (whose, path): (Whose, &str),
    (config, judges): (&Config, &Judges),
    problems: &mut Vec<Problem>,
) -> Policy {
    let configured = guardrails.input.any() || guardrails.output.any();
    let budget = guardrails.budget.unwrap_or(JUDGES_BUDGET).duration();
    let hash_key = config.hash_key.as_ref().map(|key| HashKey::new(key.expose().as_bytes()));
    let streaming = guardrails.streams().then(|| Streaming {
        window: guardrails.stream_window.unwrap_or(STREAM_WINDOW) as usize,
        is_filtered: guardrails.on_block == OnBlock::ContentFilter,
    });
    let mut stage = |side: Side, checks: &Checks| {
        let path = format!("{path}.{}", side.as_str());
        let streaming = streaming.filter(|_| side == Side::Output);
        let stage = Stage { budget, streaming, hash_key: hash_key.clone(), ..Stage::default() };
        let allowed = Arc::default();
        let mut building = Building { side, whose, path, judges, problems: &mut *problems, stage, allowed };
        building.unreadable(checks);
        building.patterns(checks);
        building.judged(checks);
        let mut stage = building.stage;
        // Pictures are shown to judges when all of an answer is there.
        stage.streaming = stage.streaming.filter(|_| !stage.sees_images());
        stage
    };
    Policy {
        version: configured.then(|| version(guardrails, config)),
        input: stage(Side::Input, &guardrails.input),
        output: stage(Side::Output, &guardrails.output),
    }
}

/// A side's checks on their way.
struct Building<'a> {
    side: Side,
    whose: Whose,
    /// In the file.
    path: String,
    judges: &'a Judges,
    problems: &'a mut Vec<Problem>,
    stage: Stage,
    /// What is no personal data, whoever looks.
    allowed: Arc<[Allowed]>,
}

impl Building<'_> {
    fn name(&self, check: &str) -> Arc<str> {
        format!("{}.{check}{}", self.side.as_str(), suffix(self.whose)).into()
    }

    fn unreadable(&mut self, checks: &Checks) {
        let blocks = checks.unreadable.map(|chosen| chosen == config::Unreadable::Block);
        self.stage.unreadable = blocks.map(|blocks| Unreadable { name: self.name("unreadable"), blocks });
    }

    fn patterns(&mut self, checks: &Checks) {
        if let Some(keywords) = &checks.keywords
            && let Some(check) = keywords::compile(keywords, &format!("{}.keywords", self.path), self.problems)
        {
            self.add("keywords", keywords.action, Check::Keywords(check));
        }
        if let Some(pii) = &checks.pii
            && let Some(check) = pii::compile(pii, &format!("{}.pii", self.path), self.problems)
        {
            if self.stage.streaming.is_some() {
                pii::warn_of_unbounded(&check, &format!("{}.pii", self.path), self.problems);
            }
            self.allowed = check.allowed().clone();
            self.add("pii", pii.action, Check::Pii(check));
        }
    }

    fn add(&mut self, check: &str, chosen: config::Action, compiled: Check) {
        let configured = Configured { name: self.name(check), action: action(chosen), check: Arc::new(compiled) };
        self.stage.checks.push(configured);
    }

    fn judged(&mut self, checks: &Checks) {
        if let Some(pii) = &checks.pii
            && let Some(judge) = &pii.judge
        {
            let subject = Subject::Pii { allowed: self.allowed.clone() };
            self.ask("pii", subject, (pii.action, pii.on_judge_failure), Some(judge));
        }
        if let Some(topics) = &checks.topics {
            let examples = topics.examples.iter().map(|example| (example.text.clone(), example.allowed)).collect();
            let subject = Subject::Topics { allow: topics.allow.clone(), deny: topics.deny.clone(), examples };
            self.ask("topics", subject, (topics.action, topics.on_judge_failure), Some(&topics.judge));
        }
        if let Some(safety) = &checks.safety {
            // Without a judge nobody could say; the configuration's own check refuses that.
            let judge = safety.judge.clone().unwrap_or_default();
            self.ask("safety", Subject::Safety, (safety.action, safety.on_judge_failure), Some(&judge));
        }
        if let Some(injection) = &checks.injection {
            let subject = Subject::Injection { threshold: injection.threshold };
            let rule = (injection.action, injection.on_judge_failure);
            self.ask("injection", subject, rule, injection.judge.as_ref());
        }
        for custom in &checks.custom {
            let subject = Subject::Custom { policy: custom.policy.clone() };
            let rule = (custom.action, custom.on_judge_failure);
            self.ask(&format!("custom.{}", custom.name), subject, rule, Some(&custom.judge));
        }
    }

    fn ask(
        &mut self,
        check: &str,
        subject: Subject,
        (chosen, on_failure): (config::Action, OnJudgeFailure),
        judge: Option<&String>,
    ) {
        let action = action(chosen);
        // What only notes things down blocks nothing, whoever fails.
        let allows_failure = on_failure == OnJudgeFailure::Allow || action == Action::Log;
        let (name, seat) = (self.name(check), self.judges.seat(judge));
        self.stage.judged.push(Judged { name, action, allows_failure, subject, seat });
    }
}

fn action(action: config::Action) -> Action {
    match action {
        config::Action::Block => Action::Block,
        config::Action::Mask => Action::Mask,
        config::Action::MaskAndRestore => Action::MaskAndRestore,
        config::Action::Hash => Action::Hash,
        config::Action::Log => Action::Log,
    }
}

fn fatal(path: String, message: &str) -> Problem {
    Problem { path, message: message.to_owned(), fatal: true }
}

#[cfg(test)]
mod tests {
    use super::version::VERSION_LENGTH;
    use super::*;
    use crate::pipeline::Seat;
    use config::Action::{Block, Log, Mask};
    use config::OnJudgeFailure::Allow;

    const JUDGES: &str = "
providers: { demo: { kind: mock } }
judges:
  reader: { kind: llm, provider: demo, model: m }
  moderator: { kind: openai_moderation, provider: demo, model: m, cache: { ttl: 1m } }
";

    fn compiled(checks: Checks) -> (Policy, Vec<String>) {
        let mut problems = Vec::new();
        let guardrails = Guardrails { input: checks, ..Guardrails::default() };
        let config = config::parse(JUDGES, config::Role::Guardrail, &|_| Ok(None)).expect("judges").config;
        let known = (&config, &Judges::of(&config));
        let at = (Whose::Endpoint, "endpoints[0].guardrails");
        let policy = policy(&guardrails, at, known, &mut problems);
        (policy, problems.iter().map(ToString::to_string).collect())
    }

    fn pii(entities: Option<&[&str]>, regions: &[&str]) -> Checks {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let pii = config::Pii {
            action: Mask,
            entities: entities.map(owned),
            phone_regions: owned(regions),
            patterns: vec![],
            allow: vec![],
            judge: None,
            on_judge_failure: OnJudgeFailure::Block,
        };
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
        let pattern =
            |name: &str, regex: &str| config::PiiPattern { name: name.into(), regex: regex.into(), context: vec![] };
        let mut checks = pii(None, &[]);
        let check = checks.pii.as_mut().expect("there");
        check.patterns =
            vec![pattern("BADGE", "[0-9]{5}"), pattern("US_SSN", "x"), pattern("BADGE", "y"), pattern("P", "(")];
        check.allow = vec![
            config::PiiAllow::Value("a@b.com".into()),
            config::PiiAllow::Value(String::new()),
            config::PiiAllow::Regex("[".into()),
        ];
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
    fn words_are_checked_each() {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let words = |words: &[&str], allow: &[&str]| {
            let keywords = config::Keywords { action: Block, words: owned(words), allow: owned(allow) };
            compiled(Checks { keywords: Some(keywords), ..Checks::default() }).1
        };
        let long = "x".repeat(257);
        let problems = words(&["Orion", " \u{200b}", "ORION ", &long], &["orion nebula", "nebula"]);
        let places = ["words[1]", "words[2]", "words[3]", "allow[1]"];
        assert_eq!(problems.len(), places.len(), "{problems:?}");
        assert!(problems.iter().zip(places).all(|(problem, place)| problem.contains(place)), "{problems:?}");
        assert!(words(&["orion"], &["orion nebula"]).is_empty());
        let many: Vec<String> = (0..10_000).map(|i| format!("{i} {}", "x".repeat(220))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(words(&many, &[]).iter().all(|problem| problem.contains("keywords.words")));
        assert_eq!(words(&many, &[]).len(), 1);
    }

    #[test]
    fn what_blocks_the_unreadable_alone_is_a_policy() {
        let (policy, problems) = compiled(Checks { unreadable: Some(config::Unreadable::Block), ..Checks::default() });
        assert!(problems.is_empty() && policy.version.is_some());
        assert!(!policy.input.is_empty() && policy.output.is_empty());
    }

    #[test]
    fn what_an_analyzer_would_leave_out_is_told() {
        let text = "judges: { names: { kind: presidio, url: 'http://analyzer:3000', entities: [ PERSON, PERSONS ] } }";
        let loaded = config::parse(text, config::Role::Guardrail, &|_| Ok(None)).expect("valid");
        let told: Vec<String> = problems(&loaded.config).iter().map(ToString::to_string).collect();
        assert!(
            told.len() == 1 && told[0].contains("judges.names.entities") && told[0].contains("`PERSONS`"),
            "{told:?}"
        );
    }

    #[test]
    fn the_shipped_example_compiles() {
        let text = include_str!("../../../../tollgate.example.yaml");
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
    fn judged_checks_have_their_judges_and_say_what_a_failure_means() {
        let judge = |name: &str| Some(name.to_owned());
        let topics = config::Topics {
            allow: vec!["support".into()],
            deny: vec![],
            examples: vec![],
            action: Block,
            judge: "reader".into(),
            on_judge_failure: Allow,
        };
        let safety =
            config::Judged { action: Block, judge: judge("moderator"), on_judge_failure: OnJudgeFailure::Block };
        let injection =
            config::Injection { action: Log, threshold: 0.5, judge: None, on_judge_failure: OnJudgeFailure::Block };
        let custom = config::Custom {
            name: "tone".into(),
            policy: "be kind".into(),
            action: Block,
            judge: "gone".into(),
            on_judge_failure: OnJudgeFailure::Block,
        };
        let checks = Checks {
            topics: Some(topics),
            safety: Some(safety),
            injection: Some(injection),
            custom: vec![custom],
            ..Checks::default()
        };
        let (policy, problems) = compiled(checks);
        assert!(problems.is_empty());
        let told: Vec<_> = policy.input.judged.iter().map(|judged| (&*judged.name, judged.allows_failure)).collect();
        let expected =
            [("input.topics", true), ("input.safety", false), ("input.injection", true), ("input.custom.tone", false)];
        assert_eq!(told, expected);
        let seats: Vec<_> = policy.input.judged.iter().map(|judged| &judged.seat).collect();
        assert!(matches!(seats[0], Seat::Taken(_)) && matches!(seats[1], Seat::Taken(judge) if judge.cache.is_some()));
        assert!(matches!(seats[2], Seat::Empty) && matches!(seats[3], Seat::Vacant(_)));
        assert_eq!(policy.input.budget, std::time::Duration::from_secs(5));
    }
}
