//! `CY_TIC`: the eight digits of a person's tax identification code, which begin with 0 or 9, and the letter that they
//! give modulo 26. How the letter of those given out since 2023 is made, which begin with 6, is not public: any letter,
//! beside a context word.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.cy.vat>; the new ones:
//! <https://www.mof.gov.cy/mof/TAX/taxdep.nsf/All/A030E6F71B1D5F9AC22589A500453380>.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, vat_checks};

pub(super) const CONTEXT: &[&str] = &["tic", "tin", "αφτ", "φορολογικής"];

const CHARS: usize = 9;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for code in text.codes().iter().filter(|code| code.len() == CHARS) {
        let written = &text.as_str().as_bytes()[code.clone()];
        let (number, letter) = written.split_at(CHARS - 1);
        if !number.iter().all(u8::is_ascii_digit) || !letter[0].is_ascii_uppercase() {
            continue;
        }
        let alone = match number[0] {
            b'0' | b'9' if vat_checks::cy(written) => {
                (!text.says_another(code, Entity::CyTic.topic())).then_some(CHECKED)
            }
            b'6' => None,
            _ => continue,
        };
        if let Some(score) = weigh(alone, text.near(code, Entity::CyTic.topic())) {
            report(code.clone(), score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::CyTic,
            &["«00532445O»", "TIC: «90001291U»", "ΑΦΤ «60012345A»"],
            &[
                "00532445P",
                "10259033P",
                "60012345A",
                "tin 00532445P",
                "00532445o",
                "x00532445O",
                "0053244O",
                "part no. 00532445O",
            ],
        );
    }
}
