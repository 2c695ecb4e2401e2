//! Text to [`Config`]: YAML, then `${…}`, then each element by itself, so that one mistake hides no other.

use super::{Config, KeyFile, Problem, Problems, Role, check, key_file, model};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A usable configuration and what its owner should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Problems that are not fatal.
    pub warnings: Vec<Problem>,
}

/// What the command line says over the file.
#[derive(Debug, Clone, Default)]
pub struct Over {
    /// `listen`.
    pub listen: Option<String>,
    /// `kafka.brokers`.
    pub brokers: Option<String>,
    /// `kafka.listen`.
    pub kafka_listen: Option<String>,
}

impl Over {
    /// An empty value is none: environment variables are often unset that way.
    fn lay(&self, config: &mut Config) {
        let settings = [
            (&self.listen, &mut config.listen),
            (&self.brokers, &mut config.kafka.brokers),
            (&self.kafka_listen, &mut config.kafka.listen),
        ];
        for (given, setting) in settings {
            if let Some(given) = given.as_ref().filter(|text| !text.is_empty()) {
                setting.clone_from(given);
            }
        }
    }
}

/// A configuration file is small; this stops a wrong path from eating the memory.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// Reads and checks a file for a role. Environment variables and `${file:…}` are read here and nowhere else.
pub fn load(path: &std::path::Path, role: Role, over: &Over) -> Result<Loaded, Problems> {
    let whole = |message: String| Problems(vec![Problem { path: String::new(), message, fatal: true }]);
    let size = std::fs::metadata(path).map_err(|e| whole(format!("{} cannot be read: {e}", path.display())))?.len();
    if size > FILE_MAX_BYTES {
        return Err(whole(format!("{} is larger than {FILE_MAX_BYTES} bytes", path.display())));
    }
    let text = std::fs::read_to_string(path).map_err(|e| whole(format!("{} cannot be read: {e}", path.display())))?;
    parse_over(&text, role, over, &environment)
}

/// Looks a variable or, with a `file:` in front, a file up.
fn environment(name: &str) -> Result<Option<String>, String> {
    if let Some(path) = name.strip_prefix("file:") {
        return key_file::read(std::path::Path::new(path)).map(Some);
    }
    Ok(std::env::var(name).ok())
}

type Lookup<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// Reads YAML, of which JSON is a part. Booleans are `true` and `false` alone, as in YAML 1.2: `NO` is a country, `n` may be a model.
/// Errors with what is wrong and where, and nothing of the text, which may hold secrets.
pub fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let read = serde_saphyr::from_str_with_options(text, serde_saphyr::options! { strict_booleans: true });
    // The lines behind the first quote the text.
    read.map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
}

/// Parses and checks a configuration text for a role. `lookup` gives the value of `NAME` or `file:PATH`.
pub fn parse(text: &str, role: Role, lookup: Lookup<'_>) -> Result<Loaded, Problems> {
    parse_over(text, role, &Over::default(), lookup)
}

/// As [`parse`], with what the command line says laid over the text before it is checked.
pub fn parse_over(text: &str, role: Role, over: &Over, lookup: Lookup<'_>) -> Result<Loaded, Problems> {
    let mut reader = Reader::default();
    let root = match yaml::<Value>(text) {
        Ok(Value::Object(map)) => map,
        Ok(Value::Null) => Map::new(),
        Ok(_) => {
            reader.fatal("", "the file must be a mapping of sections");
            Map::new()
        }
        Err(error) => {
            reader.fatal("", format!("not valid YAML: {error}"));
            return Err(Problems(reader.problems));
        }
    };
    let mut config = reader.config(root, role, lookup);
    over.lay(&mut config);
    config.resolve_policies();
    reader.problems.extend(check::check(&config));
    let (fatal, warnings): (Vec<_>, Vec<_>) = reader.problems.into_iter().partition(|p| p.fatal);
    if fatal.is_empty() { Ok(Loaded { config, warnings }) } else { Err(Problems(fatal)) }
}

