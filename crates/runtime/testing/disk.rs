//! Object storage that goes away and comes back, for tests of whatever uses a [`BlobStore`]; they include this file by its path.

use object_store::local::LocalFileSystem;
use std::{fs, path::PathBuf, sync::Arc};
use tollgate_runtime::BlobStore;

/// Storage on a disk that can be taken away: a file stands where its folder was.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// A disk that is there, and the storage on it.
    pub(crate) fn new() -> (Self, BlobStore) {
        let disk = Self(tempfile::tempdir().expect("folder"));
        fs::create_dir(disk.at("store")).expect("folder");
        let store = LocalFileSystem::new_with_prefix(disk.at("store")).expect("a store");
        (disk, BlobStore::new(Arc::new(store)))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn take_away(&self) {
        fs::rename(self.at("store"), self.at("kept")).expect("moved");
        fs::write(self.at("store"), "").expect("written");
    }

    pub(crate) fn bring_back(&self) {
        fs::remove_file(self.at("store")).expect("removed");
        fs::rename(self.at("kept"), self.at("store")).expect("moved");
    }

    /// What has been stored is gone for good.
    pub(crate) fn lose_bodies(&self) {
        fs::remove_dir_all(self.at("store/blobs")).expect("removed");
    }
}
