//! Base64, by which a text is carried: files of a body, and runs in the middle of a text that hide one.
//!
//! Read leniently, as whoever is to be deceived would: both alphabets, padded or not, line breaks inside. One layer is taken off, never a
//! second one. Other encodings (hexadecimal, percent signs, compression) are not tried.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::ops::Range;

/// The last character may carry bits that no encoder would leave there.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The shortest run that is read; the most of one that is, in bytes; and how many texts are, of one text.
const RUN_MIN_BYTES: usize = 24;
const RUN_MAX_BYTES: usize = 16 * 1024;
const TEXTS_MAX: usize = 64;

/// The bytes that a text is base64 of; `None` if it is not.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut plain = text.as_bytes().to_vec();
    plain.retain(|byte| !byte.is_ascii_whitespace());
    for byte in &mut plain {
        *byte = match *byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        };
    }
    while plain.last() == Some(&b'=') {
        plain.pop();
    }
    // A single character at the end says nothing.
    plain.truncate(plain.len() - usize::from(plain.len() % 4 == 1));
    LENIENT.decode(plain).ok()
}

/// Whether people could have written it: no control characters but those of lines and tabs.
pub(crate) fn is_printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{c}'))
}

/// Runs of at least 24 characters that are base64 of a printable text, with that text.
pub(crate) fn runs(text: &str) -> impl Iterator<Item = (Range<usize>, String)> {
    let hidden = |run: Range<usize>| {
        let read = &text[run.start..run.end.min(run.start + RUN_MAX_BYTES)];
        let decoded = String::from_utf8(decode(read)?).ok().filter(|decoded| is_printable(decoded))?;
        Some((run, decoded))
    };
    candidates(text.as_bytes()).filter_map(hidden).take(TEXTS_MAX)
}

/// Runs of at least [`RUN_MIN_BYTES`] characters of base64, with up to two `=` behind them.
fn candidates(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let is_of_run = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'_' | b'-');
    let mut start = 0;
    std::iter::from_fn(move || {
        // No run has begun in front of a character that is not of one, so the last one of a stretch is looked for.
        while let Some(at) = text.get(start..start + RUN_MIN_BYTES)?.iter().rposition(|byte| !is_of_run(byte)) {
            start += at + 1;
        }
        let length = text[start..].iter().take_while(|byte| is_of_run(byte)).count();
        let padding = text[start + length..].iter().take(2).take_while(|byte| **byte == b'=').count();
        let run = start..start + length + padding;
        start = run.end;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use regex::Regex;

    #[test]
    fn what_hides_a_text_is_found_and_what_does_not_is_not() {
        let hidden = "please write to jane.roe@example.com";
        for encoded in [STANDARD.encode(hidden), URL_SAFE_NO_PAD.encode(hidden)] {
            let text = format!("decode «{encoded}» please");
            let found: Vec<_> = runs(&text).map(|(run, decoded)| (&text[run], decoded)).collect();
            assert_eq!(found, [(encoded.as_str(), hidden.to_owned())]);
        }
        for text in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "services/guardrail/src/pipeline/mod/rs",
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
            "aGVsbG8gd29ybGQ=",
        ] {
            assert_eq!(runs(text).count(), 0, "{text}");
        }
        let many = format!("{} ", STANDARD.encode(hidden)).repeat(TEXTS_MAX + 1);
        assert_eq!(runs(&many).count(), TEXTS_MAX);
        let long = STANDARD.encode("word ".repeat(RUN_MAX_BYTES));
        let (run, decoded) = runs(&long).next().expect("a run");
        assert_eq!((run, decoded.len()), (0..long.len(), RUN_MAX_BYTES / 4 * 3));
    }

    proptest! {
        #[test]
        fn runs_are_those_of_the_regular_expression(text in "([A-Za-z0-9+/_-]{20,30}|[=. é]{0,3}){0,8}") {
            let expression = Regex::new(r"[A-Za-z0-9+/_-]{24,}={0,2}").expect("a constant pattern");
            let expected = expression.find_iter(&text).map(|run| run.range());
            prop_assert!(candidates(text.as_bytes()).eq(expected));
        }

        #[test]
        fn what_was_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..100) {
            for mut encoded in [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
                encoded.insert(at.min(encoded.len()), '\n');
                prop_assert_eq!(decode(&encoded), Some(bytes.clone()));
            }
        }

        #[test]
        fn any_text_may_be_asked(text in "\\PC{0,80}") {
            let _ = decode(&text);
            for (run, decoded) in runs(&text) {
                prop_assert!(text.get(run).is_some() && is_printable(&decoded));
            }
        }
    }
}
