//! Ids that memory has forgotten, asked of the files: bloom filters of every file that can hold the id, a file's rows
//! only where its filter says "perhaps".
//!
//! A row is appended after its request was made, so only files dated from the day before the id's own date (clocks
//! differ) are asked; all are, if the id has no time or one in the future. Filters are kept in memory up to [`CACHE_MAX_BYTES`].

use crate::{
    Error,
    columns::row_ids,
    file, ids,
    name::{self, Name, date_of},
    read::{ReadError, Remote},
    retry::until_it_works,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, path::Path};
use parquet::bloom_filter::Sbbf;
use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::Arc,
};
use tollgate_schemas::{ExecutionId, RequestId};

/// Memory for filters: those of about 1,000 full files.
pub const CACHE_MAX_BYTES: usize = 64 << 20;
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

/// The files of one partition and their filters.
#[derive(Debug)]
pub struct Lookup {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    files: Vec<Name>,
    cache: HashMap<Name, Arc<Known>>,
    order: VecDeque<Name>,
    cached_bytes: usize,
}

/// What is kept of a file.
#[derive(Debug)]
struct Known {
    filters: Vec<Option<Sbbf>>,
    again: Vec<(RequestId, ExecutionId)>,
}

impl Known {
    fn bytes(&self) -> usize {
        self.filters.iter().flatten().map(|f| f.num_blocks() * 32).sum::<usize>() + self.again.len() * 32 + 256
    }

    fn may_hold(&self, id: &str) -> bool {
        self.filters.iter().any(|filter| filter.as_ref().is_none_or(|f| f.check(id)))
    }
}

impl Lookup {
    /// Over these files of `usage`.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, files: Vec<Name>) -> Self {
        Self { store, prefix, files, cache: HashMap::new(), order: VecDeque::new(), cached_bytes: 0 }
    }

    /// Adds a file that was just written.
    pub fn add(&mut self, name: Name) {
        self.files.push(name);
    }

    /// Searches the files for a request whose record was appended at `append_ms`. Waits for storage as long as it takes.
    pub async fn find(&mut self, request: RequestId, append_ms: i64) -> Result<Found, Error> {
        metrics::counter!("tollgate_usage_old_id_lookups_total").increment(1);
        let from = date_of(request.unix_ms()).pred_opt().unwrap_or_default();
        let is_ahead = ids::is_ahead(request, append_ms);
        let names: Vec<_> = self.files.iter().filter(|name| is_ahead || name.date >= from).cloned().collect();
        for (name, known) in self.read_missing(&names).await? {
            self.keep(name, known);
        }
        let (mut found, id) = (Found::default(), request.to_string());
        for name in &names {
            // The cache may be smaller than what was asked for; then it is read again.
            let known = match self.cache.get(name) {
                Some(known) => known.clone(),
                None => Arc::new(self.read(name).await?),
            };
            found.again.extend(known.again.iter().filter(|(r, _)| *r == request).map(|(_, execution)| *execution));
            if found.first.is_none() && known.may_hold(&id) {
                found.first = self.search(name, request).await?;
            }
        }
        Ok(found)
    }

    /// What the cache lacks, as far as it has room.
    async fn read_missing(&self, names: &[Name]) -> Result<Vec<(Name, Known)>, Error> {
        let missing: Vec<_> = names.iter().filter(|name| !self.cache.contains_key(name)).cloned().collect();
        let reads =
            stream::iter(missing).map(|name| async move { Ok::<_, Error>((name.clone(), self.read(&name).await?)) });
        let (mut reads, mut bytes, mut loaded) = (pin!(reads.buffer_unordered(CONCURRENCY)), 0, Vec::new());
        while let Some((name, known)) = reads.try_next().await? {
            bytes += known.bytes();
            loaded.push((name, known));
            if bytes > CACHE_MAX_BYTES {
                break;
            }
        }
        Ok(loaded)
    }

    fn keep(&mut self, name: Name, known: Known) {
        self.cached_bytes += known.bytes();
        self.cache.insert(name.clone(), Arc::new(known));
        self.order.push_back(name);
        while self.cached_bytes > CACHE_MAX_BYTES {
            let Some(oldest) = self.order.pop_front().and_then(|name| self.cache.remove(&name)) else { return };
            self.cached_bytes -= oldest.bytes();
        }
    }

    async fn read(&self, name: &Name) -> Result<Known, Error> {
        let path = name.path(&self.prefix, name::USAGE);
        until_it_works(&format!("read {path}"), || async {
            let store = self.store.as_ref();
            let remote = Remote::open(store, &path).await?;
            let filters = remote.blooms(store, "request_id").await?;
            let superseded = remote.footer()?.superseded_file.map(file::rows_of).transpose();
            let again = superseded
                .and_then(|batches| batches.iter().flatten().map(row_ids).collect::<Result<Vec<_>, _>>())
                .map_err(|reason| ReadError::Unreadable { path: path.clone(), reason })?
                .concat();
            Ok(Known { filters, again })
        })
        .await
    }

    async fn search(&self, name: &Name, request: RequestId) -> Result<Option<ExecutionId>, Error> {
        let path = name.path(&self.prefix, name::USAGE);
        let rows = until_it_works(&format!("read {path}"), || async {
            let remote = Remote::open(self.store.as_ref(), &path).await?;
            remote.ids(self.store.as_ref()).await
        })
        .await?;
        Ok(rows.into_iter().find(|(id, _)| *id == request).map(|(_, execution)| execution))
    }
}
