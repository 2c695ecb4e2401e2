//! `HU_TAJ`: the nine digits of the Hungarian social security, the last of which checks the others modulo 10; one in
//! ten numbers passes, so only beside a context word.
//!
//! Rules: 1996. évi XX. törvény, supplement; <https://matek.fazekas.hu/solo/hraskoandras_kodok/ellenorzojegy.html>.

use super::score::CHECKSUM;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["taj", "tajszám", "tajszam", "társadalombiztosítási"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[9], &[3, 3, 3]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(near) = text.near(&window.span, Entity::HuTaj.topic()) {
            report(window.span, near + CHECKSUM);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let sum = checksum::weighted(&digits[..8], &[3, 7, 3, 7, 3, 7, 3, 7]);
    sum > 0 && sum % 10 == u32::from(digits[8])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::HuTaj,
            &["TAJ-szám: «123 456 788»", "taj «123456788»", "TAJ «123-456-788»"],
            &["123456788", "123 456 788", "taj 123456789", "taj 000000000", "taj 1234567881"],
        );
    }
}
