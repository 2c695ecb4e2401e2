//! `HR_OIB`: eleven digits, the last of which checks the others (ISO 7064, MOD 11,10); one in ten numbers passes, so
//! only beside a context word.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.hr.oib>.

use super::score::CHECKSUM;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["oib"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[11]], |window| {
        if !checksum::mod_11_10(window.digits()) {
            return;
        }
        if let Some(near) = text.near(&window.span, Entity::HrOib.topic()) {
            report(window.span, near + CHECKSUM);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::HrOib,
            &["OIB «33392005961»", "{\"oib\": \"«33392005961»\"}"],
            &["33392005961", "OIB 33392005962", "OIB 3339200596", "OIB invoice 33392005961"],
        );
    }
}
