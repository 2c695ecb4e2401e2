//! Numbering plans: whether digits are a number of a calling code, by the patterns of the `phonenumber` crate.
//!
//! The crate's own parser allocates for every number and shares a small locked cache of expressions among all regions. So only its
//! patterns are taken: those of a calling code become one automaton, which is made when the first number of that code comes.

use super::digit_automaton::Automaton;
use phonenumber::Metadata;
use phonenumber::metadata::{DATABASE, Descriptor};
use std::sync::{LazyLock, OnceLock};

/// Calling codes are below this.
const CODES: usize = 1000;
const CODE_MAX_DIGITS: usize = 3;
/// So many digits say of most numbers that they are none.
const FIRST: usize = 3;
const FIRSTS: usize = 1000;

static PLANS: LazyLock<Vec<OnceLock<Option<Automaton>>>> =
    LazyLock::new(|| (0..CODES).map(|_| OnceLock::new()).collect());

/// Bit n, if the first n of the digits, which begin with a calling code, are a number anywhere in the world.
pub(super) fn international(digits: &[u8]) -> u32 {
    // no code begins another one, and none begins with 0
    let codes = (1..=CODE_MAX_DIGITS.min(digits.len())).filter(|_| digits[0] != 0);
    codes.fold(0, |lengths, length| {
        let (code, national) = digits.split_at(length);
        let Some(plan) = of_code(code.iter().fold(0, |code, digit| code * 10 + u16::from(*digit))) else {
            return lengths;
        };
        // a trunk prefix is often left in: +44 (0)20 …
        let behind_trunk = national.strip_prefix(&[0]).map_or(0, |national| plan.lengths(national) << 1);
        lengths | (plan.lengths(national) | behind_trunk) << length
    })
}

fn of_code(code: u16) -> Option<&'static Automaton> {
    let plan = PLANS.get(usize::from(code))?;
    plan.get_or_init(|| DATABASE.by_code(&code).and_then(|regions| compile(&regions))).as_ref()
}

/// One automaton for all kinds of numbers of all these regions.
fn compile(regions: &[&Metadata]) -> Option<Automaton> {
    let kinds = regions.iter().flat_map(kinds);
    Automaton::new(&kinds.map(|kind| format!("(?:{})", kind.national_number().as_str())).collect::<Vec<_>>().join("|"))
}

fn kinds<'m>(region: &&'m Metadata) -> impl Iterator<Item = &'m Descriptor> + use<'m> {
    let of = region.descriptors();
    let kinds = [
        of.fixed_line(),
        of.mobile(),
        of.toll_free(),
        of.premium_rate(),
        of.shared_cost(),
        of.personal_number(),
        of.voip(),
        of.pager(),
        of.uan(),
        of.voicemail(),
    ];
    kinds.into_iter().flatten()
}

/// The numbering plans that national numbers are read by.
#[derive(Debug)]
pub(crate) struct Regions {
    regions: Vec<Region>,
    /// By the number that the first digits are: bit n, if a national number of n digits may begin with them.
    possible: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Region {
    /// North American plan: ten digits, written 3-3-4, prefix 1 optional.
    pub(super) american: bool,
    /// What a national number starts with, in regions that have such a prefix.
    pub(super) trunk: Option<Vec<u8>>,
    /// Numbers are written with their trunk prefix, always.
    pub(super) demanded: bool,
    plan: &'static Automaton,
    /// Bit n: numbers of n digits exist, trunk prefix not counted.
    lengths: u32,
    /// See [`Regions::possible`].
    possible: Vec<u32>,
}

/// The number that the first [`FIRST`] digits are.
fn first(digits: &[u8]) -> usize {
    digits.iter().take(FIRST).fold(0, |first, digit| first * 10 + usize::from(*digit))
}

impl Regions {
    /// Errors with the region that is not known.
    pub(crate) fn new(regions: &[String]) -> Result<Self, String> {
        let region = |name: &String| {
            // `001` is what belongs to no country
            let known = DATABASE.by_id(name.as_str()).filter(|_| name.len() == 2);
            let metadata = known.ok_or_else(|| name.clone())?;
            // a number of Canada's is written in the same way in the United States
            let plan = of_code(metadata.country_code()).ok_or_else(|| name.clone())?;
            let american = metadata.country_code() == 1;
            let trunk = metadata.national_prefix().filter(|_| !american);
            let trunk = trunk.map(|prefix| prefix.bytes().map(|digit| digit.wrapping_sub(b'0')).collect());
            let optional = metadata.formats().iter().any(|format| format.is_national_prefix_optional());
            let demanded = trunk.is_some() && !optional;
            let lengths = kinds(&metadata).flat_map(|kind| kind.possible_length()).filter(|length| **length < 32);
            let lengths = lengths.fold(0, |bits, length| bits | 1 << length);
            Ok(Region { american, trunk, demanded, plan, lengths, possible: Vec::new() }.with_possible())
        };
        let regions = regions.iter().map(region).collect::<Result<Vec<_>, String>>()?;
        let union = |first| regions.iter().fold(0, |all, region: &Region| all | region.possible[first]);
        let possible = (0..FIRSTS).map(union).collect();
        Ok(Self { regions, possible })
    }

