//! The phrases as regular expressions, which the words are compared with.

use super::rules::RULES;
use super::*;
use crate::checks::fold::Folded;
use crate::injection::{OVERRIDE, REVEAL, ROLE_PLAY, in_words};
use proptest::prelude::*;
use regex::Regex;
use std::sync::LazyLock;

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

// Over lower-cased text whose runs of white space are one space.
static OVERRIDES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}?\b(?:previous|prior|above|earlier|preceding|all|your|system|original)\b",
        r".{0,30}?\b(?:instructions?|prompts?|rules|directions|directives|guidelines|policies|programming)\b",
        r"|\b(?:forget|ignore|disregard) (?:everything|all|anything) (?:above|before|you (?:were|have been) told)\b",
        r"|\bnew (?:system )?instructions? ?:",
        r"|\b(?:ignoriere|vergiss|missachte)\b.{0,40}?\b(?:anweisungen|vorgaben|regeln|befehle)\b",
        r"|\b(?:ignorez|oublie|oubliez)\b.{0,40}?\b(?:instructions|consignes|règles)\b",
        r"|\b(?:ignora|olvida|omite)\b.{0,40}?\b(?:instrucciones|reglas|órdenes)\b",
    ))
});
static REVEALS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\b(?:reveal|show|print|repeat|output|display|leak|tell me|give me|what (?:is|are|was|were))\b.{0,40}?",
        r"\b(?:your|the|initial|hidden|secret)\b.{0,20}?\b(?:system prompt|system message|initial prompt|hidden (?:prompt|instructions)|",
        r"(?:original|initial|secret) instructions)\b",
        r"|\brepeat (?:everything|all|the (?:text|words)) above\b",
    ))
});
static ROLES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"\byou are (?:now |going to be |no longer )?(?:dan|stan|aim|jailbroken|unfiltered|unrestricted|uncensored|evil)\b",
        r"|\bdo anything now\b|\bjailbreak(?:ed)? mode\b|\b(?:developer|god|debug|sudo|admin) mode (?:is )?(?:enabled|on|activated)\b",
        r"|\benable (?:developer|god|debug|sudo|dan) mode\b",
        r"|\b(?:act|respond|answer|behave|pretend|roleplay|role-play)\b.{0,60}?\b(?:no|without(?: any)?|free (?:of|from)(?: all| any)?) ",
        r"(?:\w+ )?(?:restrictions?|filters?|limitations?|censorship|rules|guidelines|ethics|morals?)\b",
        r"|\bstay in character\b.{0,80}?\b(?:no matter|never|always)\b",
    ))
});

fn found(text: &str) -> u8 {
    let mut reader = Reader::new();
    text.chars().for_each(|c| reader.read(c));
    reader.found()
}

fn expected(text: &str) -> u8 {
    let rules: [(&Regex, u8); 3] = [(&OVERRIDES, OVERRIDE), (&REVEALS, REVEAL), (&ROLES, ROLE_PLAY)];
    rules.iter().filter(|(rule, _)| rule.is_match(text)).fold(0, |found, (_, signal)| found | signal)
}

/// Every word and piece of the rules.
fn vocabulary() -> Vec<&'static str> {
    let pieces = RULES.iter().flat_map(|(_, steps, _)| steps.iter().copied().flatten());
    let words = RULES.iter().flat_map(|(words, _, _)| *words).chain(pieces).map(|piece| piece.trim_start());
    words.filter(|word| !word.is_empty()).collect()
}

/// A few words of one rule, as it wants them: random words alone seldom are a phrase.
fn phrase() -> impl Strategy<Value = String> {
    (0..RULES.len(), any::<prop::sample::Index>(), any::<[prop::sample::Index; 4]>()).prop_map(
        |(rule, first, picks)| {
            let (words, steps, _) = RULES[rule];
            let pieces =
                steps.iter().zip(picks).map(|(pieces, pick)| pieces[pick.index(pieces.len())].replace('*', "añy"));
            words[first.index(words.len())].to_owned() + &pieces.collect::<String>()
        },
    )
}

fn filler() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => Just(" ".to_owned()),
        1 => "[-.,:;’_é²\u{301} ]{1,3}",
        1 => prop::sample::select(vec![20usize, 30, 40, 60, 80]).prop_flat_map(|limit| limit - 2..=limit + 2)
            .prop_map(|length| format!(" {} ", "é".repeat(length - 2))),
        1 => "[a-zé ]{0,30}".prop_map(|words| format!(" {words} ")),
    ]
}

/// All places of a chain, with gaps about as long as they may be.
fn chain() -> impl Strategy<Value = String> {
    let picks = any::<[prop::sample::Index; 9]>();
    (0..CHAIN_COUNT, picks, any::<[bool; 3]>()).prop_map(|(chain, picks, is_near)| {
        let gaps = CHAINS[chain].1;
        let mut text = String::new();
        for place in 0..=gaps.len() {
            let is_of = |rule: &&rules::Rule| matches!(rule.2, Effect::Chain(c, p) if (c, p) == (chain, place));
            let rules: Vec<_> = RULES.iter().filter(is_of).collect();
            let (words, steps, _) = **picks[3 * place].get(&rules);
            text += words[picks[3 * place + 1].index(words.len())];
            for pieces in steps {
                text += &pieces[picks[3 * place + 2].index(pieces.len())].replace('*', "añy");
            }
            if let Some(limit) = gaps.get(place) {
                text += &format!(" {} ", "é".repeat(limit - 2 + usize::from(!is_near[place])));
            }
        }
        text
    })
}

/// Parts of phrases, whole ones among them.
fn text() -> impl Strategy<Value = String> {
    let words = prop_oneof![phrase(), prop::sample::select(vocabulary()).prop_map(str::to_owned)];
    prop::collection::vec((words, filler()), 1..6)
        .prop_map(|parts| parts.into_iter().flat_map(|(words, filler)| [words, filler]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn words_find_what_the_regular_expressions_find(text in text()) {
        prop_assert_eq!(found(&text), expected(&text), "{}", text);
    }

    #[test]
    fn disguises_are_undone(
        text in text(),
        disguises in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8), 0..4),
    ) {
        let mut text = text;
        for (at, disguise) in disguises {
            let place = text.char_indices().nth(at.index(text.chars().count())).map_or(0, |(place, _)| place);
            let (plain, other) = [("o", "\u{43e}"), ("e", "\u{435}"), ("a", "ⓐ"), ("fi", "ﬁ"), (" ", " \u{b}\n"), ("r", "R")]
                .get(disguise).copied().unwrap_or(("", "\u{301}"));
            text = format!("{}{}", &text[..place], text[place..].replacen(plain, other, 1));
        }
        let deeper = Folded::deeper_words(&text).map_or(0, |folded| expected(folded.text()));
        prop_assert_eq!(in_words(&text), expected(Folded::words(&text).text()) | deeper, "{}", text);
    }

    #[test]
    fn gaps_are_as_long_as_those_of_the_regular_expressions(text in chain()) {
        prop_assert_eq!(found(&text), expected(&text), "{}", text);
    }
}
