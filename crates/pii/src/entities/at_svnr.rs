//! `AT_SVNR`: a serial number, a check digit modulo 11 and a date of birth; bare only beside a context word.

use super::score::{CHECKED, CHECKSUM, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] =
    &["svnr", "sozialversicherungsnummer", "sozialversicherung", "versicherungsnummer", "sv"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[10], &[4, 6]], |window| {
        if !checked(window.digits()) {
            return;
        }
        let near = text.near(&window.span, Entity::AtSvnr.topic()).map(|near| near + CHECKSUM);
        if let Some(score) = weigh((window.groups > 1).then_some(CHECKED), near) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    // months above 12 are for people whose date is taken
    let (day, month) = (digits::number(&digits[4..6]), digits::number(&digits[6..8]));
    let date = checksum::date(if month > 12 { month - 12 } else { month }, day);
    let sum = checksum::weighted(digits, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
    digits[0] != 0 && date && sum % 11 == u32::from(digits[3])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::AtSvnr,
            &["SVNR «1237010180»", "«1237 010180»"],
            &["1237010180", "1237 010181", "svnr 0237010180"],
        );
    }
}
