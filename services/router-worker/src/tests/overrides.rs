//! Whose answers are checked where guardrails of teams and keys stand beside those of endpoints.

use super::requests::ask;
use crate::config::Router;
use tollgate_runtime::config::{Role, parse};
use tollgate_schemas::{ApiType, Caller, Lane, Request};

const CONFIG: &str = "
providers: { demo: { kind: mock } }
endpoints:
  - { name: open, destinations: [ { name: d, provider: demo, model: m } ] }
  - name: strict
    destinations: [ { name: d, provider: demo, model: m } ]
    guardrails: { output: { keywords: { action: block, words: [ x ] } } }
teams:
  - { name: search, endpoints: [ open ], guardrails: { output: { pii: { action: mask } } } }
  - { name: ads, endpoints: [ open ] }
keys:
  - { name: free, team: search, sha256: '0000000000000000000000000000000000000000000000000000000000000000', guardrails: { allow_weaker: true } }
  - { name: careful, team: ads, sha256: '1111111111111111111111111111111111111111111111111111111111111111', guardrails: { output: { pii: { action: log } } } }
";

#[test]
fn an_answer_is_checked_if_any_policy_of_its_request_has_output_checks() {
    let loaded = parse(CONFIG, Role::RouterWorker, &|_| Ok(None)).expect("valid");
    let router = Router::new(&loaded.config, None, None).expect("router");
    let is_checked = |request: &Request| {
        router.is_checked(&router.endpoint(&request.endpoint).expect("an endpoint"), request)
    };
    let by = |endpoint: &str, team: &str, key: Option<&str>| Request {
        caller: Caller { team: team.to_owned(), key_name: key.map(str::to_owned), ..Caller::default() },
        ..ask(endpoint)
    };
    for (endpoint, team, key, expected) in [
        ("open", "ads", None, false),
        ("open", "ads", Some("careful"), true),
        ("open", "search", None, true),
        ("open", "search", Some("free"), false),
        ("strict", "ads", None, true),
        ("strict", "search", Some("free"), false),
    ] {
        assert_eq!(is_checked(&by(endpoint, team, key)), expected, "{endpoint} {team} {key:?}");
    }
    let asked = by("strict", "search", None);
    for exempt in [
        Request { lane: Lane::Judge, ..asked.clone() },
        Request { api_type: ApiType::CountTokens, ..asked.clone() },
        Request { shadow: Some("s".to_owned()), ..asked.clone() },
    ] {
        assert!(!is_checked(&exempt));
    }
    assert!(is_checked(&asked));
}
