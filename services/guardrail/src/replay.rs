//! What other guardrails make of what was asked and answered before: both run on the same bodies, and are counted side by side.
//!
//! Pure, as the pipeline is. Deliberately absent: judges. Nobody is asked, so their checks are named and left out; and the text that
//! something was found in.

use crate::config::Endpoints;
use crate::judges::{Ruled, Ruling};
use crate::pipeline::{Checked, Outcome, Side, Verdict, conclude};
use crate::service::sift_now;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tollgate_schemas::Request;

/// What a check did, in records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub seen: u64,
    pub blocked: u64,
    pub masked: u64,
    pub flagged: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        self.seen += 1;
        match outcome {
            Outcome::Blocked => self.blocked += 1,
            Outcome::Masked => self.masked += 1,
            Outcome::Flagged => self.flagged += 1,
            Outcome::None | Outcome::Passed | Outcome::Failed | Outcome::NotRun => {}
        }
    }
}

/// The same of the guardrails there are, and of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// Of those there are.
    pub before: Counts,
    /// Of the others.
    pub after: Counts,
}

/// What came of a body.
#[derive(Debug)]
pub enum Ran {
    /// Its endpoint is gone.
    Unknown,
    /// The same.
    Same,
    /// Not the same: what each of the two has found.
    Differs {
        /// The checks that found something.
        before: Vec<Checked>,
        /// The same of the others.
        after: Vec<Checked>,
    },
}

/// Two sets of guardrails, and what they have done so far.
#[derive(Debug)]
pub struct Replay {
    before: Endpoints,
    after: Endpoints,
    rows: BTreeMap<(String, String), Row>,
    left_out: BTreeSet<String>,
}

impl Replay {
    /// Nothing has run yet.
    pub fn new(before: Endpoints, after: Endpoints) -> Self {
        Self { before, after, rows: BTreeMap::new(), left_out: BTreeSet::new() }
    }

    /// Runs both on a body.
    pub fn run(&mut self, side: Side, request: &Request, body: &RawValue) -> Ran {
        let verdicts = (verdict(&self.before, side, request, body), verdict(&self.after, side, request, body));
        let (Some(before), Some(after)) = verdicts else { return Ran::Unknown };
        let each = |verdict: &Verdict| {
            // What a judge would have had to say is not the gravest thing that was found.
            let gravest = verdict.checks.iter().filter(|checked| is_hit(checked)).map(|checked| checked.outcome).max();
            let whole = (side.as_str().to_owned(), gravest.unwrap_or(Outcome::Passed));
            let of_checks = verdict.checks.iter().map(|checked| (checked.name.to_string(), checked.outcome));
            of_checks.chain([whole]).collect::<Vec<_>>()
        };
        for (check, outcome) in each(&before) {
            self.row(request, check).before.add(outcome);
        }
        for (check, outcome) in each(&after) {
            self.row(request, check).after.add(outcome);
        }
        let judged = before.checks.iter().chain(&after.checks).filter(|checked| checked.judge.is_some());
        self.left_out.extend(judged.map(|checked| checked.name.to_string()));
        if is_same(&before, &after) {
            return Ran::Same;
        }
        Ran::Differs { before: hits(before), after: hits(after) }
    }

    /// By endpoint and check; `input` and `output` are the gravest of all checks there.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str, &Row)> {
        self.rows.iter().map(|((endpoint, check), row)| (endpoint.as_str(), check.as_str(), row))
    }

    /// The checks that a judge would have had to answer.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.left_out.iter().map(String::as_str)
    }

    fn row(&mut self, request: &Request, check: String) -> &mut Row {
        self.rows.entry((request.endpoint.clone(), check)).or_default()
    }
}

fn verdict(endpoints: &Endpoints, side: Side, request: &Request, body: &RawValue) -> Option<Verdict> {
    let endpoint = endpoints.of(request)?;
    let (stage, placeholders) = (side.stage(&endpoint.policy), request.placeholders());
    let sifted = sift_now(&endpoint, side, &placeholders, body.to_owned());
    let not_asked = |at| (at, Ruled { ruling: Ruling::NotAsked, took: Duration::ZERO });
    let rulings = sifted.open(stage).into_iter().map(not_asked).collect();
    Some(conclude(stage, side, sifted, rulings))
}

