//! What is looked for.

use crate::injection::{OVERRIDE, REVEAL, ROLE_PLAY};

/// The signal of a chain, and the most characters between its places.
pub(super) static CHAINS: [(u8, &[usize]); CHAIN_COUNT] = [
    (OVERRIDE, &[40, 30]),
    (OVERRIDE, &[40]),
    (OVERRIDE, &[40]),
    (OVERRIDE, &[40]),
    (REVEAL, &[40, 20]),
    (ROLE_PLAY, &[60]),
    (ROLE_PLAY, &[80]),
];
pub(super) const CHAIN_COUNT: usize = 7;
const ENGLISH: usize = 0;
const GERMAN: usize = 1;
const FRENCH: usize = 2;
const SPANISH: usize = 3;
const ASK: usize = 4;
const ACT: usize = 5;
const STAY: usize = 6;
/// All places of a chain but its last.
pub(super) const PLACES: usize = 2;

#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// The signal is found.
    Found(u8),
    /// A chain has come to a place, if it was at the one before.
    Chain(usize, usize),
}

/// One of the words, and behind it a piece of each step. An empty piece is none. Words have up to 16 letters, all of Latin-1.
pub(super) type Rule = (&'static [&'static str], &'static [&'static [&'static str]], Effect);

/// In a piece: any word.
pub(super) const ANY: char = '*';
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

pub(super) static RULES: &[Rule] = &[
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
    (&["no"], &[&["", " *"], LIMITS], Effect::Chain(ACT, 1)),
    (&["without"], &[&["", " any"], &["", " *"], LIMITS], Effect::Chain(ACT, 1)),
    (&["free"], &[&[" of", " from"], &["", " all", " any"], &["", " *"], LIMITS], Effect::Chain(ACT, 1)),
    (&["act", "respond", "answer", "behave", "pretend", "roleplay"], &[], Effect::Chain(ACT, 0)),
    (&["role"], &[&["-play"]], Effect::Chain(ACT, 0)),
    (&["no"], &[&[" matter"]], Effect::Chain(STAY, 1)),
    (&["never", "always"], &[], Effect::Chain(STAY, 1)),
    (&["stay"], &[&[" in character"]], Effect::Chain(STAY, 0)),
];
