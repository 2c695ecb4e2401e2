//! What a power loss leaves of a log's segments: less, zeroes, or something else, from some byte on. Never of what was promised
//! to be on the disk: sealed segments with an index, what an orderly end has synced, and with `fsync: always` what was
//! acknowledged or read. Not here: names of files that are lost.

use super::{
    super::random::Random,
    ledger::{Log, Policy},
    process::data,
};
use std::{
    cmp::Ordering,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A segment of a log.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    pub(super) base: i64,
    pub(super) len: u64,
    /// Of each batch: its first offset and where it ends.
    batches: Vec<(i64, u64)>,
}

/// All of a log, in order.
pub(super) fn segments(root: &Path, log: &Log) -> Vec<Segment> {
    let (topic, partition) = log.target;
    let folder = crate::store::names::partition_dir(&data(root), topic, log.id, partition);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut segments: Vec<Segment> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "log")).map(Segment::read).collect();
    segments.sort_by_key(|segment| segment.base);
    segments
}

impl Segment {
    fn read(path: PathBuf) -> Self {
        let base = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let bytes = fs::read(&path).unwrap();
        let (mut batches, mut at) = (Vec::new(), 0);
        // A batch that the process died in is not whole.
        while let Some(head) = bytes.get(at..at + 12) {
            let len = i32::from_be_bytes(head[8..].try_into().unwrap());
            at += 12 + usize::try_from(len).unwrap_or(bytes.len());
            if len <= 0 || at > bytes.len() {
                break;
            }
            batches.push((i64::from_be_bytes(head[..8].try_into().unwrap()), at as u64));
        }
        Self { path, base, len: bytes.len() as u64, batches }
    }

    /// An index is written behind what it describes, once that is on the disk.
    fn is_indexed(&self) -> bool {
        let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        modified(&self.path.with_extension("index")) >= modified(&self.path)
    }

    /// Up to where the disk has it for certain.
    fn floor(&self, log: &Log, always: bool) -> u64 {
        let (base, len) = log.floor;
        let synced = match self.base.cmp(&base) {
            Ordering::Less => self.len,
            Ordering::Equal => len,
            Ordering::Greater => 0,
        };
        let promised = self.batches.iter().take_while(|(base, _)| always && Some(*base) <= log.last_known());
        promised.last().map_or(synced, |(_, end)| synced.max(*end))
    }

    /// Spoils what comes after `at`; says how.
    fn spoil(&self, at: u64, random: &mut Random) -> &'static str {
        let file = OpenOptions::new().write(true).open(&self.path).unwrap();
        let rest = usize::try_from(self.len - at).unwrap();
        match random.below(3) {
            0 => {
                file.write_all_at(&vec![0; rest], at).unwrap();
                "zeroes"
            }
            1 => {
                let rubbish: Vec<u8> = (0..rest).map(|_| random.next().to_be_bytes()[0]).collect();
                file.write_all_at(&rubbish, at).unwrap();
                "rubbish"
            }
            _ => {
                file.set_len(at).unwrap();
                "cut"
            }
        }
    }
}

/// Damages segments of a log, or none; says how and where. What is lost is no longer required.
pub(super) fn damage(root: &Path, log: &mut Log, always: bool, random: &mut Random) -> Vec<(&'static str, String)> {
    let segments = segments(root, log);
    let mut damages = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let next = segments.get(index + 1).map_or(i64::MAX, |next| next.base);
        // What compaction has written was synced before it took its name.
        let compacted = log.policy == Policy::Compact && next != i64::MAX;
        let floor = segment.floor(log, always);
        if compacted || segment.is_indexed() || floor >= segment.len || random.once_in(3) {
            continue;
        }
        let at = floor + random.below(segment.len - floor);
        let how = segment.spoil(at, random);
        if let Some((lost, _)) = segment.batches.iter().find(|(_, end)| *end > at) {
            log.lost(*lost..next);
        }
        damages.push((how, format!("{} at {at} of {}, floor {floor}", segment.path.display(), segment.len)));
    }
    damages
}
