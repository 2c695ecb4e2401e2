//! From a token's claims to a user and its teams. Pure.

use super::super::refused;
use serde_json::Value;
use tollgate_runtime::config::Oidc;
use tollgate_schemas::ApiError;

/// Values of the team claim that are looked at.
const TEAMS_MAX: usize = 1_000;

/// What a token says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) user: String,
    /// Teams in the order of the token, whether or not there are such.
    pub(crate) teams: Vec<String>,
}

impl Claims {
    pub(super) fn of(config: &Oidc, claims: &Value) -> Result<Self, ApiError> {
        let user = claim(claims, &config.user_claim).and_then(Value::as_str).filter(|user| !user.is_empty());
        let user =
            user.ok_or_else(|| refused(format!("the token has no text in its claim `{}`", config.user_claim)))?;
        let teams = claim(claims, &config.team_claim);
        let values: Vec<&str> = match teams {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().take(TEAMS_MAX).filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let team = |value: &str| match config.teams.is_empty() {
            true => Some(value.to_owned()),
            false => config.teams.get(value).cloned(),
        };
        Ok(Self { user: user.to_owned(), teams: values.into_iter().filter_map(team).collect() })
    }
}

/// A claim by its name, or, if there is none, by its path: `realm_access.roles`.
fn claim<'v>(claims: &'v Value, name: &str) -> Option<&'v Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, part| value.get(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(more: Value, claims: &Value) -> Result<Claims, ApiError> {
        let mut config = json!({ "issuer": "i", "audience": "a" });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Claims::of(&serde_json::from_value(config).expect("a configuration"), claims)
    }

    #[test]
    fn users_and_teams_are_where_the_configuration_says() {
        let of = |more, given: Value| {
            let found = claims(more, &given).expect("claims");
            (found.user, found.teams)
        };
        let (a, b) = (|| "a".to_owned(), || "b".to_owned());
        assert_eq!(of(json!({}), json!({ "sub": "u", "groups": ["a", 7, "b"] })), ("u".into(), vec![a(), b()]));
        assert_eq!(of(json!({}), json!({ "sub": "u" })), ("u".into(), vec![]));
        let mapped = json!({ "user_claim": "email", "team_claim": "realm.roles", "teams": { "x": "a" } });
        let given = json!({ "email": "e", "sub": "u", "realm": { "roles": ["y", "x", "a"] } });
        assert_eq!(of(mapped, given), ("e".into(), vec![a()]), "what is not mapped is no team");
        assert_eq!(of(json!({ "team_claim": "a.b" }), json!({ "sub": "u", "a.b": "b" })), ("u".into(), vec![b()]));
    }

    #[test]
    fn a_token_without_a_user_is_refused() {
        for given in [json!({}), json!({ "sub": "" }), json!({ "sub": 7 }), json!([]), json!("u")] {
            assert!(claims(json!({}), &given).is_err(), "{given}");
        }
    }
}
