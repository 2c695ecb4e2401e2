//! Names on the wire and on the disk: which topic names are allowed, how ids read, where a partition's folder lies.
//! Deliberately absent: Kafka's rule that `a.b` and `a_b` may not both exist; it guards metric names that this broker
//! does not have.

use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Longest topic name, in bytes (all of them ASCII).
pub(crate) const TOPIC_NAME_BYTES_MAX: usize = 249;
/// The folder next to the journal that holds the partitions.
pub(crate) const TOPICS_FOLDER: &str = "topics";

/// Longest topic name that fits a file name (255 bytes) with `.` and 8 hexadecimal digits after it.
const WHOLE_NAME_BYTES_MAX: usize = 246;
/// What remains of a longer name; all 32 digits of the id follow then.
const CUT_NAME_BYTES: usize = 200;

/// Whether a topic may be called `name`, by Kafka's rule (public behaviour of `CreateTopics`); else the text for
/// `INVALID_TOPIC_EXCEPTION`. A name that passes is safe in a path.
pub(crate) fn check_topic_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > TOPIC_NAME_BYTES_MAX {
        Err(format!("a topic name has 1 to {TOPIC_NAME_BYTES_MAX} characters, this one {}", name.len()))
    } else if name == "." || name == ".." {
        Err("a topic cannot be called \".\" or \"..\"".into())
    } else if !name.bytes().all(allowed) {
        Err("a topic name may hold only ASCII letters, digits, '.', '_' and '-'".into())
    } else {
        Ok(())
    }
}

/// A random id that, as Kafka's own, never begins with `-` as text: tools would take it for an option.
pub(crate) fn new_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if !id_text(id).starts_with('-') {
            return id;
        }
    }
}

/// An id as Kafka's tools print it: base64 with the URL alphabet and no padding, 22 characters.
pub(crate) fn id_text(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // 128 bits make 22 digits of 6; the 4 bits missing at the end are zero.
    let digit = |at: u32| match at {
        21 => id.as_u128() << 4,
        _ => id.as_u128() >> (122 - 6 * at),
    };
    (0..22).map(|at| char::from(ALPHABET[(digit(at) & 63) as usize])).collect()
}

/// The folder of a topic below [`TOPICS_FOLDER`]: its name and the first 8 digits of its id, so that a topic that is
/// deleted and made again does not meet its old files, nor two topics each other where case does not count.
pub(crate) fn topic_folder(name: &str, id: Uuid) -> String {
    let id = id.simple().to_string();
    if name.len() <= WHOLE_NAME_BYTES_MAX {
        return format!("{name}.{}", &id[..8]);
    }
    format!("{}.{id}", name.get(..CUT_NAME_BYTES).unwrap_or_default())
}

/// The folder of a topic of the broker that lives in `dir`.
pub(crate) fn topic_dir(dir: &Path, name: &str, id: Uuid) -> PathBuf {
    dir.join(TOPICS_FOLDER).join(topic_folder(name, id))
}

/// The folder of one partition of the broker that lives in `dir`.
pub(crate) fn partition_dir(dir: &Path, name: &str, id: Uuid, partition: i32) -> PathBuf {
    topic_dir(dir, name, id).join(partition.to_string())
}
