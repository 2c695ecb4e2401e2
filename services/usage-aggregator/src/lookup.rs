//! Ids that memory has forgotten, asked of the files: the bounds of a file's ids, then its bloom filter, and its rows only where
//! both say "perhaps".
//!
//! A row is appended after its request was made, so only files dated from the day before the id's own date (clocks
//! differ) are asked; all are, if the id has no time or one in the future. A file's bounds are kept for good (ids grow with
//! time, so few files can hold one); filters, and the ids of files whose rows were read, as far as
//! [`filter_bytes`](crate::ids::IdLimits::filter_bytes) allows. A batch that ends hours after it was made costs its rows a
//! read now and then, not some for each row.

use crate::{
    Error,
    columns::row_ids,
    file, ids,
    name::{self, Name, date_of},
    read::{IdBounds, ReadError, Remote},
    retry::until_it_works,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, path::Path};
use parquet::bloom_filter::Sbbf;
use std::{collections::VecDeque, pin::pin, sync::Arc};
use tollgate_schemas::{ExecutionId, RequestId};

/// Files opened at once.
pub const CONCURRENCY: usize = 16;

/// What the files know of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The execution whose row is in `usage`.
    pub first: Option<ExecutionId>,
    /// Executions whose rows are in `usage_superseded`.
    pub again: Vec<ExecutionId>,
}

/// The files that may hold one partition's ids, and what memory keeps of them.
#[derive(Debug)]
pub struct Lookup {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    files: Vec<File>,
    /// Indices of the files of which something is [`Known`], oldest first.
    order: VecDeque<usize>,
    known_bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct File {
    name: Name,
    /// Of the ids of both tables; `None`: the file has not been read yet.
    bounds: Option<IdBounds>,
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    usage: Usage,
    again: Vec<(RequestId, ExecutionId)>,
}

/// A file's rows of `usage`.
#[derive(Debug)]
enum Usage {
    /// One filter for each row group; `None`: it has none.
    Filters(Vec<Option<Sbbf>>),
    /// All of them, sorted.
    Rows(Vec<(RequestId, ExecutionId)>),
}

impl Known {
    fn bytes(&self) -> usize {
        const PAIR: usize = size_of::<(RequestId, ExecutionId)>();
        let usage = match &self.usage {
            Usage::Filters(filters) => filters.iter().flatten().map(|f| f.num_blocks() * 32).sum::<usize>(),
            Usage::Rows(rows) => rows.len() * PAIR,
        };
        usage + self.again.len() * PAIR + 256
    }
}

impl Lookup {
    /// Over these files of `usage`. `max_bytes`: memory for what is known of them.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, names: Vec<Name>, max_bytes: usize) -> Self {
        let files = names.into_iter().map(File::unread).collect();
        Self { store, prefix, files, order: VecDeque::new(), known_bytes: 0, max_bytes }
    }

    /// Adds a file that was just written.
    pub fn add(&mut self, name: Name) {
        self.files.push(File::unread(name));
    }

    /// Searches the files for a request whose record was appended at `append_ms`. Waits for storage as long as it takes.
    pub async fn find(&mut self, request: RequestId, append_ms: i64) -> Result<Found, Error> {
        metrics::counter!("tollgate_usage_old_id_lookups_total").increment(1);
        // `None` is less than any date.
        let from = if ids::is_ahead(request, append_ms) { None } else { date_of(request.unix_ms()).pred_opt() };
        self.load(|file| file.bounds.is_none() && Some(file.name.date) >= from).await?;
        let holds = |file: &File| Some(file.name.date) >= from && file.bounds.is_some_and(|b| b.hold(request));
        self.load(|file| file.known.is_none() && holds(file)).await?;
        let (mut found, text) = (Found::default(), request.to_string());
        for at in 0..self.files.len() {
            if !holds(&self.files[at]) {
                continue;
            }
            // Memory may have less room than what was loaded; then it is read again.
            let read;
            let known = match &self.files[at].known {
                Some(known) => known,
                None => {
                    read = self.read(at).await?.0;
                    &read
                }
            };
            found.again.extend(known.again.iter().filter(|(r, _)| *r == request).map(|(_, execution)| *execution));
            let first = match &known.usage {
                _ if found.first.is_some() => continue,
                Usage::Filters(filters) if !may_hold(filters, &text) => continue,
                Usage::Rows(rows) => search(rows, request),
                Usage::Filters(_) => {
                    let rows = self.rows(at).await?;
                    let first = search(&rows, request);
                    self.keep_rows(at, rows);
                    first
                }
            };
            found.first = first;
        }
        Ok(found)
    }

