//! Groups of deployments, with what holds for all, as `endpoints`.

use super::{
    model_list::Entry,
    reading::Notes,
    settings::{Rule, Settings},
    text::{slug, unique},
    yaml::{Fields, Yaml},
};
use rust_decimal::Decimal;
use std::collections::BTreeSet;

/// Tollgate's bounds and defaults.
const ATTEMPTS_MAX: u64 = 10;
const ATTEMPTS_DEFAULT: u64 = 2;
const MAX_ATTEMPTS_DEFAULT: u64 = 3;
const TIMEOUT_MAX_MS: u64 = 86_400_000;

/// Deployments that callers call by one name.
struct Group {
    name: String,
    task: Option<&'static str>,
    entries: Vec<Entry>,
    aliases: Vec<String>,
}

impl Group {
    /// Whether a model of it is known only once a caller has named it.
    fn has_wildcard_model(&self) -> bool {
        self.entries.iter().any(|entry| entry.model.contains('*'))
    }
}

/// A rule whose names were found.
struct Found {
    /// `None`: every group without a rule of its own for any failure.
    from: Option<usize>,
    to: Vec<usize>,
    on: Option<&'static str>,
}

/// The section and the names in it.
pub(super) fn write(entries: Vec<Entry>, settings: &Settings, notes: &mut Notes) -> (Vec<Yaml>, Vec<String>) {
    let mut groups = grouped(entries, notes);
    give_aliases(&mut groups, settings, notes);
    let rules = found(&groups, &settings.rules, notes);
    let rows = (0..groups.len()).map(|at| endpoint(at, &groups, &rules, settings, notes)).collect();
    (rows, groups.into_iter().map(|group| group.name).collect())
}

fn grouped(entries: Vec<Entry>, notes: &mut Notes) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in entries {
        match groups.iter_mut().find(|group| group.name == entry.group) {
            None => groups.push(Group {
                name: entry.group.clone(),
                task: entry.task,
                entries: vec![entry],
                aliases: Vec::new(),
            }),
            Some(group) if group.task == entry.task => group.entries.push(entry),
            Some(_) => {
                let why = "has another mode than the first of its name: left out. Give it another model_name";
                notes.add(entry.path, why);
            }
        }
    }
    groups
}

fn give_aliases(groups: &mut [Group], settings: &Settings, notes: &mut Notes) {
    let mut seen: BTreeSet<String> = groups.iter().map(|group| group.name.clone()).collect();
    for (path, alias, to) in &settings.aliases {
        if alias.contains('*') || alias.is_empty() || !seen.insert(alias.clone()) {
            notes.add(path, "is a model_name or another alias too, or has a *: left out");
        } else if to.contains('*') {
            notes.add(path, format!("is for `{to}`, and a name with a * has no other: left out"));
        } else if let Some(group) = groups.iter_mut().find(|group| group.name == *to) {
            group.aliases.push(alias.clone());
        } else {
            notes.add(path, format!("is for `{to}`, which is not in the outcome: left out"));
        }
    }
}

fn position(groups: &[Group], name: &str) -> Option<usize> {
    groups.iter().position(|group| group.name == name || group.aliases.iter().any(|alias| alias == name))
}

fn found(groups: &[Group], rules: &[Rule], notes: &mut Notes) -> Vec<Found> {
    let mut all = Vec::new();
    for rule in rules {
        let from = rule.from.as_deref().map(|name| position(groups, name));
        if from == Some(None) {
            notes.add(&rule.path, "is for a model that is not in the outcome: left out");
            continue;
        }
        let from = from.flatten();
        let mut to = Vec::new();
        for name in &rule.to {
            let Some(at) = position(groups, name) else {
                notes.add(&rule.path, format!("names `{name}`, which is not in the outcome: left out"));
                continue;
            };
            let is_other = |from: usize| from == at || groups[from].task != groups[at].task;
            if groups[at].has_wildcard_model() || from.is_some_and(is_other) {
                notes.add(&rule.path, format!("names `{name}`, which cannot stand in here: left out"));
            } else {
                to.push(at);
            }
        }
        all.push(Found { from, to, on: rule.on });
    }
    all
}

