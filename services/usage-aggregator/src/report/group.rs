//! Summing one batch of rows into groups.

use super::{Dimension, Query, ReportRow};
use crate::columns::money;
use arrow_array::{
    Array, Decimal128Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
    cast::AsArray,
    types::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Days, NaiveDate, NaiveTime};
use rust_decimal::Decimal;
use std::collections::HashMap;

type Key = Vec<Option<String>>;

#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    requests: u64,
    attempts: u64,
    input_tokens: i64,
    output_tokens: i64,
    cost: i128,
    unpriced: u64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.attempts += other.attempts;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cost += other.cost;
        self.unpriced += other.unpriced;
    }
}

/// Groups and their sums.
#[derive(Debug, Default)]
pub(super) struct Groups(HashMap<Key, Sums>);

macro_rules! attempt {
    ($name:literal) => {
        concat!("routing_information.attempts.list.element.", $name)
    };
}

/// The columns that a grouping needs.
pub(super) fn columns(by: &[Dimension]) -> Vec<&'static str> {
    let mut names = vec![
        "event_time",
        "input_tokens",
        "output_tokens",
        "cost_usd",
        attempt!("start_time"),
        attempt!("input_tokens"),
        attempt!("output_tokens"),
        attempt!("cost_usd"),
    ];
    for dimension in by {
        names.extend_from_slice(match dimension {
            Dimension::Team => &["team"],
            Dimension::Key => &["key_name", "key_id"],
            Dimension::User => &["user_id"],
            Dimension::Endpoint => &["endpoint_name"],
            Dimension::Model => &["destination_model", attempt!("model")],
            Dimension::Provider => &["destination_provider", attempt!("provider")],
            Dimension::Destination => &["destination_name", attempt!("destination")],
            Dimension::Tag(_) => &["request_tags", "endpoint_tags"],
            Dimension::Day => &[],
        });
    }
    names
}

/// The part of a struct or batch that costs and groups are read from.
struct Measures<'b> {
    time: &'b TimestampMicrosecondArray,
    input_tokens: &'b Int64Array,
    output_tokens: &'b Int64Array,
    cost: &'b Decimal128Array,
}

/// Where a dimension's value is: in the row, in the attempt (else in the row), in a map, or in the time.
enum Source<'b> {
    Row(Vec<&'b StringArray>),
    Attempt { attempt: &'b StringArray, row: &'b StringArray },
    Tag { name: &'b str, maps: [&'b MapArray; 2] },
    Day,
}

impl Groups {
    /// Adds a batch that holds [`columns`]. An error names a column that is not as this version writes it.
    pub(super) fn add(&mut self, batch: &RecordBatch, query: &Query) -> Result<(), String> {
        let rows = StructArray::from(batch.clone());
        let list: &ListArray = child(&rows, "routing_information")?
            .as_struct_opt()
            .and_then(|s| s.column_by_name("attempts"))
            .and_then(|a| a.as_list_opt())
            .ok_or("its attempts are no list")?;
        let elements = list.values().as_struct_opt().ok_or("its attempts are no structs")?;
        let (of_rows, of_attempts) = (measures(&rows, "event_time")?, measures(elements, "start_time")?);
        let sources = query.by.iter().map(|d| source(d, &rows, elements)).collect::<Result<Vec<_>, _>>()?;
        let range_us = start_us(query.from)..start_us(query.until);
        let offsets = list.value_offsets();
        let mut touched: Vec<Key> = Vec::new();
        for row in 0..rows.len() {
            // Offsets of a valid list are ascending and within its values.
            let (begin, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            touched.clear();
            if begin == end && range_us.contains(&of_rows.time.value(row)) {
                let key = sources.iter().map(|s| s.value(row, None, of_rows.time.value(row))).collect();
                self.count(&mut touched, key, of_rows.at(row));
            }
            for index in (begin..end).filter(|i| range_us.contains(&of_attempts.time.value(*i))) {
                let key = sources.iter().map(|s| s.value(row, Some(index), of_attempts.time.value(index))).collect();
                self.count(&mut touched, key, Sums { attempts: 1, ..of_attempts.at(index) });
            }
        }
        Ok(())
    }

    /// Adds sums to a group, and the row's request if it is the first time the row touches that group.
    fn count(&mut self, touched: &mut Vec<Key>, key: Key, mut sums: Sums) {
        if !touched.contains(&key) {
            sums.requests = 1;
            touched.push(key.clone());
        }
        self.0.entry(key).or_default().add(sums);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, sums) in other.0 {
            self.0.entry(key).or_default().add(sums);
        }
    }

