//! `model_list`: LiteLLM's deployments.

use super::{
    Work, advice,
    kinds::Model,
    providers,
    reading::{Notes, Section},
};
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The longest name of an endpoint, in bytes.
const NAME_MAX_BYTES: usize = 256;

/// A deployment that Tollgate can call.
pub(super) struct Entry {
    /// Where it stands in the file.
    pub(super) path: String,
    /// `model_name`.
    pub(super) group: String,
    /// Of the outcome.
    pub(super) provider: String,
    /// Its name at the provider.
    pub(super) model: String,
    /// Whether it makes embeddings; else it chats.
    pub(super) embeddings: bool,
    /// Its part of the group's traffic.
    pub(super) weight: Option<Decimal>,
    /// The lowest goes first.
    pub(super) order: Option<u64>,
    /// Requests per minute.
    pub(super) rpm: Option<u64>,
    /// Tokens per minute.
    pub(super) tpm: Option<u64>,
    /// Calls at a time.
    pub(super) concurrency: Option<u64>,
    /// Of a call, milliseconds.
    pub(super) timeout_ms: Option<u64>,
    /// Of a stream, milliseconds.
    pub(super) stream_timeout_ms: Option<u64>,
    /// Calls after the first.
    pub(super) retries: Option<u64>,
    /// Whether what the provider does not know is left out.
    pub(super) drops: bool,
}

/// `credential_list`: settings of providers by name.
pub(super) type Credentials = BTreeMap<String, Map<String, Value>>;

/// Reads `credential_list`.
pub(super) fn credentials(root: &mut Section, notes: &mut Notes) -> Credentials {
    let mut all = Credentials::new();
    for (at, value) in root.list("credential_list", notes).into_iter().enumerate() {
        let mut section = Section::new(format!("credential_list[{at}]"), Some(value), notes);
        let values = section.take("credential_values");
        let values = Section::new(section.at("credential_values"), values, notes).into_fields();
        // For people only.
        section.take("credential_info");
        match section.text("credential_name", notes) {
            Some(name) => {
                all.insert(name, values);
            }
            None => notes.add(section.at("credential_name"), "is missing: left out"),
        }
        section.name_rest(&[], advice::UNKNOWN, notes);
    }
    all
}

/// Every entry that Tollgate can call; the others are named.
pub(super) fn read(list: Vec<Value>, credentials: &Credentials, work: &mut Work) -> Vec<Entry> {
    let each = list.into_iter().enumerate();
    each.filter_map(|(at, value)| entry(format!("model_list[{at}]"), value, credentials, work)).collect()
}

fn entry(path: String, value: Value, credentials: &Credentials, work: &mut Work) -> Option<Entry> {
    let mut whole = Section::new(path.as_str(), Some(value), &mut work.notes);
    let group = group(&mut whole, &mut work.notes)?;
    let mut params = Section::new(whole.at("litellm_params"), whole.take("litellm_params"), &mut work.notes);
    let mut info = Section::new(whole.at("model_info"), whole.take("model_info"), &mut work.notes);
    fill(&mut params, credentials, &mut work.notes);
    let model = model(&mut params, &mut work.notes)?;
    let given = params.text("custom_llm_provider", &mut work.notes);
    let told = told(&model, given.as_deref(), &params, &mut work.notes)?;
    let embeddings = embeddings(&told, &params, &mut info, &mut work.notes)?;
    let (provider, model) = providers::place(&told, &mut params, work)?;
    let notes = &mut work.notes;
    work.prices.take(&provider, &model, &mut params, &mut info, notes);
    let mut amount = |key: &str| {
        // They may stand beside `litellm_params` too.
        let (first, second) = (params.whole(key, notes), whole.whole(key, notes));
        first.or(second).filter(|amount| *amount > 0)
    };
    let (rpm, tpm) = (amount("rpm"), amount("tpm"));
    let concurrency = params.whole("max_parallel_requests", notes).filter(|amount| *amount > 0);
    let (weight, order) = (params.number("weight", notes), params.whole("order", notes));
    let (timeout_ms, stream_timeout_ms) =
        (params.milliseconds("timeout", notes), params.milliseconds("stream_timeout", notes));
    let (retries, more) = (params.whole("num_retries", notes), params.whole("max_retries", notes));
    let drops = params.flag("drop_params", notes);
    params.name_rest(advice::PARAMS, advice::DEFAULT_OF_REQUESTS, notes);
    info.name_rest(advice::INFO, advice::ABOUT_MODEL, notes);
    whole.name_rest(&[], advice::UNKNOWN, notes);
    let retries = retries.or(more);
    Some(Entry {
        path,
        group,
        provider,
        model,
        embeddings,
        weight,
        order,
        rpm,
        tpm,
        concurrency,
        timeout_ms,
        stream_timeout_ms,
        retries,
        drops,
    })
}

