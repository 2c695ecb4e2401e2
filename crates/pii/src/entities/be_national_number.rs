//! `BE_NATIONAL_NUMBER`: a date of birth, a serial number and a key modulo 97, written `85.07.30-033.28` or bare.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, checksum, digits, pattern};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] =
    &["rijksregister", "rijksregisternummer", "national", "insz", "niss", "registre", "rrn"];

static NUMBER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[0-9]{2}[. ]?[0-9]{2}[. ]?[0-9]{2}[- ]?[0-9]{3}[. -]?[0-9]{2}"));

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for found in NUMBER.find_iter(text.as_str()) {
        let alone = digits::starts(text.as_str(), found.start()) && digits::ends(text.as_str(), found.end());
        if !alone || !checked(found.as_str()) {
            continue;
        }
        if let Some(score) = weigh(Some(CHECKED), text.near(&found.range(), Entity::BeNationalNumber.topic())) {
            report(found.range(), score);
        }
    }
}

fn checked(written: &str) -> bool {
    let number =
        written.bytes().filter(u8::is_ascii_digit).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let (born, key) = (number / 100, number % 100);
    // foreigners' months are raised by 20 or 40; who was born from 2000 on has a 2 before the number
    let date = checksum::date(born / 100_000 % 100 % 20, born / 1_000 % 100);
    date && [born, 2_000_000_000 + born].iter().any(|born| 97 - born % 97 == key)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::BeNationalNumber,
            &["«85.07.30-033.28»", "rijksregisternummer «85073003328»", "«03.07.30-033.81»."],
            &["85.07.30-033.29", "85993003390", "185073003328", "850730033281", "x85073003328"],
        );
    }
}
