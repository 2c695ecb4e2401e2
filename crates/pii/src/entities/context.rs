//! Context words: what stands near a bare number decides whether it is taken for personal data.
//!
//! All words of a text that any recogniser cares for are looked up in one pass; each stands for a set of topics, one bit each.

use super::{Entity, phone_number};
use crate::looks::{self, Looks};
use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

const BEFORE_BYTES: usize = 48;
const AFTER_BYTES: usize = 24;

/// Scores: under such a key; right after such a word, falling with the distance; right before one, falling too.
const UNDER_KEY: f32 = 0.6;
const RIGHT_AFTER: f32 = 0.6;
pub(super) const RIGHT_BEFORE: f32 = 0.5;
const FALL: f32 = 0.1;

const PLACEHOLDER_MAX_BYTES: usize = 56;
/// So far in front of a number a word still is its label.
const LABEL_BYTES: usize = 12;

/// At least this sure: the word is the number's label, with little but punctuation between them.
pub(super) const LABEL: f32 = 0.57;
/// The same for a word that follows.
pub(super) const LABEL_AFTER: f32 = 0.48;

/// Topics that belong to no entity.
pub(super) const VERSION: u64 = 1 << 63;
/// Labels of telephone numbers.
pub(super) const PHONE_LABEL: u64 = 1 << 61;
const OTHER: u64 = 1 << 62;

/// Four numbers after one of these are a release, not an address.
const VERSION_WORDS: &[&str] = &["version", "ver", "release", "v", "build", "firmware"];

/// What follows one of these is a number of something else, whatever stands further away.
const OTHER_WORDS: &[&str] = &[
    "aws",
    "batch",
    "booking",
    "build",
    "case",
    "checksum",
    "commit",
    "flight",
    "hash",
    "invoice",
    "isbn",
    "item",
    "job",
    "lot",
    "md5",
    "model",
    "order",
    "parcel",
    "part",
    "plate",
    "port",
    "product",
    "ref",
    "reference",
    "release",
    "revision",
    "room",
    "sequence",
    "serial",
    "session",
    "sha1",
    "sha256",
    "shipment",
    "sku",
    "software",
    "ticket",
    "timestamp",
    "trace",
    "tracking",
    "transaction",
    "uuid",
    "version",
];

/// Lower-case words and their topics. A sigma is the one within a word, also at its end, where a capital one does not tell them apart.
static TOPICS: LazyLock<HashMap<String, u64>> = LazyLock::new(|| {
    let mut topics = HashMap::new();
    let lists = Entity::ALL.iter().map(|entity| (entity.topic(), entity.context()));
    for (topic, words) in
        lists.chain([(VERSION, VERSION_WORDS), (PHONE_LABEL, phone_number::LABELS), (OTHER, OTHER_WORDS)])
    {
        words.iter().for_each(|word| *topics.entry(word.replace('ς', "σ")).or_default() |= topic);
    }
    topics
});

/// No word is longer.
const LONGEST_BYTES: usize = 31;

/// By the ends of a word (see [`ends`]): bit n, if there is one of n bytes.
static LENGTHS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut lengths = vec![0; 32 * 32];
    TOPICS.keys().for_each(|word| lengths[ends(word.as_bytes())] |= 1 << word.len());
    lengths
});

/// The known words of a text, in its order.
pub(super) struct Words {
    key: u64,
    hits: Vec<(Range<usize>, u64)>,
    /// What all of them are about, with the key.
    about: u64,
    /// Where the last search ended: spans are asked for one after another.
    last: Cell<usize>,
}

impl Words {
    pub(super) fn new(text: &str, key: &str) -> Self {
        let mut under = 0;
        words(key, |word| under |= topics(&key[word]));
        let mut hits = Vec::new();
        words(text, |word| match topics(&text[word.clone()]) {
            0 => {}
            _ if placeholder(text.as_bytes(), &word) => {}
            topics => hits.push((word, topics)),
        });
        let about = hits.iter().fold(under, |all, (_, topics)| all | topics);
        Self { key: under, hits, about, last: Cell::new(0) }
    }

    /// Whether there is any word about one of the topics.
    pub(super) fn has(&self, topics: u64) -> bool {
        self.about & topics != 0
    }

    /// How many words begin in front of this place.
    fn before(&self, at: usize) -> usize {
        const STEPS: usize = 8;
        let is_before = |(word, _): &&(Range<usize>, u64)| word.start < at;
        let (front, rest) = self.hits.split_at(self.last.get());
        let back = front.iter().rev().take(STEPS).take_while(|hit| !is_before(hit)).count();
        let on = if back == 0 { rest.iter().take(STEPS).take_while(is_before).count() } else { 0 };
        let next = match (back, on) {
            (STEPS, _) => front.partition_point(|hit| is_before(&hit)),
            (_, STEPS) => front.len() + rest.partition_point(|hit| is_before(&hit)),
            _ => front.len() - back + on,
        };
        self.last.set(next);
        next
    }

