//! `litellm_params`: where a model is and with which credential, as an entry of `providers`.

use super::{
    Work,
    kinds::{Kind, Model},
    reading::{Notes, Section},
    text::{Text, Variables, slug, unique, variable_of},
    yaml::{Fields, Yaml},
};
use serde_json::Value;
use std::collections::BTreeSet;

/// What people write where a client insists on a key and the server on none.
const NO_KEYS: [&str; 8] = ["none", "null", "na", "n/a", "empty", "dummy", "fake-key", "not-needed"];

/// `providers.NAME`.
#[derive(Default, PartialEq, Eq)]
struct Provider {
    kind: &'static str,
    preset: Option<&'static str>,
    base_url: Option<Text>,
    api_key: Option<Text>,
    api_version: Option<Text>,
    project: Option<Text>,
    location: Option<Text>,
    region: Option<Text>,
}

impl Provider {
    fn yaml(&self) -> Yaml {
        let text = |text: &Option<Text>| text.clone().map(Yaml::from);
        Fields::default()
            .with("kind", Yaml::bare(self.kind))
            .maybe("preset", self.preset.map(Yaml::bare))
            .maybe("base_url", text(&self.base_url))
            .maybe("api_version", text(&self.api_version))
            .maybe("project", text(&self.project))
            .maybe("location", text(&self.location))
            .maybe("region", text(&self.region))
            .maybe("api_key", text(&self.api_key))
            .into()
    }
}

/// All of them, each once.
#[derive(Default)]
pub(super) struct Providers {
    all: Vec<(String, Provider)>,
    names: BTreeSet<String>,
}

impl Providers {
    /// The name of that provider: of the first entry like it, else a new one.
    fn add(&mut self, name: &str, hint: Option<&str>, provider: Provider) -> String {
        if let Some((name, _)) = self.all.iter().find(|(_, known)| *known == provider) {
            return name.clone();
        }
        // A server that only speaks OpenAI's format should not be called like OpenAI.
        let is_elsewhere = provider.kind == "openai" && provider.preset.is_none() && provider.base_url.is_some();
        let hint = hint.map(|hint| slug(hint).replace('.', "-")).filter(|hint| !hint.is_empty());
        let longer = hint.map(|hint| format!("{name}-{hint}"));
        let wanted = match longer {
            Some(longer) if is_elsewhere || self.names.contains(name) => longer,
            _ => name.to_owned(),
        };
        let name = unique(&wanted, &mut self.names);
        self.all.push((name.clone(), provider));
        name
    }

    /// The section.
    pub(super) fn yaml(&self) -> Yaml {
        self.all.iter().fold(Fields::default(), |all, (name, provider)| all.with(name, provider.yaml())).into()
    }
}

/// The provider of an entry and the model's name there. `None` if Tollgate cannot call it, which is then said.
pub(super) fn place(model: &Model<'_>, params: &mut Section, work: &mut Work) -> Option<(String, String)> {
    let kind = model.kind;
    let api = kind.apis.iter().copied().find(|api| model.name.starts_with(*api));
    let name = api.map_or(model.name, |api| &model.name[api.len()..]);
    if let Some(api) = api.filter(|api| matches!(*api, "responses/" | "invoke/")) {
        let why = format!("`{api}` chooses an API that Tollgate does not use: it calls Chat Completions, or Converse");
        work.notes.add(params.at("model"), why);
    }
    let (provider, hint, name) = match kind.kind {
        "vertex" => vertex(kind, name, params, work)?,
        "bedrock" => bedrock(kind, name, params, work)?,
        _ => {
            let (provider, hint) = common(kind, params, work)?;
            (provider, hint, name)
        }
    };
    if name.is_empty() {
        work.notes.add(params.at("model"), "names no model: the entry was left out");
        return None;
    }
    let hint = hint.filter(|hint| variable_of(hint).is_none());
    Some((work.providers.add(kind.name, hint.as_deref(), provider), name.to_owned()))
}

/// A provider, and what tells it from others of its kind.
type Found = (Provider, Option<String>);

/// Of a kind with an address and a key.
fn common(kind: &Kind, params: &mut Section, work: &mut Work) -> Option<Found> {
    let key = if params.has("base_url") && !params.has("api_base") { "base_url" } else { "api_base" };
    let mut hint = None;
    let mut base_url = None;
    if let Some(address) = params.text(key, &mut work.notes) {
        hint = host(&address);
        base_url = Some(self::address(&address, kind, params.at(key), work)?);
    }
    if kind.kind == "azure" && base_url.is_none() {
        base_url = Some(work.variables.named("AZURE_API_BASE"));
    } else if kind.kind == "databricks" && base_url.is_none() {
        base_url = Some(work.variables.named("DATABRICKS_API_BASE"));
        let why = "is missing, so DATABRICKS_API_BASE is used: Tollgate wants it without /serving-endpoints";
        work.notes.add(params.at(key), why);
    }
    let mut api_version = None;
    if kind.kind == "azure" {
        let version = params.text("api_version", &mut work.notes);
        // LiteLLM's words for the API without versions, which is what Tollgate uses if none is given.
        let dated = version.filter(|version| !matches!(version.as_str(), "v1" | "latest" | "preview"));
        api_version = dated.map(|version| work.variables.open(&version));
    }
    let api_key = match application(kind, params, work) {
        Some(key) => Some(key),
        None => api_key(kind, base_url.is_some(), params, work),
    };
    Some((
        Provider { kind: kind.kind, preset: kind.preset, base_url, api_key, api_version, ..Provider::default() },
        hint,
    ))
}