    pub(super) fn into_rows(self) -> Vec<ReportRow> {
        let row = |(keys, sums): (Key, Sums)| ReportRow {
            keys,
            requests: sums.requests,
            attempts: sums.attempts,
            input_tokens: sums.input_tokens,
            output_tokens: sums.output_tokens,
            cost_usd: money::from_units(sums.cost).unwrap_or(Decimal::MAX),
            unpriced: sums.unpriced,
        };
        let mut rows: Vec<_> = self.0.into_iter().map(row).collect();
        rows.sort_unstable_by(|a, b| a.keys.cmp(&b.keys));
        rows
    }
}

impl Measures<'_> {
    fn at(&self, index: usize) -> Sums {
        let number = |array: &Int64Array| if array.is_null(index) { 0 } else { array.value(index) };
        let (input_tokens, output_tokens) = (number(self.input_tokens), number(self.output_tokens));
        let priced = !self.cost.is_null(index);
        Sums {
            input_tokens,
            output_tokens,
            cost: if priced { self.cost.value(index) } else { 0 },
            unpriced: u64::from(!priced && input_tokens + output_tokens > 0),
            ..Sums::default()
        }
    }
}

impl Source<'_> {
    fn value(&self, row: usize, attempt: Option<usize>, time_us: i64) -> Option<String> {
        let text = |array: &StringArray, i: usize| (!array.is_null(i)).then(|| array.value(i).to_owned());
        match self {
            Self::Row(columns) => columns.iter().find_map(|column| text(column, row)),
            Self::Attempt { attempt: column, row: of_row } => match attempt {
                Some(index) => text(column, index),
                None => text(of_row, row),
            },
            Self::Tag { name, maps } => maps.iter().find_map(|map| tag(map, row, name)),
            Self::Day => DateTime::from_timestamp_micros(time_us).map(|time| time.date_naive().to_string()),
        }
    }
}

fn tag(map: &MapArray, row: usize, name: &str) -> Option<String> {
    let (keys, values) = (map.keys().as_string_opt::<i32>()?, map.values().as_string_opt::<i32>()?);
    let offsets = map.value_offsets();
    let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
    let entry = entries.find(|i| keys.value(*i) == name)?;
    (!values.is_null(entry)).then(|| values.value(entry).to_owned())
}

fn source<'b>(
    dimension: &'b Dimension,
    rows: &'b StructArray,
    attempts: &'b StructArray,
) -> Result<Source<'b>, String> {
    let of_row = |name| text(rows, name).map(|column| Source::Row(vec![column]));
    let of_attempt = |name, row| Ok(Source::Attempt { attempt: text(attempts, name)?, row: text(rows, row)? });
    let map = |name: &str| child(rows, name)?.as_map_opt().ok_or_else(|| format!("its column {name} is no map"));
    match dimension {
        Dimension::Team => of_row("team"),
        Dimension::Key => Ok(Source::Row(vec![text(rows, "key_name")?, text(rows, "key_id")?])),
        Dimension::User => of_row("user_id"),
        Dimension::Endpoint => of_row("endpoint_name"),
        Dimension::Model => of_attempt("model", "destination_model"),
        Dimension::Provider => of_attempt("provider", "destination_provider"),
        Dimension::Destination => of_attempt("destination", "destination_name"),
        Dimension::Tag(name) => Ok(Source::Tag { name, maps: [map("request_tags")?, map("endpoint_tags")?] }),
        Dimension::Day => Ok(Source::Day),
    }
}

fn measures<'b>(of: &'b StructArray, time: &str) -> Result<Measures<'b>, String> {
    let bad = |name: &str| format!("its column {name} has another type");
    let number = |name| child(of, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| bad(name));
    Ok(Measures {
        time: child(of, time)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| bad(time))?,
        input_tokens: number("input_tokens")?,
        output_tokens: number("output_tokens")?,
        cost: child(of, "cost_usd")?.as_primitive_opt::<Decimal128Type>().ok_or_else(|| bad("cost_usd"))?,
    })
}

fn text<'b>(of: &'b StructArray, name: &str) -> Result<&'b StringArray, String> {
    child(of, name)?.as_string_opt().ok_or_else(|| format!("its column {name} is no text"))
}

fn child<'b>(of: &'b StructArray, name: &str) -> Result<&'b dyn Array, String> {
    of.column_by_name(name).map(|column| column.as_ref()).ok_or_else(|| format!("it has no column {name}"))
}

/// Midnight UTC, microseconds since the Unix epoch.
fn start_us(day: NaiveDate) -> i64 {
    let day = day.max(NaiveDate::MIN + Days::new(1));
    day.and_time(NaiveTime::MIN).and_utc().timestamp_micros()
}
