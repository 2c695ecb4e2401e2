//! `IE_PPS`: seven digits, a check letter modulo 23, and a second letter since 2013.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text};

pub(super) const CONTEXT: &[&str] = &["pps", "ppsn", "ppsno"];

const DIGITS: usize = 7;
const LETTERS: &[u8; 23] = b"WABCDEFGHIJKLMNOPQRSTUV";

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for code in text.codes().iter().filter(|code| matches!(code.len(), 8 | 9)) {
        let written = &text.as_str().as_bytes()[code.clone()];
        if !checked(written) {
            continue;
        }
        let strict = written[DIGITS..].iter().all(u8::is_ascii_uppercase);
        if let Some(score) = weigh(strict.then_some(CHECKED), text.near(code, Entity::IePps.topic())) {
            report(code.clone(), score);
        }
    }
}

/// Also the check of the same numbers with `IE` before them, which are for tax.
pub(super) fn checked(code: &[u8]) -> bool {
    let (digits, letters) = code.split_at(DIGITS.min(code.len()));
    if digits.len() < DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum = digits
        .iter()
        .zip([8, 7, 6, 5, 4, 3, 2])
        .map(|(digit, weight)| usize::from(digit - b'0') * weight)
        .sum::<usize>();
    let value = |letter: u8| usize::from(letter.to_ascii_uppercase() - b'A') + 1;
    match letters {
        [check] if check.is_ascii_alphabetic() => LETTERS[sum % 23] == check.to_ascii_uppercase(),
        // W as the second letter is of older numbers and counts nothing
        [check, b'W' | b'w'] => LETTERS[sum % 23] == check.to_ascii_uppercase(),
        [check, second @ (b'A'..=b'I' | b'a'..=b'i')] => {
            LETTERS[(sum + 9 * value(*second)) % 23] == check.to_ascii_uppercase()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::IePps,
            &["PPS «1234567T»", "«1234567FA».", "ppsn: «1234567t»"],
            &["1234567A", "1234567t", "1234567TZ", "12345678T"],
        );
    }
}
