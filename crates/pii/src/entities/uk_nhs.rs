//! `UK_NHS`: ten digits with a modulus 11 check digit, in groups of 3-3-4, or bare beside a context word.

use super::score::{CHECKED, CHECKSUM, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["nhs", "patient", "health"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[3, 3, 4], &[10]], |window| {
        if !checked(window.digits()) {
            return;
        }
        let near = text.near(&window.span, Entity::UkNhs.topic()).map(|near| near + CHECKSUM);
        if let Some(score) = weigh((window.groups > 1).then_some(CHECKED), near) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let check = (11 - checksum::weighted(&digits[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    check == u32::from(digits[9])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::UkNhs,
            &["NHS number «943 476 5919»", "«943-476-5919»", "nhs no. «9434765919»", "«401 023 2137»"],
            &["943 476 5918", "9434765919", "987 654 3211", "943 4765919", "1-943-476-5919"],
        );
    }
}
