//! The table as a writer sees it: put a file where nobody has put one, and find out where to go on.
//!
//! The table is the truth. A file is created with put-if-absent under the name of its first record, so of two writers
//! that begin at the same record one wins, and the other goes on behind the winner's range. Kafka's committed offset is
//! never read.

use crate::{
    Error,
    columns::row_ids,
    epoch::{self, Epoch, Source, Starts},
    file::{self, Footer},
    fold::Cut,
    ids::{IdLimits, Ids},
    lookup::{CONCURRENCY, Lookup},
    name::{self, Name},
    read::{ReadError, Remote},
    retry::until_it_works,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{Error as Store, ObjectStore, PutMode, path::Path};
use std::{collections::HashMap, future::Future, pin::pin, sync::Arc};
use tollgate_bus::fault;
use tollgate_schemas::{ExecutionId, RequestId};

/// The usage tables under one prefix of a store, fed from one log.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    source: Source,
    cluster: Arc<str>,
    epoch: Arc<Epoch>,
}

/// How a cut came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The file is in the table; `bytes` is its size.
    Done {
        /// Bytes of the usage file.
        bytes: usize,
    },
    /// Another writer's file stands at this name and covers up to `last_offset`. Nothing of this cut is in the table:
    /// drop what was folded since, and resume.
    Theirs {
        /// The last offset that the winner covers.
        last_offset: i64,
    },
}

/// Where a partition goes on, and what is known of its requests.
#[derive(Debug)]
pub struct Resume {
    /// The offset after the last covered one; `None`: no file yet.
    pub next_offset: Option<i64>,
    /// Ids of the last hours.
    pub ids: Ids,
    /// Answers for older ids.
    pub lookup: Lookup,
}

impl Ledger {
    /// Opens the tables for a log: begins epoch 1 if there is none, refuses another log's. `starts` asks where the log's
    /// partitions begin now.
    pub async fn open<F>(
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        source: Source,
        starts: impl Fn() -> F,
    ) -> Result<Self, Error>
    where
        F: Future<Output = Result<Starts, Error>>,
    {
        let epoch = epoch::open(store.as_ref(), &prefix, &source, starts).await?;
        let cluster = name::cluster_part(&source.cluster_id).into();
        Ok(Self { store, prefix, source, cluster, epoch: Arc::new(epoch) })
    }

    /// Puts a cut into the table. Waits for storage as long as it takes; may be dropped while it waits.
    pub async fn put(&self, partition: i32, cut: Cut) -> Result<(Put, Name), Error> {
        let name = Name {
            cluster: self.cluster.clone(),
            epoch: self.epoch.epoch,
            partition,
            offset: cut.covered.name_offset,
            date: cut.covered.date,
        };
        let footer = self.footer(partition, &cut);
        let encode = tokio::task::spawn_blocking(move || encode(&cut, footer));
        let (file, footer) = encode.await.map_err(|_| Error::Panicked)??;
        fault::point("ledger.file.encoded");
        let bytes = file.len();
        let put = match self.create(&name.path(&self.prefix, name::USAGE), &file).await? {
            None => Put::Done { bytes },
            // Ours after an answer that was lost, or a twin's: the bytes are a function of the range.
            Some(found) if found == footer => Put::Done { bytes },
            Some(found) => Put::Theirs { last_offset: found.last_offset },
        };
        if matches!(put, Put::Done { .. }) {
            fault::point("ledger.file.put");
            self.settle(&name, &footer).await?;
        }
        Ok((put, name))
    }

    fn footer(&self, partition: i32, cut: &Cut) -> Footer {
        let covered = &cut.covered;
        Footer {
            cluster_id: self.source.cluster_id.clone(),
            topic_id: self.source.topic_id.clone(),
            epoch: self.epoch.epoch,
            partition,
            first_offset: covered.first_offset,
            last_offset: covered.last_offset,
            first_append_ms: covered.first_append_ms,
            last_append_ms: covered.last_append_ms,
            rows: covered.rows,
            dropped_duplicates: covered.duplicates,
            malformed: covered.malformed,
            superseded_file: None,
        }
    }

