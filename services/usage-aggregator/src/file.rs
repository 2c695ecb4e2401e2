//! One Parquet file: encoding it in memory, and what its footer states.
//!
//! The bytes depend on the rows and the footer alone, so two writers that cover the same records make the same file.
//! ZSTD; a bloom filter on `request_id` of about 2.6 bytes a row; one row group. A file without rows is a valid file.

use arrow_array::RecordBatch;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder, arrow_writer::ArrowWriterOptions,
    },
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, ParquetMetaData},
        properties::{BloomFilterPosition, EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};

/// False positives of the bloom filter: an old id is asked of thousands of files, and each false "perhaps" costs three reads.
/// 2.62 bytes a row at 50,000 rows; a filter is a power of two long, and at 0.0001 that many rows would just not fit.
const BLOOM_FPP: f64 = 0.000_11;
const ZSTD_LEVEL: i32 = 3;

/// Columns whose values hardly repeat within a file: a dictionary would be built and thrown away.
const DISTINCT: [&[&str]; 11] = [
    &["request_id"],
    &["invocation_id"],
    &["execution_id"],
    &["trace_id"],
    &["event_time"],
    &["latency_ms"],
    &["provider_usage"],
    &["source_offset"],
    &["routing_information", "attempts", "list", "element", "start_time"],
    &["routing_information", "attempts", "list", "element", "end_time"],
    &["routing_information", "attempts", "list", "element", "provider_request_id"],
];

/// Columns that grow slowly from row to row.
const INCREASING: [&[&str]; 4] = [
    &["event_time"],
    &["source_offset"],
    &["routing_information", "attempts", "list", "element", "start_time"],
    &["routing_information", "attempts", "list", "element", "end_time"],
];

/// What a file's footer states, as key-value metadata under `tollgate.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The cluster's id as the broker tells it.
    pub cluster_id: String,
    /// The topic's id, if the broker tells one.
    pub topic_id: Option<String>,
    /// Which life of the `usage` topic.
    pub epoch: u32,
    /// Partition of `usage`.
    pub partition: i32,
    /// First offset covered: the one after the last file's last.
    pub first_offset: i64,
    /// Last offset covered. Everything between is covered, rows or not: duplicates, malformed records and gaps too.
    pub last_offset: i64,
    /// Smallest append time of the covered records, milliseconds since the Unix epoch.
    pub first_append_ms: i64,
    /// Greatest append time.
    pub last_append_ms: i64,
    /// Rows in this file.
    pub rows: u64,
    /// Records that repeated an execution already in the table.
    pub dropped_duplicates: u64,
    /// Records that were no usage row; they are on `dead-letters`.
    pub malformed: u64,
    /// The file of `usage_superseded` with this file's range, whole, if there is one. It rides here so that one
    /// put-if-absent decides about both; whoever finds its own file missing writes it from these bytes.
    pub superseded_file: Option<Bytes>,
}

impl Footer {
    fn key_values(&self) -> Vec<KeyValue> {
        let mut all = vec![
            ("cluster_id", self.cluster_id.clone()),
            ("epoch", self.epoch.to_string()),
            ("partition", self.partition.to_string()),
            ("first_offset", self.first_offset.to_string()),
            ("last_offset", self.last_offset.to_string()),
            ("first_append_ms", self.first_append_ms.to_string()),
            ("last_append_ms", self.last_append_ms.to_string()),
            ("rows", self.rows.to_string()),
            ("dropped_duplicates", self.dropped_duplicates.to_string()),
            ("malformed", self.malformed.to_string()),
        ];
        all.extend(self.topic_id.clone().map(|id| ("topic_id", id)));
        all.extend(self.superseded_file.as_ref().map(|file| ("superseded_file", STANDARD.encode(file))));
        all.into_iter().map(|(key, value)| KeyValue::new(format!("tollgate.{key}"), value)).collect()
    }

    /// Reads the statement back. An error names what is missing or wrong.
    pub fn of(metadata: &ParquetMetaData) -> Result<Self, String> {
        let pairs = metadata.file_metadata().key_value_metadata().map(Vec::as_slice).unwrap_or_default();
        let find = |key: &str| {
            pairs.iter().find(|p| p.key.strip_prefix("tollgate.") == Some(key)).and_then(|p| p.value.as_deref())
        };
        let text = |key: &str| find(key).map(str::to_owned).ok_or_else(|| format!("its footer has no tollgate.{key}"));
        fn number<T: std::str::FromStr>(key: &str, text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("its footer's tollgate.{key} is not a number in range"))
        }
        let file = find("superseded_file").map(|f| STANDARD.decode(f)).transpose();
        let footer = Self {
            cluster_id: text("cluster_id")?,
            topic_id: find("topic_id").map(str::to_owned),
            epoch: number("epoch", &text("epoch")?)?,
            partition: number("partition", &text("partition")?)?,
            first_offset: number("first_offset", &text("first_offset")?)?,
            last_offset: number("last_offset", &text("last_offset")?)?,
            first_append_ms: number("first_append_ms", &text("first_append_ms")?)?,
            last_append_ms: number("last_append_ms", &text("last_append_ms")?)?,
            rows: number("rows", &text("rows")?)?,
            dropped_duplicates: number("dropped_duplicates", &text("dropped_duplicates")?)?,
            malformed: number("malformed", &text("malformed")?)?,
            superseded_file: file.map_err(|_| "its footer's tollgate.superseded_file is not base64")?.map(Bytes::from),
        };
        if footer.first_offset > footer.last_offset || footer.first_offset < 0 {
            return Err(format!("its footer covers offsets {}..={}", footer.first_offset, footer.last_offset));
        }
        Ok(footer)
    }
}