fn endpoint(at: usize, groups: &[Group], rules: &[Found], settings: &Settings, notes: &mut Notes) -> Yaml {
    let group = &groups[at];
    let mut names = BTreeSet::new();
    let weights = weights(group, settings, notes);
    let last = group.entries.iter().filter_map(|entry| entry.order).max();
    let destinations: Vec<Yaml> = group
        .entries
        .iter()
        .zip(weights)
        .map(|(entry, weight)| {
            // Those without an order come after all others.
            let priority = last.map(|last| entry.order.unwrap_or(last.saturating_add(1)).min(u64::from(u32::MAX)));
            destination(entry, &mut names)
                .maybe("weight", (weight != 1).then(|| Yaml::bare(weight)))
                .maybe("priority", priority.map(Yaml::bare))
                .maybe("concurrency", entry.concurrency.map(Yaml::bare))
                .maybe("limits", limits(entry))
                .into()
        })
        .collect();
    let fallbacks = fallbacks(at, groups, rules, &mut names);
    let aliases: Vec<Yaml> = group.aliases.iter().map(|alias| Yaml::plain(alias)).collect();
    let drops = settings.drops || group.entries.iter().any(|entry| entry.drops);
    let cache = settings.cache.as_ref().map(|cache| {
        Fields::default().with("ttl", Yaml::duration(cache.ttl_ms)).with("scope", Yaml::bare("everyone")).into()
    });
    let retry = retry(group, fallbacks.len(), settings, notes);
    Fields::default()
        .with("name", Yaml::plain(&group.name))
        .maybe("aliases", (!aliases.is_empty()).then_some(Yaml::List(aliases)))
        .maybe("task", group.task.map(Yaml::bare))
        .with("destinations", Yaml::List(destinations))
        .maybe("fallbacks", (!fallbacks.is_empty()).then_some(Yaml::List(fallbacks)))
        .maybe("routing", settings.routing.map(Yaml::bare))
        .maybe("cache", cache)
        .maybe("retry", retry)
        .maybe("timeout", timeout(group, settings, notes))
        .maybe("on_unsupported", drops.then(|| Yaml::bare("drop")))
        .into()
}

/// Name, provider and model. The name is the model's, and the provider's too if another has that.
fn destination(entry: &Entry, names: &mut BTreeSet<String>) -> Fields {
    let name = match slug(&entry.model) {
        // Of `*` nothing is left.
        model if model.is_empty() => entry.provider.clone(),
        model if names.contains(&model) => format!("{}-{model}", entry.provider),
        model => model,
    };
    Fields::default()
        .with("name", Yaml::plain(&unique(&name, names)))
        .with("provider", Yaml::plain(&entry.provider))
        .with("model", Yaml::plain(&entry.model))
}

fn limits(entry: &Entry) -> Option<Yaml> {
    let limit = |what: &str, amount: u64| {
        Yaml::from(Fields::default().with(what, Yaml::bare(amount)).with("per", Yaml::bare("minute")))
    };
    let requests = entry.rpm.map(|amount| limit("requests", amount));
    let limits: Vec<Yaml> = requests.into_iter().chain(entry.tpm.map(|amount| limit("tokens", amount))).collect();
    (!limits.is_empty()).then_some(Yaml::List(limits))
}

/// The destinations of those that stand in for a group: for any failure first, then for one.
fn fallbacks(at: usize, groups: &[Group], rules: &[Found], names: &mut BTreeSet<String>) -> Vec<Yaml> {
    let has_own = rules.iter().any(|rule| rule.from == Some(at) && rule.on.is_none());
    let is_meant = |rule: &&Found| rule.from == Some(at) || rule.from.is_none() && !has_own;
    let mut all = Vec::new();
    for on in [None, Some("context_window"), Some("content_policy")] {
        let mut seen = BTreeSet::from([at]);
        let meant = rules.iter().filter(|rule| rule.on == on).filter(is_meant);
        for to in meant.flat_map(|rule| &rule.to).copied() {
            if groups[to].task != groups[at].task || !seen.insert(to) {
                continue;
            }
            let mut entries: Vec<&Entry> = groups[to].entries.iter().collect();
            // Fallbacks go in the order of their list; those without an order last.
            entries.sort_by_key(|entry| entry.order.unwrap_or(u64::MAX));
            for entry in entries {
                let on = on.map(|word| Yaml::List(vec![Yaml::bare(word)]));
                let fields = destination(entry, names).maybe("on", on);
                let fields = fields.maybe("concurrency", entry.concurrency.map(Yaml::bare));
                all.push(fields.maybe("limits", limits(entry)).into());
            }
        }
    }
    all
}

/// LiteLLM's draw goes by `weight`, else by `rpm`, else by `tpm`.
fn weights(group: &Group, settings: &Settings, notes: &mut Notes) -> Vec<u32> {
    let entries = &group.entries;
    let equal = vec![1; entries.len()];
    let weights: Vec<Option<Decimal>> = entries.iter().map(|entry| entry.weight).collect();
    let given = weights.iter().flatten().count();
    if settings.routing.is_some() {
        for entry in entries.iter().filter(|entry| entry.weight.is_some()) {
            let why = "left out: with this routing_strategy LiteLLM makes no use of it";
            notes.add(format!("{}.litellm_params.weight", entry.path), why);
        }
        return equal;
    }
    if given > 0 {
        for entry in entries.iter().filter(|entry| entry.weight.is_none()) {
            let why = "is missing where others have one: 0 in the outcome, no traffic, as in LiteLLM";
            notes.add(format!("{}.litellm_params.weight", entry.path), why);
        }
        let amounts: Vec<Decimal> = weights.into_iter().map(Option::unwrap_or_default).collect();
        return ratio(&amounts).unwrap_or_else(|| {
            let why = "of its group are no weights that can be drawn by: all are 1 in the outcome";
            notes.add(format!("{}.litellm_params.weight", entries[0].path), why);
            equal
        });
    }
    let by_use = of_all(entries, |entry| entry.rpm).or_else(|| of_all(entries, |entry| entry.tpm));
    by_use.and_then(|amounts| ratio(&amounts)).unwrap_or(equal)
}