/// Whose a model is. `None` if it is nobody's whom Tollgate knows, which is then said.
fn told<'m>(model: &'m str, provider: Option<&'m str>, params: &Section, notes: &mut Notes) -> Option<Model<'m>> {
    match Model::of(model, provider) {
        Ok(told) => {
            if told.is_guessed {
                let why =
                    format!("names no provider: taken for {}, as LiteLLM does by the model's name", told.kind.name);
                notes.add(params.at("model"), why);
            }
            Some(told)
        }
        Err(prefix) => {
            let why = format!(
                "is of `{prefix}`, which is no provider that Tollgate knows: the entry was left out. If the server speaks \
                 OpenAI's format, write a provider of kind openai with its base_url by hand"
            );
            notes.add(params.at("model"), why);
            None
        }
    }
}

fn group(whole: &mut Section, notes: &mut Notes) -> Option<String> {
    let name = whole.text("model_name", notes).unwrap_or_default();
    let why = if name.is_empty() {
        "is missing: the entry was left out"
    } else if name.contains('*') {
        "has a *: the entry was left out. Write an endpoint whose name ends with * by hand, or one for each model"
    } else if name.len() > NAME_MAX_BYTES {
        "is longer than 256 bytes: the entry was left out"
    } else {
        return Some(name);
    };
    notes.add(whole.at("model_name"), why);
    None
}

/// Puts the settings of `litellm_credential_name` where they are not said.
fn fill(params: &mut Section, credentials: &Credentials, notes: &mut Notes) {
    let Some(name) = params.text("litellm_credential_name", notes) else { return };
    match credentials.get(&name) {
        Some(values) => params.fill(values),
        None => {
            let why = "is not in credential_list; one that is in LiteLLM's database must be written by hand";
            notes.add(params.at("litellm_credential_name"), why);
        }
    }
}

fn model(params: &mut Section, notes: &mut Notes) -> Option<String> {
    let model = params.text("model", notes).unwrap_or_default();
    let why = if model.is_empty() {
        "is missing: the entry was left out"
    } else if model.contains('*') {
        "has a *: the entry was left out. Write an endpoint whose name ends with * by hand, or one for each model"
    } else if model.starts_with("os.environ/") {
        "stands in a variable, so that its provider is not known: the entry was left out. Write it into the file"
    } else {
        return Some(model);
    };
    notes.add(params.at("model"), why);
    None
}

/// Whether an entry makes embeddings. `None` if Tollgate has nothing for what it does, which is then said.
fn embeddings(model: &Model<'_>, params: &Section, info: &mut Section, notes: &mut Notes) -> Option<bool> {
    let mode = info.text("mode", notes);
    let is_embedding = match mode.as_deref() {
        Some("embedding") => true,
        Some("chat" | "responses") => false,
        Some(_) => {
            let why = "is neither chat nor embedding, and Tollgate has nothing else: the entry was left out";
            notes.add(info.at("mode"), why);
            return None;
        }
        None if model.name.contains("embed") => {
            notes.add(info.at("mode"), "is missing: taken for embedding by the model's name");
            true
        }
        None => false,
    };
    if is_embedding && !model.kind.embeds() {
        let why =
            format!("makes embeddings, for which Tollgate does not call {}: the entry was left out", model.kind.name);
        notes.add(params.at("model"), why);
        return None;
    }
    Some(is_embedding)
}
