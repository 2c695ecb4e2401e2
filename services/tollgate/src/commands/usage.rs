//! `tollgate usage`: a chargeback table, read from the Parquet files.

use super::load;
use crate::cli::{Format, Usage};
use anyhow::{Context, anyhow};
use comfy_table::{CellAlignment, Table};
use object_store::{ObjectStore, path::Path};
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use tollgate_runtime::{
    Config,
    config::{Over, Role},
    store,
};
use tollgate_usage_aggregator::report::{self, Query, ReportRow};

const MEASURES: [&str; 6] = ["requests", "attempts", "input_tokens", "output_tokens", "cost_usd", "unpriced"];

pub(crate) async fn run(arguments: &Usage) -> anyhow::Result<ExitCode> {
    let config = match &arguments.config {
        Some(path) => load(path, Role::UsageAggregator, &Over::default())?,
        None => super::up::without_file(&"0".repeat(64), &"1".repeat(64), &Over::default())?,
    };
    let month = arguments.month.clone().unwrap_or_else(this_month);
    let rows = rows(&config, &arguments.by, &month).await?;
    print(arguments, &rows)?;
    Ok(ExitCode::SUCCESS)
}

/// The current month, UTC, as `YYYY-MM`.
pub(crate) fn this_month() -> String {
    chrono::Utc::now().format("%Y-%m").to_string()
}

/// The rows of a report over the configured storage.
pub(crate) async fn rows(config: &Config, by: &[String], month: &str) -> anyhow::Result<Vec<ReportRow>> {
    let by = by.iter().map(|name| name.parse()).collect::<Result<Vec<_>, String>>().map_err(|error| anyhow!(error))?;
    let query = Query::month(by, month).map_err(|error| anyhow!(error))?;
    let store = store::open(config)?;
    let store: &dyn ObjectStore = store.as_ref();
    report::report(store, &Path::default(), &query).await.context("the usage files cannot be read")
}

/// The rows for a terminal, with a total.
pub(crate) fn table(by: &[String], rows: &[ReportRow]) -> Table {
    let mut table = Table::new();
    table.set_header(by.iter().map(String::as_str).chain(MEASURES));
    for row in rows {
        let keys = row.keys.iter().map(|key| key.clone().unwrap_or_else(|| "–".to_owned()));
        table.add_row(keys.chain(measures(row)));
    }
    for column in by.len()..by.len() + MEASURES.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn measures(row: &ReportRow) -> [String; 6] {
    let numbers = [
        row.requests.to_string(),
        row.attempts.to_string(),
        row.input_tokens.to_string(),
        row.output_tokens.to_string(),
    ];
    let [requests, attempts, input, output] = numbers;
    [requests, attempts, input, output, row.cost_usd.normalize().to_string(), row.unpriced.to_string()]
}

#[allow(clippy::print_stdout, reason = "the command's result")]
fn print(arguments: &Usage, rows: &[ReportRow]) -> anyhow::Result<()> {
    match arguments.format {
        Format::Table => println!("{}", table(&arguments.by, rows)),
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(arguments.by.iter().map(String::as_str).chain(MEASURES))?;
            for row in rows {
                writer.write_record(row.keys.iter().map(|key| key.clone().unwrap_or_default()).chain(measures(row)))?;
            }
            writer.flush()?;
        }
        Format::Json => {
            let objects: Vec<Value> = rows.iter().map(|row| object(&arguments.by, row)).collect();
            println!("{}", serde_json::to_string_pretty(&objects)?);
        }
    }
    Ok(())
}

/// Money is text, so that no reader rounds it.
fn object(by: &[String], row: &ReportRow) -> Value {
    let keys: Map<String, Value> = by.iter().cloned().zip(row.keys.iter().map(|key| json!(key))).collect();
    let mut object = Value::Object(keys);
    object["requests"] = row.requests.into();
    object["attempts"] = row.attempts.into();
    object["input_tokens"] = row.input_tokens.into();
    object["output_tokens"] = row.output_tokens.into();
    object["cost_usd"] = row.cost_usd.normalize().to_string().into();
    object["unpriced"] = row.unpriced.into();
    object
}
