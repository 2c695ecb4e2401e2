//! `SI_EMSO`: a date of birth with three digits of its year, a region, a serial number and a check digit modulo 11.
//! Slovenia's regions are 50 to 59; the others of Yugoslavia, whose numbers go on, count beside a context word.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.si.emso>.

use super::score::{CHECKED, CHECKSUM, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["emšo", "emso"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[13]], |window| {
        let digits = window.digits();
        if !checked(digits) {
            return;
        }
        let near = text.near(&window.span, Entity::SiEmso.topic()).map(|near| near + CHECKSUM);
        if let Some(score) = weigh((digits[7] == 5).then_some(CHECKED), near) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let (day, month, year) =
        (digits::number(&digits[..2]), digits::number(&digits[2..4]), digits::number(&digits[4..7]));
    let sum = checksum::weighted(&digits[..12], &[7, 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]);
    // of 1850 to 2099
    let born = checksum::date(month, day) && matches!(year, 850..=999 | 0..=99);
    born && (11 - sum % 11) % 11 % 10 == u32::from(digits[12])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::SiEmso,
            &["«0101006500006»", "EMŠO: «0101006500006»", "emso «0101006710000»"],
            &["0101006500007", "0101006710000", "3201006500001", "0101206500000", "10101006500006"],
        );
    }
}
