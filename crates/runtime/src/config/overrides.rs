//! Guardrails of teams and keys over those of endpoints: which policies a request meets, by its endpoint and its caller.
//!
//! Ingress, guardrail and router all ask here, so that none of them leaves out a way to a check that another one counts on. Policies
//! that apply together are all kept to, so what comes of them is never weaker than the endpoint's alone.
//!
//! Deliberately absent: what is made of a policy. Whoever asks keeps what it needs of one.

use super::{Config, Guardrails};
use std::collections::HashMap;
use tollgate_schemas::Caller;

/// Whose a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Whose {
    Endpoint,
    Team,
    Key,
}

/// What was made of the policies of teams and keys.
#[derive(Debug)]
pub struct Overrides<P> {
    teams: HashMap<String, Own<P>>,
    keys: HashMap<String, Own<P>>,
}

#[derive(Debug)]
struct Own<P> {
    team: String,
    policy: P,
    /// `allow_weaker`.
    replaces: bool,
}

impl<P> Overrides<P> {
    /// Of every team and key that has guardrails; `make` is told whose, where they stand in the file, and what they are.
    pub fn of(config: &Config, mut make: impl FnMut(Whose, &str, &Guardrails) -> P) -> Self {
        let (mut teams, mut keys) = (HashMap::new(), HashMap::new());
        for (at, team) in config.teams.iter().enumerate() {
            let Some(guardrails) = &team.guardrails else { continue };
            let policy = make(Whose::Team, &format!("teams[{at}].guardrails"), guardrails);
            let own = Own { team: team.name.clone(), policy, replaces: guardrails.allow_weaker };
            teams.insert(team.name.clone(), own);
        }
        for (at, key) in config.keys.iter().enumerate() {
            let Some(guardrails) = &key.guardrails else { continue };
            let policy = make(Whose::Key, &format!("keys[{at}].guardrails"), guardrails);
            let own = Own { team: key.team.clone(), policy, replaces: guardrails.allow_weaker };
            keys.insert(key.name.clone(), own);
        }
        Self { teams, keys }
    }

    /// The policies that a request meets: the endpoint's, its team's, its key's. One that may be weaker stands for all before it.
    pub fn apply<'a>(&'a self, endpoint: &'a P, caller: &Caller) -> impl Iterator<Item = &'a P> + use<'a, P> {
        let team = self.teams.get(&caller.team);
        // By name, because only names are unique; ids can be given by whoever may make keys.
        let key = caller.key_name.as_ref().and_then(|name| self.keys.get(name)).filter(|key| key.team == caller.team);
        let replaces = |own: Option<&Own<P>>| own.is_some_and(|own| own.replaces);
        let (by_team, by_key) = (replaces(team), replaces(key));
        let endpoint = (!by_team && !by_key).then_some(endpoint);
        let team = team.filter(|_| !by_key);
        [endpoint, team.map(|own| &own.policy), key.map(|own| &own.policy)].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Role, parse};

    fn names(team: &str, key: &str, caller: (&str, Option<&str>)) -> Vec<String> {
        let hash = |digit: &str| digit.repeat(64);
        let text = format!(
            "
teams: [ {{ name: search, guardrails: {team} }}, {{ name: ads }} ]
keys:
  - {{ name: web, team: search, sha256: '{}', guardrails: {key} }}
  - {{ name: bare, team: search, sha256: '{}' }}
",
            hash("0"),
            hash("1")
        );
        let config = parse(&text, Role::Guardrail, &|_| Ok(None)).expect("valid").config;
        let overrides = Overrides::of(&config, |_, path, _| path.to_owned());
        let caller = Caller { team: caller.0.to_owned(), key_name: caller.1.map(str::to_owned), ..Caller::default() };
        overrides.apply(&"endpoint".to_owned(), &caller).cloned().collect()
    }

    #[test]
    fn a_request_meets_the_policies_of_all_whom_it_is_of() {
        let words = "{ input: { keywords: { action: block, words: [ x ] } } }";
        let weaker = "{ allow_weaker: true }";
        let (team, key) = ("teams[0].guardrails", "keys[0].guardrails");
        for (of_team, of_key, caller, expected) in [
            (words, words, ("search", Some("web")), vec!["endpoint", team, key]),
            (words, words, ("search", Some("bare")), vec!["endpoint", team]),
            (words, words, ("search", None), vec!["endpoint", team]),
            (words, words, ("ads", None), vec!["endpoint"]),
            // A key of another team has nothing to say, whatever its name.
            (words, words, ("ads", Some("web")), vec!["endpoint"]),
            (weaker, words, ("search", Some("web")), vec![team, key]),
            (words, weaker, ("search", Some("web")), vec![key]),
            (words, weaker, ("search", Some("bare")), vec!["endpoint", team]),
            (words, "null", ("search", Some("web")), vec!["endpoint", team]),
        ] {
            assert_eq!(names(of_team, of_key, caller), expected, "{of_team} {of_key} {caller:?}");
        }
    }

    #[test]
    fn the_guardrails_of_another_configuration_replace_those_of_what_both_have() {
        let of = |endpoint: &str, team: &str| {
            let text = format!(
                "
providers: {{ demo: {{ kind: mock }} }}
guardrails: {{ shared: {{ input: {{ keywords: {{ action: log, words: [ x ] }} }} }} }}
endpoints: [ {{ name: {endpoint}, destinations: [ {{ name: d, provider: demo, model: m }} ], guardrails: {{ policy: shared }} }} ]
teams: [ {{ name: {team}, guardrails: {{ input: {{ keywords: {{ action: log, words: [ x ] }} }} }} }} ]
"
            );
            parse(&text, Role::Guardrail, &|_| Ok(None)).expect("valid").config
        };
        let present = of("chat", "search");
        let same = present.with_guardrails_of(&of("another", "ads"));
        assert_eq!(same.endpoints[0].guardrails, present.endpoints[0].guardrails);
        assert_eq!(same.teams[0].guardrails, present.teams[0].guardrails);
        let mut other = of("chat", "search");
        other.teams[0].guardrails = None;
        let policy = other.guardrails.get_mut("shared").expect("there");
        policy.input = Default::default();
        let replaced = present.with_guardrails_of(&other);
        assert!(!replaced.endpoints[0].guardrails.input.any(), "what it refers to is the other's");
        assert!(replaced.teams[0].guardrails.is_none());
    }
}
