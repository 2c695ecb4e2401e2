//! `RO_CNP`: sex and century, a date of birth, a county, a serial number and a check digit modulo 11.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["cnp", "personal", "numeric"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[13]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(score) = weigh(Some(CHECKED), text.near(&window.span, Entity::RoCnp.topic())) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let check = checksum::weighted(&digits[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
    let (county, date) =
        (digits::number(&digits[7..9]), (digits::number(&digits[3..5]), digits::number(&digits[5..7])));
    let place = matches!(county, 1..=48 | 51 | 52 | 70 | 80..=83 | 99);
    digits[0] != 0
        && checksum::date(date.0, date.1)
        && place
        && u32::from(digits[12]) == if check == 10 { 1 } else { check }
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::RoCnp,
            &["CNP «1890101123454»", "«1890101123454»"],
            &["1890101123455", "0890101123454", "1899901123454", "18901011234541"],
        );
    }
}
