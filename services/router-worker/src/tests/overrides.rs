//! Whose answers are checked, and how, where guardrails of teams and keys stand beside those of endpoints.

use super::requests::ask;
use crate::config::{Checked, Router};
use tollgate_runtime::config::{Role, parse};
use tollgate_schemas::{ApiType, Caller, Lane, Originals, Request};

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
  - { name: careful, team: ads, sha256: '1111111111111111111111111111111111111111111111111111111111111111', guardrails: { stream: whole, output: { pii: { action: log } } } }
";

#[test]
fn an_answer_is_checked_if_any_policy_of_its_request_has_output_checks() {
    let loaded = parse(CONFIG, Role::RouterWorker, &|_| Ok(None)).expect("valid");
    let router = Router::new(&loaded.config, None, None).expect("router");
    let checked =
        |request: &Request| router.checked(&router.endpoint(&request.endpoint).expect("an endpoint"), request);
    let by = |endpoint: &str, team: &str, key: Option<&str>| Request {
        caller: Caller { team: team.to_owned(), key_name: key.map(str::to_owned), ..Caller::default() },
        ..ask(endpoint)
    };
    for (endpoint, team, key, expected) in [
        ("open", "ads", None, Checked::Not),
        ("open", "ads", Some("careful"), Checked::Whole),
        ("open", "search", None, Checked::InParts),
        ("open", "search", Some("free"), Checked::Not),
        ("strict", "ads", None, Checked::InParts),
        ("strict", "ads", Some("careful"), Checked::Whole),
        ("strict", "search", Some("free"), Checked::Not),
    ] {
        assert_eq!(checked(&by(endpoint, team, key)), expected, "{endpoint} {team} {key:?}");
    }
    let restore = Originals([("[URL_1]".to_owned(), "x.test".to_owned())].into());
    for (team, key, expected) in [("ads", None, Checked::InParts), ("ads", Some("careful"), Checked::Whole)] {
        assert_eq!(checked(&Request { restore: restore.clone(), ..by("open", team, key) }), expected, "has work to do");
    }
    let asked = Request { restore, ..by("strict", "search", None) };
    for exempt in [
        Request { lane: Lane::Judge, ..asked.clone() },
        Request { api_type: ApiType::CountTokens, ..asked.clone() },
        Request { shadow: Some("s".to_owned()), ..asked.clone() },
    ] {
        assert_eq!(checked(&exempt), Checked::Not);
    }
    assert_eq!(checked(&asked), Checked::InParts);
}
