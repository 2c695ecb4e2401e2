//! `tollgate teams | users | keys | endpoints | … list | get | create | update | delete`, and `tollgate audit`: the admin API of a
//! running gateway, from a terminal.

use crate::cli::{Api, Audit, Verb};
use anyhow::{Context, anyhow, bail};
use comfy_table::Table;
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};
use std::{io::Read, path::Path, process::ExitCode, time::Duration};
use tollgate_runtime::config::{Millis, yaml};
use tollgate_schemas::ObjectKind;

const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects asked for at once.
const PAGE: usize = 1_000;

pub(crate) async fn run(kind: ObjectKind, verb: &Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::List { at, json } => list(at, kind, *json).await?,
        Verb::Get { at, name, json } => {
            let object = call(at, Method::GET, &[kind.section(), name], |request| request).await?;
            if *json { print_json(&object)? } else { print_yaml(&object["value"])? }
        }
        Verb::Create { at, file } => {
            let value = read(file)?;
            changed(&call(at, Method::POST, &[kind.section()], |request| with_body(request, &value)).await?);
        }
        Verb::Update { at, name, file, if_version } => {
            let value = read(file)?;
            let put = |request: RequestBuilder| matching(with_body(request, &value), *if_version);
            changed(&call(at, Method::PUT, &[kind.section(), name], put).await?);
        }
        Verb::Delete { at, name, if_version } => {
            call(at, Method::DELETE, &[kind.section(), name], |request| matching(request, *if_version)).await?;
            eprintln!("{} {name}: removed", kind.as_str());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `tollgate keys rotate`.
pub(crate) async fn rotate(at: &Api, name: &str, grace: &Millis) -> anyhow::Result<ExitCode> {
    let body = json!({ "grace": grace });
    changed(&call(at, Method::POST, &["keys", name, "rotate"], |request| with_body(request, &body)).await?);
    Ok(ExitCode::SUCCESS)
}

/// `tollgate audit`.
pub(crate) async fn audit(arguments: &Audit) -> anyhow::Result<ExitCode> {
    let mut query = vec![("limit", arguments.limit.to_string())];
    query.extend(arguments.kind.clone().map(|kind| ("kind", kind)));
    query.extend(arguments.name.clone().map(|name| ("name", name)));
    let found = call_with(&arguments.at, Method::GET, &["audit"], &query, |request| request).await?;
    if arguments.json {
        print_json(&found["data"])?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.set_header(["version", "at", "by", "role", "from", "what", "kind", "name", "outcome"]);
    for change in found["data"].as_array().into_iter().flatten() {
        let by = &change["by"];
        let cells = [&change["version"], &change["at"], &by["name"], &by["role"], &by["ip_address"]];
        let cells = cells.into_iter().chain([&change["action"], &change["kind"], &change["name"], &change["outcome"]]);
        table.add_row(cells.map(text));
    }
    print_table(&table);
    Ok(ExitCode::SUCCESS)
}

/// `tollgate config show --effective`, of a running gateway.
pub(crate) async fn config(at: &Api) -> anyhow::Result<ExitCode> {
    let told = call(at, Method::GET, &["config"], |request| request).await?;
    for problem in told["problems"].as_array().into_iter().flatten() {
        eprintln!("{}", text(problem));
    }
    print_yaml(&told["config"])?;
    Ok(ExitCode::SUCCESS)
}

async fn list(at: &Api, kind: ObjectKind, as_json: bool) -> anyhow::Result<()> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let query = [("limit", PAGE.to_string()), ("after", after.clone())];
        let page = call_with(at, Method::GET, &[kind.section()], &query, |request| request).await?;
        let data = page["data"].as_array().cloned().unwrap_or_default();
        let last = data.last().map(|object| text(&object["name"]));
        all.extend(data);
        match last {
            Some(last) if page["has_more"] == true => after = last,
            _ => break,
        }
    }
    if as_json {
        return print_json(&Value::Array(all));
    }
    let mut table = Table::new();
    table.set_header(["name", "version", "source"]);
    for object in &all {
        table.add_row([text(&object["name"]), text(&object["version"]), text(&object["source"])]);
    }
    print_table(&table);
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a change has made: on standard output the new key, if there is one, and nothing else.
#[allow(clippy::print_stdout, reason = "the command's result")]
fn changed(object: &Value) {
    eprintln!("{}: version {}", text(&object["name"]), object["version"]);
    if let Some(key) = object["key"].as_str() {
        eprintln!("Keep the key now: it is not stored anywhere.");
        println!("{key}");
    }
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn print_json(value: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn print_yaml(value: &Value) -> anyhow::Result<()> {
    print!("{}", serde_saphyr::to_string(value).context("the object cannot be written as YAML")?);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn print_table(table: &Table) {
    println!("{table}");
}

fn with_body(request: RequestBuilder, value: &Value) -> RequestBuilder {
    request.header("content-type", "application/json").body(value.to_string())
}

fn matching(request: RequestBuilder, version: Option<i64>) -> RequestBuilder {
    match version {
        Some(version) => request.header("if-match", format!("\"{version}\"")),
        None => request,
    }
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let named = file.display();
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{named} cannot be read"))?;
    }
    yaml(&text).map_err(|error| anyhow!("{named} is neither YAML nor JSON: {error}"))
}

async fn call(
    at: &Api,
    method: Method,
    path: &[&str],
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> anyhow::Result<Value> {
    call_with(at, method, path, &[], with).await
}

async fn call_with(
    at: &Api,
    method: Method,
    path: &[&str],
    query: &[(&str, String)],
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> anyhow::Result<Value> {
    let mut url: Url = at.url.parse().with_context(|| format!("--url: {} is no address", at.url))?;
    let wrong = || anyhow!("--url: {} is no address of HTTP; write http://host:port", at.url);
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(["admin", "v1"]).extend(path);
    url.query_pairs_mut().extend_pairs(query);
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
    let request = with(client.request(method, url).bearer_auth(&at.admin_key));
    let response =
        request.send().await.with_context(|| format!("{} does not answer; is the gateway running there?", at.url))?;
    let status = response.status();
    let body = response.text().await.context("the answer broke off")?;
    let value: Value = serde_json::from_str(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    match value["error"]["message"].as_str() {
        Some(message) => bail!("{message}"),
        None => bail!("{} answered {status}; is it a Tollgate?", at.url),
    }
}
