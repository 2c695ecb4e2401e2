//! Tests of each change: what it does, that it outlives the store, and what refuses it.

use super::{commit, config, make, open};
use crate::store::*;
use crate::store::{offsets::Committed, state::Partition};

#[test]
fn topics_keep_their_ids_configs_and_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, opened) = Store::open(dir.path()).unwrap();
    assert!(opened.created && opened.clean);
    let cluster_id = store.state().cluster_id.clone();
    let id = store.create_topic("a", 2, &config(&[("retention.ms", "5")]), 42).unwrap();
    store.add_partitions("a", 3).unwrap();
    store.add_partitions("a", 1).unwrap();
    store.set_config("a", &config(&[("segment.ms", "6")])).unwrap();
    store.set_marks(&[("a", 2, 5, 10), ("a", 9, 1, 1), ("a", -1, 1, 1), ("none", 0, 1, 1)]).unwrap();
    store.set_marks(&[("a", 2, 4, 9)]).unwrap();
    drop(store);

    let (store, opened) = Store::open(dir.path()).unwrap();
    assert_eq!(opened, Opened { created: false, clean: false, cut_bytes: 0, cut_lines: 0, kept: None });
    let topic = &store.state().topics["a"];
    assert_eq!((topic.id, topic.created_ms), (id, 42));
    assert_eq!(topic.config, config(&[("segment.ms", "6")]));
    assert_eq!(topic.partitions, [Partition::default(), Partition::default(), Partition { start: 5, mark: 10 }]);
    assert_eq!(store.state().cluster_id, cluster_id);
    assert_eq!(cluster_id.len(), 22);
}

#[test]
fn a_deleted_topic_takes_its_offsets_along_and_its_folder_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    make(&mut store, "a", 1);
    make(&mut store, "b", 1);
    store.commit_offsets("both", &[commit("a", 0, 1), commit("b", 0, 2)]).unwrap();
    store.commit_offsets("one", &[commit("a", 0, 1)]).unwrap();
    let old = store.delete_topic("a").unwrap();
    make(&mut store, "a", 1);
    assert_ne!(store.state().topics["a"].id, old);
    store.commit_offsets("new", &[commit("a", 0, 5)]).unwrap();
    drop(store);

    let mut store = open(dir.path());
    assert_eq!(store.state().deleted, [("a".to_owned(), old)]);
    let groups: Vec<_> = store.state().offsets.groups().keys().collect();
    assert_eq!(groups, ["both", "new"]);
    assert_eq!(store.state().offsets.get("both", "a", 0), None);
    store.folder_removed(old).unwrap();
    drop(store);
    assert!(open(dir.path()).state().deleted.is_empty());
}

#[test]
fn offsets_are_kept_with_all_that_came_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.commit_offsets("g", &[commit("a", 0, 1), commit("a", 1, 2)]).unwrap();
    store.commit_offsets("g", &[commit("a", 0, 3)]).unwrap();
    store.commit_offsets("h", &[commit("a", 0, 4), commit("b", 0, 4)]).unwrap();
    store.commit_offsets("none", &[]).unwrap();
    store.delete_offsets("h", "a", 0).unwrap();
    store.delete_offsets("h", "nope", 0).unwrap();
    drop(store);

    let mut store = open(dir.path());
    let metadata = "state \"x\"\n".to_owned();
    let expected = Committed { offset: 3, leader_epoch: -1, metadata, committed_ms: 1_003 };
    assert_eq!(store.state().offsets.get("g", "a", 0), Some(&expected));
    assert_eq!(store.state().offsets.get("g", "a", 1).unwrap().offset, 2);
    assert_eq!(store.state().offsets.get("h", "a", 0), None);
    store.delete_offsets("h", "b", 0).unwrap();
    store.delete_group("g").unwrap();
    store.delete_group("nope").unwrap();
    drop(store);
    assert!(open(dir.path()).state().offsets.groups().is_empty());
}

#[test]
fn offsets_expire_once_nobody_used_the_group_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for group in ["idle", "busy", "late"] {
        store.commit_offsets(group, &[commit("a", 0, 0), commit("a", 1, 0)]).unwrap();
    }
    store.commit_offsets("late", &[commit("a", 1, 500)]).unwrap();
    let empty = |group: &str| group != "busy";
    assert!(store.expire_offsets(1_999, 1_000, empty).unwrap().is_empty());
    assert_eq!(store.expire_offsets(2_000, 1_000, empty).unwrap(), ["idle"]);
    assert_eq!(store.expire_offsets(2_999, 1_000, |_| true).unwrap(), ["late"], "busy was seen busy at 2,000");
    assert_eq!(store.expire_offsets(3_000, 1_000, |_| true).unwrap(), ["busy"]);
    drop(store);
    assert!(open(dir.path()).state().offsets.groups().is_empty());
}