    /// How much a word about one of the topics speaks for the span; `None` if there is none near it.
    pub(super) fn near(&self, text: &str, span: &Range<usize>, topics: u64) -> Option<f32> {
        if self.key & topics != 0 {
            return Some(UNDER_KEY);
        }
        if !self.has(topics) {
            return None;
        }
        let next = self.before(span.start);
        let fall = |distance: usize, window: usize| FALL * distance as f32 / window as f32;
        let before = self.hits[..next].iter().rev().map(|(word, about)| (span.start.saturating_sub(word.end), *about));
        let mut before = before.take_while(|(distance, _)| *distance <= BEFORE_BYTES);
        let before = before.find(|(_, about)| about & (topics | OTHER) != 0).filter(|(_, about)| about & topics != 0);
        let before = before.map(|(distance, _)| RIGHT_AFTER - fall(distance, BEFORE_BYTES));
        let after = self.hits[next..].iter().filter(|(word, _)| word.start >= span.end);
        let after = after.map(|(word, about)| (word.start - span.end, *about));
        let mut after = after.take_while(|(distance, _)| *distance < AFTER_BYTES);
        // what follows on another line or in another field belongs to another value
        let reaches = |distance: usize| {
            let between = &text.as_bytes()[span.end..=span.end + distance];
            !between.iter().any(|b| matches!(b, b'\n' | b'"' | b'|' | b'\t' | b';'))
        };
        let after = after.find(|(_, about)| about & topics != 0).filter(|(distance, _)| reaches(*distance));
        let after = after.map(|(distance, _)| RIGHT_BEFORE - fall(distance, AFTER_BYTES));
        before.into_iter().chain(after).max_by(f32::total_cmp)
    }

    /// Whether the span is labelled as something that is none of the topics: by its key, or by the last word in front of it.
    pub(super) fn says_another(&self, span: &Range<usize>, topics: u64) -> bool {
        let next = self.before(span.start);
        let last = self.hits[..next].last().filter(|(word, _)| span.start.saturating_sub(word.end) <= LABEL_BYTES);
        let about = self.key | last.map_or(0, |(_, about)| *about);
        about != 0 && about & topics == 0
    }
}

/// Whether the word is part of a placeholder such as `[PHONE_NUMBER_1]`, which must not make a telephone number of what stands by it.
fn placeholder(text: &[u8], word: &Range<usize>) -> bool {
    let name = |b: &&u8| b.is_ascii_uppercase() || **b == b'_';
    let before = || text[..word.start].iter().rev().take(PLACEHOLDER_MAX_BYTES).find(|b| !name(b));
    let after = || text[word.end..].iter().take(PLACEHOLDER_MAX_BYTES).find(|b| !name(b) && !b.is_ascii_digit());
    text[word.clone()].iter().all(|b| name(&b)) && before() == Some(&b'[') && after() == Some(&b']')
}

fn topics(word: &str) -> u64 {
    // digits alone are no words, and most words are too long or unknown
    let bytes = word.as_bytes();
    if bytes.len() > LONGEST_BYTES || bytes[0].is_ascii_digit() {
        return 0;
    }
    let mut lower = [0; LONGEST_BYTES];
    if bytes.is_ascii() {
        if LENGTHS[ends(bytes)] & (1 << bytes.len()) == 0 {
            return 0;
        }
        let lower = &mut lower[..bytes.len()];
        lower.copy_from_slice(bytes);
        lower.make_ascii_lowercase();
        return known(lower);
    }
    let mut length = 0;
    for c in word.chars() {
        looks::lower(c, |c| {
            let c = if c == 'ς' { 'σ' } else { c };
            if let Some(slot) = lower.get_mut(length..length + c.len_utf8()) {
                c.encode_utf8(slot);
            }
            length += c.len_utf8();
        });
    }
    lower.get(..length).map_or(0, known)
}

/// The first byte of a word and its last, whatever the case of ASCII letters.
fn ends(word: &[u8]) -> usize {
    let end = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(byte & 31));
    32 * end(word.first()) + end(word.last())
}

/// The topics of a word in lower case.
fn known(word: &[u8]) -> u64 {
    let is_known = LENGTHS[ends(word)] & (1 << word.len()) != 0;
    let word = std::str::from_utf8(word).ok().filter(|_| is_known);
    word.and_then(|word| TOPICS.get(word)).copied().unwrap_or(0)
}

/// Whether one of the lower-case `wanted` stands as a whole word shortly before or after the span, or in the `key`. A word for
/// something else between the two takes the span away.
pub(super) fn beside(text: &str, key: &str, span: &Range<usize>, wanted: &[String]) -> bool {
    let before = &text[text.floor_char_boundary(span.start.saturating_sub(BEFORE_BYTES))..span.start];
    let after = &text[span.end..text.floor_char_boundary((span.end + AFTER_BYTES).min(text.len()))];
    let is_wanted = |word: &str| wanted.contains(&word.to_lowercase());
    let mut last = false;
    words(before, |word| match &before[word] {
        word if is_wanted(word) => last = true,
        word if topics(word) & OTHER != 0 => last = false,
        _ => {}
    });
    last || [key, after].iter().any(|part| {
        let mut found = false;
        words(part, |word| found |= is_wanted(&part[word]));
        found
    })
}

