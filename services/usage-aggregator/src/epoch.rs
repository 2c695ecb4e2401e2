//! Which log the table belongs to: `usage/_tollgate/epoch.json`, written once, put-if-absent.
//!
//! Offsets name files, so a table must never be fed from two logs. A topic that was created again, or another cluster,
//! is refused until a person begins a new epoch, whose number then stands in the names.
//!
//! Where the log's partitions began is written down with the epoch: a partition without a file must begin there, or rows were
//! lost. A person does not know these offsets, so for an epoch that a person began the first opener puts them beside it.

use crate::{Error, name, read::ReadError, retry::until_it_works};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{Error as Store, ObjectStore, ObjectStoreExt, PutMode, path::Path};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fmt, future::Future};

/// The first offset that the log has of each partition.
pub type Starts = BTreeMap<i32, i64>;

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

impl Source {
    /// The same log? A topic's id decides if both have one, else its name.
    pub fn is_same(&self, other: &Source) -> bool {
        let same_topic = match (&self.topic_id, &other.topic_id) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.topic == other.topic,
        };
        self.cluster_id == other.cluster_id && same_topic
    }
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
    /// Where each partition began when the epoch did. A person leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Starts>,
}

impl Epoch {
    fn first(source: &Source, starts: Option<Starts>) -> Self {
        let Source { cluster_id, topic, topic_id } = source.clone();
        Self { epoch: 1, cluster_id, topic, topic_id, starts }
    }

    fn source(&self) -> Source {
        let Self { cluster_id, topic, topic_id, .. } = self.clone();
        Source { cluster_id, topic, topic_id }
    }

    /// What a person writes to begin the next epoch on `source`.
    pub fn next(&self, source: &Source) -> String {
        json(&Self { epoch: self.epoch + 1, ..Self::first(source, None) })
    }

    /// The error of a log that is not this epoch's. `path`: the epoch file.
    pub(crate) fn refuse(&self, found: &Source, path: Path) -> Error {
        let (recorded, next) = (self.source().to_string(), self.next(found));
        Error::OtherLog { recorded, found: found.to_string(), path, next }
    }

    /// The first offset that the table must hold of a partition; 0: all of a partition that the epoch did not find.
    pub fn start_of(&self, partition: i32) -> i64 {
        self.starts.as_ref().and_then(|starts| starts.get(&partition)).copied().unwrap_or(0)
    }
}

fn json(value: &impl Serialize) -> String {
    // Cannot fail: keys are integers and strings.
    serde_json::to_string(value).unwrap_or_default()
}

/// Where the epoch file stands.
pub fn path(prefix: &Path) -> Path {
    prefix.clone().join(name::USAGE).join("_tollgate").join("epoch.json")
}

/// Where the starts of an epoch stand that a person began.
fn starts_path(prefix: &Path, epoch: u32) -> Path {
    prefix.clone().join(name::USAGE).join("_tollgate").join(format!("starts-{epoch}.json").as_str())
}

/// Reads the epoch of the table under `prefix`, or begins epoch 1 if there is no table yet. `starts` asks where the log's
/// partitions begin now; it is asked when an epoch begins.
pub async fn open<F>(
    store: &dyn ObjectStore,
    prefix: &Path,
    source: &Source,
    starts: impl Fn() -> F,
) -> Result<Epoch, Error>
where
    F: Future<Output = Result<Starts, Error>>,
{
    let path = path(prefix);
    let mut epoch: Epoch = match read(store, &path).await? {
        Some(epoch) => epoch,
        // Another writer may have begun the table since.
        None if has_files(store, prefix).await? => match read(store, &path).await? {
            Some(epoch) => epoch,
            None => return Err(Error::EpochMissing { path, content: json(&Epoch::first(source, None)) }),
        },
        None => create(store, &path, Epoch::first(source, Some(starts().await?))).await?,
    };
    if !epoch.source().is_same(source) {
        return Err(epoch.refuse(source, path));
    }
    if epoch.starts.is_none() {
        let path = starts_path(prefix, epoch.epoch);
        epoch.starts = Some(match read(store, &path).await? {
            Some(recorded) => recorded,
            None => create(store, &path, starts().await?).await?,
        });
    }
    Ok(epoch)
}

/// Puts `value` where nothing is; gives what is there then.
async fn create<T: Serialize + DeserializeOwned>(store: &dyn ObjectStore, path: &Path, value: T) -> Result<T, Error> {
    let (content, what) = (json(&value), format!("write {path}"));
    let found = until_it_works(&what, || async {
        match store.put_opts(path, content.clone().into(), PutMode::Create.into()).await {
            Ok(_) => Ok(None),
            // Somebody else's, or ours after an answer that was lost; or nothing is there, because S3 says so of a race that
            // nobody won: then the read fails, and the put is tried again.
            Err(Store::AlreadyExists { .. }) => Ok(Some(store.get(path).await?.bytes().await?)),
            Err(error) => Err(ReadError::Store(error)),
        }
    });
    match found.await? {
        Some(bytes) => parse(path, &bytes),
        None => Ok(value),
    }
}

