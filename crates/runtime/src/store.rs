//! Object storage as the configuration names it: local disk, S3, Google Cloud Storage, Azure.

use crate::config::{Config, Storage};
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path, prefix::PrefixStore};
use std::{path::PathBuf, sync::Arc};

/// An error of opening the storage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL or an option is wrong.
    #[error("storage.url cannot be used: {0}")]
    Url(String),
    /// The local directory cannot be made.
    #[error("storage directory {path} cannot be used: {error}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

enum Place<'c> {
    Folder(&'c str),
    Remote(&'c Storage),
}

fn place(config: &Config) -> Place<'_> {
    let Some(storage) = &config.storage else { return Place::Folder(&config.data_dir) };
    storage.url.strip_prefix("file://").map_or(Place::Remote(storage), Place::Folder)
}

/// The folder of a store on local disk.
pub fn local_folder(config: &Config) -> Option<PathBuf> {
    match place(config) {
        Place::Folder(path) => Some(path.into()),
        Place::Remote(_) => None,
    }
}

/// Opens `storage.url`, or `data_dir` when it is not set. Paths given to the result are relative to that place. Does no
/// request.
pub fn open(config: &Config) -> Result<Arc<dyn ObjectStore>, Error> {
    let storage = match place(config) {
        Place::Folder(path) => return local(path),
        Place::Remote(storage) => storage,
    };
    let url = storage.url.parse().map_err(|error| Error::Url(format!("{error}")))?;
    let options = storage.options.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    // An error of object_store may quote an option's value, so only its kind is shown.
    let (store, prefix) = object_store::parse_url_opts(&url, options)
        .map_err(|_| Error::Url(format!("{} or storage.options is not understood by object_store", storage.url)))?;
    if prefix == Path::default() { Ok(Arc::from(store)) } else { Ok(Arc::new(PrefixStore::new(store, prefix))) }
}

fn local(path: &str) -> Result<Arc<dyn ObjectStore>, Error> {
    let directory = |error| Error::Directory { path: path.to_owned(), error };
    std::fs::create_dir_all(path).map_err(directory)?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| directory(std::io::Error::other(error)))?;
    Ok(Arc::new(store.with_fsync(true)))
}

/// Reads an object whole if it is at most `max_bytes` long.
pub async fn read(store: &dyn ObjectStore, path: &Path, max_bytes: u64) -> object_store::Result<Option<Vec<u8>>> {
    let found = store.get(path).await?;
    if found.meta.size > max_bytes {
        return Ok(None);
    }
    Ok(Some(found.bytes().await?.to_vec()))
}
