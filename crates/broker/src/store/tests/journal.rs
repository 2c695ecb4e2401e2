//! Tests of the file: locks, damage, full disks, rewrites.

use super::{commit, make, open};
use crate::store::{
    journal::{FILE, NEW_FILE, REWRITE_BYTES_MIN},
    *,
};

fn journal(dir: &Path) -> Vec<u8> {
    fs::read(dir.join(FILE)).unwrap()
}

fn refused(dir: &Path) -> String {
    Store::open(dir).err().unwrap().to_string()
}

#[test]
fn a_folder_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    assert!(refused(dir.path()).ends_with("another tollgate uses this folder; stop it or choose another folder"));
    let rewrite = store.start_rewrite().unwrap().unwrap();
    drop(store);
    assert!(refused(dir.path()).contains("another tollgate"), "a rewrite under way could still replace the journal");
    rewrite.run();
    open(dir.path());
}

#[test]
fn folders_are_made_and_topics_without_a_journal_are_not_started_over() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b");
    let (mut store, opened) = Store::open(&deep).unwrap();
    assert!(opened.created);
    make(&mut store, "t", 1);
    let id = store.state().topics["t"].id;
    drop(store);
    fs::create_dir_all(names::partition_dir(&deep, "t", id, 0)).unwrap();
    fs::remove_file(deep.join(FILE)).unwrap();
    assert!(refused(&deep).contains("topics but no journal.log"));
    assert!(!deep.join(FILE).exists());
    fs::remove_dir_all(deep.join("topics")).unwrap();
    assert!(Store::open(&deep).unwrap().1.created);
}

#[test]
fn a_torn_line_is_cut_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    make(&mut store, "a", 1);
    store.close().unwrap();
    drop(store);
    let mut bytes = journal(dir.path());
    bytes.extend_from_slice(b"0123abcd {\"closed");
    fs::write(dir.path().join(FILE), bytes).unwrap();
    let (store, opened) = Store::open(dir.path()).unwrap();
    assert_eq!(opened, Opened { created: false, clean: false, cut_bytes: 17, cut_lines: 1, kept: None });
    assert!(store.state().topics.contains_key("a"));
    drop(store);
    assert_eq!(Store::open(dir.path()).unwrap().1.cut_bytes, 0);
}

#[test]
fn damage_cuts_what_follows_and_keeps_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    ["a", "b", "c", "d"].iter().for_each(|topic| make(&mut store, topic, 1));
    drop(store);
    let mut bytes = journal(dir.path());
    let at = bytes.windows(3).position(|window| window == b"\"b\"").unwrap() + 1;
    bytes[at] ^= 1;
    fs::write(dir.path().join(FILE), &bytes).unwrap();
    let (store, opened) = Store::open(dir.path()).unwrap();
    assert_eq!(store.state().topics.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!((opened.cut_lines, &opened.kept), (3, &Some(dir.path().join("journal.damaged"))));
    assert_eq!(fs::read(opened.kept.unwrap()).unwrap(), bytes);
}

#[test]
fn a_journal_that_cannot_be_understood_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let snapshot = journal(dir.path());
    make(&mut store, "a", 1);
    drop(store);
    let topic_alone = journal(dir.path())[snapshot.len()..].to_vec();
    let line = |json: &str| format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes();
    let head =
        |format| line(&format!("{{\"head\":{{\"format\":{format},\"cluster_id\":\"x\",\"next_producer_id\":0}}}}"));
    let mut no_line_feed = snapshot.clone();
    no_line_feed.pop();
    let mut upper = snapshot.clone();
    upper[..8].make_ascii_uppercase();
    for bytes in [vec![], vec![0; 5_000], vec![b'x'; LINE_BYTES_MAX * 2], no_line_feed, topic_alone] {
        fs::write(dir.path().join(FILE), &bytes).unwrap();
        assert!(refused(dir.path()).contains("the first line is damaged"));
        assert_eq!(journal(dir.path()), bytes);
    }
    let later = [snapshot.clone(), line("{\"later\":1}")].concat();
    for (bytes, number) in [(head(2), 1), (later, 2), ([head(1), head(1)].concat(), 2)] {
        fs::write(dir.path().join(FILE), &bytes).unwrap();
        assert!(refused(dir.path()).contains(&format!("line {number} was written by a newer version")));
        assert_eq!(journal(dir.path()), bytes);
    }
}

