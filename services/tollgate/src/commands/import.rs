//! `tollgate import litellm`: a LiteLLM proxy's configuration as Tollgate's.
//!
//! Source: LiteLLM's documentation of its file, <https://docs.litellm.ai/docs/proxy/configs> and
//! <https://docs.litellm.ai/docs/proxy/config_settings>; of routing and fallbacks, <https://docs.litellm.ai/docs/routing> and
//! <https://docs.litellm.ai/docs/proxy/reliability>; of each provider, <https://docs.litellm.ai/docs/providers>.
//!
//! ```text
//! text ─► reading ─┬─► model_list ─► kinds, providers, prices ─┬─► endpoints ─► yaml
//!                  └─► settings ───────────────────────────────┘
//! ```
//!
//! Two rules. Nothing is dropped in silence: a key is taken once, and what nobody took is named with its path. And no secret of the file
//! is in the outcome or in what is said of it: values are never quoted, and a secret becomes a variable.

mod advice;
mod endpoints;
mod kinds;
mod model_list;
mod prices;
mod providers;
mod reading;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod yaml;

use crate::cli::Import;
use anyhow::{Context, anyhow, bail};
use reading::{Notes, Section};
use serde_json::Value;
use std::{
    fmt::{self, Write as _},
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    path::Path,
    process::ExitCode,
};
use tollgate_runtime::config::{Role, parse};
use yaml::{Fields, Yaml};

/// The largest file that is read; a configuration is small.
const FILE_MAX_BYTES: u64 = 16 << 20;
/// The team of the outcome.
const TEAM: &str = "default";

/// What was made of a file.
#[derive(Debug)]
pub(crate) struct Imported {
    /// Tollgate's configuration, with the notes at its head.
    pub(crate) yaml: String,
    /// What is to be done, and what could not be carried over.
    pub(crate) notes: Vec<Note>,
}

/// Something to know about the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// Where in LiteLLM's file; empty for the file as a whole.
    pub(crate) path: String,
    /// What became of it and what to do. Holds no value of the file that may be secret.
    pub(crate) text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "(file)" } else { &self.path };
        // One line each, whatever keys there are: they become comments.
        for c in path.chars().chain(": ".chars()).chain(self.text.chars()) {
            f.write_char(if c.is_control() { ' ' } else { c })?;
        }
        Ok(())
    }
}

/// What grows while entries are read.
#[derive(Default)]
struct Work {
    notes: Notes,
    variables: text::Variables,
    providers: providers::Providers,
    prices: prices::Prices,
}

/// Runs the command. Exits 0 if there is an outcome that passes `tollgate config check` once its variables are set.
#[allow(clippy::print_stdout, reason = "the command's result")]
pub(crate) fn run(command: &Import) -> anyhow::Result<ExitCode> {
    let Import::Litellm { config, output } = command;
    let imported = read(config).and_then(|text| litellm(&text)).with_context(|| config.display().to_string())?;
    match output {
        Some(path) => write(path, &imported.yaml)?,
        None => print!("{}", imported.yaml),
    }
    for note in &imported.notes {
        eprintln!("{note}");
    }
    let name = output.as_ref().map_or_else(|| "the outcome".to_owned(), |path| path.display().to_string());
    eprintln!("{} note(s), which are at the head of {name} too. Next: `tollgate config check`", imported.notes.len());
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).context("cannot be read")?.len();
    if size > FILE_MAX_BYTES {
        bail!("is larger than {FILE_MAX_BYTES} bytes, and so no configuration");
    }
    std::fs::read_to_string(path).context("cannot be read")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow!("{} exists already: give another --output, or move it away", path.display())
        }
        _ => anyhow!("{} cannot be written: {error}", path.display()),
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
}

