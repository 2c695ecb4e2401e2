//! Who may ask: users, keys and their owners, admin keys, token issuers; and the listener's bounds.

use super::Checker;
use crate::config::{AdminRole, Key, Oidc, User};
use chrono::Utc;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Tags of a key or a shadow, and characters of a tag's name and value, as the API takes them from callers.
const TAGS_MAX: usize = 16;
const TAG_NAME_MAX_CHARS: usize = 64;
const TAG_VALUE_MAX_CHARS: usize = 512;

struct Known<'c> {
    endpoints: HashSet<&'c str>,
    teams: HashMap<&'c str, &'c [String]>,
    users: HashSet<&'c str>,
}

impl Checker<'_> {
    pub(super) fn governance(&mut self) {
        let config = self.config;
        let known = Known {
            endpoints: config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect(),
            teams: config.teams.iter().map(|team| (team.name.as_str(), team.endpoints.as_slice())).collect(),
            users: config.users.iter().map(|user| user.name.as_str()).collect(),
        };
        let users = &config.users;
        self.unique("user", users.iter().enumerate().map(|(i, u)| (format!("users[{i}].name"), u.name.as_str())));
        for (i, user) in users.iter().enumerate() {
            self.user(&format!("users[{i}]"), user, &known);
        }
        let keys = &config.keys;
        self.unique("key id", keys.iter().enumerate().map(|(i, k)| (format!("keys[{i}].id"), k.id())));
        for (i, key) in keys.iter().enumerate() {
            self.key(&format!("keys[{i}]"), key, &known);
        }
        self.secrets();
        self.admins(&known);
        let pairs: Vec<String> = config.oidc.iter().map(|it| format!("{} {}", it.issuer, it.audience)).collect();
        self.unique("issuer and audience", pairs.iter().enumerate().map(|(i, p)| (format!("oidc[{i}]"), p.as_str())));
        for (i, oidc) in config.oidc.iter().enumerate() {
            self.oidc(&format!("oidc[{i}]"), oidc, &known);
        }
        self.listener();
    }

    fn narrowing(&mut self, path: &str, endpoints: Option<&Vec<String>>, known: &Known<'_>) {
        for (j, endpoint) in endpoints.into_iter().flatten().enumerate() {
            if !known.endpoints.contains(endpoint.as_str()) {
                self.fatal(format!("{path}.endpoints[{j}]"), format!("there is no endpoint `{endpoint}`"));
            }
        }
    }

    fn user(&mut self, path: &str, user: &User, known: &Known<'_>) {
        if user.name.is_empty() {
            self.fatal(format!("{path}.name"), "must not be empty");
        }
        if user.role.is_some_and(in_team) {
            self.fatal(
                format!("{path}.role"),
                "is over all teams: admin or analyst; a role in one team stands under teams",
            );
        }
        for (j, team) in user.teams.iter().enumerate() {
            let at = format!("{path}.teams[{j}]");
            if !known.teams.contains_key(team.name.as_str()) {
                self.fatal(format!("{at}.name"), format!("there is no team `{}`", team.name));
            }
            if !in_team(team.role) {
                self.fatal(
                    format!("{at}.role"),
                    "must be team_admin or member; a role over all teams stands at the user",
                );
            }
        }
        self.unique(
            "team",
            user.teams.iter().enumerate().map(|(j, t)| (format!("{path}.teams[{j}]"), t.name.as_str())),
        );
        self.narrowing(path, user.endpoints.as_ref(), known);
    }

    fn key(&mut self, path: &str, key: &Key, known: &Known<'_>) {
        if key.id().is_empty() || key.id().len() > 64 {
            self.fatal(format!("{path}.id"), "must have 1 to 64 characters");
        }
        if let Some(user) =
            key.user.as_ref().filter(|user| !known.users.is_empty() && !known.users.contains(user.as_str()))
        {
            self.fatal(format!("{path}.user"), format!("there is no user `{user}`"));
        }
        self.narrowing(path, key.endpoints.as_ref(), known);
        let team = known.teams.get(key.team.as_str()).copied().unwrap_or_default();
        for (j, endpoint) in key.endpoints.iter().flatten().enumerate() {
            if known.endpoints.contains(endpoint.as_str()) && !team.contains(endpoint) {
                let message = format!("team `{}` may not use `{endpoint}`, so the key may not either", key.team);
                self.warn(format!("{path}.endpoints[{j}]"), message);
            }
        }
        self.tags(path, &key.tags);
        if key.expires.is_some_and(|expires| expires <= Utc::now()) {
            self.warn(format!("{path}.expires"), "has passed: the key opens nothing");
        }
    }

    pub(super) fn tags(&mut self, path: &str, tags: &BTreeMap<String, String>) {
        let long = |(name, value): (&String, &String)| {
            name.is_empty() || name.chars().count() > TAG_NAME_MAX_CHARS || value.chars().count() > TAG_VALUE_MAX_CHARS
        };
        if tags.len() > TAGS_MAX || tags.iter().any(long) {
            let message = format!(
                "may hold {TAGS_MAX} pairs, names of 1 to {TAG_NAME_MAX_CHARS} and values of {TAG_VALUE_MAX_CHARS} characters"
            );
            self.fatal(format!("{path}.tags"), message);
        }
    }

    /// No secret opens two doors.
    fn secrets(&mut self) {
        let config = self.config;
        let mut seen: HashMap<&str, String> = HashMap::new();
        for (i, key) in config.keys.iter().enumerate() {
            // Two keys of one hash are found by `keys`.
            seen.entry(&key.sha256).or_insert_with(|| format!("keys[{i}].sha256"));
        }
        let earlier = config.keys.iter().enumerate().flat_map(|(i, key)| {
            let each = key.retiring.iter().enumerate();
            each.map(move |(j, old)| (format!("keys[{i}].retiring[{j}].sha256"), old.sha256.as_str()))
        });
        let admins = config.admin.keys.iter().enumerate();
        let admins = admins.map(|(i, key)| (format!("admin.keys[{i}].sha256"), key.sha256.as_str()));
        for (path, hash) in earlier.chain(admins) {
            let is_hash = hash.len() == 64 && hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
            // Of admin keys `keys` says so.
            if !is_hash && path.starts_with("keys") {
                self.fatal(&path, "must be 64 lower-case hex digits: the SHA-256 of the earlier key");
            }
            if let Some(first) = seen.get(hash).filter(|_| is_hash) {
                self.fatal(path, format!("this secret is already used at {first}; each opens one thing"));
            } else {
                seen.insert(hash, path);
            }
        }
    }

    fn admins(&mut self, known: &Known<'_>) {
        for (i, key) in self.config.admin.keys.iter().enumerate() {
            let path = format!("admin.keys[{i}].team");
            match &key.team {
                None if in_team(key.role) => self.fatal(path, "is needed for team_admin and member"),
                Some(_) if !in_team(key.role) => {
                    self.fatal(path, "means nothing for admin and analyst: they act on all teams")
                }
                Some(team) if !known.teams.contains_key(team.as_str()) => {
                    self.fatal(path, format!("there is no team `{team}`"));
                }
                _ => {}
            }
        }
    }

    fn oidc(&mut self, path: &str, oidc: &Oidc, known: &Known<'_>) {
        let urls = [("issuer", Some(&oidc.issuer)), ("jwks_url", oidc.jwks_url.as_ref())];
        for (field, url) in urls.into_iter().filter_map(|(field, url)| Some((field, url?))) {
            if let Some(rest) = url.strip_prefix("http://") {
                if !["localhost", "127.", "[::1]"].iter().any(|near| rest.starts_with(near)) {
                    self.warn(format!("{path}.{field}"), "is not https: whoever is between can let anybody in");
                }
            } else if !url.starts_with("https://") {
                self.fatal(format!("{path}.{field}"), "must begin with https:// (or http://)");
            }
        }
        for (field, text) in
            [("audience", &oidc.audience), ("user_claim", &oidc.user_claim), ("team_claim", &oidc.team_claim)]
        {
            if text.is_empty() {
                self.fatal(format!("{path}.{field}"), "must not be empty");
            }
        }
        for (value, team) in oidc.teams.iter().filter(|(_, team)| !known.teams.contains_key(team.as_str())) {
            self.fatal(format!("{path}.teams.{value}"), format!("there is no team `{team}`"));
        }
        if !(1_000..=3_600_000).contains(&oidc.refresh.0) {
            self.fatal(format!("{path}.refresh"), "must be from 1s to 1h");
        }
    }

    fn listener(&mut self) {
        let http = &self.config.http;
        if !(1_024..=1 << 30).contains(&http.body_max_bytes) {
            self.fatal("http.body_max_bytes", "must be from 1024 to 1073741824");
        }
        if !(8_192..=1 << 20).contains(&http.header_max_bytes) {
            self.fatal("http.header_max_bytes", "must be from 8192 to 1048576");
        }
        if !(1..=1_000_000).contains(&http.connections_max) {
            self.fatal("http.connections_max", "must be from 1 to 1000000");
        }
        for (field, time) in [("header_timeout", http.header_timeout), ("body_timeout", http.body_timeout)] {
            if !(100..=3_600_000).contains(&time.0) {
                self.fatal(format!("http.{field}"), "must be from 100ms to 1h");
            }
        }
    }
}

