//! How much of a text that still grows is decided: what the recognisers find in front of it stays, whatever comes.
//!
//! A recogniser reads a bounded way beyond what it decides: the rest of a value, and a word of context behind it. Values without spaces
//! have no bound and need none, because a word that has not ended is never decided (see [`crate::fold::decided`]).
//! One value ends when it says so: a block of key material, which is held from its header on.

use super::entities::{self, Entity};
use super::{Pii, fold};

/// Beyond values without a space in them, which end with their word: the full stop and what follows it.
const WORD_CHARS: usize = 4;
/// The header of a key block, or its footer.
const SECRET_CHARS: usize = 112;
/// The longest value of several words (an IBAN in groups, a telephone number with its extension), and the word of context that may stand
/// 24 bytes behind it, itself perhaps part of a placeholder.
const SPACED_CHARS: usize = 192;
/// What a value of several words may begin with before it has a digit: the name of a month, a country.
const QUIET_CHARS: usize = 16;
/// What is taken for the longest match of an expression that has no longest.
pub const UNBOUNDED_CHARS: usize = 256;
/// How far behind a match a word of context is looked for.
const CONTEXT_CHARS: usize = 24;

impl Pii {
    /// How many characters behind a value decide whether it is one, at most.
    pub fn window(&self) -> usize {
        let entities = self.entities.iter().map(|entity| ahead(*entity));
        let patterns = self.patterns.iter().map(|pattern| {
            let context = if pattern.has_context() { CONTEXT_CHARS } else { 0 };
            pattern.longest().unwrap_or(UNBOUNDED_CHARS) + context + 1
        });
        entities.chain(patterns).max().unwrap_or(0)
    }

    /// Up to where a text that still grows is decided.
    pub fn settled(&self, text: &str) -> usize {
        let window = self.window();
        let is_quiet = self.patterns.is_empty() && window > QUIET_CHARS && fold::is_quiet(text, window);
        let decided = fold::decided(text, if is_quiet { QUIET_CHARS } else { window });
        let has_secrets = self.entities.contains(&Entity::Secret);
        let open = if has_secrets { entities::open_block(text) } else { None };
        open.map_or(decided, |open| open.min(decided))
    }
}

