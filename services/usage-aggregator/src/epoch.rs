//! Which log the table belongs to: `usage/_tollgate/epoch.json`, written once, put-if-absent.
//!
//! Offsets name files, so a table must never be fed from two logs. A topic that was created again, or another cluster,
//! is refused until a person begins a new epoch, whose number then stands in the names.

use crate::{Error, name, read::ReadError, retry::until_it_works};
use futures::TryStreamExt;
use object_store::{Error as Store, ObjectStore, ObjectStoreExt, PutMode, path::Path};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The log that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The cluster's id as the broker tells it.
    pub cluster_id: String,
    /// Full name of the `usage` topic.
    pub topic: String,
    /// The topic's id; `None` if the broker has none.
    pub topic_id: Option<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.topic_id.as_deref().unwrap_or("unknown");
        write!(f, "cluster {}, topic {} with id {id}", self.cluster_id, self.topic)
    }
}

/// The content of the epoch file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// 1, 2, 3, …
    pub epoch: u32,
    /// Cluster of the log.
    pub cluster_id: String,
    /// Topic of the log.
    pub topic: String,
    /// Its id.
    #[serde(default)]
    pub topic_id: Option<String>,
    /// Where each partition began when the epoch did. Absent (a person began the epoch): where the log begins at first
    /// reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<BTreeMap<i32, i64>>,
}

impl Epoch {
    fn first(source: &Source, starts: Option<BTreeMap<i32, i64>>) -> Self {
        let Source { cluster_id, topic, topic_id } = source.clone();
        Self { epoch: 1, cluster_id, topic, topic_id, starts }
    }

    fn is_of(&self, source: &Source) -> bool {
        let same_topic = match (&self.topic_id, &source.topic_id) {
            (Some(recorded), Some(found)) => recorded == found,
            _ => self.topic == source.topic,
        };
        self.cluster_id == source.cluster_id && same_topic
    }

    /// What a person writes to begin the next epoch on `source`.
    pub fn next(&self, source: &Source) -> String {
        json(&Self { epoch: self.epoch + 1, ..Self::first(source, None) })
    }

    /// The first offset that the table must hold of a partition; `None`: whatever the log still has.
    pub fn start_of(&self, partition: i32) -> Option<i64> {
        self.starts.as_ref().map(|starts| starts.get(&partition).copied().unwrap_or(0))
    }
}

fn json(epoch: &Epoch) -> String {
    // Cannot fail: keys are integers and strings.
    serde_json::to_string(epoch).unwrap_or_default()
}

/// Where the epoch file stands.
pub fn path(prefix: &Path) -> Path {
    prefix.clone().join(name::USAGE).join("_tollgate").join("epoch.json")
}

/// Reads the epoch of the table under `prefix`, or begins epoch 1 if there is no table yet. `starts`: where the log's
/// partitions begin now, if that is known.
pub async fn open(
    store: &dyn ObjectStore,
    prefix: &Path,
    source: &Source,
    starts: Option<&BTreeMap<i32, i64>>,
) -> Result<Epoch, Error> {
    let path = path(prefix);
    let begin = Epoch::first(source, starts.cloned());
    let epoch = loop {
        if let Some(epoch) = read(store, &path).await? {
            break epoch;
        }
        if has_files(store, prefix).await? {
            let content = json(&Epoch { starts: None, ..begin });
            return Err(Error::EpochMissing { path, content });
        }
        until_it_works("write the epoch file", || async {
            match store.put_opts(&path, json(&begin).into(), PutMode::Create.into()).await {
                // Read again in any case: S3 may say that it exists after a race that nobody won.
                Ok(_) | Err(Store::AlreadyExists { .. }) => Ok(()),
                Err(error) => Err(ReadError::Store(error)),
            }
        })
        .await?;
    };
    if epoch.is_of(source) {
        return Ok(epoch);
    }
    let recorded =
        Source { cluster_id: epoch.cluster_id.clone(), topic: epoch.topic.clone(), topic_id: epoch.topic_id.clone() };
    let next = epoch.next(source);
    Err(Error::OtherLog { recorded: recorded.to_string(), found: source.to_string(), path, next })
}

async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Epoch>, Error> {
    let found = until_it_works("read the epoch file", || async {
        match store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(Store::NotFound { .. }) => Ok(None),
            Err(error) => Err(ReadError::Store(error)),
        }
    });
    let Some(bytes) = found.await? else { return Ok(None) };
    let unreadable = |e: serde_json::Error| Error::EpochUnreadable { path: path.clone(), reason: e.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
}

async fn has_files(store: &dyn ObjectStore, prefix: &Path) -> Result<bool, Error> {
    let table = prefix.clone().join(name::USAGE);
    until_it_works("list the usage table", || async {
        let mut files = store.list(Some(&table));
        while let Some(file) = files.try_next().await? {
            if name::Name::parse(&file.location).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn source(cluster: &str, topic_id: Option<&str>) -> Source {
        let (topic, topic_id) = ("tollgate.usage".to_owned(), topic_id.map(str::to_owned));
        Source { cluster_id: cluster.to_owned(), topic, topic_id }
    }

    #[tokio::test]
    async fn the_first_log_is_recorded_and_others_are_refused() {
        let (store, prefix, starts) = (InMemory::new(), Path::default(), BTreeMap::from([(0, 5)]));
        let ours = source("a", Some("x"));
        let epoch = open(&store, &prefix, &ours, Some(&starts)).await.unwrap();
        assert_eq!((epoch.epoch, epoch.start_of(0), epoch.start_of(1)), (1, Some(5), Some(0)));
        assert_eq!(open(&store, &prefix, &ours, None).await.unwrap(), epoch, "only the first writes");
        for other in [source("b", Some("x")), source("a", Some("y"))] {
            let error = open(&store, &prefix, &other, Some(&starts)).await.unwrap_err();
            let Error::OtherLog { next, path, .. } = error else { panic!("{error}") };
            assert_eq!(serde_json::from_str::<Epoch>(&next).unwrap().epoch, 2);
            assert_eq!(path.as_ref(), "usage/_tollgate/epoch.json");
        }
        open(&store, &prefix, &source("a", None), Some(&starts)).await.unwrap();
    }

    #[tokio::test]
    async fn a_person_begins_the_next_epoch() {
        let (store, prefix, starts) = (InMemory::new(), Path::from("p"), BTreeMap::new());
        open(&store, &prefix, &source("a", Some("x")), Some(&starts)).await.unwrap();
        let created_again = source("a", Some("y"));
        let error = open(&store, &prefix, &created_again, Some(&starts)).await.unwrap_err();
        let Error::OtherLog { next, path, .. } = error else { panic!("{error}") };
        store.put(&path, next.into()).await.unwrap();
        let epoch = open(&store, &prefix, &created_again, Some(&starts)).await.unwrap();
        assert_eq!((epoch.epoch, epoch.start_of(0)), (2, None));
    }

    #[tokio::test]
    async fn a_table_without_its_epoch_file_is_not_begun_again() {
        let (store, prefix) = (InMemory::new(), Path::default());
        let file = Path::from("usage/date=2026-11-23/c-1-0-00000000000000000000.parquet");
        store.put(&file, "x".into()).await.unwrap();
        let error = open(&store, &prefix, &source("c", None), None).await.unwrap_err();
        assert!(matches!(error, Error::EpochMissing { .. }), "{error}");
        store.put(&path(&prefix), "{".into()).await.unwrap();
        let error = open(&store, &prefix, &source("c", None), None).await.unwrap_err();
        assert!(matches!(error, Error::EpochUnreadable { .. }), "{error}");
    }
}