    /// Creates the file; `Some`: the footer of the one that is there already.
    async fn create(&self, path: &Path, file: &Bytes) -> Result<Option<Footer>, Error> {
        until_it_works(&format!("write {path}"), || async {
            match self.store.put_opts(path, file.clone().into(), PutMode::Create.into()).await {
                Ok(_) => Ok(None),
                // It may be a lie: S3 answers 409 to a race that nobody won. Then nothing is there, the read fails, and
                // the put is tried again.
                Err(Store::AlreadyExists { .. }) => Ok(Some(Remote::open(self.store.as_ref(), path).await?.footer()?)),
                Err(error) => Err(ReadError::Store(error)),
            }
        })
        .await
    }

    /// Writes the superseded rows that a file of the table carries into their own table, unless they are there.
    async fn settle(&self, name: &Name, footer: &Footer) -> Result<(), Error> {
        let Some(file) = &footer.superseded_file else { return Ok(()) };
        self.create(&name.path(&self.prefix, name::SUPERSEDED), file).await?;
        fault::point("ledger.superseded.put");
        Ok(())
    }

    /// Reads from the table where a partition goes on.
    pub async fn resume(&self, partition: i32, limits: IdLimits) -> Result<Resume, Error> {
        let all = self.list().await?;
        let (mut own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|n| self.is_ours(n));
        own.retain(|name| name.partition == partition);
        own.sort_unstable_by_key(|name| name.offset);
        let mut missing_to_ms = self.end_of(&others).await?;
        let mut next_offset = None;
        if let Some(last) = own.last() {
            let footer = self.open_file(last).await?.1;
            self.settle(last, &footer).await?;
            next_offset = Some(footer.last_offset + 1);
        }
        let (recent, older_ms) = self.recent(&own, limits).await?;
        missing_to_ms = missing_to_ms.max(older_ms);
        let mut ids = Ids::new(limits, missing_to_ms);
        for file in recent.iter().rev() {
            file.first.iter().for_each(|(request, execution)| ids.insert(*request, *execution, file.append_ms));
            file.again.iter().for_each(|(request, execution)| ids.insert_again(*request, *execution, file.append_ms));
        }
        ids.evict();
        let names = own.into_iter().chain(others).collect();
        let lookup = Lookup::new(self.store.clone(), self.prefix.clone(), names, limits.filter_bytes);
        Ok(Resume { next_offset, ids, lookup })
    }

    fn is_ours(&self, name: &Name) -> bool {
        name.cluster == self.cluster && name.epoch == self.epoch.epoch
    }

    /// Names of all files of `usage`.
    async fn list(&self) -> Result<Vec<Name>, Error> {
        let table = self.prefix.clone().join(name::USAGE);
        until_it_works("list the usage table", || async {
            let mut names = Vec::new();
            let mut files = self.store.list(Some(&table));
            while let Some(file) = files.try_next().await? {
                if let Some(mut name) = Name::parse(&file.location) {
                    if name.cluster == self.cluster {
                        name.cluster = self.cluster.clone();
                    }
                    names.push(name);
                }
            }
            Ok(names)
        })
        .await
    }

    async fn open_file(&self, name: &Name) -> Result<(Remote, Footer), Error> {
        let path = name.path(&self.prefix, name::USAGE);
        until_it_works(&format!("read {path}"), || async {
            let remote = Remote::open(self.store.as_ref(), &path).await?;
            let footer = remote.footer()?;
            Ok((remote, footer))
        })
        .await
    }

    /// The greatest append time of earlier epochs: their ids are looked up, never kept in memory.
    async fn end_of(&self, others: &[Name]) -> Result<Option<i64>, Error> {
        let mut last: HashMap<(&str, u32, i32), &Name> = HashMap::new();
        for name in others.iter().filter(|name| !self.is_ours(name)) {
            let newest = last.entry((&name.cluster, name.epoch, name.partition)).or_insert(name);
            if newest.offset < name.offset {
                *newest = name;
            }
        }
        let mut end_ms = None;
        for name in last.into_values() {
            end_ms = end_ms.max(Some(self.open_file(name).await?.1.last_append_ms));
        }
        Ok(end_ms)
    }

