//! `US_DRIVER_LICENSE`: the shapes that the states give their licences; nothing checks them, so only beside a context word.

use super::{Entity, Report, Text};

pub(super) const CONTEXT: &[&str] = &[
    "driver", "drivers", "driving", "dl", "cdl", "dmv", "license", "licence", "licenses", "licences", "lic", "permit",
];

const RUNS_MAX: usize = 4;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    text.labelled_codes(Entity::UsDriverLicense, report, |code| code.len() <= 17 && issued(code));
}

/// Runs of letters and digits by turns, letters first (0 of them where a digit begins), as the states write them.
fn issued(code: &[u8]) -> bool {
    let mut runs = [0; RUNS_MAX + 1];
    let mut run = 0;
    for byte in code {
        // `v20240115` is no licence
        if byte.is_ascii_lowercase() {
            return false;
        }
        if byte.is_ascii_digit() != (run % 2 == 1) {
            run += 1;
        }
        match runs.get_mut(run) {
            Some(length) => *length += 1,
            None => return false,
        }
    }
    // digits alone: most states
    let digits = matches!(runs, [0, 7..=10 | 12, 0, 0, 0]);
    // one letter: California, Arizona, Virginia, Illinois, Florida, New Jersey, …
    let letter = matches!(runs, [1, 6..=9 | 11..=14, 0, 0, 0]);
    // two or three: Ohio, Colorado, North Dakota, …
    let letters = matches!(runs, [2, 6 | 7, 0, 0, 0] | [3, 6, 0, 0, 0]);
    // Iowa, New Hampshire, Missouri, Vermont, Idaho
    let mixed =
        matches!(runs, [0, 3, 2, 4, 0] | [0, 2, 3, 5, 0] | [0, 9, 1, 0, 0] | [0, 7 | 8, 1 | 2, 0, 0] | [2, 6, 1, 0, 0]);
    digits || letter || letters || mixed
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::UsDriverLicense,
            &[
                "driver's license «D1234567»",
                "DL: «12345678»",
                "driver license number is «S53012345678»",
                "her licence is «AB123456»",
                "«123AB4567», Iowa driver's license",
            ],
            &[
                "D1234567",
                "license v20240115",
                "driver order D1234567",
                "MIT license 2.0",
                "license ABCDEFGH",
                "driver 535.104.05",
            ],
        );
    }
}
