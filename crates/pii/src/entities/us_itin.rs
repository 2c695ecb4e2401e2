//! `US_ITIN`: individual taxpayer identification numbers, 9XX with the groups the IRS issues; bare digits need context.

use super::score::{FORMAT, weigh};
use super::{Entity, Report, Text, digits};

pub(super) const CONTEXT: &[&str] = &["itin", "itins", "taxpayer", "tin"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[3, 2, 4], &[9]], |window| {
        if !issued(window.digits()) {
            return;
        }
        let alone = (window.separator == b'-').then_some(FORMAT);
        if let Some(score) = weigh(alone, text.near(&window.span, Entity::UsItin.topic())) {
            report(window.span, score);
        }
    });
}

fn issued(digits: &[u8]) -> bool {
    let group = digits[3] * 10 + digits[4];
    digits[0] == 9 && matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::UsItin,
            &["«911-70-1234»", "ITIN «987 65 4321»", "my itin: «911701234»"],
            &["911-69-1234", "911-93-1234", "811-70-1234", "911701234", "A-911-70-1234", "911-70-12345"],
        );
    }
}
