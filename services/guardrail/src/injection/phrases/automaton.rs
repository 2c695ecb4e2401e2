//! The rules as an automaton that is in several states at once.
//!
//! A state is a token of a rule, or several that mean the same there. The automaton is in it if such a token was the last of a text, and
//! what the rule wants in front of it was there too.

use super::rules::{ANY, Effect, RULES, Rule};
use super::tokens::{Key, Token, Tokens};
use std::sync::LazyLock;

/// A set of states, a bit for each.
pub(super) type States = u128;

/// Of the table by which tokens are found, which is mostly empty.
const SLOTS: usize = 1024;

pub(super) struct Automaton {
    /// The numbers of tokens, from 1 on, each in its slot or the next free one.
    slots: [u8; SLOTS],
    keys: Vec<Key>,
    /// By a token's number: the states that begin a rule with it, and those of all others that it may lead to, without a space in front
    /// of it and with one.
    begins: Vec<Vec<(States, Effect)>>,
    takes: Vec<[States; 2]>,
    /// Those that any word with a space in front of it may lead to.
    any: States,
    /// By state: those that may follow, and the effect of its rule.
    next: Vec<States>,
    effects: Vec<Effect>,
    /// Those that end a rule.
    ends: States,
}

impl Automaton {
    /// The one of all rules.
    pub(super) fn get() -> &'static Self {
        static AUTOMATON: LazyLock<Automaton> = LazyLock::new(|| Automaton::new(RULES));
        &AUTOMATON
    }

    fn new(rules: &[Rule]) -> Self {
        let mut new = Self {
            slots: [0; SLOTS],
            keys: vec![0],
            begins: vec![Vec::new()],
            takes: vec![[0; 2]],
            any: 0,
            next: Vec::new(),
            effects: Vec::new(),
            ends: 0,
        };
        rules.iter().for_each(|rule| new.add(rule));
        new
    }

    fn add(&mut self, (words, steps, effect): &Rule) {
        let mut last = self.state(*effect);
        for token in words.iter().flat_map(|word| tokens(word)) {
            let number = self.numbered(token.key);
            self.begins[number].push((last, *effect));
        }
        for pieces in *steps {
            let (before, mut alone) = (last, None);
            last = 0;
            for piece in *pieces {
                let (mut at, tokens) = (before, tokens(piece));
                for token in &tokens {
                    // There is one state for all pieces of one token.
                    let state = match tokens.len() {
                        1 => *alone.get_or_insert_with(|| self.state(*effect)),
                        _ => self.state(*effect),
                    };
                    each(at).for_each(|at| self.next[at] |= state);
                    self.lead(*token, state);
                    at = state;
                }
                last |= at;
            }
        }
        self.ends |= last;
    }

    /// One more.
    fn state(&mut self, effect: Effect) -> States {
        self.next.push(0);
        self.effects.push(effect);
        1 << (self.effects.len() - 1)
    }

    fn lead(&mut self, token: Token, to: States) {
        if token.key == Key::from(ANY) {
            self.any |= to;
        } else {
            let number = self.numbered(token.key);
            self.takes[number][usize::from(token.is_spaced)] |= to;
        }
    }

    /// The number of a token, which gets one if it has none.
    fn numbered(&mut self, key: Key) -> usize {
        match self.find(key) {
            Ok(number) => number,
            Err(free) => {
                let number = self.keys.len();
                self.slots[free] = u8::try_from(number).expect("constant rules, covered by tests");
                self.keys.push(key);
                self.begins.push(Vec::new());
                self.takes.push([0; 2]);
                number
            }
        }
    }

    fn find(&self, key: Key) -> Result<usize, usize> {
        let mut slot = slot(key);
        loop {
            match usize::from(self.slots[slot]) {
                0 => return Err(slot),
                number if self.keys[number] == key => return Ok(number),
                _ => slot = (slot + 1) % SLOTS,
            }
        }
    }

    /// The number of a token; 0 if it is in no rule.
    pub(super) fn number(&self, token: Token) -> usize {
        self.find(token.key).unwrap_or(0)
    }

    /// The states that begin a rule with the token of a number.
    pub(super) fn begins(&self, number: usize) -> &[(States, Effect)] {
        &self.begins[number]
    }

    /// The states that a token of this number leads to from these.
    pub(super) fn after(&self, states: States, token: Token, number: usize) -> States {
        let next = each(states).fold(0, |next, state| next | self.next[state]);
        let any = if token.is_word && token.is_spaced { self.any } else { 0 };
        next & (any | self.takes[number][usize::from(token.is_spaced)])
    }

    /// Those that end a rule.
    pub(super) fn ends(&self, states: States) -> States {
        states & self.ends
    }

    /// The effect of a state's rule.
    pub(super) fn effect(&self, state: usize) -> Effect {
        self.effects[state]
    }
}

/// Where a token's number stands, if no other took its place.
fn slot(key: Key) -> usize {
    let folded = (key ^ (key >> 61)) as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize
}

/// Of a word or piece of a rule.
fn tokens(text: &str) -> Vec<Token> {
    let (mut tokens, mut found) = (Tokens::default(), Vec::new());
    text.chars().for_each(|c| tokens.read(c, |token| found.push(token)));
    tokens.end(|token| found.push(token));
    found
}

/// The places of the bits of a set.
pub(super) fn each(mut states: States) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let state = (states != 0).then(|| states.trailing_zeros() as usize)?;
        states &= states - 1;
        Some(state)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tokens::STRANGE;
    use super::*;

    #[test]
    fn the_rules_fit() {
        let automaton = Automaton::new(RULES);
        assert!(automaton.effects.len() <= States::BITS as usize, "{} states", automaton.effects.len());
        assert!(automaton.keys.len() <= SLOTS / 4, "{} tokens", automaton.keys.len());
        assert!(!automaton.keys.contains(&STRANGE), "no word of a rule is too long or of other letters");
    }
}
