//! `PHONE_NUMBER`: digit groups that look dialled, then validated against the numbering plans of the `phonenumber` crate.
//!
//! International numbers (`+` or `00`) of any region count; national ones only of the configured regions, with their trunk
//! prefix where the region has one. A bare run of digits counts only beside a context word, a number of another region's national
//! plan only right beside a label such as `Tel.`.

use super::phone_plans::{self, Regions};
use super::score::{FORMAT, weigh};
use super::{Entity, Report, Text, context, digits};
use std::ops::Range;

const DIGITS_MIN: usize = 7;
const DIGITS_MAX: usize = 15;
/// With an international prefix such as 00.
const DIALLED_MAX: usize = DIGITS_MAX + 2;
const GROUPS_MAX: usize = 7;
const GAP_MAX_BYTES: usize = 3;
const EXTENSION_MAX_DIGITS: usize = 6;
/// How far behind a number a word may begin that it is labelled with.
const WORD_MAX_BYTES: usize = 8;
/// The longest group of a number of which nothing but its label is known.
const LABELLED_MAX: usize = 11;

/// A valid number in international form is as good as a format without a checksum can be.
const INTERNATIONAL: f32 = 0.8;
/// A number that only its label speaks for counts for less than any that is valid.
const LABELLED_LESS: f32 = 0.05;

pub(super) const CONTEXT: &[&str] = &[
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
    "téléphone",
    "telefono",
    "cellulare",
    "telefone",
    "telefoon",
    "hotline",
    "helpline",
    "voicemail",
];

/// What a number is labelled with; right beside one of these it need not be of a known plan.
pub(super) const LABELS: &[&str] = &[
    "phone",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "cellphone",
    "fax",
    "whatsapp",
    "landline",
    "handy",
    "telefon",
    "mobil",
    "móvil",
    "teléfono",
    "téléphone",
    "telefono",
    "cellulare",
    "telefone",
    "telefoon",
    "desk",
    "office",
    "home",
];

pub(super) fn find(text: &Text<'_>, regions: &Regions, report: Report<'_>) {
    let groups = text.groups();
    let digits = groups.iter().flat_map(|group| &text.as_str().as_bytes()[group.clone()]);
    let digits = digits.map(|byte| byte - b'0').collect::<Vec<_>>();
    // the last group that is joined with this one through all between them, and digits in front of this one
    let (mut i, mut reach, mut done) = (0, 0, 0);
    while i < groups.len() {
        reach = reach.max(i);
        while reach + 1 < groups.len().min(i + GROUPS_MAX) && joined(text.as_str(), &groups[reach], &groups[reach + 1])
        {
            reach += 1;
        }
        // most of what is written with dots and hyphens starts no number
        let may_start =
            begins(text.as_str(), groups[i].start) || text.as_str()[..groups[i].start].ends_with(['(', '+']);
        let chain = || Chain::new(text, &groups[i..=reach], &digits[done..]);
        let found = may_start.then(chain).flatten().and_then(|chain| {
            // a shorter number that is valid is surer than a longer one that is only labelled
            chain.valid(regions).or_else(|| chain.labelled())
        });
        let taken = found.as_ref().map_or(1, |found| found.groups);
        done += groups[i..i + taken].iter().map(ExactSizeIterator::len).sum::<usize>();
        i += taken;
        if let Some(found) = found {
            report(found.span, found.score);
        }
    }
}

fn joined(text: &str, left: &Range<usize>, right: &Range<usize>) -> bool {
    let gap = &text.as_bytes()[left.end..right.start];
    gap.len() <= GAP_MAX_BYTES && gap.iter().all(|b| matches!(b, b' ' | b'(' | b')' | b'.' | b'-' | b'/'))
}

/// Whether a number can start here, bracket and `+` taken along.
fn begins(text: &str, at: usize) -> bool {
    digits::starts(text, at) && !text[..at].ends_with(['#', '/', '=', '-'])
}

struct Found {
    span: Range<usize>,
    score: f32,
    /// How many of the chain's groups it takes.
    groups: usize,
}

/// Digit groups of which the first few may be one number.
struct Chain<'t> {
    text: &'t Text<'t>,
    groups: &'t [Range<usize>],
    /// So many of the groups have enough digits, at least.
    least: usize,
    /// Digits of the first groups together.
    counts: [usize; GROUPS_MAX],
    /// The values of all digits.
    digits: &'t [u8],
}

