//! The phrases of a [score](super::Score), looked for word by word.
//!
//! Most are chains: words with at most so many characters between them. A regular expression with such gaps remembers every way in which
//! it may have begun, which makes it slow on texts that begin it all the time. Of each place of a chain only the latest end counts here,
//! because gaps have no least length: time grows with the text and nothing else.

use super::{OVERRIDE, REVEAL, ROLE_PLAY};
use std::sync::LazyLock;

/// The signal of a chain, and the most characters between its places.
static CHAINS: [(u8, &[usize]); CHAIN_COUNT] = [
    (OVERRIDE, &[40, 30]),
    (OVERRIDE, &[40]),
    (OVERRIDE, &[40]),
    (OVERRIDE, &[40]),
    (REVEAL, &[40, 20]),
    (ROLE_PLAY, &[60]),
    (ROLE_PLAY, &[80]),
];
const CHAIN_COUNT: usize = 7;
const ENGLISH: usize = 0;
const GERMAN: usize = 1;
const FRENCH: usize = 2;
const SPANISH: usize = 3;
const ASK: usize = 4;
const ACT: usize = 5;
const STAY: usize = 6;
/// All places of a chain but its last.
const PLACES: usize = 2;
/// Where each place was reached last: the character behind it.
type Reached = [[Option<usize>; PLACES]; CHAIN_COUNT];

#[derive(Clone, Copy)]
enum Effect {
    /// The signal is found.
    Found(u8),
    /// A chain has come to a place, if it was at the one before.
    Chain(usize, usize),
}