/// Tollgate's configuration for the text of a LiteLLM proxy's. Errors if it is none, or if nothing of it could be carried over.
pub(crate) fn litellm(text: &str) -> anyhow::Result<Imported> {
    let file = parsed(text)?;
    let mut work = Work { variables: text::Variables::of(&file), ..Work::default() };
    let mut root = Section::new("", Some(file), &mut work.notes);
    let list = match root.take("model_list") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(Value::Array(_)) | None => bail!(
            "`model_list` is empty. Models that LiteLLM keeps in its database are not in its file: write them into it first"
        ),
        Some(_) => bail!("`model_list` must be a list: this is no configuration of a LiteLLM proxy"),
    };
    let count = list.len();
    let settings = settings::read(&mut root, &mut work);
    let credentials = model_list::credentials(&mut root, &mut work.notes);
    let entries = model_list::read(list, &credentials, &mut work);
    root.name_rest(advice::SECTIONS, advice::UNKNOWN, &mut work.notes);
    let has_limits = entries.iter().any(|entry| entry.rpm.is_some() || entry.tpm.is_some());
    let (rows, names) = endpoints::write(entries, &settings, &mut work.notes);
    if rows.is_empty() {
        let lines: Vec<String> = work.notes.0.iter().map(|note| format!("  {note}")).collect();
        bail!("none of the {count} entries of model_list could be carried over:\n{}", lines.join("\n"));
    }
    say_the_rest(has_limits, &mut work);
    let store = settings.cache.and_then(|cache| cache.store);
    let sections = Fields::default()
        .maybe("cache", store.map(|store| Fields::default().with("store", store.into()).into()))
        .with("providers", work.providers.yaml())
        .with("endpoints", Yaml::List(rows))
        .with("teams", Yaml::List(vec![team(&names)]))
        .maybe("prices", work.prices.yaml());
    let yaml = document(&sections, &work.notes);
    passes(&yaml)?;
    Ok(Imported { yaml, notes: work.notes.0 })
}

/// A mapping with a `model_list`, or what the text is instead.
fn parsed(text: &str) -> anyhow::Result<Value> {
    let file = serde_saphyr::from_str::<Value>(text).map_err(|error| {
        // The first line says what and where; the rest quotes the file, which may hold secrets.
        let message = error.to_string();
        anyhow!("not valid YAML: {}", message.lines().next().unwrap_or_default())
    })?;
    let Value::Object(sections) = &file else {
        bail!("no mapping of sections: this is no configuration of a LiteLLM proxy");
    };
    if !sections.contains_key("model_list") {
        if sections.contains_key("endpoints") && sections.contains_key("providers") {
            bail!("this is a configuration of Tollgate already: check it with `tollgate config check`");
        }
        bail!(
            "no `model_list`: this is no configuration of a LiteLLM proxy. Models that LiteLLM keeps in its database are not in \
             its file: write them into it first"
        );
    }
    Ok(file)
}

/// What is true of the whole.
fn say_the_rest(has_limits: bool, work: &mut Work) {
    if has_limits {
        let why = "rpm and tpm became limits of destinations, which Tollgate enforces, for each endpoint by itself; LiteLLM's \
                   simple-shuffle only draws by them. Take `limits` away where that is not wanted";
        work.notes.add("model_list", why);
    }
    let variables: Vec<&str> = work.variables.used().collect();
    if !variables.is_empty() {
        let why =
            format!("set these variables where the router-worker (or `tollgate up`) runs: {}", variables.join(", "));
        work.notes.add("", why);
    }
    let why = format!(
        "keys of LiteLLM's callers are not in its file: team `{TEAM}` may use every endpoint; `tollgate keys new --team {TEAM}` \
         prints a key for it, and what to write under `keys`"
    );
    work.notes.add("", why);
}

fn team(endpoints: &[String]) -> Yaml {
    let endpoints = endpoints.iter().map(|name| Yaml::plain(name)).collect();
    Fields::default().with("name", Yaml::plain(TEAM)).with("endpoints", Yaml::List(endpoints)).into()
}

fn document(sections: &Fields, notes: &Notes) -> String {
    let mut text = String::from(
        "# Made by `tollgate import litellm`. tollgate.example.yaml shows everything there is; check changes with\n\
         # `tollgate config check`. To do, and what is not as it was, each with its path in LiteLLM's file:\n#\n",
    );
    for note in &notes.0 {
        text.push_str(&format!("# * {note}\n"));
    }
    text.push('\n');
    text.push_str(&sections.document());
    text
}

/// Fails if `tollgate config check` would refuse the text whatever its variables hold: nobody should find that out later.
fn passes(yaml: &str) -> anyhow::Result<()> {
    // As a service that needs no credential; others' variables stand for an address, the only thing whose form is checked.
    let given = |_: &str| Ok(Some("http://variable.invalid".to_owned()));
    match parse(yaml, Role::Guardrail, &given) {
        Ok(_) => Ok(()),
        Err(problems) => bail!("the outcome would not pass `tollgate config check`, and was not written: {problems}"),
    }
}
