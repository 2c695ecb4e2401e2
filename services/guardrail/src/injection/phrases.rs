//! The phrases of a [score](super::Score), looked for word by word.
//!
//! ```text
//! characters ─► tokens (words, and what stands between them) ─► states of the rules that the last token has led to ─► chains
//! ```
//!
//! Most phrases are chains: words with at most so many characters between them. A regular expression with such gaps remembers every way
//! in which it may have begun, which makes it slow on texts that begin it all the time. Of each place of a chain only the latest end
//! counts here, because gaps have no least length: time grows with the text and nothing else.

mod automaton;
mod rules;
mod tokens;

use automaton::{Automaton, States, each};
use rules::{CHAIN_COUNT, CHAINS, Effect, PLACES};
use tokens::{Token, Tokens};

/// Where each place of each chain was reached last: the character behind it.
type Reached = [[Option<usize>; PLACES]; CHAIN_COUNT];

/// Reads a text of lower case whose runs of white space are one space.
pub(super) struct Reader {
    tokens: Tokens,
    search: Search,
}

impl Reader {
    /// Has read nothing.
    pub(super) fn new() -> Self {
        let search = Search { automaton: Automaton::get(), states: 0, reached: Reached::default(), found: 0 };
        Self { tokens: Tokens::default(), search }
    }

    /// Reads the next character.
    pub(super) fn read(&mut self, c: char) {
        self.tokens.read(c, |token| self.search.read(token));
    }

    /// The signals in what was read.
    pub(super) fn found(mut self) -> u8 {
        self.tokens.end(|token| self.search.read(token));
        self.search.found
    }
}

struct Search {
    automaton: &'static Automaton,
    /// Those that the last token has led to.
    states: States,
    reached: Reached,
    found: u8,
}

impl Search {
    fn read(&mut self, token: Token) {
        let automaton = self.automaton;
        // Rules begin with words, and most words begin none.
        let number = if token.is_word || self.states != 0 { automaton.number(token) } else { 0 };
        if number == 0 && self.states == 0 {
            return;
        }
        let mut states = automaton.after(self.states, token, number);
        for (state, effect) in automaton.begins(number) {
            if effect.is_due(&self.reached, token.start) {
                states |= state;
            }
        }
        for state in each(automaton.ends(states)) {
            self.found |= automaton.effect(state).apply(&mut self.reached, token.end);
        }
        self.states = states;
    }
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

#[cfg(test)]
mod tests;