/// An address as Tollgate wants it. `None` if it is none, which is then said.
fn address(given: &str, kind: &Kind, path: String, work: &mut Work) -> Option<Text> {
    let Work { notes, variables, .. } = work;
    if variable_of(given).is_some() {
        if !kind.without.is_empty() && kind.with.is_empty() {
            let ends = kind.without.join(" or ");
            notes.add(path, format!("stands in a variable: Tollgate wants it without {ends} at the end"));
        }
        return Some(Text::written(format!("{}{}", variables.open(given), kind.with)));
    }
    if !(given.starts_with("http://") || given.starts_with("https://")) {
        notes.add(path, "does not begin with http:// or https://: the entry was left out");
        return None;
    }
    let given = given.trim_end_matches('/');
    let bare = kind.without.iter().find_map(|end| given.strip_suffix(end)).unwrap_or(given);
    if given.contains(['@', '?']) {
        // A password or a token may be in it.
        let text = variables.secret(given, kind.name, "base_url", path, notes);
        return Some(text);
    }
    Some(Text::plain(&format!("{}{}", bare.trim_end_matches('/'), kind.with)))
}

/// What tells one address from another: the first part of a name, or all of another host.
fn host(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.contains('@'))?;
    let first = authority.split('.').next().unwrap_or_default();
    let is_named = authority.contains('.') && first.contains(|c: char| c.is_ascii_alphabetic());
    let told = if is_named && first != "api" { first } else { authority };
    Some(told.to_owned())
}

/// Azure's or Databricks' credential of an application.
fn application(kind: &Kind, params: &mut Section, work: &mut Work) -> Option<Text> {
    let wanted: &[&str] = match kind.kind {
        "azure" => &["tenant_id", "client_id", "client_secret"],
        "databricks" => &["client_id", "client_secret"],
        _ => return None,
    };
    if !wanted.iter().all(|field| params.has(field)) {
        return None;
    }
    joined(wanted, kind.name, params, work)
}

/// Fields as one credential, with `:` between them.
fn joined(fields: &[&str], whose: &str, params: &mut Section, work: &mut Work) -> Option<Text> {
    let mut parts = Vec::new();
    for field in fields {
        let value = params.text(field, &mut work.notes)?;
        let path = params.at(field);
        parts.push(work.variables.secret(&value, whose, field, path, &mut work.notes).to_string());
    }
    Some(Text::written(parts.join(":")))
}

fn api_key(kind: &Kind, is_elsewhere: bool, params: &mut Section, work: &mut Work) -> Option<Text> {
    let given = params.text("api_key", &mut work.notes);
    let path = params.at("api_key");
    let takes_none = kind.key.is_none() || kind.kind == "openai" && is_elsewhere;
    match given {
        Some(key) if takes_none && NO_KEYS.contains(&key.to_ascii_lowercase().as_str()) => {
            work.notes.add(path, "is no key: left out, since Tollgate calls such a server without one");
            None
        }
        Some(key) => Some(work.variables.secret(&key, kind.name, "api_key", path, &mut work.notes)),
        None => kind.key.map(|name| work.variables.named(name)),
    }
}

/// How Google's own models on Vertex AI begin: those that chat, and those that make embeddings.
const GOOGLES: [&str; 3] = ["gemini", "text-embedding", "text-multilingual-embedding"];

/// Vertex AI: Google's own models there.
fn vertex<'m>(
    kind: &Kind,
    model: &'m str,
    params: &mut Section,
    work: &mut Work,
) -> Option<(Provider, Option<String>, &'m str)> {
    if !GOOGLES.iter().any(|start| model.starts_with(start)) {
        let why = "is none of Google's own models: Tollgate calls only those on Vertex AI, so the entry was left out";
        work.notes.add(params.at("model"), why);
        return None;
    }
    let project = match params.text("vertex_project", &mut work.notes) {
        Some(project) => work.variables.open(&project),
        None => work.variables.named("VERTEXAI_PROJECT"),
    };
    let given = params.text("vertex_location", &mut work.notes);
    let given = given.or_else(|| params.text("vertex_ai_location", &mut work.notes));
    let location = match &given {
        Some(location) => work.variables.open(location),
        // As LiteLLM does.
        None => Text::variable_or("VERTEXAI_LOCATION", "us-central1"),
    };
    let api_key = vertex_key(kind, params, &mut work.variables, &mut work.notes);
    let (project, location) = (Some(project), Some(location));
    Some((Provider { kind: kind.kind, project, location, api_key, ..Provider::default() }, given, model))
}

