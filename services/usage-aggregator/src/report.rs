//! Chargeback: who used what and what it cost, summed over the files of `usage`.
//!
//! Attempts are the unit: tokens and cost are each attempt's own, under its own model, provider and destination, so every
//! grouping of a month sums to the same total. An attempt belongs to the UTC day on which it began. A request without
//! attempts (blocked, refused, answered from a cache) counts on the day it was accepted. Nothing is printed here.

mod group;

use crate::{
    Error,
    name::{self, Name},
    read::{ReadError, Remote},
};
use chrono::{Days, Months, NaiveDate};
use futures::{StreamExt, TryStreamExt, stream};
use group::Groups;
use object_store::{Error as Store, ObjectMeta, ObjectStore, path::Path};
use rust_decimal::Decimal;
use std::{fmt, pin::pin, str::FromStr};

/// Files are dated by when their rows were recorded. A row is recorded at most this long after its last attempt began:
/// what a request may wait, and an outage of the log.
const LATE_DAYS: u64 = 8;
/// A row is recorded at most this long before its attempt seems to have begun: clocks differ.
const EARLY_DAYS: u64 = 1;
/// Files read at once.
const CONCURRENCY: usize = 4;

/// What to group by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// The team.
    Team,
    /// The key's name, or its id if it has none.
    Key,
    /// The user, where callers are users.
    User,
    /// The endpoint's name.
    Endpoint,
    /// The attempt's model.
    Model,
    /// The attempt's provider.
    Provider,
    /// The attempt's destination.
    Destination,
    /// A tag of the request, or else of its endpoint.
    Tag(String),
    /// The UTC day on which the attempt began, `YYYY-MM-DD`.
    Day,
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "team" => Self::Team,
            "key" => Self::Key,
            "user" => Self::User,
            "endpoint" => Self::Endpoint,
            "model" => Self::Model,
            "provider" => Self::Provider,
            "destination" => Self::Destination,
            "day" => Self::Day,
            other => match other.strip_prefix("tag:").filter(|name| !name.is_empty()) {
                Some(name) => Self::Tag(name.to_owned()),
                None => {
                    return Err(format!(
                        "`{other}` is nothing to group by; use team, key, user, endpoint, model, provider, destination, day or tag:NAME"
                    ));
                }
            },
        })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Team => "team",
            Self::Key => "key",
            Self::User => "user",
            Self::Endpoint => "endpoint",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Destination => "destination",
            Self::Day => "day",
            Self::Tag(name) => return write!(f, "tag:{name}"),
        })
    }
}

/// What to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Groups; none: one total.
    pub by: Vec<Dimension>,
    /// First UTC day.
    pub from: NaiveDate,
    /// The day after the last.
    pub until: NaiveDate,
}

impl Query {
    /// A calendar month, UTC, written `YYYY-MM`.
    pub fn month(by: Vec<Dimension>, month: &str) -> Result<Self, String> {
        let bad = || format!("`{month}` is not a month; write it as YYYY-MM, as in 2026-11");
        let from: NaiveDate = format!("{month}-01").parse().map_err(|_| bad())?;
        let until = from.checked_add_months(Months::new(1)).ok_or_else(bad)?;
        Ok(Self { by, from, until })
    }
}

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRow {
    /// The group's values, as [`Query::by`] orders them; `None` where the thing does not apply.
    pub keys: Vec<Option<String>>,
    /// Requests with at least one attempt in the group. One that fell over to another model counts in both groups.
    pub requests: u64,
    /// Provider calls.
    pub attempts: u64,
    /// Input tokens, cache reads and writes included.
    pub input_tokens: i64,
    /// Output tokens, reasoning included.
    pub output_tokens: i64,
    /// US dollars, exact; what has no price is not in it.
    pub cost_usd: Decimal,
    /// Attempts that used tokens and have no price: if it is not zero, `cost_usd` is a lower bound.
    pub unpriced: u64,
}

/// Sums the table under `prefix`, sorted by the groups' values. Reads only the columns and dates it needs. Fails at the
/// first file that cannot be read, because a sum without it would be wrong; a table that does not exist gives no rows.
pub async fn report(store: &dyn ObjectStore, prefix: &Path, query: &Query) -> Result<Vec<ReportRow>, Error> {
    let files = files(store, prefix, query).await?;
    let reads = stream::iter(files).map(|file| async move { sum(store, &file, query).await });
    let (mut reads, mut total) = (pin!(reads.buffer_unordered(CONCURRENCY)), Groups::default());
    while let Some(part) = reads.try_next().await? {
        total.merge(part);
    }
    Ok(total.into_rows())
}

/// Files that can hold rows of the query.
async fn files(store: &dyn ObjectStore, prefix: &Path, query: &Query) -> Result<Vec<ObjectMeta>, Error> {
    let table = prefix.clone().join(name::USAGE);
    let first = query.from.checked_sub_days(Days::new(EARLY_DAYS)).unwrap_or(query.from);
    let last = query.until.checked_add_days(Days::new(LATE_DAYS)).unwrap_or(query.until);
    let folders = match store.list_with_delimiter(Some(&table)).await {
        Ok(found) => found.common_prefixes,
        Err(Store::NotFound { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(ReadError::Store(error).into()),
    };
    let mut files = Vec::new();
    for folder in folders {
        let date = folder.parts().next_back().and_then(|part| name::parse_date(part.as_ref()));
        if date.is_some_and(|date| (first..=last).contains(&date)) {
            let mut listed = store.list(Some(&folder));
            while let Some(file) = listed.try_next().await.map_err(ReadError::Store)? {
                if Name::parse(&file.location).is_some() {
                    files.push(file);
                }
            }
        }
    }
    Ok(files)
}

async fn sum(store: &dyn ObjectStore, file: &ObjectMeta, query: &Query) -> Result<Groups, Error> {
    let remote = Remote::open_listed(store, file).await?;
    let mut groups = Groups::default();
    remote.scan(store, &group::columns(&query.by), |batch| groups.add(batch, query)).await?;
    Ok(groups)
}

#[cfg(test)]
mod tests;