#[test]
fn a_full_disk_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    make(&mut store, "a", 1);
    let before = journal(dir.path());
    for room in [0, 1, 15] {
        store.journal.current.room = Some(room);
        let error = store.create_topic("b", 1, &BTreeMap::new(), 0).unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error}");
        assert!(store.commit_offsets("g", &[commit("a", 0, 1)]).is_err());
        assert!(store.reserve_producer_ids().is_err());
        assert!(store.close().is_err());
        assert_eq!(journal(dir.path()), before);
        assert!(!store.state().topics.contains_key("b") && store.state().offsets.groups().is_empty());
    }
    store.journal.current.room = None;
    assert_eq!(store.reserve_producer_ids().unwrap(), 0..1_000);
    assert_eq!(&journal(dir.path())[..before.len()], &before[..]);
}

#[test]
fn a_disk_that_fills_up_during_a_rewrite_changes_neither_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let rewrite = store.start_rewrite().unwrap().unwrap();
    let before = (journal(dir.path()), fs::read(dir.path().join(NEW_FILE)).unwrap());
    store.journal.next.as_mut().unwrap().room = Some(5);
    assert!(store.commit_offsets("g", &[commit("a", 0, 1)]).is_err());
    assert_eq!((journal(dir.path()), fs::read(dir.path().join(NEW_FILE)).unwrap()), before);
    store.journal.next.as_mut().unwrap().room = None;
    store.commit_offsets("g", &[commit("a", 0, 2)]).unwrap();
    assert!(store.finish_rewrite(rewrite.run()).unwrap());
    drop(store);
    assert_eq!(open(dir.path()).state().offsets.get("g", "a", 0).unwrap().offset, 2);
}

#[test]
fn a_rewrite_shortens_the_journal_while_changes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let offsets: Vec<_> = (0..12).map(|partition| commit("a", partition, 1)).collect();
    while !store.rewrite_due() {
        store.commit_offsets("g", &offsets).unwrap();
    }
    assert!(journal(dir.path()).len() as u64 > REWRITE_BYTES_MIN);
    let rewrite = store.start_rewrite().unwrap().unwrap();
    assert!(store.start_rewrite().unwrap().is_none() && !store.rewrite_due());
    assert_eq!(store.files().len(), 2);
    store.commit_offsets("during", &offsets).unwrap();
    let done = rewrite.run();
    store.commit_offsets("between", &offsets).unwrap();
    assert!(store.finish_rewrite(done).unwrap());
    assert_eq!(store.files().len(), 1);
    store.commit_offsets("after", &offsets).unwrap();
    assert!(journal(dir.path()).len() < 10_000 && !dir.path().join(NEW_FILE).exists() && !store.rewrite_due());
    drop(store);
    let store = open(dir.path());
    let groups: Vec<_> = store.state().offsets.groups().keys().collect();
    assert_eq!(groups, ["after", "between", "during", "g"]);
}

#[test]
fn a_failed_rewrite_leaves_the_old_journal_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    make(&mut store, "a", 1);
    let rewrite = store.start_rewrite().unwrap().unwrap();
    fs::remove_file(dir.path().join(NEW_FILE)).unwrap();
    assert!(!store.finish_rewrite(rewrite.run()).unwrap());
    make(&mut store, "b", 1);

    fs::create_dir(dir.path().join(NEW_FILE)).unwrap();
    assert!(store.start_rewrite().is_err(), "something is in the way");
    fs::remove_dir(dir.path().join(NEW_FILE)).unwrap();
    make(&mut store, "c", 1);

    drop(store.start_rewrite().unwrap().unwrap());
    make(&mut store, "d", 1);
    drop(store);
    assert_eq!(open(dir.path()).state().topics.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

#[test]
fn many_partitions_and_offsets_survive_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let name = "n".repeat(249);
    make(&mut store, &name, 4_000);
    let marks: Vec<_> = (0..4_000).map(|partition| (name.as_str(), partition, i64::MAX - 1, i64::MAX)).collect();
    store.set_marks(&marks).unwrap();
    let metadata = "\u{1}".repeat(METADATA_BYTES_MAX);
    let group = "g".repeat(32_000);
    for partition in 0..4_000 {
        let metadata = if partition < 40 { metadata.as_str().into() } else { "".into() };
        store
            .commit_offsets(
                if partition < 40 { &group } else { "g" },
                &[Commit { metadata, ..commit(&name, partition, 1) }],
            )
            .unwrap();
    }
    drop(store);
    let (store, opened) = Store::open(dir.path()).unwrap();
    assert_eq!((opened.cut_lines, store.state().topics[&name].partitions[3_999].mark), (0, i64::MAX));
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.state().offsets.get(&group, &name, 39).unwrap().metadata.len(), METADATA_BYTES_MAX);
    assert_eq!(store.state().offsets.groups()["g"][&name].len(), 3_960);
}