/// `vertex_credentials`: a path, the content of the file, or a variable with either.
fn vertex_key(kind: &Kind, params: &mut Section, variables: &mut Variables, notes: &mut Notes) -> Option<Text> {
    let path = params.at("vertex_credentials");
    let given = match params.take("vertex_credentials")? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    if let Some(name) = variable_of(&given) {
        let why = format!("if {name} holds a path, write ${{file:PATH}} instead: Tollgate wants the file's content");
        notes.add(path, why);
        return Some(variables.named(name));
    }
    let is_path = given.starts_with(['/', '.']) || given.ends_with(".json");
    match Text::file(&given).filter(|_| is_path && !given.contains(['{', '\n'])) {
        Some(text) => Some(text),
        None => Some(variables.secret(&given, kind.name, "credentials", path, notes)),
    }
}

/// Amazon Bedrock, with a region of its own or one in the model's name (`bedrock/us-east-1/MODEL`).
fn bedrock<'m>(
    kind: &Kind,
    model: &'m str,
    params: &mut Section,
    work: &mut Work,
) -> Option<(Provider, Option<String>, &'m str)> {
    let in_name = model.split_once('/').filter(|(region, _)| is_region(region));
    let model = in_name.map_or(model, |(_, rest)| rest);
    let given = params.text("aws_region_name", &mut work.notes).or_else(|| in_name.map(|(it, _)| it.to_owned()));
    let region = match &given {
        Some(region) => work.variables.open(region),
        None => {
            let why = "is missing: the outcome takes AWS_REGION_NAME, and us-west-2 without it, as LiteLLM does";
            work.notes.add(params.at("aws_region_name"), why);
            Text::variable_or("AWS_REGION_NAME", "us-west-2")
        }
    };
    let mut base_url = None;
    for key in ["aws_bedrock_runtime_endpoint", "api_base"] {
        if let Some(given) = params.text(key, &mut work.notes) {
            base_url = Some(address(&given, kind, params.at(key), work)?);
        }
    }
    let api_key = Some(bedrock_key(kind, params, work));
    let region = Some(region);
    Some((Provider { kind: kind.kind, region, base_url, api_key, ..Provider::default() }, given, model))
}

fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() >= 3 && parts.last().is_some_and(|part| part.parse::<u8>().is_ok())
}

fn bedrock_key(kind: &Kind, params: &mut Section, work: &mut Work) -> Text {
    if let Some(key) = params.text("api_key", &mut work.notes) {
        let path = params.at("api_key");
        return work.variables.secret(&key, kind.name, "api_key", path, &mut work.notes);
    }
    let all = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
    let fields = if params.has(all[2]) { &all[..] } else { &all[..2] };
    if let Some(key) = joined(fields, kind.name, params, work) {
        return key;
    }
    let why = "is missing: the outcome takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Tollgate does not ask AWS for a role's \
               keys; a Bedrock API key as api_key works too";
    work.notes.add(params.at(all[0]), why);
    let (id, secret) = (work.variables.named("AWS_ACCESS_KEY_ID"), work.variables.named("AWS_SECRET_ACCESS_KEY"));
    Text::written(format!("{id}:{secret}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_tollgates() {
        let made = |prefix: &str, given: &str| {
            let mut work = Work::default();
            let kind = Kind::of(prefix).expect("known");
            address(given, kind, "p".into(), &mut work).map(|text| text.to_string())
        };
        for (prefix, given, wanted) in [
            ("ollama", "http://localhost:11434", "http://localhost:11434/v1"),
            ("ollama_chat", "os.environ/OLLAMA", "${OLLAMA}/v1"),
            ("anthropic", "https://proxy.test/v1/messages", "https://proxy.test/v1"),
            ("azure", "https://a.openai.azure.com/", "https://a.openai.azure.com"),
            ("databricks", "https://d.test/serving-endpoints", "https://d.test"),
            ("openai", "http://vllm:8000/v1/", "http://vllm:8000/v1"),
            ("openai", "https://me:secret@x.test/v1", "${IMPORTED_OPENAI_BASE_URL}"),
        ] {
            assert_eq!(made(prefix, given).as_deref(), Some(wanted));
        }
        assert_eq!(made("openai", "localhost:8000"), None);
    }

    #[test]
    fn hosts_tell_addresses_apart() {
        let of = |address| host(address).unwrap_or_default();
        assert_eq!(of("https://my-resource.openai.azure.com/"), "my-resource");
        assert_eq!(of("http://127.0.0.1:8000/v1"), "127.0.0.1:8000");
        assert_eq!(of("http://vllm:8000/v1"), "vllm:8000");
        assert_eq!(of("https://api.example.com"), "api.example.com");
        assert!(is_region("us-east-1") && is_region("us-gov-west-1") && !is_region("anthropic.claude-v2"));
    }
}