impl<'t> Chain<'t> {
    /// `None` if there are too few digits or too many at once. Takes as many of the groups as may be one number, of which the digits are
    /// the first ones.
    fn new(text: &'t Text<'t>, groups: &'t [Range<usize>], digits: &'t [u8]) -> Option<Self> {
        let (mut counts, mut count, mut least, mut taken) = ([0; GROUPS_MAX], 0, 0, 0);
        for group in groups {
            if count + group.len() > DIALLED_MAX {
                break;
            }
            least += usize::from(count < DIGITS_MIN);
            count += group.len();
            counts[taken] = count;
            taken += 1;
        }
        let chain = || Self { text, groups: &groups[..taken], least, counts, digits: &digits[..count] };
        (count >= DIGITS_MIN).then(chain)
    }

    /// The longest first.
    fn candidates(&self) -> impl Iterator<Item = Candidate<'t>> {
        let (text, groups, counts) = (self.text, self.groups, self.counts);
        let candidates = (self.least..=groups.len()).rev();
        candidates.map(move |n| Candidate { text, groups: &groups[..n], digits: counts[n - 1] })
    }

    /// The longest that a label speaks for.
    fn labelled(&self) -> Option<Found> {
        let is_labelled = self.text.speaks(context::PHONE_LABEL);
        is_labelled.then(|| self.candidates().find_map(|candidate| candidate.labelled()))?
    }

    /// The longest number of a known plan.
    fn valid(&self, regions: &Regions) -> Option<Found> {
        let first = self.groups.first()?;
        let (prefix, digits) = match self.digits {
            [0, 0, digits @ ..] if first.len() >= 2 => (2, digits),
            digits => (0, digits),
        };
        let before = &self.text.as_str()[..first.start];
        let is_international = prefix > 0 || before.strip_suffix('(').unwrap_or(before).ends_with('+');
        let international = if is_international { phone_plans::international(digits) << prefix } else { 0 };
        let national = self.national(regions);
        if international | national == 0 {
            return None;
        }
        let mut candidates = self.candidates().filter(|it| (international | national) & (1 << it.digits) != 0);
        candidates.find_map(|it| {
            let is_among = |lengths: u32| lengths & (1 << it.digits) != 0;
            let (start, end) = it.bounds()?;
            let plus = self.text.as_str()[start..first.start].contains('+');
            if (plus || prefix > 0) && is_among(international) {
                return Some(it.found(start..end, INTERNATIONAL));
            }
            let about = Entity::PhoneNumber.topic() | context::PHONE_LABEL;
            let alone = (it.groups.len() > 1 && !self.text.says_another(first, about)).then_some(FORMAT);
            let national = !plus && is_among(national);
            let score = if national { weigh(alone, self.text.near(first, Entity::PhoneNumber.topic())) } else { None };
            score.map(|score| it.found(start..end, score))
        })
    }

    /// Bit n, if the first n digits are a number of one of the regions and written like one.
    fn national(&self, regions: &Regions) -> u32 {
        let (mut american, mut undated) = (0, 0);
        let possible = regions.possible(self.digits);
        for candidate in self.candidates().filter(|candidate| possible & (1 << candidate.digits) != 0) {
            american |= u32::from(candidate.is_american()) << candidate.digits;
            undated |= u32::from(!candidate.dated()) << candidate.digits;
        }
        if american | undated == 0 {
            return 0;
        }
        let first = &self.digits[..self.groups[0].len()];
        regions.iter().fold(0, |lengths, region| {
            let is_behind = |trunk: &Vec<u8>| first.len() > trunk.len() && first.starts_with(trunk);
            let shaped = match &region.trunk {
                _ if region.american => american,
                Some(trunk) if region.demanded && !is_behind(trunk) => 0,
                _ => undated,
            };
            // most numbers are none, and most that are one are found by then
            if shaped & !lengths & region.possible(self.digits) == 0 {
                lengths
            } else {
                lengths | (shaped & region.valid(self.digits))
            }
        })
    }
}

/// Digit groups that may be one number.
struct Candidate<'t> {
    text: &'t Text<'t>,
    groups: &'t [Range<usize>],
    digits: usize,
}

