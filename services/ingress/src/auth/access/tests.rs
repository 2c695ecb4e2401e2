//! Keys, users and teams together: who is let in, and to what.

use super::*;
use sha2::{Digest, Sha256};
use tollgate_runtime::config::{self, Role};

fn hex(secret: &str) -> String {
    tollgate_runtime::blob::hex(&Sha256::digest(secret.as_bytes()))
}

fn access(users: &str, keys: &str) -> Access {
    let text = format!(
        "
providers: {{ demo: {{ kind: mock }} }}
endpoints:
  - {{ name: a, destinations: [ {{ name: d, provider: demo, model: mock-1 }} ] }}
  - {{ name: b, destinations: [ {{ name: d, provider: demo, model: mock-1 }} ] }}
  - {{ name: c, destinations: [ {{ name: d, provider: demo, model: mock-1 }} ] }}
teams: [ {{ name: t, endpoints: [ a, b ] }}, {{ name: empty }} ]
{users}
keys: [ {keys} ]
"
    );
    let loaded = config::parse(&text, Role::Ingress, &|_| Ok(None)).expect("a configuration");
    Access::of(Arc::new(loaded.config), None)
}

fn key(name: &str, more: &str) -> String {
    format!("{{ name: {name}, team: t, sha256: {}, {more} }}", hex(name))
}

fn headers(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(axum::http::HeaderName::from_static(name), value.parse().expect("a header"))])
}

async fn identify(access: &Access, secret: &str) -> Result<Identity, ApiError> {
    access.identify(&headers("x-api-key", secret)).await
}

async fn usable(access: &Access, secret: &str) -> String {
    let caller = identify(access, secret).await.expect("known").caller();
    ["a", "b", "c"].into_iter().filter(|name| access.permits(&caller, name)).collect()
}

#[tokio::test]
async fn three_headers_one_key() {
    let access = access("", &key("tg-secret", ""));
    for (name, value) in [
        ("authorization", "Bearer tg-secret"),
        ("authorization", "bearer  tg-secret "),
        ("x-api-key", "tg-secret"),
        ("api-key", "tg-secret"),
    ] {
        let identity = access.identify(&headers(name, value)).await.expect("known");
        assert_eq!(identity.key_name.as_deref(), Some("tg-secret"));
        assert_eq!(identity.key_id.as_deref(), Some(&hex("tg-secret")[..16]));
    }
    for (name, value) in [("authorization", "Basic tg-secret"), ("x-api-key", "tg-Secret"), ("x-api-key", "")] {
        let error = access.identify(&headers(name, value)).await.expect_err("refused");
        assert_eq!(error.code, ErrorCode::InvalidApiKey);
    }
}

#[tokio::test]
async fn what_may_be_used_is_what_all_three_allow() {
    let users = "users: [ { name: u, endpoints: [ a, c ] }, { name: v }, { name: nothing, endpoints: [] } ]";
    let keys = [
        key("plain", ""),
        key("narrow", "endpoints: [ b ]"),
        key("owned", "user: u"),
        key("free", "user: v"),
        key("both", "user: u, endpoints: [ b, c ]"),
        key("none", "user: nothing"),
        key("wide", "endpoints: [ a, b, c ]"),
    ];
    let access = access(users, &keys.join(", "));
    let expected =
        [("plain", "ab"), ("narrow", "b"), ("owned", "a"), ("free", "ab"), ("both", ""), ("none", ""), ("wide", "ab")];
    for (secret, endpoints) in expected {
        assert_eq!(usable(&access, secret).await, endpoints, "{secret}");
    }
    let caller = |team: &str, key_id: Option<&str>| Caller {
        team: team.into(),
        key_id: key_id.map(Into::into),
        ..Caller::default()
    };
    assert!(access.permits(&caller("t", None), "a"));
    assert!(!access.permits(&caller("empty", None), "a") && !access.permits(&caller("gone", None), "a"));
    assert!(!access.permits(&caller("t", Some("gone")), "a"), "a key that is gone opens nothing, whoever had it");
}

#[tokio::test]
async fn a_disabled_user_may_do_nothing() {
    let access = access(
        "users: [ { name: gone, enabled: false, teams: [ { name: t } ] }, { name: here, teams: [ { name: t } ] }, { name: elsewhere } ]",
        &[key("theirs", "user: gone"), key("mine", "user: here")].join(", "),
    );
    let error = identify(&access, "theirs").await.expect_err("refused");
    assert!(error.code == ErrorCode::InvalidApiKey && error.message.contains("disabled"), "{error}");
    assert!(identify(&access, "mine").await.is_ok());
    assert_eq!(access.job_user("t", "here").expect("a member"), "here");
    for name in ["gone", "elsewhere", "nobody", ""] {
        assert_eq!(access.job_user("t", name).expect_err("refused").code, ErrorCode::PermissionDenied, "{name}");
    }
    let caller = Caller { team: "t".into(), user_id: Some("gone".into()), ..Caller::default() };
    assert!(!access.permits(&caller, "a"));
}
