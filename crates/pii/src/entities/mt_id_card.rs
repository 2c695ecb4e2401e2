//! `MT_ID_CARD`: seven digits and a letter for where and when a birth was registered. Nothing checks them, so only
//! beside a context word.
//!
//! Format: <https://identita.gov.mt/identity-cards-useful-info>.

use super::{Entity, Report, Text};

pub(super) const CONTEXT: &[&str] = &["identity", "identità", "karta", "card", "idcard", "malta", "maltese"];

const DIGITS: usize = 7;
const LETTERS: &[u8] = b"ABGHLMPZ";

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    text.labelled_codes(Entity::MtIdCard, report, |code| {
        code.len() == DIGITS + 1 && code[..DIGITS].iter().all(u8::is_ascii_digit) && LETTERS.contains(&code[DIGITS])
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::MtIdCard,
            &["ID card «0123456M»", "karta tal-identità: «0056709L»", "{\"idCard\": \"«0123456A»\"}"],
            &["0123456M", "id card 0123456C", "id card 0123456m", "id card 123456M", "id card order 0123456M"],
        );
    }
}
