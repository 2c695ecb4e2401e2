//! Tests of the store: each change and error (`changes`, `journal`), names and configs, and random histories with
//! crashes against a model (`model`).

mod catalog;
mod changes;
mod journal;
mod model;
mod names;

use super::{Commit, Store};
use std::{borrow::Cow, collections::BTreeMap, path::Path};

fn open(dir: &Path) -> Store {
    Store::open(dir).unwrap().0
}

fn commit(topic: &str, partition: i32, offset: i64) -> Commit<'_> {
    let (topic, metadata) = (Cow::Borrowed(topic), Cow::Borrowed("state \"x\"\n"));
    Commit { topic, partition, offset, leader_epoch: -1, metadata, committed_ms: 1_000 + offset }
}

fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn make(store: &mut Store, topic: &str, partitions: i32) {
    store.create_topic(topic, partitions, &BTreeMap::new(), 7).unwrap();
}