/// One object of the configuration, as a section of the file holds it, named `path` in problems. Nothing in it is resolved.
pub(crate) fn object<T: DeserializeOwned>(path: &str, value: Value) -> Result<T, Problems> {
    let mut reader = Reader::default();
    match reader.one(path, Some(value)) {
        Some(object) if reader.problems.is_empty() => Ok(object),
        _ => Err(Problems(reader.problems)),
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    key_files: Vec<KeyFile>,
}

impl Reader {
    fn fatal(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), message: message.into(), fatal: true });
    }

    fn config(&mut self, mut root: Map<String, Value>, role: Role, lookup: Lookup<'_>) -> Config {
        for (name, value) in &mut root {
            self.resolve(value, name, role, lookup);
        }
        let mut take = |name: &str| root.remove(name).filter(|v| !v.is_null());
        let mut guardrails = take("guardrails");
        let section = guardrails.as_mut().and_then(Value::as_object_mut);
        let hash_key = section.and_then(|section| section.remove("hash_key"));
        let config = Config {
            listen: self.one("listen", take("listen")).unwrap_or_else(|| "127.0.0.1:8080".into()),
            http: self.one("http", take("http")).unwrap_or_default(),
            data_dir: self.one("data_dir", take("data_dir")).unwrap_or_else(|| "./tollgate-data".into()),
            gateway: self.one("gateway", take("gateway")).unwrap_or_else(|| "main".into()),
            region: self.one("region", take("region")).unwrap_or_else(|| "local".into()),
            kafka: self.one("kafka", take("kafka")).unwrap_or_default(),
            retention: self.one("retention", take("retention")).unwrap_or_default(),
            storage: self.one("storage", take("storage")),
            usage: self.one("usage", take("usage")).unwrap_or_default(),
            admission: self.one("admission", take("admission")).unwrap_or_default(),
            cache: self.one("cache", take("cache")).unwrap_or_default(),
            shutdown: self.one("shutdown", take("shutdown")).unwrap_or_default(),
            providers: self.named("providers", take("providers")),
            key_files: std::mem::take(&mut self.key_files),
            credentials: BTreeMap::new(),
            endpoints: self.list("endpoints", take("endpoints")),
            guardrails: self.named("guardrails", guardrails),
            hash_key: self.one("guardrails.hash_key", hash_key.filter(|v| !v.is_null())),
            judges: self.named("judges", take("judges")),
            webhooks: self.named("webhooks", take("webhooks")),
            teams: self.list("teams", take("teams")),
            users: self.list("users", take("users")),
            keys: self.list("keys", take("keys")),
            budgets: self.list("budgets", take("budgets")),
            oidc: self.list("oidc", take("oidc")),
            admin: self.one("admin", take("admin")).unwrap_or_default(),
            prices: self.list::<model::Price>("prices", take("prices")),
        };
        for name in root.keys() {
            self.fatal(name, "there is no such section");
        }
        config
    }

    fn one<T: DeserializeOwned>(&mut self, path: &str, value: Option<Value>) -> Option<T> {
        let mut unknown = Vec::new();
        let mut track = serde_path_to_error::Track::new();
        let value = value?;
        let deserializer = serde_path_to_error::Deserializer::new(&value, &mut track);
        let result = serde_ignored::deserialize(deserializer, |field| unknown.push(field.to_string()));
        for field in unknown {
            // serde_ignored writes `?` for the content of an optional field.
            let field: Vec<&str> = field.split('.').filter(|part| *part != "?").collect();
            self.fatal(join(path, &indexed(&field)), "unknown field; see tollgate.example.yaml for those there are");
        }
        match result {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let error: serde_json::Error = error;
                let at = track.path().to_string();
                let message = unquoted(&error.to_string());
                self.fatal(if at == "." { path.to_owned() } else { join(path, &at) }, message);
                None
            }
        }
    }

    fn list<T: DeserializeOwned>(&mut self, path: &str, value: Option<Value>) -> Vec<T> {
        match value {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let each = items.into_iter().enumerate();
                each.filter_map(|(i, item)| self.one(&format!("{path}[{i}]"), Some(item))).collect()
            }
            Some(_) => {
                self.fatal(path, "must be a list");
                Vec::new()
            }
        }
    }

    fn named<T: DeserializeOwned>(&mut self, path: &str, value: Option<Value>) -> BTreeMap<String, T> {
        match value {
            None => BTreeMap::new(),
            Some(Value::Object(items)) => {
                let each = items.into_iter();
                each.filter_map(|(name, item)| self.one(&join(path, &name), Some(item)).map(|v| (name, v))).collect()
            }
            Some(_) => {
                self.fatal(path, "must be a mapping from names to settings");
                BTreeMap::new()
            }
        }
    }

    /// Replaces `${…}` in every string of a section that the role uses; others keep their references as written.
    fn resolve(&mut self, value: &mut Value, path: &str, role: Role, lookup: Lookup<'_>) {
        match value {
            Value::String(text) if text.contains('$') && uses(role, path) => match expand(text, lookup) {
                Ok(expanded) => {
                    self.key_files.extend(KeyFile::of(path, text));
                    *text = expanded;
                }
                Err(message) => self.fatal(path, message),
            },
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.resolve(item, &format!("{path}[{i}]"), role, lookup);
                }
            }
            Value::Object(items) => {
                for (name, item) in items.iter_mut() {
                    self.resolve(item, &join(path, name), role, lookup);
                }
            }
            _ => {}
        }
    }
}

