//! Reading ledger files from storage: footer, bloom filter and chosen columns, in ranges, never a whole file.
//!
//! `parquet`'s push decoder says which bytes it wants and this module fetches them, so any `ObjectStore` does, Azure's
//! (which has no suffix ranges) included.

use crate::{columns, file::Footer};
use arrow_array::RecordBatch;
use bytes::Bytes;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    DecodeResult,
    arrow::{ProjectionMask, push_decoder::ParquetPushDecoderBuilder},
    bloom_filter::Sbbf,
    errors::ParquetError,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder},
};
use std::{ops::Range, sync::Arc};
use tollgate_schemas::{ExecutionId, RequestId};
use uuid::Uuid;

/// Read at first: the footer and, at 50,000 rows, the bloom filter before it.
const TAIL_BYTES: u64 = 192 << 10;
const BATCH_ROWS: usize = 8192;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Storage did not answer as it should; the file may be well.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The bytes are there and are not a ledger file.
    #[error("{path} is not a readable ledger file: {reason}; move it out of the table and look at it")]
    Unreadable {
        /// Path in the store.
        path: Path,
        /// What is wrong.
        reason: String,
    },
}

/// Between which request ids a file's lie; ids of version 7 grow with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdBounds(Option<(RequestId, RequestId)>);

impl IdBounds {
    /// Of a file that says nothing of its ids.
    const ANY: IdBounds = IdBounds(Some((RequestId(Uuid::nil()), RequestId(Uuid::max()))));

    /// May this one be there?
    pub fn hold(self, request: RequestId) -> bool {
        self.0.is_some_and(|(least, greatest)| least <= request && request <= greatest)
    }

    /// One more.
    pub fn with(self, request: RequestId) -> Self {
        let (least, greatest) = self.0.unwrap_or((request, request));
        Self(Some((least.min(request), greatest.max(request))))
    }
}

/// A file whose footer has been read.
#[derive(Debug)]
pub struct Remote {
    path: Path,
    size: u64,
    metadata: Arc<ParquetMetaData>,
    tail: Bytes,
}

impl Remote {
    /// Reads the footer of a file that is known to exist.
    pub async fn open(store: &dyn ObjectStore, path: &Path) -> Result<Self, ReadError> {
        let meta = store.head(path).await?;
        Self::open_listed(store, &meta).await
    }

    /// Reads the footer of a listed file.
    pub async fn open_listed(store: &dyn ObjectStore, meta: &ObjectMeta) -> Result<Self, ReadError> {
        let (path, size) = (meta.location.clone(), meta.size);
        let unreadable = |e: ParquetError| ReadError::Unreadable { path: path.clone(), reason: e.to_string() };
        let from = size.saturating_sub(TAIL_BYTES);
        let tail = if size == 0 { Bytes::new() } else { store.get_range(&path, from..size).await? };
        let mut decoder = ParquetMetaDataPushDecoder::try_new(size)
            .map_err(unreadable)?
            .with_page_index_policy(PageIndexPolicy::Skip);
        decoder.push_range(from..size, tail.clone()).map_err(unreadable)?;
        loop {
            match decoder.try_decode().map_err(unreadable)? {
                DecodeResult::NeedsData(ranges) => {
                    let data = store.get_ranges(&path, &ranges).await?;
                    decoder.push_ranges(ranges, data).map_err(unreadable)?;
                }
                DecodeResult::Data(metadata) => return Ok(Self { path, size, metadata: Arc::new(metadata), tail }),
                DecodeResult::Finished => return Err(unreadable(ParquetError::General("no footer".into()))),
            }
        }
    }