    /// Bit n, if a national number of n digits may begin like these, of which there are [`FIRST`] or more.
    pub(super) fn possible(&self, digits: &[u8]) -> u32 {
        self.possible[first(digits)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter()
    }
}

impl Region {
    fn with_possible(self) -> Self {
        let digits = |first: usize| [first / 100, first / 10 % 10, first % 10].map(|digit| digit as u8);
        let possible = (0..FIRSTS).map(|first| self.begun(&digits(first))).collect();
        Self { possible, ..self }
    }

    /// Bit n, if some n digits that begin with these are a number of this region.
    fn begun(&self, first: &[u8; FIRST]) -> u32 {
        let of_plan = |digits: &[u8]| self.plan.possible(digits) & self.lengths;
        let national = self.prefix().map(|prefix| match first.strip_prefix(prefix) {
            Some(digits) => of_plan(digits) << prefix.len(),
            None if prefix.starts_with(first) => u32::MAX,
            None => 0,
        });
        national.unwrap_or(0) | if self.demanded { 0 } else { of_plan(first) }
    }

    /// Bit n, if a number of this region of n digits may begin like these, of which there are [`FIRST`] or more.
    pub(super) fn possible(&self, digits: &[u8]) -> u32 {
        self.possible[first(digits)]
    }

    /// Bit n, if the first n of the digits are a number of this region.
    pub(super) fn valid(&self, digits: &[u8]) -> u32 {
        let of_plan = |digits: &[u8]| self.plan.lengths(digits) & self.lengths;
        let national = self.prefix().map_or(0, |prefix| match digits.split_at_checked(prefix.len()) {
            Some((first, digits)) if first.iter().eq(prefix) => of_plan(digits) << prefix.len(),
            _ => 0,
        });
        national | if self.demanded { 0 } else { of_plan(digits) }
    }

    fn prefix(&self) -> Option<&[u8]> {
        if self.american { Some(&[1]) } else { self.trunk.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phonenumber::country::Id;

    fn values(digits: &str) -> Vec<u8> {
        digits.bytes().map(|digit| digit - b'0').collect()
    }

    fn international(digits: &str) -> bool {
        super::international(&values(digits)) & (1 << digits.len()) != 0
    }

    #[test]
    fn the_examples_of_every_region_are_numbers_and_one_digit_more_is_none() {
        let mut seen = 0;
        for metadata in DATABASE.iter() {
            let of = metadata.descriptors();
            for example in
                [of.fixed_line(), of.mobile(), of.toll_free()].into_iter().flatten().filter_map(|d| d.example())
            {
                let whole = format!("{}{example}", metadata.country_code());
                assert!(international(&whole), "{whole} of {}", metadata.id());
                seen += 1;
            }
        }
        assert!(seen > 300, "{seen}");
        assert!(
            !international("1212555012345") && !international("999123456") && !international("") && !international("4")
        );
    }

    #[test]
    fn no_number_is_left_out_by_its_first_digits() {
        let regions = Regions::new(&["US", "GB", "DE", "ES", "IN", "HU", "BR"].map(str::to_owned)).expect("known");
        for number in
            ["2125550123", "12125550123", "02079460018", "030901820", "912345678", "09876543210", "0612345678"]
        {
            let valid = regions.iter().fold(0, |all, region| all | region.valid(&values(number)));
            assert_eq!(regions.possible(&values(number)) & valid, valid, "{number}");
            assert!(valid & (1 << number.len()) != 0, "{number}");
        }
        let american = Regions::new(&["US".to_owned()]).expect("known");
        assert_eq!(["0002", "1112", "112"].map(|number| american.possible(&values(number))), [0; 3]);
    }

    #[test]
    fn the_same_verdict_as_the_crates_parser() {
        let regions = Regions::new(&["US".into(), "GB".into(), "DE".into()]).expect("known");
        for (number, ids) in
            [("2125550123", Id::US), ("1125550123", Id::US), ("02079460018", Id::GB), ("030901820", Id::DE)]
        {
            let theirs = phonenumber::parse(Some(ids), number).is_ok_and(|n| n.is_valid());
            let ours = regions.iter().any(|region| region.valid(&values(number)) & (1 << number.len()) != 0);
            assert_eq!(ours, theirs, "{number}");
        }
    }
}