/// Whether a role uses the value at this path. Credentials are resolved by their one user.
fn uses(role: Role, path: &str) -> bool {
    if path.starts_with("admin.") || path.starts_with("admission.") {
        // Ingress seals what only the router-worker opens; it keeps all limits but those of destinations.
        return role.does(Role::Ingress) || role.does(Role::RouterWorker);
    }
    let secret_of = |path: &str| {
        if path.starts_with("cache.") || path.starts_with("providers.") && path.contains(".api_key") {
            Some(Role::RouterWorker)
        } else if path.starts_with("webhooks.") {
            Some(Role::Ingress)
        } else if path == "guardrails.hash_key" || path.starts_with("judges.") && path.ends_with(".secret") {
            Some(Role::Guardrail)
        } else if path.starts_with("kafka.users") {
            Some(Role::All)
        } else {
            None
        }
    };
    secret_of(path).is_none_or(|owner| role.does(owner))
}

/// `${NAME}`, `${NAME:-default}`, `${file:PATH}`, `$$`.
fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = after.find('}').ok_or("`${` without `}`; write $$ for a dollar sign")?;
            let (name, default) = match after[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (&after[..end], None),
            };
            match lookup(name)?.filter(|v| default.is_none() || !v.is_empty()).or(default.map(str::to_owned)) {
                Some(value) => out.push_str(&value),
                None => {
                    return Err(format!(
                        "environment variable {name} is not set; set it, or write ${{{name}:-default}}"
                    ));
                }
            }
            rest = &after[end + 1..];
        } else {
            return Err("a single `$` means nothing; write $$ for a dollar sign, or ${NAME}".to_owned());
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn join(path: &str, field: &str) -> String {
    if field.starts_with('[') { format!("{path}{field}") } else { format!("{path}.{field}") }
}

/// serde_ignored writes list positions as plain numbers.
fn indexed(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |path, part| match part.parse::<usize>() {
        Ok(index) => format!("{path}[{index}]"),
        Err(_) if path.is_empty() => (*part).to_owned(),
        Err(_) => format!("{path}.{part}"),
    })
}

