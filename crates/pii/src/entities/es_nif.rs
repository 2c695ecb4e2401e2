//! `ES_NIF`: eight digits (seven beside a context word) and the letter that they give modulo 23.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, digits, pattern};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &["nif", "dni", "documento", "identidad", "identificación", "fiscal"];

const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

static NIF: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?-u:\b)([0-9]{7,8}|[0-9]{1,2}\.[0-9]{3}\.[0-9]{3})[ -]?([A-Za-z])(?-u:\b)"));

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for found in NIF.find_iter(text.as_str()) {
        let written = found.as_str();
        let alone = digits::starts(text.as_str(), found.start()) && digits::ends(text.as_str(), found.end());
        if !alone || !checked(0, written) {
            continue;
        }
        let strict = written.bytes().filter(u8::is_ascii_digit).count() == 8
            && written.ends_with(|c: char| c.is_ascii_uppercase())
            && !written.contains(' ');
        if let Some(score) = weigh(strict.then_some(CHECKED), text.near(&found.range(), Entity::EsNif.topic())) {
            report(found.range(), score);
        }
    }
}

/// Whether the last letter is that of the digits before it, in front of which stands another one.
pub(super) fn checked(first: usize, written: &str) -> bool {
    let digits = written.bytes().filter(u8::is_ascii_digit);
    let number = digits.fold(first, |number, digit| number * 10 + usize::from(digit - b'0'));
    written.bytes().next_back().is_some_and(|letter| letter.to_ascii_uppercase() == LETTERS[number % LETTERS.len()])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::EsNif,
            &["«12345678Z»", "DNI «12345678-Z».", "nif: «12.345.678-Z»", "dni «12345678z»"],
            &["12345678A", "12345678z", "x12345678Z", "12345678ZZ", "1-12345678Z", "123456789Z"],
        );
    }
}
