//! `PHONE_NUMBER`: digit groups that look dialled, then validated against the numbering plans of the `phonenumber` crate.
//!
//! International numbers (`+` or `00`) of any region count; national ones only of the configured regions, with their trunk
//! prefix where the region has one. A bare run of digits counts only beside a context word.

use super::{Report, context, digits};
use phonenumber::country::Id;
use phonenumber::metadata::DATABASE;
use std::ops::Range;

const DIGITS_MIN: usize = 7;
const DIGITS_MAX: usize = 15;
const GROUPS_MAX: usize = 7;
const GAP_MAX_BYTES: usize = 3;
const EXTENSION_MAX_DIGITS: usize = 6;

const CONTEXT: &[&str] = &[
    "phone",
    "phones",
    "telephone",
    "tel",
    "call",
    "calling",
    "mobile",
    "cell",
    "cellphone",
    "fax",
    "text",
    "texting",
    "sms",
    "whatsapp",
    "dial",
    "ring",
    "reach",
    "contact",
    "landline",
    "handy",
    "telefon",
    "mobil",
    "móvil",
    "teléfono",
    "portable",
];

/// The numbering plans that national numbers are read by.
#[derive(Debug)]
pub(super) struct Regions(Vec<Region>);

#[derive(Debug)]
struct Region {
    id: Id,
    /// North American plan: ten digits, written 3-3-4, prefix 1 optional.
    american: bool,
    /// What a national number starts with, where the region demands it.
    trunk: Option<String>,
}

impl Regions {
    /// Errors with the region that is not known.
    pub(super) fn new(regions: &[String]) -> Result<Self, String> {
        let region = |name: &String| {
            let id = name.parse::<Id>().map_err(|_| name.clone())?;
            let plan = DATABASE.by_id(id.as_ref()).ok_or_else(|| name.clone())?;
            let american = plan.country_code() == 1;
            let trunk = plan.national_prefix().filter(|_| !american).map(str::to_owned);
            Ok(Region { id, american, trunk })
        };
        regions.iter().map(region).collect::<Result<_, _>>().map(Self)
    }
}

pub(super) fn find(text: &str, key: &str, regions: &Regions, report: Report<'_>) {
    let groups = digits::groups(text);
    let mut i = 0;
    while i < groups.len() {
        let chain = 1 + groups[i..].windows(2).take(GROUPS_MAX - 1).take_while(|pair| joined(text, pair)).count();
        let found = (1..=chain).rev().find_map(|n| number(text, key, &groups[i..i + n], regions).map(|span| (n, span)));
        match found {
            Some((n, span)) => {
                report(span, false);
                i += n;
            }
            None => i += 1,
        }
    }
}

fn joined(text: &str, pair: &[Range<usize>]) -> bool {
    let gap = &text[pair[0].end..pair[1].start];
    gap.len() <= GAP_MAX_BYTES && gap.bytes().all(|b| b" ().-/".contains(&b))
}

/// The span of the number that these groups are, if they are one.
fn number(text: &str, key: &str, groups: &[Range<usize>], regions: &Regions) -> Option<Range<usize>> {
    let (first, last) = (groups.first()?, groups.last()?);
    let count = groups.iter().map(ExactSizeIterator::len).sum::<usize>();
    if !(DIGITS_MIN..=DIGITS_MAX + 2).contains(&count) {
        return None;
    }
    let start = opening(text, first.start..last.end);
    let international = text[start..first.start].contains('+') || text[first.clone()].starts_with("00");
    let shaped = international || national_shape(text, groups, regions);
    let end = extension(text, last.end).unwrap_or(last.end);
    if !shaped
        || !digits::starts(text, start)
        || text[..start].ends_with(['#', '/', '=', '-'])
        || !digits::ends(text, end)
    {
        return None;
    }
    let bare = groups.len() == 1 && !international;
    if bare && !context::near(text, key, first, CONTEXT) {
        return None;
    }
    let digits = text[first.start..last.end].chars().filter(char::is_ascii_digit).collect::<String>();
    valid(&digits, international, groups, regions).then_some(start..end)
}

