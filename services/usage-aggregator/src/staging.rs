//! What a crash leaves in a table's folder on local disk: `object_store` writes `NAME.parquet#1`, links it to `NAME.parquet`
//! and then removes it. A reader that takes every file of a folder would count such a file's rows twice, or fail on half a file.
//!
//! Not here: any other store, which knows no half-written objects, and files that are not the ledger's.

use crate::name::{self, Name};
use object_store::path::Path as Location;
use std::{
    convert::Infallible,
    ffi::OsStr,
    fs::{self, DirEntry},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A file this old is not being written: one write of at most a batch takes seconds.
const OLD: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(600);

/// Removes old staging files under `folder`, the root of a local store, now and every ten minutes.
pub(crate) async fn keep_clean(folder: Option<PathBuf>) -> Infallible {
    loop {
        if let Some(folder) = folder.clone() {
            match tokio::task::spawn_blocking(move || remove_older(&folder, OLD)).await {
                Ok(Ok(0)) | Err(_) => {}
                Ok(Ok(removed)) => {
                    tracing::info!(removed, "staging files that a crash left in the usage tables are gone")
                }
                Ok(Err(error)) => tracing::warn!(%error, "old staging files in the usage tables cannot be removed"),
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn remove_older(folder: &Path, age: Duration) -> io::Result<usize> {
    let mut removed = 0;
    for table in [name::USAGE, name::SUPERSEDED] {
        for date in entries(&folder.join(table))? {
            if !date.file_type()?.is_dir() {
                continue;
            }
            for file in entries(&date.path())? {
                if is_staging(&date.file_name(), &file.file_name()) && is_older(&file, age)? {
                    fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}

/// None, if there is no such folder.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A ledger file's name, `#` and a number, in a date's folder?
fn is_staging(date: &OsStr, file: &OsStr) -> bool {
    let (Some(date), Some(file)) = (date.to_str(), file.to_str()) else { return false };
    let Some((file, number)) = file.rsplit_once('#') else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_number && Name::parse(&Location::from_iter([date, file])).is_some()
}

fn is_older(file: &DirEntry, age: Duration) -> io::Result<bool> {
    let metadata = file.metadata()?;
    // A time that lies ahead says nothing; then it stays.
    Ok(metadata.is_file() && metadata.modified()?.elapsed().is_ok_and(|past| past > age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    const FILE: &str = "date=2026-11-23/c-1-0-00000000000000000000.parquet";

    fn put(root: &Path, path: &str, age: Duration) -> PathBuf {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        path
    }

    #[test]
    fn old_staging_files_of_the_ledger_go_and_nothing_else_does() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(remove_older(root.path(), OLD).unwrap(), 0, "no tables yet");
        let put = |path: String, age| put(root.path(), &path, age);
        let old = OLD * 2;
        let gone = [put(format!("usage/{FILE}#1"), old), put(format!("usage_superseded/{FILE}#23"), old)];
        let kept = [
            put(format!("usage/{FILE}"), old),
            put(format!("usage/{FILE}#2"), Duration::ZERO),
            put(format!("usage/{FILE}#"), old),
            put(format!("usage/{FILE}#1x"), old),
            put("usage/date=2026-11-23/other.parquet#1".to_owned(), old),
            put("usage/_tollgate/epoch.json#1".to_owned(), old),
            put(format!("elsewhere/{FILE}#1"), old),
        ];
        assert_eq!(remove_older(root.path(), OLD).unwrap(), 2);
        assert!(gone.iter().all(|path| !path.exists()));
        assert!(kept.iter().all(|path| path.exists()));
    }
}