impl Candidate<'_> {
    fn found(&self, span: Range<usize>, score: f32) -> Found {
        Found { span, score, groups: self.groups.len() }
    }

    /// Where it starts, if a number can start there.
    fn start(&self) -> Option<usize> {
        let (text, first, last) = (self.text.as_str(), self.groups.first()?, self.groups.last()?);
        let start = opening(text, first.start..last.end);
        begins(text, start).then_some(start)
    }

    /// Where it starts and ends with its extension, if a number can.
    fn bounds(&self) -> Option<(usize, usize)> {
        let (text, last) = (self.text.as_str(), self.groups.last()?);
        let start = self.start()?;
        let end = extension(text, last.end).unwrap_or(last.end);
        digits::ends(text, end).then_some((start, end))
    }

    fn size(&self, group: usize) -> usize {
        self.groups.get(group).map_or(0, ExactSizeIterator::len)
    }

    /// Sizes of up to four groups; no number of four or more is a date.
    fn sizes(&self) -> [usize; 4] {
        [self.size(0), self.size(1), self.size(2), self.size(3)]
    }

    fn dated(&self) -> bool {
        matches!(self.sizes(), [1 | 2, 1 | 2, 4, 0] | [4, 1 | 2, 1 | 2, _] | [4, 4, 0, 0])
    }

    /// Ten digits as they are written in North America, or eleven with the prefix.
    fn is_american(&self) -> bool {
        let shaped = |sizes: &[usize]| matches!(sizes, [3, 3, 4, ..] | [3, 7, 0, ..] | [10, 0, ..] | [6, 4, 0, ..]);
        let has_prefix = || self.text.as_str()[self.groups[0].clone()].starts_with('1');
        match self.digits {
            10 => shaped(&self.sizes()),
            11 => has_prefix() && (self.groups.len() == 1 || shaped(&self.sizes()[1..])),
            _ => false,
        }
    }

    /// A number whose plan is not known but that stands right beside a label.
    fn labelled(&self) -> Option<Found> {
        let (text, first, last) = (self.text.as_str(), self.groups.first()?, self.groups.last()?);
        let dotted = text[first.end..].starts_with('.');
        let address = self.groups.len() == 4 && dotted && self.groups.iter().all(|group| group.len() <= 3);
        let shaped = self.groups.len() < GROUPS_MAX && self.groups.iter().all(|group| group.len() <= LABELLED_MAX);
        if !shaped || address || self.digits > DIGITS_MAX || self.dated() {
            return None;
        }
        let start = self.start()?;
        let near = self.text.near(&(first.start..last.end), context::PHONE_LABEL)?;
        // `-Office` may follow with a hyphen, which ends no other number
        let rest = &text[last.end..text.floor_char_boundary((last.end + WORD_MAX_BYTES).min(text.len()))];
        let word = rest.trim_start_matches(['-', ' ', '(', ',']);
        let after = word.len() < rest.len() && word.starts_with(char::is_alphabetic);
        let label = near >= context::LABEL || (after && (context::LABEL_AFTER..=context::RIGHT_BEFORE).contains(&near));
        let end = extension(text, last.end).unwrap_or(last.end);
        let whole = after || digits::ends(text, end);
        (label && whole).then(|| self.found(start..end, near - LABELLED_LESS))
    }
}

/// Where the number starts: at its `+`, or at a bracket that closes within it.
fn opening(text: &str, number: Range<usize>) -> usize {
    let mut start = number.start;
    if text[..start].ends_with('(') && text[number].contains(')') {
        start -= 1;
    }
    if text[..start].ends_with('+') { start - 1 } else { start }
}

/// Where `ext. 123` or `x123` after a number ends.
fn extension(text: &str, at: usize) -> Option<usize> {
    let rest = text[at..].strip_prefix([' ', ',']).unwrap_or(&text[at..]).trim_start_matches(' ');
    if !rest.starts_with(['e', 'E', 'x', 'X']) {
        return None;
    }
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
                "«+46 (0)8 928 571 38» fax",
                "Mobile: «723 813 266»",
                "fax «0961-7596216».",
                "mobile «98765 43210»",
                "phone: «212 555 0123» 42 of them",
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
                "Tel. and fax since 2017-2018",
                "phone model 2026.11.23",
                "the office at 192.168.100.200",
            ],
        );
    }
}