/// What each has; `None` if one has nothing.
fn of_all(entries: &[Entry], of: fn(&Entry) -> Option<u64>) -> Option<Vec<Decimal>> {
    entries.iter().map(|entry| of(entry).map(Decimal::from)).collect()
}

/// Whole numbers in the same ratio, as small as can be. `None` if there are none.
fn ratio(amounts: &[Decimal]) -> Option<Vec<u32>> {
    let scale = amounts.iter().map(|amount| amount.normalize().scale()).max()?;
    let factor = Decimal::from(10_u64.checked_pow(scale)?);
    let whole = |amount: &Decimal| u64::try_from(amount.checked_mul(factor)?).ok();
    let whole: Vec<u64> = amounts.iter().map(whole).collect::<Option<_>>()?;
    let divisor = whole.iter().copied().fold(0, common_divisor);
    whole.into_iter().map(|amount| u32::try_from(amount.checked_div(divisor)?).ok()).collect()
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// LiteLLM's retries are of a request within its group; then each that stands in has its turn.
fn retry(group: &Group, fallbacks: usize, settings: &Settings, notes: &mut Notes) -> Option<Yaml> {
    let own = group.entries.iter().filter_map(|entry| entry.retries).max();
    let retries = own.or(settings.retries);
    let wanted = retries.map_or(ATTEMPTS_DEFAULT, |retries| retries.saturating_add(1));
    let attempts = wanted.min(ATTEMPTS_MAX);
    if attempts != wanted {
        notes.add(format!("{}.num_retries", group.entries[0].path), "and one are more than 10 attempts, the most: 10");
    }
    let count = |of: usize| u64::try_from(of).unwrap_or(ATTEMPTS_MAX);
    let others = if retries == Some(0) { 0 } else { count(group.entries.len() - 1) };
    let all = attempts.saturating_add(others).saturating_add(count(fallbacks));
    let least = if retries.is_some() { 1 } else { MAX_ATTEMPTS_DEFAULT };
    let max_attempts = all.clamp(least, ATTEMPTS_MAX);
    let is_default = attempts == ATTEMPTS_DEFAULT && max_attempts == MAX_ATTEMPTS_DEFAULT;
    (!is_default).then(|| {
        let fields = Fields::default().with("attempts", Yaml::bare(attempts));
        fields.with("max_attempts", Yaml::bare(max_attempts)).into()
    })
}

fn timeout(group: &Group, settings: &Settings, notes: &mut Notes) -> Option<Yaml> {
    let own: BTreeSet<u64> = group.entries.iter().filter_map(|entry| entry.timeout_ms).collect();
    if own.len() > 1 {
        let why = "is not that of all deployments of its name: an endpoint has one, the longest in the outcome";
        notes.add(format!("{}.litellm_params.timeout", group.entries[0].path), why);
    }
    let streams = group.entries.iter().filter_map(|entry| entry.stream_timeout_ms).max();
    let bounded = |ms: u64| Yaml::duration(ms.clamp(1, TIMEOUT_MAX_MS));
    let total = own.last().copied().or(settings.timeout_ms);
    if total.is_some_and(|ms| ms > TIMEOUT_MAX_MS) {
        notes
            .add(format!("{}.litellm_params.timeout", group.entries[0].path), "is longer than 24 hours, the most: 24h");
    }
    let first_byte = streams.or(settings.stream_timeout_ms);
    let fields = Fields::default().maybe("first_byte", first_byte.map(bounded)).maybe("total", total.map(bounded));
    (!fields.is_empty()).then(|| fields.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_their_ratio() {
        let ratio_of =
            |amounts: &[&str]| ratio(&amounts.iter().map(|it| it.parse().expect("a number")).collect::<Vec<_>>());
        assert_eq!(ratio_of(&["0.9", "0.1"]), Some(vec![9, 1]));
        assert_eq!(ratio_of(&["100000", "900"]), Some(vec![1000, 9]));
        assert_eq!(ratio_of(&["2", "2", "0"]), Some(vec![1, 1, 0]));
        assert_eq!(ratio_of(&["0", "0"]), None);
        assert_eq!(ratio_of(&["1", "0.0000000000000000000000001"]), None);
    }
}
