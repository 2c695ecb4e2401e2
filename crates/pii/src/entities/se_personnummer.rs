//! `SE_PERSONNUMMER`: a date of birth (or that of a coordination number, its day raised by 60), a serial number and Luhn's check
//! digit. Bare ten digits only beside a context word.

use super::score::{CHECKED, CHECKSUM, weigh};
use super::{Entity, Report, Text, checksum, digits, pattern};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &["personnummer", "personnr", "pnr", "samordningsnummer", "svensk"];

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:18|19|20)?[0-9]{6}[-+]?[0-9]{4}"));
const DIGITS: usize = 10;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for found in NUMBER.find_iter(text.as_str()) {
        let written = found.as_str();
        let alone = digits::starts(text.as_str(), found.start()) && digits::ends(text.as_str(), found.end());
        if !alone || !checked(written) {
            continue;
        }
        let near = text.near(&found.range(), Entity::SePersonnummer.topic()).map(|near| near + CHECKSUM);
        if let Some(score) = weigh((written.len() > DIGITS).then_some(CHECKED), near) {
            report(found.range(), score);
        }
    }
}

fn checked(written: &str) -> bool {
    let all = written.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect::<Vec<_>>();
    let digits = &all[all.len() - DIGITS..];
    let day = digits::number(&digits[4..6]);
    let day = if day > 60 { day - 60 } else { day };
    checksum::date(digits::number(&digits[2..4]), day) && checksum::luhn(digits)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::SePersonnummer,
            &["«811218-9876»", "«19811218-9876»", "personnummer «8112189876»", "«198112189876»"],
            &["8112189876", "811218-9877", "819918-9872", "1811218-9876"],
        );
    }
}