/// Where the number starts: at its `+`, or at a bracket that closes within it.
fn opening(text: &str, number: Range<usize>) -> usize {
    let mut start = number.start;
    if text[..start].ends_with('(') && text[number].contains(')') {
        start -= 1;
    }
    if text[..start].ends_with('+') { start - 1 } else { start }
}

/// Cheap rules, so that tables of numbers and dates never reach the numbering plans.
fn national_shape(text: &str, groups: &[Range<usize>], regions: &Regions) -> bool {
    let sizes = groups.iter().map(ExactSizeIterator::len).collect::<Vec<_>>();
    let digits = &text[groups[0].clone()];
    let american = |sizes: &[usize]| matches!(sizes, [3, 3, 4] | [3, 7] | [10] | [6, 4]);
    let date = matches!(sizes[..], [2, 2, 4] | [1, 2, 4] | [2, 1, 4] | [1, 1, 4] | [4, 2, 2]);
    regions.0.iter().any(|region| match &region.trunk {
        _ if region.american => american(&sizes) || (digits == "1" && american(&sizes[1..])) || sizes == [11],
        Some(trunk) => !date && digits.starts_with(trunk.as_str()) && sizes[0] > trunk.len(),
        None => !date,
    })
}

fn valid(digits: &str, international: bool, groups: &[Range<usize>], regions: &Regions) -> bool {
    if international {
        let number = format!("+{}", digits.strip_prefix("00").unwrap_or(digits));
        return number.len() > DIGITS_MIN && phonenumber::parse(None, number).is_ok_and(|n| n.is_valid());
    }
    regions.0.iter().any(|region| {
        let plausible = match &region.trunk {
            _ if region.american => digits.len() == 10 || (digits.len() == 11 && digits.starts_with('1')),
            Some(trunk) => digits.starts_with(trunk.as_str()) && groups[0].len() > trunk.len(),
            None => true,
        };
        plausible && phonenumber::parse(Some(region.id), digits).is_ok_and(|n| n.is_valid())
    })
}

/// Where `ext. 123` or `x123` after a number ends.
fn extension(text: &str, at: usize) -> Option<usize> {
    let rest = text[at..].strip_prefix([' ', ',']).unwrap_or(&text[at..]).trim_start_matches(' ');
    let word = ["extension", "ext.", "ext", "x"]
        .iter()
        .find(|w| rest.get(..w.len()).is_some_and(|start| start.eq_ignore_ascii_case(w)))?;
    let number = rest[word.len()..].trim_start_matches([' ', '.', ':']);
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    (1..=EXTENSION_MAX_DIGITS).contains(&digits).then(|| text.len() - number.len() + digits)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::PhoneNumber,
            &[
                "«212-555-0123»",
                "call «(212) 555-0123» now",
                "«+1 212 555 0123».",
                "«1-800-356-9377»",
                "«212.555.0123»",
                "my phone: «2125550123»",
                "«(212) 555-0123 ext. 42» or mail",
                "«212-555-0123x42»",
                "«+44 20 7946 0018»",
                "«020 7946 0018»",
                "Tel. «030 901820»",
                "(«212-555-0123»)",
                "«0049 30 901820»",
                "«+33 1 42 68 53 00»",
                "tel:«+12125550123»;",
                "qty 4 «212-555-0123» 3",
                "（«+81 3-3224-9999»）",
            ],
            &[
                "2125550123",
                "order number 2125550123",
                "call me in 2026-11-23",
                "01.02.2026",
                "2026-11-23 19:43",
                "1.2.3.4567890",
                "10.0.19041.1234",
                "4111 1111 1111 1111",
                "460-89-9847",
                "INV-212-555-0123",
                "212-555-0123-77",
                "0192f3a4-7c1e-7b2a-9d3e-4455667788aa",
                "1732390980123",
                "12 34 56 78 90 12 34",
                "112-555-0123",
                "3.14159265358979",
                "#2125550123 phone",
                "+1 2",
                "978-3-16-148410-0",
            ],
        );
    }
}
