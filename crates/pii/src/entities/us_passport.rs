//! `US_PASSPORT`: nine digits, or a letter and eight; nothing checks them, so only beside a context word.

use super::{Entity, Report, Text};

pub(super) const CONTEXT: &[&str] = &["passport", "passports"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    text.labelled_codes(Entity::UsPassport, report, |code| {
        code.len() == 9 && code[0].is_ascii_alphanumeric() && code[1..].iter().all(u8::is_ascii_digit)
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::UsPassport,
            &["passport no. «912803456»", "{\"passportNumber\": \"«C12345678»\"}", "«A01234567» is my passport"],
            &[
                "912803456",
                "C12345678",
                "passport order 912803456",
                "passport 91280345",
                "passport 9128034567",
                "passport AB1234567",
            ],
        );
    }
}
