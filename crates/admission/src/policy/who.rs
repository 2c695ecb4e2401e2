//! Who asks, and whom a rule is for: one lookup per dimension, however many keys and teams there are.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};
use tollgate_runtime::config::{Dimension, Subject};
use tollgate_schemas::UsageRow;

/// Who asks for what, as far as limits and budgets see it.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// Team name; empty: no team's.
    pub team: &'a str,
    /// The key's stable id, if it came with a key.
    pub key_id: Option<&'a str>,
    /// The user behind the key or the token.
    pub user: Option<&'a str>,
    /// The endpoint's own name; empty: of no endpoint's account.
    pub endpoint: &'a str,
    /// The request's tags, those of its key included.
    pub tags: &'a BTreeMap<String, String>,
}

impl<'a> Who<'a> {
    /// Who a usage row is about. A call that no caller has asked for, a shadow's or a judge's, is its tags' and its team's, not its
    /// endpoint's: whoever asks there must not be refused for it.
    pub fn of_row(row: &'a UsageRow) -> Self {
        Self {
            team: &row.team,
            key_id: row.key_id.as_deref(),
            user: row.user_id.as_deref(),
            endpoint: if row.is_internal() { "" } else { &row.endpoint_name },
            tags: &row.request_tags,
        }
    }

    pub(super) fn team(&self) -> Option<&'a str> {
        (!self.team.is_empty()).then_some(self.team)
    }

    pub(super) fn endpoint(&self) -> Option<&'a str> {
        (!self.endpoint.is_empty()).then_some(self.endpoint)
    }
}

/// A name as part of a meter's: the separators of meters do not occur in it.
pub(super) fn escaped(name: &str) -> Cow<'_, str> {
    if name.contains(['/', '%', '@']) {
        return Cow::Owned(name.replace('%', "%25").replace('/', "%2F").replace('@', "%40"));
    }
    Cow::Borrowed(name)
}

/// Rules by whom they are for.
#[derive(Debug)]
pub(super) struct Table<T> {
    whole: Vec<T>,
    each: HashMap<Dimension, Vec<T>>,
    one: HashMap<Dimension, HashMap<String, Vec<T>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { whole: Vec::new(), each: HashMap::new(), one: HashMap::new() }
    }
}

impl<T> Table<T> {
    /// The list of a subject. Keys are found by id: `keys` has it by name; `None` if there is no such key.
    pub(super) fn list(&mut self, subject: Option<&Subject>, keys: &HashMap<&str, &str>) -> Option<&mut Vec<T>> {
        Some(match subject {
            None | Some(Subject::Whole(_)) => &mut self.whole,
            Some(Subject::Each(dimension)) => self.each.entry(*dimension).or_default(),
            Some(Subject::One(dimension, name)) => {
                let name = if *dimension == Dimension::Key { *keys.get(name.as_str())? } else { name.as_str() };
                self.one.entry(*dimension).or_default().entry(name.to_owned()).or_default()
            }
        })
    }

    /// Calls with every rule for `who`: the rule, whether it is for each (else one or the whole), the dimension (none for the
    /// whole) and its value.
    pub(super) fn matching(&self, who: &Who<'_>, mut found: impl FnMut(&T, bool, Option<(Dimension, &str)>)) {
        self.whole.iter().for_each(|rule| found(rule, false, None));
        let values = [
            (Dimension::Key, who.key_id),
            (Dimension::User, who.user),
            (Dimension::Team, who.team()),
            (Dimension::Endpoint, who.endpoint()),
        ];
        for (dimension, value) in values.into_iter().filter_map(|(dimension, value)| Some((dimension, value?))) {
            if let Some(rules) = self.each.get(&dimension) {
                rules.iter().for_each(|rule| found(rule, true, Some((dimension, value))));
            }
            if let Some(rules) = self.one.get(&dimension).and_then(|one| one.get(value)) {
                rules.iter().for_each(|rule| found(rule, false, Some((dimension, value))));
            }
        }
        if let Some(one) = self.one.get(&Dimension::Tag) {
            for (name, value) in who.tags {
                let tag = format!("{name}={value}");
                for rule in one.get(&tag).into_iter().flatten() {
                    found(rule, false, Some((Dimension::Tag, &tag)));
                }
            }
        }
    }

    /// Whether a rule names this tag.
    pub(super) fn names_tag(&self, tag: &str) -> bool {
        self.one.get(&Dimension::Tag).is_some_and(|one| one.contains_key(tag))
    }

    /// Whether any rule names a tag.
    pub(super) fn names_tags(&self) -> bool {
        self.one.contains_key(&Dimension::Tag)
    }
}
