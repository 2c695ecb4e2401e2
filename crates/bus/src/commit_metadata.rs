//! What rides in a commit's metadata: which offsets above the committed one are completed, as lengths of runs.
//!
//! `1:<committed offset>:<lengths>`. The lengths are of runs of open and of completed offsets in turn, beginning with the
//! open one at the committed offset. Each is one or more characters of base64url's alphabet that carry five bits, lowest
//! first; a sixth bit says that more follow. One call of ten minutes below 10,000 completed ones is `1:5123:Bw4J`.
//!
//! The offset is in the text because the broker keeps metadata and offset together but other tools may write either:
//! metadata of another offset says nothing. A text that is not exactly what [`encode`] writes is ignored, which repeats
//! work and loses nothing. Deliberately absent: checksums, compression.

use std::ops::Range;

/// The longest metadata that is written or read. Brokers take 4,096 bytes unless they are told otherwise.
pub(crate) const MAX_BYTES: usize = 3 * 1024;
/// What the run lengths may take: what the version, an offset of 19 digits and the colons leave.
pub(crate) const MAX_RUNS_BYTES: usize = MAX_BYTES - "1:".len() - 19 - ":".len();

const VERSION: &str = "1:";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const MORE: u8 = 1 << 5;

/// Characters that a length takes. Never more for a + b + 1 than for a and b together, on which the tracker's bound rests.
pub(crate) fn bytes_of(length: i64) -> usize {
    let bits = 64 - length.max(1).leading_zeros() as usize;
    bits.div_ceil(5)
}

/// Writes ranges of completed offsets, ascending, apart from each other and above `committed`. Nothing to say is an empty
/// text; `None` is too much to say.
pub(crate) fn encode(committed: i64, completed: impl Iterator<Item = Range<i64>>) -> Option<String> {
    let (mut text, mut at) = (format!("{VERSION}{committed}:"), committed);
    let empty = text.len();
    for range in completed {
        push(&mut text, range.start - at);
        push(&mut text, range.end - range.start);
        at = range.end;
        if text.len() > MAX_BYTES {
            return None;
        }
    }
    Some(if text.len() == empty { String::new() } else { text })
}

fn push(text: &mut String, length: i64) {
    let mut rest = length;
    loop {
        let low = (rest & 31) as u8;
        rest >>= 5;
        text.push(char::from(ALPHABET[usize::from(if rest > 0 { low | MORE } else { low })]));
        if rest == 0 {
            return;
        }
    }
}

/// Reads what [`encode`] wrote: the committed offset and the completed ranges above it. `None` for any other text.
pub(crate) fn parse(text: &str) -> Option<(i64, Vec<Range<i64>>)> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let (digits, runs) = text.strip_prefix(VERSION)?.split_once(':')?;
    let is_canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let committed: i64 = digits.parse().ok().filter(|_| is_canonical)?;
    let mut runs = runs.bytes();
    let (mut at, mut ranges) = (committed, Vec::new());
    while runs.len() > 0 {
        let start = at.checked_add(next_length(&mut runs)?)?;
        at = start.checked_add(next_length(&mut runs)?)?;
        ranges.push(start..at);
    }
    (!ranges.is_empty()).then_some((committed, ranges))
}

fn next_length(runs: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let (mut length, mut shift) = (0i64, 0u32);
    loop {
        let letter = runs.next()?;
        let six = ALPHABET.iter().position(|known| *known == letter)?;
        let (low, more) = ((six & 31) as i64, six & usize::from(MORE) != 0);
        if shift > 60 || (shift == 60 && low > 7) {
            return None;
        }
        length |= low << shift;
        shift += 5;
        if !more {
            // A last character of zero would be a second way to write the same.
            return (low > 0).then_some(length);
        }
    }
}

/// What the fuzzer calls: a text that parses is exactly what would be written for what it says.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some((committed, ranges)) = parse(text) {
        assert_eq!(encode(committed, ranges.into_iter()).as_deref(), Some(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slow_call_below_many_fast_ones_takes_a_few_characters() {
        assert_eq!(encode(5123, std::iter::once(5124..15124)).as_deref(), Some("1:5123:Bw4J"));
        assert_eq!(parse("1:5123:Bw4J"), Some((5123, Vec::from_iter(std::iter::once(5124..15124)))));
        assert_eq!(encode(7, std::iter::empty()).as_deref(), Some(""));
    }

    #[test]
    fn anything_else_is_ignored() {
        let over = format!("1:{}:BB", i64::MAX);
        let long = format!("1:0:{}", "BB".repeat(MAX_BYTES));
        let end = [
            "", "1:", "1:5", "1:5:", "1:5:B", "1:05:BB", "1:+5:BB", "1:-5:BB", "2:5:BB", "1:5:BA", "1:5:BhA", "1:5:B=",
        ];
        for text in end.into_iter().chain([over.as_str(), long.as_str(), "1:5:B_______________"]) {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    prop_compose! {
        fn ranges()(committed in 0i64..1 << 40, runs in prop::collection::vec((1i64..1 << 20, 1i64..1 << 20), 1..300))
            -> (i64, Vec<Range<i64>>) {
            let mut at = committed;
            let ranges = runs.into_iter().map(|(open, done)| { at += open + done; at - done..at }).collect();
            (committed, ranges)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read((committed, ranges) in ranges()) {
            let text = encode(committed, ranges.clone().into_iter()).expect("300 runs of 8 characters fit");
            prop_assert!(text.len() <= MAX_BYTES);
            prop_assert_eq!(parse(&text), Some((committed, ranges)));
        }

        #[test]
        fn no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), runs in "1:[0-9]{1,20}:[A-Za-z0-9_-]{0,60}") {
            fuzz(&bytes);
            fuzz(runs.as_bytes());
        }

        #[test]
        fn runs_that_grow_together_take_no_more(a in 0i64..1 << 61, b in 0i64..1 << 61, s in 0u32..60, t in 0u32..60) {
            let (a, b) = (a >> s, b >> t);
            prop_assert!(bytes_of(a + b + 1) <= bytes_of(a) + bytes_of(b));
        }
    }
}
