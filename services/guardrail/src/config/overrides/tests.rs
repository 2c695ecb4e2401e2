//! What several policies make of a request together, by table and by property.

use super::*;
use crate::pipeline::{Outcome, Verdict, conclude, sift, sift_beside};
use crate::restore::Restorer;
use crate::service;
use proptest::prelude::*;
use serde_json::json;
use tollgate_runtime::config::{Role, parse};
use tollgate_schemas::Caller;

/// An endpoint `chat`, a team and a key of it, each with these guardrails.
fn endpoints(endpoint: &str, team: &str, key: &str) -> Endpoints {
    let text = format!(
        "
providers: {{ demo: {{ kind: mock }} }}
judges:
  moderator: {{ kind: openai_moderation, provider: demo, model: m }}
  other: {{ kind: openai_moderation, provider: demo, model: n }}
  own: {{ kind: webhook, url: 'https://x.test', secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw }}
guardrails: {{ hash_key: a-secret-of-more-than-32-characters }}
endpoints: [ {{ name: chat, destinations: [ {{ name: d, provider: demo, model: m }} ], guardrails: {endpoint} }} ]
teams: [ {{ name: search, endpoints: [ chat ], guardrails: {team} }} ]
keys: [ {{ name: web, team: search, sha256: '{}', guardrails: {key} }} ]
",
        "0".repeat(64)
    );
    let loaded = parse(&text, Role::Guardrail, &|_| Ok(None)).expect("a valid configuration");
    crate::config::endpoints(&loaded.config).expect("valid guardrails of endpoints")
}

/// By the key `web` of a team.
fn request(team: &str) -> Request {
    let caller = Caller { team: team.into(), key_name: Some("web".into()), ..Caller::default() };
    Request { caller, ..service::tests::request("chat", "") }
}

/// What the input checks make of a text.
fn verdict(endpoint: &Endpoint, text: &str) -> Verdict {
    let body = json!({ "messages": [{ "role": "user", "content": text }] });
    let stage = &endpoint.policy.input;
    let sifted = sift(stage, Side::Input, serde_json::value::to_raw_value(&body).expect("JSON"));
    conclude(stage, Side::Input, sifted, Vec::new())
}

/// What the caller reads of an answer that says what was asked, if anything.
fn answer(endpoints: &Endpoints, team: &str, text: &str) -> Option<String> {
    let (mut request, endpoint) = (request(team), endpoints.of(&request(team)).expect("there"));
    let asked = verdict(&endpoint, text);
    if asked.error.is_some() {
        return None;
    }
    let asked_text = asked.body.as_ref().map_or(text.to_owned(), |body| {
        let body: serde_json::Value = serde_json::from_str(body.get()).expect("JSON");
        body["messages"][0]["content"].as_str().expect("a text").to_owned()
    });
    (request.restore, request.masked) = (asked.restore, asked.masked);
    let body = json!({ "choices": [{ "message": { "role": "assistant", "content": asked_text } }] });
    let (stage, body) = (&endpoint.policy.output, serde_json::value::to_raw_value(&body).expect("JSON"));
    let sifted = sift_beside(&request.placeholders(), stage, Side::Output, body.clone());
    let checked = conclude(stage, Side::Output, sifted, Vec::new());
    if checked.error.is_some() {
        return None;
    }
    let body = checked.body.unwrap_or(body);
    let restored = Restorer::new(request.restore.clone()).answer(&body);
    Some(restored.unwrap_or(body).get().to_owned())
}

fn told(verdict: &Verdict) -> Vec<(&str, Outcome)> {
    verdict.checks.iter().map(|checked| (&*checked.name, checked.outcome)).collect()
}

#[test]
fn every_policy_keeps_its_own_checks_actions_and_exceptions() {
    let endpoints = endpoints(
        "{ input: { pii: { action: mask, entities: [ EMAIL_ADDRESS ], allow: [ { value: a@example.com } ] } } }",
        "{ input: { keywords: { action: log, words: [ orion ] } } }",
        "{ input: { pii: { action: block, entities: [ CREDIT_CARD ] } } }",
    );
    let of = |team: &str| endpoints.of(&request(team)).expect("there");
    let (own, whole) = (of("other"), of("search"));
    let found = verdict(&whole, "orion a@example.com b@example.com");
    let expected =
        [("input.pii", Outcome::Masked), ("input.keywords.team", Outcome::Flagged), ("input.pii.key", Outcome::Passed)];
    assert_eq!(told(&found), expected);
    let masked = found.body.expect("masked").get().to_owned();
    assert!(masked.contains("a@example.com") && !masked.contains("b@example.com"), "{masked}");
    assert_eq!(verdict(&whole, "4111 1111 1111 1111").outcome, Outcome::Blocked);
    assert_eq!(verdict(&own, "4111 1111 1111 1111").outcome, Outcome::Passed);
    let version = whole.policy.version.clone().expect("checked");
    assert!(own.policy.version.is_some() && own.policy.version.as_ref() != Some(&version));
    assert_eq!(of("search").policy.version, Some(version), "the same policies, the same version");
}

