//! Replaces findings by typed placeholders such as `[EMAIL_ADDRESS_1]`.
//!
//! Within one [`Masker`], thus within one request, the same value gets the same placeholder, so that a model can still tell
//! two people apart. Three kinds ([`Instead`]): a number, after which the value is gone; a number whose original is kept, for whoever puts it
//! back; a keyed hash, which is the same in every request.
//!
//! A value leaves the masker in one way only: as an original, to whoever asks for [`Masker::originals`].

use super::{Entity, Finding};
use regex::{Captures, Regex};
use ring::hmac;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write;
use std::ops::Range;
use std::sync::LazyLock;

/// Numbered ones, and hashed ones, which begin with a letter: no number in brackets looks like one of those.
static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[[A-Z][A-Z_]{1,40}_(?:[0-9]{1,9}|[a-f][0-9a-f]{15})\]").expect("a constant pattern, covered by tests")
});

/// The most originals that a masker keeps, and their bytes with those of their placeholders. What is found beyond is replaced all the same,
/// and its original is not kept. So many placeholders without an original it names, too.
pub const ORIGINALS_MAX: usize = 1_000;
/// See [`ORIGINALS_MAX`].
pub const ORIGINALS_MAX_BYTES: usize = 64 << 10;

/// Bytes of a hash that a placeholder shows: of 100 million values two are the same with a chance of about one in a thousand.
const HASH_BYTES: usize = 8;

/// What a finding is replaced by, from the mildest to the strictest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instead {
    /// A number, and the original is kept.
    Restorable,
    /// A keyed hash; a number, if the masker has no key.
    Hash,
    /// A number.
    #[default]
    Number,
}

/// A secret that hashes are keyed with (HMAC-SHA-256). Its debugging form names the algorithm alone.
#[derive(Debug, Clone)]
pub struct HashKey(hmac::Key);

impl HashKey {
    /// Of a secret's bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The first bytes of a value's hash in hex. The first digit is made a letter.
    fn hash(&self, value: &str) -> String {
        let tag = hmac::sign(&self.0, value.as_bytes());
        let mut digits = String::with_capacity(2 * HASH_BYTES);
        for (at, byte) in tag.as_ref().iter().take(HASH_BYTES).enumerate() {
            let high = if at == 0 { 10 + (byte >> 4) % 6 } else { byte >> 4 };
            // Writing to a string cannot fail.
            let _ = write!(digits, "{high:x}{:x}", byte & 15);
        }
        digits
    }
}