/// One of the words, and behind it a piece of each step. [`ANY`] is any word; an empty piece is none.
type Rule = (&'static [&'static str], &'static [&'static [&'static str]], Effect);

const ANY: &str = " *";
const LIMITS: &[&str] = &[
    " restriction",
    " restrictions",
    " filter",
    " filters",
    " limitation",
    " limitations",
    " censorship",
    " rules",
    " guidelines",
    " ethics",
    " moral",
    " morals",
];

/// Later places of a chain come first, so that a word never follows itself.
static RULES: &[Rule] = &[
    (
        &[
            "instruction",
            "instructions",
            "prompt",
            "prompts",
            "rules",
            "directions",
            "directives",
            "guidelines",
            "policies",
            "programming",
        ],
        &[],
        Effect::Chain(ENGLISH, 2),
    ),
    (
        &["previous", "prior", "above", "earlier", "preceding", "all", "your", "system", "original"],
        &[],
        Effect::Chain(ENGLISH, 1),
    ),
    (&["ignore", "disregard", "forget", "override", "bypass"], &[], Effect::Chain(ENGLISH, 0)),
    (
        &["forget", "ignore", "disregard"],
        &[&[" everything", " all", " anything"], &[" above", " before", " you were told", " you have been told"]],
        Effect::Found(OVERRIDE),
    ),
    (
        &["new"],
        &[&["", " system"], &[" instruction:", " instructions:", " instruction :", " instructions :"]],
        Effect::Found(OVERRIDE),
    ),
    (&["anweisungen", "vorgaben", "regeln", "befehle"], &[], Effect::Chain(GERMAN, 1)),
    (&["ignoriere", "vergiss", "missachte"], &[], Effect::Chain(GERMAN, 0)),
    (&["instructions", "consignes", "règles"], &[], Effect::Chain(FRENCH, 1)),
    (&["ignorez", "oublie", "oubliez"], &[], Effect::Chain(FRENCH, 0)),
    (&["instrucciones", "reglas", "órdenes"], &[], Effect::Chain(SPANISH, 1)),
    (&["ignora", "olvida", "omite"], &[], Effect::Chain(SPANISH, 0)),
    (&["system"], &[&[" prompt", " message"]], Effect::Chain(ASK, 2)),
    (&["initial", "hidden"], &[&[" prompt", " instructions"]], Effect::Chain(ASK, 2)),
    (&["original", "secret"], &[&[" instructions"]], Effect::Chain(ASK, 2)),
    (&["your", "the", "initial", "hidden", "secret"], &[], Effect::Chain(ASK, 1)),
    (&["reveal", "show", "print", "repeat", "output", "display", "leak"], &[], Effect::Chain(ASK, 0)),
    (&["tell", "give"], &[&[" me"]], Effect::Chain(ASK, 0)),
    (&["what"], &[&[" is", " are", " was", " were"]], Effect::Chain(ASK, 0)),
    (&["repeat"], &[&[" everything", " all", " the text", " the words"], &[" above"]], Effect::Found(REVEAL)),
    (
        &["you"],
        &[
            &[" are"],
            &["", " now", " going to be", " no longer"],
            &[" dan", " stan", " aim", " jailbroken", " unfiltered", " unrestricted", " uncensored", " evil"],
        ],
        Effect::Found(ROLE_PLAY),
    ),
    (&["do"], &[&[" anything now"]], Effect::Found(ROLE_PLAY)),
    (&["jailbreak", "jailbreaked"], &[&[" mode"]], Effect::Found(ROLE_PLAY)),
    (
        &["developer", "god", "debug", "sudo", "admin"],
        &[&[" mode"], &["", " is"], &[" enabled", " on", " activated"]],
        Effect::Found(ROLE_PLAY),
    ),
    (&["enable"], &[&[" developer", " god", " debug", " sudo", " dan"], &[" mode"]], Effect::Found(ROLE_PLAY)),
    (&["no"], &[&["", ANY], LIMITS], Effect::Chain(ACT, 1)),
    (&["without"], &[&["", " any"], &["", ANY], LIMITS], Effect::Chain(ACT, 1)),
    (&["free"], &[&[" of", " from"], &["", " all", " any"], &["", ANY], LIMITS], Effect::Chain(ACT, 1)),
    (&["act", "respond", "answer", "behave", "pretend", "roleplay"], &[], Effect::Chain(ACT, 0)),
    (&["role"], &[&["-play"]], Effect::Chain(ACT, 0)),
    (&["no"], &[&[" matter"]], Effect::Chain(STAY, 1)),
    (&["never", "always"], &[], Effect::Chain(STAY, 1)),
    (&["stay"], &[&[" in character"]], Effect::Chain(STAY, 0)),
];

/// The first words of the rules, each with its rule, by [`slot`].
static WORDS: LazyLock<Vec<Vec<(&str, &Rule)>>> = LazyLock::new(|| {
    let mut slots = vec![Vec::new(); SLOTS];
    for rule in RULES {
        for word in rule.0 {
            slots[slot(word)].push((*word, rule));
        }
    }
    slots
});
const SLOTS: usize = 512;

fn slot(word: &str) -> usize {
    let bytes = word.as_bytes();
    let at = |at: usize| bytes.get(at).map_or(0, |byte| usize::from(*byte));
    (at(0) + 37 * at(1) + 101 * bytes.len()) % SLOTS
}

/// The signals in a lower-cased text whose runs of white space are one space.
pub(super) fn found(text: &str) -> u8 {
    let words = &*WORDS;
    let mut reached: Reached = [[None; PLACES]; CHAIN_COUNT];
    let mut found = 0;
    let mut begun: Option<(usize, usize)> = None;
    let mut count = 0;
    let ends = text.char_indices().map(|(at, c)| (at, is_word(c))).chain([(text.len(), false)]);
    for (at, is_word) in ends {
        match begun {
            None if is_word => begun = Some((at, count)),
            Some((start, chars)) if !is_word => {
                begun = None;
                let word = &text[start..at];
                for (_, (_, steps, effect)) in words[slot(word)].iter().filter(|(first, _)| *first == word) {
                    if !effect.is_due(&reached, chars) {
                        continue;
                    }
                    if let Some(rest) = behind(&text[at..], steps) {
                        // What steps of a chain's first place match is ASCII, a byte for each character.
                        let end = count + text.len() - at - rest.len();
                        found |= effect.apply(&mut reached, end);
                    }
                }
            }
            _ => {}
        }
        count += 1;
    }
    found
}

impl Effect {
    /// Whether the place before was reached, near enough to a word that begins at the character `start`.
    fn is_due(self, reached: &Reached, start: usize) -> bool {
        let Effect::Chain(chain, place) = self else { return true };
        let is_near = |before: usize| {
            let gap = reached[chain][before].and_then(|end| start.checked_sub(end));
            gap.is_some_and(|gap| gap <= CHAINS[chain].1[before])
        };
        place.checked_sub(1).is_none_or(is_near)
    }

    /// The signal that is found by what ends in front of the character `end`.
    fn apply(self, reached: &mut Reached, end: usize) -> u8 {
        match self {
            Effect::Found(signal) => signal,
            Effect::Chain(chain, place) if place == CHAINS[chain].1.len() => CHAINS[chain].0,
            Effect::Chain(chain, place) => {
                reached[chain][place] = Some(end);
                0
            }
        }
    }
}

/// What is left of a text behind one piece of every step.
fn behind<'a>(text: &'a str, steps: &[&[&str]]) -> Option<&'a str> {
    let Some((pieces, later)) = steps.split_first() else { return Some(text) };
    // Most pieces differ in the first byte behind the space, which is cheaper to ask.
    let letter = text.as_bytes().get(1).copied().unwrap_or_default();
    let may_be = |piece: &&&str| piece.as_bytes().get(1).is_none_or(|&byte| byte == letter || byte == b'*');
    pieces.iter().filter(may_be).find_map(|piece| behind(behind_piece(text, piece)?, later))
}

fn behind_piece<'a>(text: &'a str, piece: &str) -> Option<&'a str> {
    if piece == ANY {
        let word = text.strip_prefix(' ')?;
        let rest = word.trim_start_matches(is_word);
        return (rest.len() < word.len()).then_some(rest);
    }
    let rest = text.strip_prefix(piece)?;
    let goes_on = piece.ends_with(is_word) && rest.starts_with(is_word);
    (!goes_on).then_some(rest)
}

/// As `\w` of a regular expression has it.
fn is_word(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { regex_syntax::is_word_character(c) }
}

#[cfg(test)]
mod tests;