    fn unreadable(&self, reason: impl ToString) -> ReadError {
        ReadError::Unreadable { path: self.path.clone(), reason: reason.to_string() }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the footer states.
    pub fn footer(&self) -> Result<Footer, ReadError> {
        Footer::of(&self.metadata).map_err(|e| self.unreadable(e))
    }

    /// The bloom filters of a text column, one per row group; `None` for a row group without one.
    pub async fn blooms(&self, store: &dyn ObjectStore, column: &str) -> Result<Vec<Option<Sbbf>>, ReadError> {
        let mut filters = Vec::with_capacity(self.metadata.num_row_groups());
        for group in self.metadata.row_groups() {
            let chunk = group.columns().iter().find(|c| c.column_path().string() == column);
            let place = chunk.and_then(|c| Some((c.bloom_filter_offset()?, c.bloom_filter_length()?)));
            let range = place.and_then(|(offset, length)| {
                let (offset, length) = (u64::try_from(offset).ok()?, u64::try_from(length).ok()?);
                Some(offset..offset.checked_add(length)?)
            });
            filters.push(match range {
                Some(range) if range.end <= self.size => {
                    let bytes = self.bytes(store, range).await?;
                    Some(Sbbf::from_bytes(&bytes).map_err(|e| self.unreadable(e))?)
                }
                _ => None,
            });
        }
        Ok(filters)
    }

    /// Between which ids those of the rows lie, as the column's statistics say.
    pub fn id_bounds(&self) -> IdBounds {
        let mut bounds = IdBounds(None);
        for group in self.metadata.row_groups() {
            let chunk = group.columns().iter().find(|c| c.column_path().string() == "request_id");
            let statistics = chunk.and_then(|c| c.statistics());
            let id = |bytes: Option<&[u8]>| str::from_utf8(bytes?).ok()?.parse::<RequestId>().ok();
            let ends = statistics.and_then(|s| Some((id(s.min_bytes_opt())?, id(s.max_bytes_opt())?)));
            let Some((least, greatest)) = ends else { return IdBounds::ANY };
            bounds = bounds.with(least).with(greatest);
        }
        bounds
    }

    async fn bytes(&self, store: &dyn ObjectStore, range: Range<u64>) -> Result<Bytes, ReadError> {
        let tail_from = self.size - self.tail.len() as u64;
        if range.start >= tail_from {
            let (start, end) = (range.start - tail_from, range.end - tail_from);
            // Both are at most the tail's length, which is a usize.
            return Ok(self.tail.slice(start as usize..end as usize));
        }
        Ok(store.get_range(&self.path, range).await?)
    }

    /// Reads the named columns (a struct or list by its first name) and gives them to `each`, batch by batch.
    pub async fn scan(
        &self,
        store: &dyn ObjectStore,
        columns: &[&str],
        mut each: impl FnMut(&RecordBatch) -> Result<(), String>,
    ) -> Result<(), ReadError> {
        let builder =
            ParquetPushDecoderBuilder::try_new_decoder(self.metadata.clone()).map_err(|e| self.unreadable(e))?;
        let projection = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let builder = builder.with_batch_size(BATCH_ROWS).with_projection(projection);
        let mut decoder = builder.build().map_err(|e| self.unreadable(e))?;
        loop {
            match decoder.try_decode().map_err(|e| self.unreadable(e))? {
                DecodeResult::NeedsData(ranges) => {
                    let data = store.get_ranges(&self.path, &ranges).await?;
                    decoder.push_ranges(ranges, data).map_err(|e| self.unreadable(e))?;
                }
                DecodeResult::Data(batch) => each(&batch).map_err(|e| self.unreadable(e))?,
                DecodeResult::Finished => return Ok(()),
            }
        }
    }

    /// Request and execution ids of all rows.
    pub async fn ids(&self, store: &dyn ObjectStore) -> Result<Vec<(RequestId, ExecutionId)>, ReadError> {
        let mut ids = Vec::new();
        let collect = |batch: &RecordBatch| columns::row_ids(batch).map(|more| ids.extend(more));
        self.scan(store, &["request_id", "execution_id"], collect).await?;
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{columns::Rows, file, testing};
    use arrow_array::cast::AsArray;
    use object_store::memory::InMemory;

    async fn store_with(rows: u64) -> (InMemory, Path) {
        let (store, path) = (InMemory::new(), Path::from("usage/x.parquet"));
        let mut all = Rows::new();
        (0..rows).for_each(|n| all.push(testing::full_row(n), 0, n as i64));
        let bytes = file::encode(&all.take(), &testing::footer(0, rows as i64)).unwrap();
        store.put(&path, bytes.into()).await.unwrap();
        (store, path)
    }

    #[tokio::test]
    async fn reads_footer_filter_and_columns() {
        for rows in [1, 20_000] {
            let (store, path) = store_with(rows).await;
            let remote = Remote::open(&store, &path).await.unwrap();
            assert_eq!(remote.footer().unwrap(), testing::footer(0, rows as i64));
            let blooms = remote.blooms(&store, "request_id").await.unwrap();
            let present = |n| blooms.iter().flatten().any(|f| f.check(testing::row(n).request_id.to_string().as_str()));
            assert!(present(0) && present(rows - 1));
            let ids: Vec<_> = (0..rows).map(|n| testing::row(n).request_id).collect();
            let bounds = IdBounds(ids.iter().min().copied().zip(ids.iter().max().copied()));
            assert_eq!(remote.id_bounds(), bounds, "exact, so that they rule most files out");
            let mut teams = 0;
            let count = |batch: &RecordBatch| {
                assert_eq!(batch.num_columns(), 2);
                teams += batch.column_by_name("team").unwrap().as_string::<i32>().iter().flatten().count();
                Ok(())
            };
            remote.scan(&store, &["team", "routing_information"], count).await.unwrap();
            assert_eq!(teams as u64, rows);
        }
    }

    #[test]
    fn bounds_hold_what_they_were_made_of() {
        let [a, b, c] = [1, 2, 3].map(|n| RequestId(Uuid::from_u128(n)));
        assert!(!IdBounds(None).hold(a), "a file without rows");
        let bounds = IdBounds(None).with(b);
        assert!(!bounds.hold(a) && bounds.hold(b) && !bounds.hold(c));
        assert!(bounds.with(c).hold(c) && bounds.with(a).hold(a) && IdBounds::ANY.hold(b));
    }

    #[tokio::test]
    async fn tells_an_unreadable_file_from_a_missing_one() {
        let (store, path) = (InMemory::new(), Path::from("usage/x.parquet"));
        let missing = Remote::open(&store, &path).await.unwrap_err();
        assert!(matches!(missing, ReadError::Store(object_store::Error::NotFound { .. })));
        for bytes in [&b""[..], b"PAR1", b"this is not a parquet file at all"] {
            store.put(&path, bytes.to_vec().into()).await.unwrap();
            let broken = Remote::open(&store, &path).await.unwrap_err();
            assert!(matches!(broken, ReadError::Unreadable { .. }), "{broken}");
        }
    }
}