/// Makes the file of `rows`. Takes tens of milliseconds for a full file: run it off the async threads.
pub fn encode(rows: &RecordBatch, footer: &Footer) -> Result<Bytes, ParquetError> {
    let options =
        ArrowWriterOptions::new().with_properties(properties(rows.num_rows())?).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::with_capacity(16 << 10), rows.schema(), options)?;
    if rows.num_rows() > 0 {
        writer.write(rows)?;
    }
    for pair in footer.key_values() {
        writer.append_key_value_metadata(pair);
    }
    Ok(Bytes::from(writer.into_inner()?))
}

/// Reads the ids of a file that is in memory.
pub(crate) fn rows_of(file: Bytes) -> Result<Vec<RecordBatch>, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
    let ids = ProjectionMask::columns(builder.parquet_schema(), ["request_id", "execution_id"]);
    let reader = builder.with_projection(ids).build().map_err(|e| e.to_string())?;
    reader.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

fn properties(rows: usize) -> Result<WriterProperties, ParquetError> {
    let column = |parts: &[&str]| ColumnPath::new(parts.iter().map(|&p| p.to_owned()).collect());
    let id = column(&["request_id"]);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(None)
        // One row group of one file: indexes of its pages would cost more than they save.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_bloom_filter_position(BloomFilterPosition::End)
        .set_column_bloom_filter_enabled(id.clone(), true)
        .set_column_bloom_filter_fpp(id.clone(), BLOOM_FPP)
        .set_column_bloom_filter_max_ndv(id, rows.max(1) as u64);
    for parts in DISTINCT {
        builder = builder.set_column_dictionary_enabled(column(parts), false);
    }
    for parts in INCREASING {
        builder = builder.set_column_encoding(column(parts), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        columns::{self, Rows},
        testing,
    };
    use parquet::bloom_filter::Sbbf;

    fn reader(file: &Bytes) -> ParquetRecordBatchReaderBuilder<Bytes> {
        ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap()
    }

    #[test]
    fn a_file_is_read_back_as_it_was_written() {
        let mut rows = Rows::new();
        (0..100).for_each(|n| rows.push(if n % 2 == 0 { testing::row(n) } else { testing::full_row(n) }, 0, n as i64));
        let batch = rows.take();
        let footer = testing::footer(0, 120);
        let file = encode(&batch, &footer).unwrap();
        assert_eq!(file, encode(&batch, &footer).unwrap(), "the same rows make the same file");
        let builder = reader(&file);
        assert_eq!(builder.schema().fields(), columns::schema().fields(), "types survive without Arrow's own metadata");
        assert_eq!(Footer::of(builder.metadata()).unwrap(), footer);
        let read: Vec<_> = builder.with_batch_size(1000).build().unwrap().map(Result::unwrap).collect();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].columns(), batch.columns());
    }

    #[test]
    fn a_file_without_rows_still_states_its_range() {
        let file = encode(&Rows::new().take(), &testing::footer(7, 9)).unwrap();
        let builder = reader(&file);
        assert_eq!(Footer::of(builder.metadata()).unwrap().last_offset, 9);
        assert_eq!(builder.build().unwrap().count(), 0);
    }

    #[test]
    fn the_bloom_filter_costs_about_2_6_bytes_a_row() {
        let mut rows = Rows::new();
        (0..50_000).for_each(|n| rows.push(testing::row(n), 0, n as i64));
        let file = encode(&rows.take(), &testing::footer(0, 49_999)).unwrap();
        let builder = reader(&file);
        let index = columns::schema().index_of("request_id").unwrap();
        let column = builder.metadata().row_group(0).column(index);
        let filter = Sbbf::read_from_column_chunk(column, &file).unwrap().unwrap();
        let bytes_per_row = filter.num_blocks() as f64 * 32.0 / 50_000.0;
        assert!((2.6..2.7).contains(&bytes_per_row), "{bytes_per_row}");
        assert!((0..1000).all(|n| filter.check(testing::row(n).request_id.to_string().as_str())));
        let wrong =
            (50_000..150_000).filter(|n| filter.check(testing::row(*n).request_id.to_string().as_str())).count();
        assert!(wrong < 40, "{wrong} of 100,000");
    }

    #[test]
    fn a_footer_that_is_not_ours_is_refused() {
        let mut footer = testing::footer(5, 9);
        footer.last_offset = 3;
        let file = encode(&Rows::new().take(), &footer).unwrap();
        assert!(Footer::of(reader(&file).metadata()).unwrap_err().contains("5..=3"));
        let mut writer = ArrowWriter::try_new(Vec::new(), columns::schema(), None).unwrap();
        writer.flush().unwrap();
        let file = Bytes::from(writer.into_inner().unwrap());
        assert!(Footer::of(reader(&file).metadata()).unwrap_err().contains("no tollgate.cluster_id"));
    }
}
