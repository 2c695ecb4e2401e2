//! Tests of topic names, ids and folders.

use crate::store::names::*;
use std::path::Path;
use uuid::Uuid;

#[test]
fn topic_names_follow_kafkas_rule() {
    let longest = "a".repeat(TOPIC_NAME_BYTES_MAX);
    for good in ["a", "in.search", "A_b-9", "...", longest.as_str()] {
        assert_eq!(check_topic_name(good), Ok(()), "{good}");
    }
    let too_long = "a".repeat(TOPIC_NAME_BYTES_MAX + 1);
    for bad in ["", ".", "..", "a/b", "a b", "ü", "a\0", "a\\b", too_long.as_str()] {
        assert!(check_topic_name(bad).is_err(), "{bad}");
    }
    assert_eq!(check_topic_name(&too_long).unwrap_err(), "a topic name has 1 to 249 characters, this one 250");
}

#[test]
fn ids_read_as_in_kafka() {
    // What java.util.Base64's URL encoder without padding makes of these bytes.
    assert_eq!(id_text(Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(id_text(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
    assert_eq!(id_text(Uuid::from_u128(u128::MAX)), "_____________________w");
    assert_eq!(id_text(Uuid::from_bytes(*b"0123456789abcdef")), "MDEyMzQ1Njc4OWFiY2RlZg");
    for _ in 0..1_000 {
        let text = id_text(new_id());
        assert!(text.len() == 22 && !text.starts_with('-'));
    }
}

#[test]
fn folders_are_short_enough_and_told_apart() {
    let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    let dir = partition_dir(Path::new("data"), "in.search", id, 3);
    assert_eq!(dir, Path::new("data/topics/in.search.01234567/3"));
    for length in 1..=TOPIC_NAME_BYTES_MAX {
        assert!(topic_folder(&"a".repeat(length), id).len() <= 255);
    }
    let long = "a".repeat(248);
    let (first, second) = (format!("{long}x"), format!("{long}y"));
    assert_ne!(topic_folder(&first, id), topic_folder(&second, Uuid::from_u128(id.as_u128() + 1)));
    assert_eq!(topic_folder(&first, id), format!("{}.{}", "a".repeat(200), id.simple()));
}