    /// Ids of the newest files, newest first, within the limits; and the greatest append time of those left out.
    ///
    /// Append time can step back, so a file that was written before the first one left out may be younger than it: the footers
    /// of all files from the window's first date on are read, and their dates bound the others.
    async fn recent(&self, own: &[Name], limits: IdLimits) -> Result<(Vec<FileIds>, Option<i64>), Error> {
        let Some(newest) = own.last() else { return Ok((Vec::new(), None)) };
        let window_ms = i64::try_from(limits.window.as_millis()).unwrap_or(i64::MAX);
        let begin_ms = self.open_file(newest).await?.1.last_append_ms.saturating_sub(window_ms);
        let begin = name::date_of(begin_ms);
        let (mut near, mut missing_to_ms) = (Vec::new(), None);
        for name in own.iter().rev() {
            if name.date >= begin {
                // Behind one that is left out for its date.
                let is_behind = missing_to_ms.is_some();
                near.push((is_behind, name.clone()));
            } else {
                missing_to_ms = missing_to_ms.max(Some(name::last_ms_of(name.date)));
            }
        }
        let open = |(is_behind, name): (bool, Name)| async move {
            let (remote, footer) = self.open_file(&name).await?;
            Ok::<_, Error>((is_behind, remote, footer))
        };
        let opened = stream::iter(near).map(open).buffered(CONCURRENCY);
        let (mut opened, mut files, mut count, mut is_full) = (pin!(opened), Vec::new(), 0, false);
        while let Some((is_behind, remote, footer)) = opened.try_next().await? {
            // What is kept is an end of the log without holes: of a request that is known, everything is.
            is_full |= is_behind || footer.last_append_ms < begin_ms || count >= limits.ids;
            if is_full {
                missing_to_ms = missing_to_ms.max(Some(footer.last_append_ms));
                continue;
            }
            let file = self.file_ids(&remote, &footer).await?;
            count += file.first.len() + file.again.len();
            files.push(file);
        }
        Ok((files, missing_to_ms))
    }

    async fn file_ids(&self, remote: &Remote, footer: &Footer) -> Result<FileIds, Error> {
        let first = until_it_works(&format!("read {}", remote.path()), || remote.ids(self.store.as_ref())).await?;
        let again = match &footer.superseded_file {
            None => Vec::new(),
            Some(file) => file::rows_of(file.clone())
                .and_then(|batches| batches.iter().map(row_ids).collect::<Result<Vec<_>, _>>())
                .map_err(|reason| ReadError::Unreadable { path: remote.path().clone(), reason })?
                .concat(),
        };
        Ok(FileIds { append_ms: footer.last_append_ms, first, again })
    }

    /// Refuses a log that became another one since the table was opened. What the epoch file says by now is the next start's
    /// affair: this ledger would go on to write the old epoch into names and footers.
    pub fn check_source(&self, source: &Source) -> Result<(), Error> {
        if source.is_same(&self.source) { Ok(()) } else { Err(self.epoch.refuse(source, epoch::path(&self.prefix))) }
    }

    /// Compares the table with the log's ends and says where to begin to read. `log_end`: the next offset that the log
    /// will give out.
    pub fn check_log(&self, partition: i32, next: Option<i64>, log_start: i64, log_end: i64) -> Result<i64, Error> {
        let expected = next.unwrap_or_else(|| self.epoch.start_of(partition));
        let (path, begin) = (epoch::path(&self.prefix), self.epoch.next(&self.source));
        if log_start > expected {
            return Err(Error::Lost { partition, from: expected, log_start, path, next: begin });
        }
        if expected > log_end {
            return Err(Error::Shrunk { partition, covered: expected - 1, log_end, path, next: begin });
        }
        Ok(expected)
    }
}

struct FileIds {
    append_ms: i64,
    first: Vec<(RequestId, ExecutionId)>,
    again: Vec<(RequestId, ExecutionId)>,
}

/// Makes the usage file, with the superseded one inside its footer.
fn encode(cut: &Cut, mut footer: Footer) -> Result<(Bytes, Footer), Error> {
    if cut.superseded.num_rows() > 0 {
        let own = Footer { rows: cut.superseded.num_rows() as u64, ..footer.clone() };
        footer.superseded_file = Some(file::encode(&cut.superseded, &own)?);
    }
    Ok((file::encode(&cut.usage, &footer)?, footer))
}

#[cfg(test)]
mod tests;