    /// Reads the files that are `wanted` and keeps what is known of them, as far as there is room.
    async fn load(&mut self, wanted: impl Fn(&File) -> bool) -> Result<(), Error> {
        let wanted: Vec<_> = (0..self.files.len()).filter(|at| wanted(&self.files[*at])).collect();
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let wanted = wanted.into_iter().map(|at| (at, self.files[at].name.path(&prefix, name::USAGE)));
        let reads = stream::iter(wanted.collect::<Vec<_>>()).map(|(at, path)| {
            let store = store.clone();
            async move { read(store.as_ref(), &path).await.map(|read| (at, read)) }
        });
        let mut reads = pin!(reads.buffer_unordered(CONCURRENCY));
        while let Some((at, (known, bounds))) = reads.try_next().await? {
            self.files[at].bounds = Some(bounds);
            self.keep(at, known);
        }
        Ok(())
    }

    fn keep(&mut self, at: usize, known: Known) {
        self.known_bytes += known.bytes();
        match self.files[at].known.replace(known) {
            Some(old) => self.known_bytes -= old.bytes(),
            None => self.order.push_back(at),
        }
        while self.known_bytes > self.max_bytes {
            let Some(oldest) = self.order.pop_front().and_then(|at| self.files[at].known.take()) else { return };
            self.known_bytes -= oldest.bytes();
        }
    }

    /// A redelivery is seldom alone: the file's other rows answer for the next ones.
    fn keep_rows(&mut self, at: usize, rows: Vec<(RequestId, ExecutionId)>) {
        if let Some(known) = &self.files[at].known {
            let again = known.again.clone();
            self.keep(at, Known { usage: Usage::Rows(rows), again });
        }
    }

    async fn read(&self, at: usize) -> Result<(Known, IdBounds), Error> {
        read(self.store.as_ref(), &self.files[at].name.path(&self.prefix, name::USAGE)).await
    }

    /// The ids of a file's rows, sorted.
    async fn rows(&self, at: usize) -> Result<Vec<(RequestId, ExecutionId)>, Error> {
        let path = self.files[at].name.path(&self.prefix, name::USAGE);
        let mut rows = until_it_works(&format!("read {path}"), || async {
            let remote = Remote::open(self.store.as_ref(), &path).await?;
            remote.ids(self.store.as_ref()).await
        })
        .await?;
        rows.sort_unstable();
        Ok(rows)
    }
}

impl File {
    fn unread(name: Name) -> Self {
        Self { name, bounds: None, known: None }
    }
}

fn may_hold(filters: &[Option<Sbbf>], id: &str) -> bool {
    filters.iter().any(|filter| filter.as_ref().is_none_or(|f| f.check(id)))
}

fn search(rows: &[(RequestId, ExecutionId)], request: RequestId) -> Option<ExecutionId> {
    let at = rows.partition_point(|(id, _)| *id < request);
    rows.get(at).filter(|(id, _)| *id == request).map(|(_, execution)| *execution)
}

async fn read(store: &dyn ObjectStore, path: &Path) -> Result<(Known, IdBounds), Error> {
    until_it_works(&format!("read {path}"), || async {
        let remote = Remote::open(store, path).await?;
        let filters = remote.blooms(store, "request_id").await?;
        let superseded = remote.footer()?.superseded_file.map(file::rows_of).transpose();
        let again = superseded
            .and_then(|batches| batches.iter().flatten().map(row_ids).collect::<Result<Vec<_>, _>>())
            .map_err(|reason| ReadError::Unreadable { path: path.clone(), reason })?
            .concat();
        let bounds = again.iter().fold(remote.id_bounds(), |bounds, (request, _)| bounds.with(*request));
        Ok((Known { usage: Usage::Filters(filters), again }, bounds))
    })
    .await
}

#[cfg(test)]
mod tests;
