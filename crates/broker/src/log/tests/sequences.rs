//! Idempotent producers: duplicates, gaps, epochs, restarts.

use super::*;

fn send(fixture: &mut Fixture, epoch: i16, sequence: i32, count: usize) -> Result<Appended, AppendError> {
    fixture.append(&batch(vec![rec("a", "1"); count]).producer(7, epoch, sequence))
}

#[test]
fn the_last_five_batches_are_kept_once() {
    let mut fixture = Fixture::new(settings());
    for index in 0..6 {
        assert_eq!(send(&mut fixture, 0, index * 2, 2).unwrap().base_offset, i64::from(index) * 2);
    }
    for index in 1..6 {
        let again = send(&mut fixture, 0, index * 2, 2).unwrap();
        let first = i64::from(index) * 2;
        assert_eq!((again.base_offset, again.last_offset, again.duplicate), (first, first + 1, true));
    }
    for (sequence, count) in [(0, 2), (10, 1), (13, 1), (11, 2)] {
        let refused = send(&mut fixture, 0, sequence, count);
        assert!(matches!(refused, Err(AppendError::OutOfOrderSequence)), "{sequence}: {refused:?}");
    }
    assert_eq!(send(&mut fixture, 0, 12, 1).unwrap().base_offset, 12);
}

#[test]
fn a_new_epoch_begins_at_zero_and_ends_the_old_one() {
    let mut fixture = Fixture::new(settings());
    send(&mut fixture, 3, 40, 1).unwrap();
    assert!(matches!(send(&mut fixture, 4, 41, 1), Err(AppendError::OutOfOrderSequence)));
    assert!(!send(&mut fixture, 4, 0, 1).unwrap().duplicate);
    assert!(send(&mut fixture, 4, 0, 1).unwrap().duplicate);
    assert!(matches!(send(&mut fixture, 3, 41, 1), Err(AppendError::OldProducerEpoch)));
}

#[test]
fn sequences_wrap_to_zero() {
    let mut fixture = Fixture::new(settings());
    send(&mut fixture, 0, i32::MAX - 1, 3).unwrap();
    assert!(send(&mut fixture, 0, i32::MAX - 1, 3).unwrap().duplicate);
    assert!(!send(&mut fixture, 0, 1, 1).unwrap().duplicate);
    send(&mut fixture, 1, 0, 1).unwrap();
    fixture.append(&batch(vec![rec("a", "1")]).producer(8, 0, i32::MAX)).unwrap();
    assert_eq!(fixture.append(&batch(vec![rec("a", "1")]).producer(8, 0, 0)).unwrap().base_offset, 6);
}

#[test]
fn they_are_known_after_a_restart() {
    let mut fixture = Fixture::new(Settings { segment_bytes: 200, ..settings() });
    for index in 0..7 {
        send(&mut fixture, 0, index, 1).unwrap();
    }
    fixture.log().close().unwrap();
    for clean in [true, false] {
        let recovery = fixture.reopen(Start { clean, ..FRESH });
        assert_eq!(recovery.scanned_bytes, 0);
        assert_eq!(send(&mut fixture, 0, 4, 1).unwrap().base_offset, 4);
        assert!(send(&mut fixture, 0, 8, 1).is_err());
    }
    for index in 7..9 {
        fixture.reopen(Start { clean: false, ..FRESH });
        assert!(!send(&mut fixture, 0, index, 1).unwrap().duplicate);
        assert!(send(&mut fixture, 0, index, 1).unwrap().duplicate);
    }
}

#[test]
fn a_duplicate_has_the_time_of_the_first() {
    let mut fixture = Fixture::new(Settings { append_time: true, ..settings() });
    let sent = batch(vec![rec("a", "1")]).producer(7, 0, 0);
    fixture.append_at(&sent, NOW).unwrap();
    assert_eq!(fixture.append_at(&sent, NOW + 50).unwrap().append_time_ms, NOW);
}

#[test]
fn silence_and_numbers_are_bounded() {
    let mut fixture = Fixture::new(settings());
    send(&mut fixture, 0, 0, 1).unwrap();
    let day_ms = 24 * 60 * 60 * 1_000;
    let later = batch(vec![rec("a", "1")]).producer(7, 0, 90);
    assert!(fixture.append_at(&later, NOW + day_ms).is_err());
    assert_eq!(fixture.append_at(&later, NOW + day_ms + 1).unwrap().base_offset, 1);
    for id in 100..10_101 {
        fixture.append_at(&batch(vec![rec("a", "1")]).producer(id, 0, 5), NOW + day_ms + id).unwrap();
    }
    // Forgotten, so any sequence is taken.
    assert!(fixture.append_at(&batch(vec![rec("a", "1")]).producer(100, 0, 9), NOW + day_ms + 20_000).is_ok());
    assert!(fixture.append_at(&batch(vec![rec("a", "1")]).producer(10_100, 0, 9), NOW + day_ms + 20_000).is_err());
}