fn is_hit(checked: &Checked) -> bool {
    matches!(checked.outcome, Outcome::Blocked | Outcome::Masked | Outcome::Flagged)
}

fn hits(verdict: Verdict) -> Vec<Checked> {
    verdict.checks.into_iter().filter(is_hit).collect()
}

/// Whether nobody would have seen a difference, in what came of a body or in what was noted of it.
fn is_same(before: &Verdict, after: &Verdict) -> bool {
    let body = |verdict: &Verdict| verdict.body.as_ref().map(|body| body.get().to_owned());
    let hits = |verdict: &Verdict| verdict.checks.iter().filter(|checked| is_hit(checked)).cloned().collect::<Vec<_>>();
    let is_same_body = body(before) == body(after) && before.restore == after.restore;
    before.error.is_some() == after.error.is_some() && hits(before) == hits(after) && is_same_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::endpoints;
    use serde_json::json;
    use tollgate_runtime::config::{Role, parse};

    fn guardrails(checks: &str) -> Endpoints {
        let text = format!(
            "
providers: {{ demo: {{ kind: mock }} }}
judges: {{ moderator: {{ kind: openai_moderation, provider: demo, model: m }} }}
endpoints: [ {{ name: chat, destinations: [ {{ name: d, provider: demo, model: m }} ], guardrails: {{ input: {checks} }} }} ]
"
        );
        let loaded = parse(&text, Role::Guardrail, &|_| Ok(None)).expect("a valid configuration");
        endpoints(&loaded.config).expect("valid guardrails")
    }

    fn request(endpoint: &str) -> Request {
        let request = json!({
            "request_id": tollgate_schemas::RequestId::new(), "lane": "interactive", "endpoint": endpoint, "model": "chat",
            "api_type": "openai/v1/chat/completions", "body": { "inline": null }, "accepted_us": 0, "deadline_ms": 0,
            "caller": { "team": "search" }, "reply": { "partition": null, "boot_id": null },
        });
        serde_json::from_str(&request.to_string()).expect("a request")
    }

    #[test]
    fn both_are_counted_and_what_differs_is_told_without_its_text() {
        let mut replay = Replay::new(
            guardrails("{ keywords: { action: log, words: [ orion ] }, safety: { action: block, judge: moderator } }"),
            guardrails("{ keywords: { action: block, words: [ orion ] }, pii: { action: mask } }"),
        );
        let mut differing = Vec::new();
        for text in ["about orion", "write to a@example.com", "hello"] {
            let body = json!({ "messages": [{ "role": "user", "content": text }] });
            let body = serde_json::value::to_raw_value(&body).expect("JSON");
            if let Ran::Differs { before, after } = replay.run(Side::Input, &request("chat"), &body) {
                let told = |all: &[Checked]| all.iter().map(Checked::record).map(|it| it.outcome).collect::<Vec<_>>();
                differing.push((told(&before), told(&after)));
            }
            assert!(matches!(replay.run(Side::Input, &request("gone"), &body), Ran::Unknown));
        }
        let outcomes = |all: &[&str]| all.iter().map(|outcome| (*outcome).to_owned()).collect::<Vec<_>>();
        let expected = [(outcomes(&["flagged"]), outcomes(&["blocked"])), (outcomes(&[]), outcomes(&["masked"]))];
        assert_eq!(differing, expected);
        let counts = |seen, blocked, masked, flagged| Counts { seen, blocked, masked, flagged };
        let rows: Vec<_> = replay.rows().map(|(endpoint, check, row)| (endpoint, check, *row)).collect();
        let expected = [
            ("chat", "input", Row { before: counts(3, 0, 0, 1), after: counts(3, 1, 1, 0) }),
            ("chat", "input.keywords", Row { before: counts(3, 0, 0, 1), after: counts(3, 1, 0, 0) }),
            ("chat", "input.pii", Row { before: counts(0, 0, 0, 0), after: counts(3, 0, 1, 0) }),
            ("chat", "input.safety", Row { before: counts(3, 0, 0, 0), after: counts(0, 0, 0, 0) }),
        ];
        assert_eq!(rows, expected);
        assert_eq!(replay.left_out().collect::<Vec<_>>(), ["input.safety"]);
    }
}
