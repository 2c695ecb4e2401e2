//! What a power loss leaves of a log's last segment: less, zeroes, or something else, from some byte on. Never of what was
//! promised to be on the disk: what an orderly end has synced, and with `fsync: always` what was acknowledged or read.

use super::{super::random::Random, ledger::Log, process::data};
use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The newest segment of a log.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    pub(super) base: i64,
    pub(super) len: u64,
    /// Of each batch: its first offset and where it ends.
    batches: Vec<(i64, u64)>,
}

pub(super) fn last_segment(root: &Path, log: &Log) -> Option<Segment> {
    let (topic, partition) = log.target;
    let folder = crate::store::names::partition_dir(&data(root), topic, log.id, partition);
    let paths = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    let path = paths.filter(|path| path.extension().is_some_and(|end| end == "log")).max()?;
    let base = path.file_stem()?.to_str()?.parse().unwrap();
    let mut bytes = Vec::new();
    fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
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
    Some(Segment { path, base, len: bytes.len() as u64, batches })
}

/// Damages the end of a log, or not; says how and where. What is lost is no longer required.
pub(super) fn damage(root: &Path, log: &mut Log, always: bool, random: &mut Random) -> Option<(&'static str, String)> {
    let segment = last_segment(root, log)?;
    // An index is written behind what it describes, once that is on the disk.
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    if modified(&segment.path.with_extension("index")) >= modified(&segment.path) {
        return None;
    }
    let synced = if log.floor.0 == segment.base { log.floor.1 } else { 0 };
    let promised = segment.batches.iter().take_while(|(base, _)| always && Some(*base) <= log.last_known());
    let floor = promised.last().map_or(synced, |(_, end)| synced.max(*end));
    if random.once_in(3) || floor >= segment.len {
        return None;
    }
    let at = floor + random.below(segment.len - floor);
    let file = OpenOptions::new().write(true).open(&segment.path).unwrap();
    let rest = usize::try_from(segment.len - at).unwrap();
    let how = match random.below(3) {
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
    };
    if let Some((lost, _)) = segment.batches.iter().find(|(_, end)| *end > at) {
        log.lost_from(*lost);
    }
    Some((how, format!("{} at {at} of {}, floor {floor}", segment.path.display(), segment.len)))
}
