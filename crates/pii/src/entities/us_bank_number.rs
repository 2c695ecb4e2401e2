//! `US_BANK_NUMBER`: 8 to 17 digits of an account; nothing checks them, so only beside a context word.

use super::{Entity, Report, Text};

pub(super) const CONTEXT: &[&str] = &["account", "accounts", "acct", "acc", "bank", "banking", "checking", "savings"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    text.labelled_codes(Entity::UsBankNumber, report, |code| {
        (8..=17).contains(&code.len()) && code.iter().all(u8::is_ascii_digit)
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::UsBankNumber,
            &["bank account «945456787654»", "Acct: «12345678»", "{\"accountNumber\":\"«000123456789»\"}"],
            &["945456787654", "account 1234567", "AWS account id at order 945456787654", "account 945456787654321098"],
        );
    }
}