/// Shows the words of a text; `phoneNumber` and `phone_number` are two each.
fn words(text: &str, mut visit: impl FnMut(Range<usize>)) {
    let mut start = None;
    let mut lower = false;
    let looks = Looks::get();
    for (at, c) in text.char_indices() {
        let kind = looks.kind(c);
        if !kind.is_alphanumeric() {
            if let Some(start) = start.take() {
                visit(start..at);
            }
            lower = false;
            continue;
        }
        let upper = kind.is_uppercase();
        match start {
            Some(from) if lower && upper => {
                visit(from..at);
                start = Some(at);
            }
            None => start = Some(at),
            Some(_) => {}
        }
        lower = !upper && kind.is_lowercase();
    }
    if let Some(start) = start {
        visit(start..text.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(text: &str, key: &str, span: Range<usize>) -> Option<f32> {
        Words::new(text, key).near(text, &span, Entity::UsSsn.topic())
    }

    #[test]
    fn whole_words_nearby_only() {
        let text = "ÄÄ my ssn: 123 is it";
        let at = text.find("123").expect("there");
        assert!(near(text, "", at..at + 3).is_some_and(|score| score >= LABEL));
        assert!(near("my ssnx 123", "", 8..11).is_none());
        for key in ["ssn", "userSsn", "user_ssn", "SSN", "userSSN", "ssn-1"] {
            assert!(near("123", key, 0..3).is_some(), "{key}");
        }
        assert!(near("123", "assn", 0..3).is_none());
        let far = format!("ssn{}123", " ".repeat(60));
        assert!(near(&far, "", 63..66).is_none());
        assert!(near("123 is my SSN", "", 0..3).is_some());
    }

    #[test]
    fn another_label_between_takes_the_number_away() {
        assert!(near("ssn unknown, order 123", "", 19..22).is_none());
        assert!(near("order 7, ssn 123", "", 13..16).is_some());
        assert!(near("123\nssn", "", 0..3).is_none());
        assert!(near("123\", \"ssn\": 1", "", 0..3).is_none());
    }

    #[test]
    fn a_label_for_something_else() {
        let another =
            |text: &str, key: &str, at: usize| Words::new(text, key).says_another(&(at..at + 3), Entity::UsSsn.topic());
        assert!(another("cpr: 123", "", 5) && another("order no. 123", "", 10) && another("123", "cpr", 0));
        assert!(!another("ssn: 123", "", 5) && !another("cpr or ssn 123", "", 11) && !another("order 123", "ssn", 6));
        assert!(!another("it came with 123", "", 13) && !another("order of the day: 123", "", 18));
    }

    #[test]
    fn placeholders_say_nothing() {
        assert!(near("[US_SSN_1] 123", "", 11..14).is_none());
        assert!(near("[SSN] 123", "", 6..9).is_none() && near("[ssn] 123", "", 6..9).is_some());
    }

    #[test]
    fn nearer_words_count_for_more() {
        assert!(near("ssn 123", "", 4..7) > near("ssn of my mother 123", "", 17..20));
    }

    #[test]
    fn every_word_is_found_in_any_case() {
        for (word, topics) in TOPICS.iter() {
            assert!(word.len() <= LONGEST_BYTES, "{word}");
            for written in [word.clone(), word.to_uppercase(), word.to_uppercase().to_lowercase()] {
                assert_eq!(super::topics(&written), *topics, "{written}");
            }
        }
        assert_ne!(super::topics("ΦΟΡΟΛΟΓΙΚΉΣ"), 0);
        assert_eq!(super::topics("İİİİİİİİİİİİİİİ"), 0);
        assert_eq!(super::topics("\u{212a}arte"), super::topics("karte"));
    }

    #[test]
    fn what_is_asked_for_in_any_order_is_found() {
        let text = "ssn 1 v ".repeat(20);
        let at = |n: usize| 8 * n + 4..8 * n + 5;
        let words = Words::new(&text, "");
        for n in [0, 1, 19, 18, 2, 3, 0, 12, 11, 10] {
            let alone = Words::new(&text, "").near(&text, &at(n), Entity::UsSsn.topic());
            assert_eq!(words.near(&text, &at(n), Entity::UsSsn.topic()), alone, "{n}");
        }
    }

    #[test]
    fn words_not_known_beforehand() {
        assert!(beside("Employee no. 123", "", &(13..16), &["employee".to_owned()]));
        assert!(beside("123", "employeeNo", &(0..3), &["employee".to_owned()]));
        assert!(!beside("employees: 123", "", &(11..14), &["employee".to_owned()]));
    }
}
