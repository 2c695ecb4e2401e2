//! `PT_NIF`: nine digits with a check digit modulo 11; one in eleven numbers passes, so only beside a context word.

use super::score::CHECKSUM;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["nif", "contribuinte", "contribuintes", "fiscal", "finanças"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[9], &[3, 3, 3]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(near) = text.near(&window.span, Entity::PtNif.topic()) {
            report(window.span, near + CHECKSUM);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let check = 11 - checksum::weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    digits[0] != 0 && u32::from(digits[8]) == if check > 9 { 0 } else { check }
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::PtNif,
            &["NIF «123456789»", "contribuinte n.º «123 456 789»"],
            &["123456789", "nif 123456780", "nif 012345678"],
        );
    }
}
