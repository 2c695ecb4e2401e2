//! `BG_EGN`: a date of birth (the century is in the month), a serial number and a check digit modulo 11. Ten bare
//! digits, so only beside a context word.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.bg.egn>.

use super::score::CHECKSUM;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["egn", "егн", "единен", "граждански"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[10]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(near) = text.near(&window.span, Entity::BgEgn.topic()) {
            report(window.span, near + CHECKSUM);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    // 20 is added to the months of the nineteenth century, 40 to those of the twenty-first
    let (month, day) = (digits::number(&digits[2..4]), digits::number(&digits[4..6]));
    let check = checksum::weighted(&digits[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10;
    month < 53 && checksum::date(month % 20, day) && check == u32::from(digits[9])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::BgEgn,
            &["EGN «7523169263»", "ЕГН: «8032056031»", "{\"egn\": \"«7542011030»\"}"],
            &["7523169263", "egn 7523169264", "egn 8019010008", "egn order 7523169263", "egn 75231692631"],
        );
    }
}
