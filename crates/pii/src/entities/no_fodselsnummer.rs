//! `NO_FODSELSNUMMER`: a date of birth (the day raised by 40 in D-numbers), a serial number and two check digits modulo 11.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["fødselsnummer", "fodselsnummer", "personnummer", "fnr"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[11], &[6, 5]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(score) = weigh(Some(CHECKED), text.near(&window.span, Entity::NoFodselsnummer.topic())) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let day = digits::number(&digits[..2]);
    let date = checksum::date(digits::number(&digits[2..4]), if day > 40 { day - 40 } else { day });
    date && checksum::weighted(&digits[..10], &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
        && checksum::weighted(digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::NoFodselsnummer,
            &["fnr «01019010046»", "«010190 10046»"],
            &["01019010047", "99019010046", "101019010046"],
        );
    }
}