#[test]
fn producer_ids_are_never_given_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    assert_eq!(store.reserve_producer_ids().unwrap(), 0..1_000);
    assert_eq!(store.reserve_producer_ids().unwrap(), 1_000..2_000);
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(store.reserve_producer_ids().unwrap(), 2_000..3_000);
    store.change(Entry::ProducerIds { next: i64::MAX - 5 }).unwrap();
    let error = store.reserve_producer_ids().unwrap_err();
    assert_eq!(error.to_string(), "all producer ids are given away");
}

#[test]
fn a_clean_end_is_remembered_once() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close().unwrap();
    assert!(Store::open(dir.path()).unwrap().1.clean);
    let (mut store, opened) = Store::open(dir.path()).unwrap();
    assert!(!opened.clean, "the second one was opened and not closed");
    let rewrite = store.start_rewrite().unwrap().unwrap();
    store.close().unwrap();
    for refused in [store.commit_offsets("g", &[commit("a", 0, 1)]), store.close()] {
        assert_eq!(refused.unwrap_err().to_string(), "the broker is closed");
    }
    assert!(store.finish_rewrite(rewrite.run()).unwrap());
    assert!(store.start_rewrite().unwrap().is_none());
    drop(store);
    assert!(Store::open(dir.path()).unwrap().1.clean, "closed during a rewrite");
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    make(&mut store, "a", 1);
    let text = |error: Result<(), Error>| error.unwrap_err().to_string();
    assert_eq!(text(store.create_topic("a", 1, &config(&[]), 0).map(drop)), "topic a exists already");
    assert_eq!(text(store.delete_topic("b").map(drop)), "there is no topic b");
    assert_eq!(text(store.add_partitions("b", 1)), "there is no topic b");
    assert_eq!(text(store.set_config("b", &config(&[]))), "there is no topic b");

    let long = "\u{1}".repeat(LINE_BYTES_MAX / 6);
    let mut offset = commit("a", 0, 1);
    offset.metadata = long.as_str().into();
    assert!(
        text(store.commit_offsets("g", &[offset])).contains("does not fit a line of the journal (at most 1048576)")
    );

    for first in (0..GROUP_OFFSETS_MAX as i32).step_by(1_000) {
        let offsets: Vec<_> = (first..first + 1_000).map(|partition| commit("a", partition, 1)).collect();
        store.commit_offsets("g", &offsets).unwrap();
    }
    assert!(text(store.commit_offsets("g", &[commit("a", -1, 1)])).contains("at most 20000 in a group"));
    store.commit_offsets("g", &[commit("a", 0, 2)]).unwrap();
    let before = std::fs::metadata(dir.path().join("journal.log")).unwrap().len();
    assert!(store.commit_offsets("g", &[commit("b", 0, 1)]).is_err());
    assert_eq!(std::fs::metadata(dir.path().join("journal.log")).unwrap().len(), before);
}

#[test]
fn offsets_of_all_groups_are_bounded_in_number_and_bytes_and_freed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let metadata = "m".repeat(METADATA_BYTES_MAX);
    let offsets: Vec<_> =
        (0..100).map(|partition| Commit { metadata: metadata.as_str().into(), ..commit("a", partition, 1) }).collect();
    let fits = OFFSETS_BYTES_MAX / (100 * (METADATA_BYTES_MAX + 5));
    for group in 0..fits {
        store.commit_offsets(&format!("g{group:03}"), &offsets).unwrap();
    }
    assert!(matches!(store.commit_offsets("more", &offsets), Err(Error::TooManyOffsets)));
    store.commit_offsets("g000", &offsets).unwrap();
    store.delete_group("g000").unwrap();
    store.commit_offsets("more", &offsets).unwrap();
    make(&mut store, "a", 100);
    store.delete_topic("a").unwrap();
    assert_eq!(format!("{:?}", store.state().offsets), "Offsets { groups: {}, entries: 0, bytes: 0 }");
}