#[test]
fn what_may_be_weaker_stands_alone() {
    let strict = "{ input: { keywords: { action: block, words: [ orion ] } } }";
    let weaker = "{ allow_weaker: true, input: { keywords: { action: log, words: [ orion ] } } }";
    let of = |team: &str, key: &str| endpoints(strict, team, key).of(&request("search")).expect("there");
    assert_eq!(told(&verdict(&of(weaker, "null"), "orion")), [("input.keywords.team", Outcome::Flagged)]);
    assert_eq!(told(&verdict(&of(strict, weaker), "orion")), [("input.keywords.key", Outcome::Flagged)]);
    let none = of(strict, "{ allow_weaker: true }");
    assert!(none.policy.input.is_empty() && none.policy.version.is_none());
}

#[test]
fn a_judge_is_asked_the_same_once_and_its_answer_leads_to_the_stricter_of_both() {
    let endpoints = endpoints(
        "{ budget: 1s, input: { safety: { action: log, judge: moderator } } }",
        "{ budget: 9s, input: { safety: { action: block, judge: moderator } } }",
        "{ input: { safety: { action: block, judge: other, on_judge_failure: allow } } }",
    );
    let whole = endpoints.of(&request("search")).expect("there");
    let judged = &whole.policy.input.judged;
    let told: Vec<_> = judged.iter().map(|judged| (&*judged.name, judged.action, judged.allows_failure)).collect();
    assert_eq!(told, [("input.safety", Action::Block, false), ("input.safety.key", Action::Block, true)]);
    assert_eq!(whole.policy.input.budget, std::time::Duration::from_secs(9));
}

#[test]
fn what_one_policy_replaces_for_good_does_not_come_back_by_another() {
    let custom =
        |action: &str| format!("{{ input: {{ custom: [ {{ name: n, policy: p, judge: own, action: {action} }} ] }} }}");
    let words = |action: &str| format!("{{ input: {{ keywords: {{ action: {action}, words: [ orion ] }} }} }}");
    for (endpoint, team, comes_back) in [
        (words("mask_and_restore"), words("log"), true),
        (words("mask_and_restore"), words("mask"), false),
        (words("hash"), words("mask_and_restore"), false),
        (words("mask_and_restore"), custom("mask_and_restore"), true),
        (custom("mask"), words("mask_and_restore"), false),
    ] {
        let whole = endpoints(&endpoint, &team, "null").of(&request("search")).expect("there");
        let found = verdict(&whole, "about orion");
        assert!(!found.body.expect("masked").get().contains("orion"));
        assert_eq!(!found.restore.is_empty(), comes_back, "{endpoint} {team}");
    }
    let both = endpoints(&custom("hash"), &custom("mask_and_restore"), &custom("block")).of(&request("search"));
    let judged = &both.expect("there").policy.input.judged;
    assert_eq!(judged.iter().map(|judged| judged.action).collect::<Vec<_>>(), [Action::Block], "one question");
}

#[test]
fn nothing_comes_back_behind_the_output_checks_of_another_policy() {
    let restore = "input: { pii: { action: mask_and_restore, entities: [ EMAIL_ADDRESS ] } }";
    let output = |action: &str| format!("output: {{ pii: {{ action: {action}, entities: [ EMAIL_ADDRESS ] }} }}");
    let judge = "output: { safety: { action: block, judge: moderator } }".to_owned();
    for (endpoint, key, comes_back) in [
        (String::new(), restore.to_owned(), true),
        (output("log"), restore.to_owned(), true),
        (output("block"), restore.to_owned(), false),
        (output("mask"), restore.to_owned(), false),
        (output("hash"), restore.to_owned(), false),
        (judge, restore.to_owned(), false),
        (restore.to_owned(), output("block"), false),
        (format!("{restore}, {}", output("block")), String::new(), true),
        (String::new(), format!("{restore}, {}", output("block")), true),
    ] {
        let whole = endpoints(&format!("{{ {endpoint} }}"), "null", &format!("{{ {key} }}"));
        let found = verdict(&whole.of(&request("search")).expect("there"), "to a@example.com");
        assert!(!found.body.expect("masked").get().contains("a@example.com"));
        assert_eq!(!found.restore.is_empty(), comes_back, "{endpoint} {key}");
    }
}

#[test]
fn what_nobody_can_read_ends_where_one_policy_says_so() {
    let of = |endpoint: &str, team: &str| endpoints(endpoint, team, "null").of(&request("search")).expect("there");
    let (allow, block) = ("{ input: { unreadable: allow } }", "{ input: { unreadable: block } }");
    for (endpoint, team, expected) in [
        ("{}", "{}", None),
        (allow, "{}", Some(("input.unreadable", false))),
        (allow, block, Some(("input.unreadable.team", true))),
        (block, allow, Some(("input.unreadable", true))),
    ] {
        let whole = of(endpoint, team);
        let unreadable = whole.policy.input.unreadable.as_ref();
        assert_eq!(unreadable.map(|check| (&*check.name, check.blocks)), expected, "{endpoint} {team}");
    }
    let output =
        |how: &str| format!("{{ output: {{ unreadable: {how}, keywords: {{ action: log, words: [ x ] }} }} }}");
    assert!(of(&output("allow"), "null").policy.output.streaming.is_some());
    assert!(of(&output("block"), "null").policy.output.streaming.is_none(), "known when all of it is there");
}

