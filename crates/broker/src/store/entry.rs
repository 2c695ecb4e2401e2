//! One line of the journal: `<CRC32C of the JSON, 8 hexadecimal digits> <JSON>\n`. Text, so that a person can read what
//! a broker knew. Deliberately absent: what a change means; see `state`.

use super::Error;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, ops::Range};
use uuid::Uuid;

/// Longest line, in bytes. Kafka bounds a commit alike: by `max.message.bytes` of its offsets topic.
pub(crate) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The format that is written, and the newest that is read.
pub(super) const FORMAT: u32 = 1;

/// Bytes before the JSON: the checksum and a space.
const PREFIX_BYTES: usize = 9;

/// One change, or a part of a snapshot. Text is borrowed when written and owned when read.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry<'a> {
    /// The first line of every journal, and only that.
    Head { format: u32, cluster_id: Cow<'a, str>, next_producer_id: i64 },
    /// A topic was made; its partitions begin at 0.
    Topic { name: Cow<'a, str>, id: Uuid, created_ms: i64, config: Cow<'a, BTreeMap<String, String>>, partitions: i32 },
    /// A topic has this many partitions now.
    Partitions { topic: Cow<'a, str>, partitions: i32 },
    /// The whole configuration of a topic.
    Config { topic: Cow<'a, str>, config: Cow<'a, BTreeMap<String, String>> },
    /// A topic was deleted; its files are to go.
    Deleted { name: Cow<'a, str>, id: Uuid },
    /// The files of a deleted topic are gone.
    Removed { id: Uuid },
    /// Topic, partition, first offset, mark.
    Marks(Vec<(Cow<'a, str>, i32, i64, i64)>),
    /// Offsets of a group.
    Commit { group: Cow<'a, str>, offsets: Vec<Commit<'a>> },
    /// One offset of a group was deleted.
    OffsetDeleted { group: Cow<'a, str>, topic: Cow<'a, str>, partition: i32 },
    /// All offsets of a group were deleted.
    GroupDeleted { group: Cow<'a, str> },
    /// Producer ids below this one are given away.
    ProducerIds { next: i64 },
    /// All logs were closed in order. The last line of a journal, and only that.
    Closed,
}

/// One committed offset. In the journal an array, for there are many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Row<'a>", into = "Row<'a>")]
pub(crate) struct Commit<'a> {
    pub(crate) topic: Cow<'a, str>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1: not told.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Cow<'a, str>,
    pub(crate) committed_ms: i64,
}

type Row<'a> = (Cow<'a, str>, i32, i64, i32, Cow<'a, str>, i64);

impl<'a> From<Row<'a>> for Commit<'a> {
    fn from((topic, partition, offset, leader_epoch, metadata, committed_ms): Row<'a>) -> Self {
        Self { topic, partition, offset, leader_epoch, metadata, committed_ms }
    }
}

impl<'a> From<Commit<'a>> for Row<'a> {
    fn from(commit: Commit<'a>) -> Self {
        let Commit { topic, partition, offset, leader_epoch, metadata, committed_ms } = commit;
        (topic, partition, offset, leader_epoch, metadata, committed_ms)
    }
}

impl Entry<'_> {
    /// Adds the entry to `out` as one line; a line that would be too long is not added.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.extend_from_slice(b"00000000 ");
        let written = serde_json::to_writer(&mut *out, self);
        out.push(b'\n');
        let bytes = out.len() - start;
        if written.is_err() || bytes > LINE_BYTES_MAX {
            out.truncate(start);
            return Err(Error::LineTooLong { bytes });
        }
        let crc = crc32c::crc32c(&out[json(start..out.len())]);
        out[start..start + 8].copy_from_slice(format!("{crc:08x}").as_bytes());
        Ok(())
    }
}

fn json(line: Range<usize>) -> Range<usize> {
    line.start + PREFIX_BYTES..line.end - 1
}

/// What a line turned out to be.
pub(super) enum Line {
    /// An entry that this version knows.
    Entry(Entry<'static>),
    /// Torn or damaged: the checksum does not fit.
    Broken,
    /// Sound, but nothing that this version knows.
    Unknown,
}

/// Reads a line with its line feed.
pub(super) fn decode(line: &[u8]) -> Line {
    if line.len() <= PREFIX_BYTES || line.len() > LINE_BYTES_MAX || line.last() != Some(&b'\n') || line[8] != b' ' {
        return Line::Broken;
    }
    let json = &line[json(0..line.len())];
    if format!("{:08x}", crc32c::crc32c(json)).as_bytes() != &line[..8] {
        return Line::Broken;
    }
    serde_json::from_slice(json).map_or(Line::Unknown, Line::Entry)
}