/// Placeholders handed out so far.
#[derive(Default)]
pub struct Masker {
    key: Option<HashKey>,
    /// By label and what makes two spellings the same.
    numbered: HashMap<(Cow<'static, str>, String), String>,
    /// By label and the value as it was written: it comes back as it was.
    restorable: HashMap<(Cow<'static, str>, String), String>,
    /// Originals by placeholder.
    originals: BTreeMap<String, String>,
    originals_bytes: usize,
    /// Placeholders that somebody else has written.
    taken: HashSet<String>,
    /// Those that stand for something that was masked.
    own: HashSet<String>,
    counts: HashMap<Cow<'static, str>, usize>,
}

impl Masker {
    /// One that can hash, if there is a key.
    pub fn keyed(key: Option<HashKey>) -> Self {
        Self { key, ..Self::default() }
    }

    /// Hands out none of the placeholders that stand in a text: what their writer means by them is not one of the values to come.
    pub fn avoid(&mut self, text: &str) {
        if text.contains('[') {
            self.taken.extend(PLACEHOLDER.find_iter(text).map(|found| found.as_str().to_owned()));
        }
    }

    /// Takes a placeholder that was handed out before for one of its own.
    pub fn adopt(&mut self, placeholder: &str) {
        self.own.insert(placeholder.to_owned());
    }

    /// Where its own placeholders stand in a text, in order. What somebody else has written in their form is text like any other.
    pub fn own(&self, text: &str) -> Vec<Range<usize>> {
        if self.own.is_empty() || !text.contains('[') {
            return Vec::new();
        }
        let own = PLACEHOLDER.find_iter(text).filter(|found| self.own.contains(found.as_str()));
        own.map(|found| found.range()).collect()
    }

    /// The originals by placeholder. The masker has none any more.
    pub fn originals(&mut self) -> BTreeMap<String, String> {
        self.restorable.clear();
        self.originals_bytes = 0;
        std::mem::take(&mut self.originals)
    }

    /// The placeholders that nobody gets anything back for, in order: of more than [`ORIGINALS_MAX`], the first. As long as the masker has its
    /// originals.
    pub fn for_good(&self) -> Vec<String> {
        let gone = self.own.iter().filter(|placeholder| !self.originals.contains_key(*placeholder));
        let gone: BTreeSet<&String> = gone.collect();
        gone.into_iter().take(ORIGINALS_MAX).cloned().collect()
    }

    /// The text with every finding replaced; `None` if there is nothing to replace.
    ///
    /// Overlapping findings are all covered. Findings inside a placeholder of its own are left alone.
    pub fn mask(&mut self, text: &str, findings: Vec<Finding>) -> Option<String> {
        let replacements = self.replacements(text, findings);
        if replacements.is_empty() {
            return None;
        }
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for (span, placeholder) in replacements {
            masked.push_str(&text[done..span.start]);
            masked.push_str(&placeholder);
            done = span.end;
        }
        masked.push_str(&text[done..]);
        Some(masked)
    }

    /// What is to be replaced, and by what: disjoint, in the order of the text.
    pub fn replacements(&mut self, text: &str, findings: Vec<Finding>) -> Vec<(Range<usize>, String)> {
        let findings = self.outside_own(text, resolve(findings));
        let replaced = findings.into_iter().map(|Finding { span, label, instead, .. }| {
            let placeholder = self.placeholder(label, &text[span.clone()], instead);
            (span, placeholder)
        });
        replaced.collect()
    }

    /// A placeholder for a whole text: the safe end where masking piece by piece found no end, and for whoever does not say where.
    pub fn whole(&mut self, text: &str, instead: Instead) -> String {
        self.placeholder(Cow::Borrowed("TEXT"), text, instead)
    }

    fn placeholder(&mut self, label: Cow<'static, str>, value: &str, instead: Instead) -> String {
        let placeholder = match (instead, &self.key) {
            (Instead::Hash, Some(key)) => format!("[{label}_{}]", key.hash(&same(&label, value))),
            (Instead::Restorable, _) => self.restorable(label, value),
            (Instead::Hash | Instead::Number, _) => self.numbered(label, value),
        };
        self.own.insert(placeholder.clone());
        placeholder
    }

    fn numbered(&mut self, label: Cow<'static, str>, value: &str) -> String {
        let same = same(&label, value);
        let key = (label, same);
        if let Some(known) = self.numbered.get(&key) {
            return known.clone();
        }
        let placeholder = self.next(key.0.clone());
        self.numbered.insert(key, placeholder.clone());
        placeholder
    }

    fn restorable(&mut self, label: Cow<'static, str>, value: &str) -> String {
        // What was found around an earlier find has that one's placeholder in it, and goes back without.
        let before =
            |found: &Captures<'_>| self.originals.get(&found[0]).cloned().unwrap_or_else(|| found[0].to_owned());
        let original = PLACEHOLDER.replace_all(value, before).into_owned();
        let key = (label, original);
        if let Some(known) = self.restorable.get(&key) {
            return known.clone();
        }
        // The label, brackets and a number of up to nine digits.
        let bytes = self.originals_bytes + key.1.len() + key.0.len() + 12;
        if self.originals.len() >= ORIGINALS_MAX || bytes > ORIGINALS_MAX_BYTES {
            return self.numbered(key.0, value);
        }
        let placeholder = self.next(key.0.clone());
        self.originals_bytes = bytes;
        self.originals.insert(placeholder.clone(), key.1.clone());
        self.restorable.insert(key, placeholder.clone());
        placeholder
    }

    /// A placeholder that was neither handed out nor written by somebody else.
    fn next(&mut self, label: Cow<'static, str>) -> String {
        let count = self.counts.entry(label.clone()).or_default();
        loop {
            *count += 1;
            let placeholder = format!("[{label}_{count}]");
            if !self.taken.contains(&placeholder) && !self.own.contains(&placeholder) {
                return placeholder;
            }
        }
    }

    /// Leaves out what lies within a placeholder of its own. What else reaches into one, whosever it is, covers all of it: half a
    /// placeholder stands for nothing. One of somebody else's in which something is found is a value, and stands for no other one.
    fn outside_own(&mut self, text: &str, findings: Vec<Finding>) -> Vec<Finding> {
        if !text.contains('[') {
            return findings;
        }
        let placeholders = PLACEHOLDER.find_iter(text).map(|m| m.range()).collect::<Vec<Range<usize>>>();
        let outside = findings.into_iter().filter_map(|mut finding| {
            let Range { start, end } = finding.span;
            let first = placeholders.partition_point(|p| p.end <= start);
            for placeholder in placeholders[first..].iter().take_while(|p| p.start < end) {
                if placeholder.start <= start && end <= placeholder.end {
                    let written = &text[placeholder.clone()];
                    if self.own.contains(written) {
                        return None;
                    }
                    self.taken.insert(written.to_owned());
                }
                finding.span.start = finding.span.start.min(placeholder.start);
                finding.span.end = finding.span.end.max(placeholder.end);
            }
            Some(finding)
        });
        resolve(outside.collect())
    }
}

/// Hides the values, which a derived form would print.
impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masker").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// What makes two spellings the same value: neither case nor white space beside punctuation matters, and of a number what it is grouped by
/// does not. Elsewhere a dot, a slash or a space is a part of the value: `1.12.3.4` is not `11.2.3.4`.
fn same(label: &str, value: &str) -> String {
    let lower = value.to_lowercase();
    if is_number(label) {
        // A plus within is the century of a Swede's or a Finn's birth.
        return lower.trim_start_matches('+').chars().filter(|c| c.is_alphanumeric() || *c == '+').collect();
    }
    let mut out = String::with_capacity(lower.len());
    for word in lower.split_whitespace() {
        let are_two = out.ends_with(char::is_alphanumeric) && word.starts_with(char::is_alphanumeric);
        out.push_str(if are_two { " " } else { "" });
        out.push_str(word);
    }
    out
}

/// Whether values of a label are numbers that are grouped in whatever way, as those of telephones, cards, accounts and persons are.
fn is_number(label: &str) -> bool {
    let other = |entity: Entity| {
        use Entity::{Crypto, DateOfBirth, EmailAddress, IpAddress, Secret, Url};
        matches!(entity, Crypto | DateOfBirth | EmailAddress | IpAddress | Secret | Url)
    };
    Entity::parse(label).is_some_and(|entity| !other(entity))
}

/// Orders findings and makes them disjoint without uncovering a byte that any of them covers.
///
/// One that lies inside another disappears (of two equals the surer one stays). Where two overlap in part, the surer one keeps its span,
/// else the longer, and the other one is cut. What stays stands for both then, by the stricter of the two.
pub fn resolve(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.retain(|f| !f.span.is_empty());
    findings.sort_by(|a, b| {
        a.span.start.cmp(&b.span.start).then(b.span.end.cmp(&a.span.end)).then(b.score.total_cmp(&a.score))
    });
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for mut next in findings {
        let Some(last) = kept.last_mut() else {
            kept.push(next);
            continue;
        };
        if next.span.end <= last.span.end {
            last.instead = last.instead.max(next.instead);
            continue;
        }
        if next.span.start < last.span.end {
            let stricter = last.instead.max(next.instead);
            let surer = next.score.total_cmp(&last.score).then(next.span.len().cmp(&last.span.len())).is_gt();
            if surer {
                (last.span.end, next.instead) = (next.span.start, stricter);
            } else {
                (next.span.start, last.instead) = (last.span.end, stricter);
            }
            if last.span.is_empty() {
                kept.pop();
            }
        }
        kept.push(next);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(span: Range<usize>, label: &'static str, sure: bool) -> Finding {
        let score = if sure { 0.9 } else { 0.5 };
        Finding { span, label: Cow::Borrowed(label), score, instead: Instead::Number }
    }

    #[test]
    fn the_same_value_keeps_its_placeholder() {
        let mut masker = Masker::default();
        let text = "a@b.de c@d.de A@B.de";
        let at = |start| finding(start..start + 6, "EMAIL_ADDRESS", true);
        let masked = masker.mask(text, vec![at(14), at(0), at(7)]).expect("masked");
        assert_eq!(masked, "[EMAIL_ADDRESS_1] [EMAIL_ADDRESS_2] [EMAIL_ADDRESS_1]");
        let again = masker.mask("c@d.de", vec![at(0)]).expect("masked");
        assert_eq!(again, "[EMAIL_ADDRESS_2]");
        assert!(!format!("{masker:?}").contains("d.de"));
    }

    #[test]
    fn two_spellings_are_one_value_and_two_values_are_not() {
        for (label, one, other) in [
            ("PHONE_NUMBER", "(212) 555-0100", "212.555.0100"),
            ("PHONE_NUMBER", "+1 212 555 0100", "1-212-555-0100"),
            ("CREDIT_CARD", "4111 1111 1111 1111", "4111-1111-1111-1111"),
            ("IBAN_CODE", "GB82 WEST 1234", "gb82west1234"),
            ("ES_NIF", "12345678-Z", "12345678z"),
            ("MAC_ADDRESS", "00:11:22:33:44:55", "00-11-22-33-44-55"),
            ("DATE_OF_BIRTH", "1. 11. 1980", "1.11.1980"),
            ("PERSON", "Jane  Roe", "jane\nroe"),
        ] {
            assert_eq!(same(label, one), same(label, other), "{label}");
        }
        for (label, one, other) in [
            ("IP_ADDRESS", "1.12.3.4", "11.2.3.4"),
            ("IP_ADDRESS", "1:23::4", "12:3::4"),
            ("DATE_OF_BIRTH", "1/11/1980", "11/1/1980"),
            ("DATE_OF_BIRTH", "1-11-1980", "11-1-1980"),
            ("DATE_OF_BIRTH", "1 11 1980", "11 1 1980"),
            ("ORDER", "7/71", "77/1"),
            ("ORDER", "a 1 23", "a 12 3"),
            ("SE_PERSONNUMMER", "121212-1212", "121212+1212"),
        ] {
            assert_ne!(same(label, one), same(label, other), "{label}");
        }
        let mut masker = Masker::default();
        let at = |start: usize, end| finding(start..end, "IP_ADDRESS", true);
        let masked = masker.mask("1.12.3.4 11.2.3.4 1.12.3.4", vec![at(0, 8), at(9, 17), at(18, 26)]);
        assert_eq!(masked.as_deref(), Some("[IP_ADDRESS_1] [IP_ADDRESS_2] [IP_ADDRESS_1]"));
    }

    #[test]
    fn overlaps_are_cut_never_uncovered() {
        let resolved = resolve(vec![
            finding(0..10, "URL", false),
            finding(8..14, "CREDIT_CARD", true),
            finding(9..12, "PHONE_NUMBER", false),
            finding(14..14, "URL", false),
        ]);
        assert_eq!(resolved, [finding(0..8, "URL", false), finding(8..14, "CREDIT_CARD", true)]);
        let equal = resolve(vec![finding(0..5, "PHONE_NUMBER", false), finding(0..5, "UK_NHS", true)]);
        assert_eq!(equal, [finding(0..5, "UK_NHS", true)]);
        let longer = resolve(vec![finding(0..3, "A", false), finding(2..9, "B", false)]);
        assert_eq!(longer, [finding(0..2, "A", false), finding(2..9, "B", false)]);
    }

    #[test]
    fn its_own_placeholders_are_not_masked_again() {
        let mut masker = Masker::default();
        let text = masker.mask("see Orion", vec![finding(4..9, "KEYWORD", false)]).expect("masked");
        assert_eq!(text, "see [KEYWORD_1]");
        assert_eq!(masker.mask(&text, vec![finding(5..14, "KEYWORD", false)]), None);
        assert_eq!(masker.mask(&text, vec![finding(0..15, "URL", false)]).as_deref(), Some("[URL_1]"));
        let half = vec![finding(0..7, "URL", false), finding(14..15, "OTHER", false)];
        assert_eq!(masker.mask(&text, half).as_deref(), Some("[URL_1]"), "half a placeholder stands for nothing");
    }

    #[test]
    fn what_somebody_else_has_written_like_a_placeholder_is_masked_as_any_text() {
        let mut masker = Masker::default();
        masker.adopt("[EMAIL_ADDRESS_1]");
        let text = "[EMAIL_ADDRESS_1], [EMAIL_ADDRESS_2], [ORION_7]";
        let own: Vec<&str> = masker.own(text).into_iter().map(|place| &text[place]).collect();
        assert_eq!(own, ["[EMAIL_ADDRESS_1]"]);
        let inside = vec![
            finding(1..16, "EMAIL_ADDRESS", true),
            finding(20..35, "EMAIL_ADDRESS", true),
            finding(39..44, "KEYWORD", false),
        ];
        let masked = masker.mask(text, inside);
        assert_eq!(masked.as_deref(), Some("[EMAIL_ADDRESS_1], [EMAIL_ADDRESS_3], [KEYWORD_1]"));
    }

    fn replaced(masker: &mut Masker, text: &str, span: Range<usize>, instead: Instead) -> String {
        let finding = Finding { instead, ..finding(span, "EMAIL_ADDRESS", true) };
        masker.mask(text, vec![finding]).expect("masked")
    }

    #[test]
    fn what_is_restorable_is_kept_as_it_was_written_and_beside_what_is_not() {
        let mut masker = Masker::default();
        masker.avoid("I wrote [EMAIL_ADDRESS_1] and [EMAIL_ADDRESS_3] myself");
        assert_eq!(replaced(&mut masker, "a@b.de", 0..6, Instead::Restorable), "[EMAIL_ADDRESS_2]");
        assert_eq!(replaced(&mut masker, "A@b.de", 0..6, Instead::Restorable), "[EMAIL_ADDRESS_4]");
        assert_eq!(replaced(&mut masker, "a@b.de", 0..6, Instead::Number), "[EMAIL_ADDRESS_5]");
        assert_eq!(replaced(&mut masker, "a@b.de", 0..6, Instead::Restorable), "[EMAIL_ADDRESS_2]");
        let around = Finding { instead: Instead::Restorable, ..finding(0..21, "URL", true) };
        assert_eq!(masker.mask("x/ [EMAIL_ADDRESS_4]!", vec![around]).as_deref(), Some("[URL_1]"));
        assert!(!format!("{masker:?}").contains("b.de"));
        assert_eq!(masker.for_good(), ["[EMAIL_ADDRESS_5]"]);
        let originals: Vec<_> = masker.originals().into_iter().collect();
        let expected = [("[EMAIL_ADDRESS_2]", "a@b.de"), ("[EMAIL_ADDRESS_4]", "A@b.de"), ("[URL_1]", "x/ A@b.de!")];
        assert_eq!(originals, expected.map(|(placeholder, value)| (placeholder.to_owned(), value.to_owned())));
        assert!(masker.originals().is_empty());
    }

    #[test]
    fn of_what_two_replace_nothing_comes_back_that_one_of_them_keeps() {
        let finding = |span, instead| Finding { instead, ..finding(span, "URL", true) };
        for (first, second) in [(0..9, 0..9), (0..9, 2..4), (2..4, 0..9), (0..6, 4..9), (0..4, 2..9)] {
            let both = |one, other| resolve(vec![finding(first.clone(), one), finding(second.clone(), other)]);
            for findings in [both(Instead::Restorable, Instead::Number), both(Instead::Number, Instead::Restorable)] {
                let covers = |at: usize| findings.iter().find(|it| it.span.contains(&at)).expect("covered").instead;
                let shared = first.start.max(second.start)..first.end.min(second.end);
                assert!(shared.clone().all(|at| covers(at) == Instead::Number), "{findings:?}");
            }
        }
    }

    #[test]
    fn originals_are_bounded_and_what_is_beyond_is_masked() {
        let mut masker = Masker::default();
        let long = "x".repeat(ORIGINALS_MAX_BYTES);
        assert_eq!(masker.whole(&long, Instead::Restorable), "[TEXT_1]");
        for n in 0..=ORIGINALS_MAX {
            masker.whole(&format!("value {n}"), Instead::Restorable);
        }
        assert_eq!(masker.for_good(), ["[TEXT_1002]", "[TEXT_1]"]);
        let originals = masker.originals();
        assert_eq!((originals.len(), originals.contains_key("[TEXT_1]")), (ORIGINALS_MAX, false));
        assert!(originals.contains_key("[TEXT_2]") && !originals.contains_key("[TEXT_1002]"));
    }

    #[test]
    fn a_hash_is_the_same_for_the_same_value_and_key_everywhere() {
        let key = |text: &str| Some(HashKey::new(text.as_bytes()));
        let hashed =
            |with: Option<HashKey>, text: &str| replaced(&mut Masker::keyed(with), text, 0..text.len(), Instead::Hash);
        let first = hashed(key("one"), "a@b.de");
        assert_eq!(first, hashed(key("one"), "A@B.de"));
        assert_ne!(first, hashed(key("two"), "a@b.de"));
        assert_ne!(first, hashed(key("one"), "c@d.de"));
        assert_eq!(
            hashed(None, "a@b.de"),
            "[EMAIL_ADDRESS_1]",
            "without a key nothing is hashed, and nothing is shown"
        );
        assert!(PLACEHOLDER.find(&first).is_some_and(|found| found.as_str() == first), "{first}");
        // RFC 4231, test case 2, whose first digit is 5.
        assert_eq!(HashKey::new(b"Jefe").hash("what do ya want for nothing?"), "fbdcc146bf60754e");
        assert!(!format!("{:?}", HashKey::new(b"a secret")).contains("secret"));
        let mut masker = Masker::keyed(key("one"));
        assert_eq!(replaced(&mut masker, "a@b.de", 0..6, Instead::Hash), first);
        assert_eq!(masker.mask(&first, vec![finding(1..first.len() - 1, "PHONE_NUMBER", true)]), None);
        assert!(PLACEHOLDER.find("[CREDIT_CARD_4111111111111111]").is_none(), "a number in brackets hides nothing");
    }
}