fn in_team(role: AdminRole) -> bool {
    matches!(role, AdminRole::TeamAdmin | AdminRole::Member)
}

#[cfg(test)]
mod tests {
    use crate::config::{Role, parse};

    const BASE: &str = "
providers: { demo: { kind: mock } }
endpoints: [ { name: a, destinations: [ { name: d, provider: demo, model: m } ] }, { name: b, destinations: [ { name: d, provider: demo, model: m } ] } ]
teams: [ { name: t, endpoints: [ a ] } ]
";

    fn problems(more: &str) -> Vec<String> {
        match parse(&format!("{BASE}{more}"), Role::Ingress, &|_| Ok(None)) {
            Ok(loaded) => loaded.warnings.iter().map(|p| format!("warning {}", p.path)).collect(),
            Err(problems) => problems.0.into_iter().map(|p| p.path).collect(),
        }
    }

    fn hash(digit: char) -> String {
        digit.to_string().repeat(64)
    }

    #[test]
    fn what_is_right_is_left_alone() {
        let fine = format!(
            "
users: [ {{ name: u, role: analyst, teams: [ {{ name: t, role: team_admin }} ], endpoints: [ a ] }} ]
keys:
  - {{ name: k, id: k1, team: t, sha256: {}, user: u, endpoints: [ a ], tags: {{ x: v }}, retiring: [ {{ sha256: {}, until: 2030-01-01T00:00:00Z }} ] }}
admin: {{ keys: [ {{ name: root, sha256: {} }}, {{ name: lead, sha256: {}, role: team_admin, team: t }} ] }}
oidc: [ {{ issuer: https://i, audience: x, teams: {{ g: t }} }}, {{ issuer: https://i, audience: z }} ]
http: {{ connections_max: 10 }}
",
            hash('a'),
            hash('b'),
            hash('c'),
            hash('d')
        );
        assert_eq!(problems(&fine), Vec::<String>::new());
    }

    #[test]
    fn every_mistake_is_named_where_it_stands() {
        let key = |more: &str| format!("keys: [ {{ name: k, team: t, sha256: {}, {more} }} ]", hash('a'));
        let user = |more: &str| format!("users: [ {{ name: u, {more} }} ]");
        for (text, path) in [
            (user("role: member"), "users[0].role"),
            (user("teams: [ { name: x } ]"), "users[0].teams[0].name"),
            (user("teams: [ { name: t, role: admin } ]"), "users[0].teams[0].role"),
            (user("teams: [ { name: t }, { name: t } ]"), "users[0].teams[1]"),
            (user("endpoints: [ x ]"), "users[0].endpoints[0]"),
            ("users: [ { name: u }, { name: u } ]".to_owned(), "users[1].name"),
            (format!("{}\n{}", user(""), key("user: v")), "keys[0].user"),
            (key("endpoints: [ x ]"), "keys[0].endpoints[0]"),
            (key("endpoints: [ b ]"), "warning keys[0].endpoints[0]"),
            (key("id: ''"), "keys[0].id"),
            (key("tags: { '': x }"), "keys[0].tags"),
            (key("expires: 2020-01-01T00:00:00Z"), "warning keys[0].expires"),
            (key("retiring: [ { sha256: zz, until: 2030-01-01T00:00:00Z } ]"), "keys[0].retiring[0].sha256"),
            (
                key(&format!("retiring: [ {{ sha256: {}, until: 2030-01-01T00:00:00Z }} ]", hash('a'))),
                "keys[0].retiring[0].sha256",
            ),
            (
                format!("{}\nadmin: {{ keys: [ {{ name: r, sha256: {} }} ] }}", key(""), hash('a')),
                "admin.keys[0].sha256",
            ),
            (
                format!("admin: {{ keys: [ {{ name: r, sha256: {}, role: member }} ] }}", hash('b')),
                "admin.keys[0].team",
            ),
            (format!("admin: {{ keys: [ {{ name: r, sha256: {}, team: t }} ] }}", hash('b')), "admin.keys[0].team"),
            ("oidc: [ { issuer: i, audience: x } ]".to_owned(), "oidc[0].issuer"),
            ("oidc: [ { issuer: http://i.example, audience: x } ]".to_owned(), "warning oidc[0].issuer"),
            ("oidc: [ { issuer: https://i, audience: '' } ]".to_owned(), "oidc[0].audience"),
            ("oidc: [ { issuer: https://i, audience: x, teams: { g: x } } ]".to_owned(), "oidc[0].teams.g"),
            ("oidc: [ { issuer: https://i, audience: x, refresh: 1ms } ]".to_owned(), "oidc[0].refresh"),
            ("http: { connections_max: 0 }".to_owned(), "http.connections_max"),
            ("http: { header_max_bytes: 100 }".to_owned(), "http.header_max_bytes"),
            ("http: { header_timeout: 1ms }".to_owned(), "http.header_timeout"),
        ] {
            assert_eq!(problems(&text), [path], "{text}");
        }
    }
}
