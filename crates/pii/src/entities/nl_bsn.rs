//! `NL_BSN`: nine digits that pass the eleven test; one in eleven numbers does, so only beside a context word.

use super::score::CHECKSUM;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["bsn", "burgerservicenummer", "sofi", "sofinummer"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[9], &[4, 2, 3], &[3, 3, 3]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(near) = text.near(&window.span, Entity::NlBsn.topic()) {
            report(window.span, near + CHECKSUM);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let sum = checksum::weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2, 10]);
    sum.is_multiple_of(11) && digits::number(digits) > 0
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::NlBsn,
            &["BSN «111222308»", "burgerservicenummer: «1112.22.308»"],
            &["111222308", "bsn 111222309", "bsn 000000000"],
        );
    }
}
