//! `GR_AFM`: the nine digits of a Greek tax number, checked by powers of two modulo 11; one in ten numbers passes, so
//! only beside a context word. With `EL` before it, it is a value-added tax number.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.gr.vat>.

use super::score::CHECKSUM;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["afm", "αφμ"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[9], &[3, 3, 3]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(near) = text.near(&window.span, Entity::GrAfm.topic()) {
            report(window.span, near + CHECKSUM);
        }
    });
}

/// Also the check of the same numbers with `EL` before them.
pub(super) fn checked(digits: &[u8]) -> bool {
    let sum = checksum::weighted(&digits[..8], &[256, 128, 64, 32, 16, 8, 4, 2]);
    sum > 0 && sum % 11 % 10 == u32::from(digits[8])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::GrAfm,
            &["ΑΦΜ «094259216»", "AFM: «094 259 216»"],
            &["094259216", "afm 094259217", "afm 000000000", "afm ticket 094259216"],
        );
    }
}