/// The message of a text that stands where it does not belong, without the text: it may be a secret in the wrong field.
fn unquoted(message: &str) -> String {
    match (message.find("string \""), message.rfind("\", expected")) {
        (Some(from), Some(to)) if from < to => format!("{}a text{}", &message[..from], &message[to + 1..]),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Result<Option<String>, String> {
        Ok(match name {
            "SET" => Some("value".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    fn problems(text: &str, role: Role) -> Vec<String> {
        match parse(text, role, &lookup) {
            Ok(_) => Vec::new(),
            Err(Problems(all)) => all.into_iter().map(|p| format!("{}: {}", p.path, p.message)).collect(),
        }
    }

    #[test]
    fn a_country_is_no_boolean() {
        let text = "[ NO, n, yes, on, true ]";
        assert_eq!(yaml::<Value>(text).expect("YAML"), serde_json::json!(["NO", "n", "yes", "on", true]));
    }

    #[test]
    fn expansion() {
        let ok = |text| expand(text, &lookup).expect("expands");
        assert_eq!(ok("a${SET}b$$c"), "avalueb$c");
        assert_eq!(ok("${EMPTY:-x}${UNSET:-y}${SET:-z}"), "xyvalue");
        assert!(expand("${UNSET}", &lookup).is_err_and(|e| e.contains("UNSET")));
        assert!(expand("$x", &lookup).is_err() && expand("${x", &lookup).is_err());
    }

    #[test]
    fn every_problem_is_reported_with_its_path() {
        let text = "
listen: 5
nonsense: 1
kafka: { topic_prefx: x, partitions: { default: many } }
providers: { a: { kind: openai, api_key: '${UNSET}' }, b: { kind: nope } }
endpoints: [ { name: e, destinations: [ { name: d, provider: a, model: m, wait: 1 } ] }, { name: f } ]
";
        let found = problems(text, Role::All);
        for path in [
            "listen",
            "nonsense",
            "kafka.topic_prefx",
            "kafka.partitions.default",
            "providers.a.api_key",
            "providers.b.kind",
            "endpoints[0].destinations[0].wait",
            "endpoints[1]",
        ] {
            assert!(found.iter().any(|p| p.starts_with(&format!("{path}:"))), "{path} not in {found:#?}");
        }
    }

    #[test]
    fn a_preset_is_one_of_those_that_are_known_and_only_openais() {
        let text = "
providers:
  a: { kind: openai, preset: ollama }
  b: { kind: openai, preset: olama }
  c: { kind: azure, base_url: 'https://x.test', preset: groq }
endpoints: [ { name: e, destinations: [ { name: d, provider: a, model: m } ] } ]
";
        let found = problems(text, Role::All);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].starts_with("providers.b.preset: there is no preset `olama`; known are vllm, ollama, "));
        assert!(found[1].starts_with("providers.c.preset: is only for kind openai"));
    }

    #[test]
    fn only_the_router_worker_needs_provider_credentials() {
        let text = "providers: { a: { kind: openai, api_key: '${UNSET}' } }";
        assert_eq!(problems(text, Role::Ingress), Vec::<String>::new());
        assert_eq!(problems(text, Role::RouterWorker).len(), 1);
    }

    #[test]
    fn a_duplicate_key_is_an_error() {
        assert_eq!(problems("listen: a:1\nlisten: b:1\n", Role::All).len(), 1);
    }

    #[test]
    fn the_command_line_is_checked_with_the_file() {
        let file = "kafka: { properties: { security.protocol: SSL } }";
        assert_eq!(problems(file, Role::All).len(), 1);
        let over = |brokers: &str| Over { brokers: Some(brokers.into()), ..Over::default() };
        let loaded =
            parse_over(file, Role::All, &over("kafka:9092"), &lookup).expect("the properties are for a cluster");
        assert_eq!(loaded.config.kafka.brokers, "kafka:9092");
        assert!(parse_over(file, Role::All, &over(""), &lookup).is_err(), "an empty variable says nothing");
    }

    #[test]
    fn replies_that_are_gone_before_storage_is_back_are_warned_of() {
        let said = |retention: &str| {
            let loaded = parse(retention, Role::All, &lookup).expect("no error");
            loaded.warnings.into_iter().map(|warning| warning.path).collect::<Vec<_>>()
        };
        assert_eq!(said("retention: { replies: 119m }"), ["retention.replies"]);
        assert!(said("retention: { replies: 2h }").is_empty() && said("retention: {}").is_empty());
    }

    #[test]
    fn the_shipped_example_passes() {
        let text = include_str!("../../../../tollgate.example.yaml");
        let given = |_: &str| Ok(Some("x".to_owned()));
        let loaded = parse(text, Role::All, &given).expect("the example is valid");
        assert!(loaded.warnings.iter().all(|w| !w.fatal));
    }
}
