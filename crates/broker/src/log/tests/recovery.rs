//! Starts after a clean end and after others: torn tails, marks, missing sidecars, work left half done.

use super::*;
use std::fs;

const UNCLEAN: Start = Start { clean: false, ..FRESH };

fn three_segments() -> Fixture {
    let mut fixture = Fixture::new(Settings { segment_bytes: 160, ..settings() });
    for index in 0..6 {
        fixture.append(&batch(vec![rec("a", &index.to_string())]).producer(7, 0, index)).unwrap();
    }
    assert_eq!(fixture.names(".log").len(), 3);
    fixture
}

fn log_file(fixture: &Fixture, index: usize) -> PathBuf {
    fixture.dir.path().join(&fixture.names(".log")[index])
}

fn cut(path: &Path, bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

fn offsets(fixture: &mut Fixture) -> Vec<i64> {
    let (start, end) = (fixture.log().start_offset(), fixture.log().end_offset());
    read_all(fixture.log(), start, end, 1_000).into_iter().map(|(offset, _)| offset).collect()
}

#[test]
fn a_clean_start_reads_nothing() {
    let mut fixture = three_segments();
    fixture.log().close().unwrap();
    assert_eq!(fixture.reopen(FRESH), Recovery::default());
    assert_eq!(offsets(&mut fixture), (0..6).collect::<Vec<_>>());
    assert!(fixture.append(&batch(vec![rec("a", "5")]).producer(7, 0, 5)).unwrap().duplicate);
}

#[test]
fn a_torn_tail_is_cut_and_its_offsets_are_not_used_again() {
    let mut fixture = three_segments();
    cut(&log_file(&fixture, 2), 1);
    let recovery = fixture.reopen(Start { mark: 100, ..UNCLEAN });
    assert_eq!((recovery.cut_at, recovery.skipped_to), (Some(5), Some(100)));
    assert!(recovery.cut_bytes > 60);
    assert_eq!(fixture.append(&batch(vec![rec("a", "5")]).producer(7, 0, 5)).unwrap().base_offset, 100);
    assert_eq!(offsets(&mut fixture), [0, 1, 2, 3, 4, 100]);
    for offset in 5..=100 {
        let slice = fixture.log().read(offset, 101, 1_000, true).unwrap().unwrap();
        let batch = headers(&content(&slice))[0];
        let expected = if offset < 100 { (5, 100, 0) } else { (100, 101, 1) };
        assert_eq!((batch.base_offset, batch.next_offset(), batch.count), expected, "a reader gets over the gap");
    }
    fixture.log().close().unwrap();
    fixture.reopen(Start { mark: 1_000, ..FRESH });
    assert_eq!(fixture.put("a", "1"), 101);
}

#[test]
fn damage_in_the_last_segment_cuts_there() {
    let mut fixture = three_segments();
    let path = log_file(&fixture, 2);
    let bytes = fs::read(&path).unwrap();
    // A base offset, which no checksum covers, and a record.
    for (position, cut_at) in [(bytes.len() / 2 + 1, 5), (65, 4)] {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!(fixture.reopen(UNCLEAN).cut_at, Some(cut_at));
    }
    assert_eq!(fixture.put("a", "1"), 4);
    fs::write(log_file(&fixture, 2), [0; 300]).unwrap();
    assert_eq!(fixture.reopen(UNCLEAN).cut_bytes, 300);
    assert_eq!(offsets(&mut fixture), [0, 1, 2, 3]);
}

#[test]
fn a_sealed_segment_that_was_not_synced_is_read_and_vouches_for_nothing() {
    let mut fixture = three_segments();
    // A power loss took the end of the first segment, while later ones and the producers' snapshots reached the disk.
    cut(&log_file(&fixture, 0), 1);
    let recovery = fixture.reopen(Start { mark: 50, ..UNCLEAN });
    assert_eq!(recovery.cut_at, Some(1));
    assert_eq!(offsets(&mut fixture), [0, 2, 3, 4, 5]);
    let lost = fixture.append(&batch(vec![rec("a", "1")]).producer(7, 0, 1));
    assert!(lost.is_err(), "a batch that is gone is no duplicate: {lost:?}");
    assert!(fixture.append(&batch(vec![rec("a", "5")]).producer(7, 0, 5)).unwrap().duplicate);
}

#[test]
fn sidecars_are_made_anew() {
    let mut fixture = three_segments();
    fixture.log().close().unwrap();
    for kind in [".index", ".producers"] {
        for name in fixture.names(kind) {
            let path = fixture.dir.path().join(&name);
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        }
        fixture.reopen(FRESH);
        assert_eq!(offsets(&mut fixture), (0..6).collect::<Vec<_>>());
        assert!(fixture.append(&batch(vec![rec("a", "5")]).producer(7, 0, 5)).unwrap().duplicate);
        fixture.log().close().unwrap();
        assert_eq!(fixture.names(".index").len(), 3);
    }
    for name in fixture.names(".producers") {
        fs::remove_file(fixture.dir.path().join(name)).unwrap();
    }
    fixture.reopen(UNCLEAN);
    assert!(fixture.append(&batch(vec![rec("a", "5")]).producer(7, 0, 5)).unwrap().duplicate);
}

#[test]
fn a_stale_snapshot_beyond_the_end_is_forgotten() {
    let mut fixture = Fixture::new(settings());
    for index in 0..3 {
        fixture.append(&batch(vec![rec("a", "1")]).producer(7, 0, index)).unwrap();
    }
    fixture.log().close().unwrap();
    cut(&log_file(&fixture, 0), 1);
    fixture.reopen(UNCLEAN);
    assert_eq!(fixture.append(&batch(vec![rec("b", "2")]).producer(7, 0, 2)).unwrap().base_offset, 2);
}

#[test]
fn an_empty_log_skips_to_its_mark_and_keeps_its_start() {
    let mut fixture = Fixture::new(settings());
    for mark in [10, 20, 20, 30] {
        fixture.reopen(Start { mark, ..UNCLEAN });
        assert_eq!((fixture.log().start_offset(), fixture.log().end_offset()), (0, mark));
        assert!(read_all(fixture.log(), 0, mark, 1_000).is_empty());
    }
    assert_eq!(fixture.names(".log").len(), 1);
    assert_eq!(fixture.put("a", "1"), 30);
    assert_eq!(offsets(&mut fixture), [30]);
    fixture.reopen(Start { start_offset: 500, mark: 40, clean: true });
    assert_eq!((fixture.log().start_offset(), fixture.log().end_offset()), (500, 500));
}

#[test]
fn leftovers_are_removed() {
    let mut fixture = three_segments();
    let path = |name: &str| fixture.dir.path().join(name);
    let (first, range) = (format!("{:020}", 0), format!("{:020}-{:020}", 0, 4));
    let orphan = format!("{:020}.index", 999);
    for name in [format!("{first}.log.deleted"), format!("{range}.cleaned"), orphan] {
        fs::write(path(&name), b"x").unwrap();
    }
    fs::write(path("notes.txt"), b"not ours").unwrap();
    fixture.reopen(UNCLEAN);
    assert_eq!(offsets(&mut fixture), (0..6).collect::<Vec<_>>());
    assert_eq!((fixture.names("deleted").len(), fixture.names("cleaned").len()), (0, 0));
    assert_eq!((fixture.names("index").len(), fixture.names("txt").len()), (0, 1));
}

#[test]
fn segments_that_overlap_are_an_error() {
    let fixture = three_segments();
    fs::rename(log_file(&fixture, 2), fixture.dir.path().join(format!("{:020}.log", 3))).unwrap();
    let Err(error) = Log::open(fixture.dir.path(), Files::new(4), UNCLEAN) else { panic!("opened") };
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
