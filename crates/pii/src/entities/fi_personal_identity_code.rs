//! `FI_PERSONAL_IDENTITY_CODE`: a date of birth, the sign of a century, a serial number and a check character modulo 31.

use super::score::CHECKED;
use super::{Entity, Report, Text, checksum, digits, pattern};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &["hetu", "henkilötunnus", "henkilötunnukseni", "personbeteckning"];

static CODE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i-u)\b[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y]\b"));
const CHECKS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for found in CODE.find_iter(text.as_str()) {
        let alone = digits::starts(text.as_str(), found.start()) && digits::ends(text.as_str(), found.end());
        // With digits alone it may be a number of Denmark's or Sweden's.
        let is_another = || text.says_another(&found.range(), Entity::FiPersonalIdentityCode.topic());
        if alone && checked(found.as_str()) && !is_another() {
            report(found.range(), CHECKED);
        }
    }
}

fn checked(code: &str) -> bool {
    let part = |from: usize, to: usize| code[from..to].parse::<u64>().unwrap_or(0);
    let check = code.as_bytes()[10].to_ascii_uppercase();
    let remainder = (part(0, 6) * 1000 + part(7, 10)) % 31;
    checksum::date(part(2, 4), part(0, 2)) && CHECKS.get(remainder as usize) == Some(&check)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::FiPersonalIdentityCode,
            &["hetu «131052-308T»", "«131052a308t»", "(«131052+308T»)"],
            &["131052-308A", "131352-308T", "x131052-308T", "131052-308T1", "131052-308T-1", "cpr 131052-308T"],
        );
    }
}