#[test]
fn a_stream_is_checked_in_parts_if_all_policies_can() {
    let checks = "output: { keywords: { action: block, words: [ orion ] } }";
    let (first, second) = (format!("{{ {checks} }}"), format!("{{ stream_window: 3000, {checks} }}"));
    let of = |team: &str, key: &str| endpoints(&first, team, key).of(&request("search")).expect("there");
    let input = "{ stream: whole, input: { keywords: { action: log, words: [ orion ] } } }";
    let streaming = of(&second, input).policy.output.streaming.expect("in parts");
    assert_eq!((streaming.window, streaming.is_filtered), (3000, false));
    assert_eq!(of(&second, &format!("{{ stream: whole, {checks} }}")).policy.output.streaming, None);
}

#[test]
fn guardrails_of_a_key_that_cannot_be_compiled_refuse_what_they_would_check() {
    let endpoints = endpoints("{}", "null", "{ input: { pii: { action: log, entities: [ NOTHING_KNOWN ] } } }");
    let whole = endpoints.of(&request("search")).expect("there");
    let judged = &whole.policy.input.judged[0];
    assert_eq!((&*judged.name, judged.action, judged.allows_failure), ("input.guardrails.key", Action::Block, false));
    assert!(matches!(judged.seat, Seat::Vacant(_)) && whole.policy.output.is_empty());
    assert!(endpoints.of(&request("other")).expect("there").policy.input.is_empty());
}

/// Texts that something may be found in.
const PIECES: [&str; 6] =
    ["project orion", "a@example.com", "b@example.com", "4111 1111 1111 1111", "nothing", "orion"];

fn checks(actions: &'static [&'static str]) -> impl Strategy<Value = String> {
    let action = move || prop::sample::select(actions);
    let words = prop::sample::select(vec!["[ project orion ]", "[ orion, nothing ]"]);
    let keywords = prop::option::of((action(), words));
    let entities = prop::sample::select(vec!["[ EMAIL_ADDRESS ]", "[ CREDIT_CARD ]", "[ EMAIL_ADDRESS, CREDIT_CARD ]"]);
    let allow = prop::sample::select(vec!["[]", "[ { value: a@example.com } ]"]);
    let pii = prop::option::of((action(), entities, allow));
    (keywords, pii).prop_map(|(keywords, pii)| {
        let mut checks = Vec::new();
        if let Some((action, words)) = keywords {
            checks.push(format!("keywords: {{ action: {action}, words: {words} }}"));
        }
        if let Some((action, entities, allow)) = pii {
            checks.push(format!("pii: {{ action: {action}, entities: {entities}, allow: {allow} }}"));
        }
        checks.join(", ")
    })
}

fn guardrails() -> impl Strategy<Value = String> {
    let input = checks(&["block", "mask", "mask_and_restore", "hash", "log"]);
    let output = prop::option::of(checks(&["block", "mask", "hash", "log"]));
    (input, output).prop_map(|(input, output)| match output {
        Some(output) => format!("{{ input: {{ {input} }}, output: {{ {output} }} }}"),
        None => format!("{{ input: {{ {input} }} }}"),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Nothing that the endpoint's guardrails alone keep back gets through all of them together.
    #[test]
    fn policies_together_are_never_weaker_than_the_endpoints(
        endpoint in guardrails(), team in guardrails(), key in guardrails(),
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 1..5),
    ) {
        let endpoints = endpoints(&endpoint, &team, &key);
        let text = pieces.join(" and ");
        let of = |team: &str| verdict(&endpoints.of(&request(team)).expect("there"), &text);
        let (own, whole) = (of("other"), of("search"));
        prop_assert!(whole.outcome >= own.outcome, "{:?} {:?}", told(&own), told(&whole));
        prop_assert!(own.error.is_none() || whole.error.is_some());
        let kept_back = |verdict: &Verdict, piece: &str| {
            verdict.error.is_some() || verdict.body.as_ref().is_some_and(|body| !body.get().contains(piece))
        };
        // Whole, also of a value and what stood beside it.
        let comes_back = |verdict: &Verdict, piece: &str| {
            let body = verdict.body.as_ref().map_or("", |body| body.get());
            Restorer::new(verdict.restore.clone()).text(body).is_some_and(|text| text.contains(piece))
        };
        for piece in &pieces {
            prop_assert!(!kept_back(&own, piece) || kept_back(&whole, piece), "{piece} of {text}: {endpoint} {team} {key}");
            let is_kept = kept_back(&own, piece) && !comes_back(&own, piece);
            prop_assert!(!is_kept || !comes_back(&whole, piece), "{piece} of {text}: {endpoint} {team} {key}");
            let reads = |team: &str| answer(&endpoints, team, piece).is_some_and(|answer| answer.contains(piece));
            prop_assert!(reads("other") || !reads("search"), "{piece} in an answer: {endpoint} {team} {key}");
        }
    }
}
