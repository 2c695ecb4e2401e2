//! `UK_NHS`: ten digits with a modulus 11 check digit, in groups of 3-3-4, or bare beside a context word.

use super::{Report, context, digits};

const CONTEXT: &[&str] = &["nhs", "patient", "health"];

pub(super) fn find(text: &str, key: &str, report: Report<'_>) {
    digits::windows(text, &[&[3, 3, 4], &[10]], |window| {
        if checked(&window.digits) && (window.groups > 1 || context::near(text, key, &window.span, CONTEXT)) {
            report(window.span, true);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let sum = digits[..9].iter().zip((2..=10).rev()).map(|(d, weight)| u32::from(*d) * weight).sum::<u32>();
    let check = (11 - sum % 11) % 11;
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