async fn read<T: DeserializeOwned>(store: &dyn ObjectStore, path: &Path) -> Result<Option<T>, Error> {
    let what = format!("read {path}");
    let found = until_it_works(&what, || async {
        match store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(Store::NotFound { .. }) => Ok(None),
            Err(error) => Err(ReadError::Store(error)),
        }
    });
    found.await?.map(|bytes| parse(path, &bytes)).transpose()
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|e| Error::EpochUnreadable { path: path.clone(), reason: e.to_string() })
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
    use crate::testing::faulty::{Fault, Faulty};
    use object_store::memory::InMemory;

    fn source(cluster: &str, topic_id: Option<&str>) -> Source {
        let (topic, topic_id) = ("tollgate.usage".to_owned(), topic_id.map(str::to_owned));
        Source { cluster_id: cluster.to_owned(), topic, topic_id }
    }

    /// A log whose only partition begins at `start`.
    fn at(start: i64) -> impl Fn() -> std::future::Ready<Result<Starts, Error>> {
        move || std::future::ready(Ok(Starts::from([(0, start)])))
    }

    #[tokio::test]
    async fn the_first_log_is_recorded_and_others_are_refused() {
        let (store, prefix) = (InMemory::new(), Path::default());
        let ours = source("a", Some("x"));
        let epoch = open(&store, &prefix, &ours, at(5)).await.unwrap();
        assert_eq!((epoch.epoch, epoch.start_of(0), epoch.start_of(1)), (1, 5, 0));
        assert_eq!(open(&store, &prefix, &ours, at(9)).await.unwrap(), epoch, "only the first writes");
        for other in [source("b", Some("x")), source("a", Some("y"))] {
            let error = open(&store, &prefix, &other, at(0)).await.unwrap_err();
            let Error::OtherLog { next, path, .. } = error else { panic!("{error}") };
            assert_eq!(serde_json::from_str::<Epoch>(&next).unwrap().epoch, 2);
            assert_eq!(path.as_ref(), "usage/_tollgate/epoch.json");
        }
        open(&store, &prefix, &source("a", None), at(5)).await.unwrap();
    }

    #[tokio::test]
    async fn a_person_begins_the_next_epoch_and_its_starts_are_kept_from_then_on() {
        let (store, prefix) = (InMemory::new(), Path::from("p"));
        open(&store, &prefix, &source("a", Some("x")), at(0)).await.unwrap();
        let created_again = source("a", Some("y"));
        let error = open(&store, &prefix, &created_again, at(7)).await.unwrap_err();
        let Error::OtherLog { next, path, .. } = error else { panic!("{error}") };
        store.put(&path, next.into()).await.unwrap();
        let epoch = open(&store, &prefix, &created_again, at(7)).await.unwrap();
        assert_eq!((epoch.epoch, epoch.start_of(0)), (2, 7));
        let later = open(&store, &prefix, &created_again, at(9)).await.unwrap();
        assert_eq!(later.start_of(0), 7, "what retention removed since then is missed");
    }

    #[tokio::test(start_paused = true)]
    async fn false_conflicts_and_lost_answers_at_the_beginning_are_ridden_out() {
        let store = Faulty::default();
        store.at_next_puts(&[Fault::FalseConflict, Fault::Refused, Fault::LostAnswer]);
        let ours = source("a", Some("x"));
        let epoch = open(&store, &Path::default(), &ours, at(5)).await.unwrap();
        assert_eq!(open(&store, &Path::default(), &ours, at(9)).await.unwrap(), epoch);
    }

    /// Found by the model of the writer: two aggregators that start at the same time on a table that is not there yet.
    #[tokio::test(start_paused = true)]
    async fn a_table_that_another_has_just_begun_is_not_taken_for_one_without_its_epoch_file() {
        let (store, prefix, ours) = (Faulty::default(), Path::default(), source("c", None));
        // The file is not there yet; the list breaks off, and is asked for again a while later.
        store.set_weather(&[1, 4]);
        let late = open(&store, &prefix, &ours, at(0));
        let early = async {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            let epoch = open(&store, &prefix, &ours, at(0)).await.unwrap();
            let file = Path::from("usage/date=2026-11-23/c-1-0-00000000000000000000.parquet");
            store.put(&file, "x".into()).await.unwrap();
            epoch
        };
        let (late, early) = tokio::join!(late, early);
        assert_eq!(late.unwrap(), early);
    }

    #[tokio::test]
    async fn a_table_without_its_epoch_file_is_not_begun_again() {
        let (store, prefix) = (InMemory::new(), Path::default());
        let file = Path::from("usage/date=2026-11-23/c-1-0-00000000000000000000.parquet");
        store.put(&file, "x".into()).await.unwrap();
        let error = open(&store, &prefix, &source("c", None), at(0)).await.unwrap_err();
        assert!(matches!(error, Error::EpochMissing { .. }), "{error}");
        store.put(&path(&prefix), "{".into()).await.unwrap();
        let error = open(&store, &prefix, &source("c", None), at(0)).await.unwrap_err();
        assert!(matches!(error, Error::EpochUnreadable { .. }), "{error}");
    }
}
