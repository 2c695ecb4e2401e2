//! `LT_ASMENS_KODAS`: sex and century, a date of birth, a serial number and a check digit, as in Estonia.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.lt.asmens>.

use super::{Entity, Report, Text, ee_isikukood};

pub(super) const CONTEXT: &[&str] = &["asmens", "kodas", "kodą", "lithuanian"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    ee_isikukood::find_as(Entity::LtAsmensKodas, text, report);
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::LtAsmensKodas,
            &["asmens kodas «33309240064»", "«38703181745»"],
            &["33309240065", "33313240066", "isikukood 33309240064", "order 33309240064"],
        );
    }
}