fn ahead(entity: Entity) -> usize {
    match entity {
        Entity::EmailAddress | Entity::MacAddress | Entity::Url | Entity::Crypto => WORD_CHARS,
        Entity::Secret => SECRET_CHARS,
        _ => SPACED_CHARS,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Finding,
        custom::{Allowed, Pattern},
        fold::Folded,
    };
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn all() -> Pii {
        Pii::new(Entity::ALL, &["US".to_owned(), "DE".to_owned()]).expect("known")
    }

    /// What a configuration has of its own: a pattern, one that counts beside a word alone, and values that are no finding. Beside entities
    /// that read far ahead, or without any.
    fn own(entities: &[Entity]) -> Pii {
        let patterns = [("EMPLOYEE_ID", "E[0-9]{6}", Vec::new()), ("BADGE", "B-[0-9]{4}", vec!["badge".to_owned()])];
        let pattern = |(name, expression, context): (&str, &str, Vec<String>)| {
            Pattern::new(name, expression, &context).expect("fine")
        };
        let allowed = ["a@b.com", "(212) 555-0123", "E000000"].map(|value| Allowed::value(value).expect("fine"));
        Pii::new(entities, &[]).expect("known").with(patterns.map(pattern).into(), allowed.into())
    }

    fn found(pii: &Pii, text: &str) -> Vec<Finding> {
        let mut out = Vec::new();
        pii.scan(&Folded::new(text), &mut out);
        // A disguise somewhere else makes all of the text be looked at twice.
        let mut each: Vec<Finding> = Vec::with_capacity(out.len());
        for finding in out {
            if !each.contains(&finding) {
                each.push(finding);
            }
        }
        each
    }

    #[test]
    fn prose_is_held_for_a_few_words_and_numbers_for_longer() {
        let pii = Pii::new(&[], &[]).expect("defaults");
        let prose = "The quick brown fox jumps over the lazy dog and then it sleeps for quite a while.";
        assert!(prose.len() - pii.settled(prose) < 32);
        assert_eq!(pii.settled("born in 1980, and so on"), 0);
        assert_eq!(Pii::new(&[Entity::EmailAddress], &[]).expect("known").window(), WORD_CHARS);
        let header = format!("key: -----BEGIN {}PRIVATE KEY-----\n", "RSA ");
        let text = format!("{header}{}", "and so on. ".repeat(100));
        assert_eq!(pii.settled(&text), "key: ".len());
        let whole = format!("{header}MII\n-----END {}PRIVATE KEY-----\n{}", "RSA ", "and so on. ".repeat(100));
        assert!(pii.settled(&whole) > header.len());
    }

    #[test]
    fn a_pattern_is_held_as_long_as_its_longest_match() {
        let pattern = |expression| Pattern::new("BADGE", expression, &[]).expect("fine");
        let pii =
            |expression| Pii::new(&[Entity::Url], &[]).expect("known").with(vec![pattern(expression)], Vec::new());
        assert_eq!(pii("E[0-9]{6}").window(), 8);
        assert_eq!(pii("E[0-9]+").window(), UNBOUNDED_CHARS + 1);
    }

    /// Texts that are dense in values, their beginnings and what decides them.
    fn texts() -> impl Strategy<Value = String> {
        let parts = prop::sample::select(vec![
            "a@b.com",
            "@",
            "4111 1111 1111 1111",
            "4111",
            "460-89-9847",
            "(212) 555-0123",
            "ext. 4",
            "DE89 3704 0044 0532 0130 00",
            "DE ",
            "136 695 976",
            "710319/2745",
            "161175-19997",
            "37605030299",
            "kods ",
            "192.168.0.1",
            "00:1a:2b:3c:4d:5e",
            "https://x.org/",
            "March ",
            "12, 1980",
            "ssn ",
            "phone ",
            "order ",
            "passport ",
            "C12345678",
            " ",
            " ",
            "-",
            ".",
            "\n",
            "é",
            "机",
            "\u{200b}",
            "7",
            "A",
            "sk-aB3dE6gH9jK2mN5pQ8sTu",
            "words of prose ",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "E123456",
            "E000000",
            "E12",
            "B-1234",
            "B-",
            "badge ",
            "[PHONE_NUMBER_1]",
            "\u{430}",
            "\u{336}",
            "\u{3164}",
            "𝐚",
            "ﬁ",
            "๑",
        ]);
        proptest::collection::vec(parts, 0..40).prop_map(|parts| parts.concat())
    }

    /// Found by the property below: a disguised character behind a block makes it be found by both looks, with two ends.
    #[test]
    fn two_looks_at_one_value_are_one_place() {
        let block =
            format!("-----BEGIN PRIVATE KEY-----{}-----END PRIVATE KEY-----", "a@b.com (212) 555-0123 ".repeat(9));
        stays(&all(), &block, "\u{336}").expect("no other place");
    }

    #[test]
    fn a_pattern_waits_for_its_word_of_context() {
        let pii = own(&[Entity::EmailAddress]);
        assert!(pii.settled("it is B-1234, on the ") <= "it is ".len());
        assert!(found(&pii, "it is B-1234, and then behind the badge").is_empty(), "24 bytes are near");
        let near = found(&pii, "it is B-1234, on the badge");
        assert_eq!((near.len(), near[0].span.clone()), (1, 6..12));
        assert!(found(&pii, "it is E000000, or a@b.com").is_empty(), "what is allowed is no finding");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn what_is_settled_stays(text in texts(), more in texts()) {
            stays(&all(), &text, &more)?;
        }

        #[test]
        fn what_is_settled_stays_with_patterns_of_ones_own(text in texts(), more in texts()) {
            stays(&own(Entity::ALL), &text, &more)?;
            stays(&own(&[Entity::EmailAddress]), &text, &more)?;
        }
    }

    fn stays(pii: &Pii, text: &str, more: &str) -> Result<(), TestCaseError> {
        let settled = pii.settled(text);
        let whole = format!("{text}{more}");
        let before = |finding: &&Finding| finding.span.start < settled;
        let now = found(pii, text);
        let later = found(pii, &whole);
        // One that reaches into the rest may grow with it.
        let ends = |finding: &&Finding| before(finding) && finding.span.end <= settled;
        let (now_whole, later_whole): (Vec<_>, Vec<_>) =
            (now.iter().filter(ends).collect(), later.iter().filter(ends).collect());
        prop_assert_eq!(now_whole, later_whole);
        // Nor does it say where two looks at it end.
        let starts =
            |all: &[Finding]| all.iter().filter(before).map(|finding| finding.span.start).collect::<BTreeSet<_>>();
        prop_assert_eq!(starts(&now), starts(&later));
        Ok(())
    }
}
