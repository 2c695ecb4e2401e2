//! A text as words and signs.

use crate::checks::fold::is_word;

/// A word, its characters in Latin-1, or a sign.
pub(super) type Key = u128;
/// What has other characters, or more than fit.
pub(super) const STRANGE: Key = Key::MAX;

/// A word, or a character that is neither of a word nor a space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) key: Key,
    pub(super) is_word: bool,
    /// Whether there is a space in front of it.
    pub(super) is_spaced: bool,
    /// Its first character, and the one behind it.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Reads a text character by character.
#[derive(Default)]
pub(super) struct Tokens {
    /// Characters that were read.
    count: usize,
    /// How many of them are a word that goes on, and that.
    length: usize,
    key: Key,
    is_spaced: bool,
}

impl Tokens {
    /// Reads the next character, and shows what ends by it.
    pub(super) fn read(&mut self, c: char, mut show: impl FnMut(Token)) {
        if is_word(c) {
            // What is strange once has no room, and stays so.
            let has_room = self.key >> (Key::BITS - 8) == 0;
            self.key = if has_room && u32::from(c) <= 0xff { self.key << 8 | Key::from(u32::from(c)) } else { STRANGE };
            self.length += 1;
        } else {
            self.end(&mut show);
            if c != ' ' {
                let (start, end) = (self.count, self.count + 1);
                show(Token { key: c.into(), is_word: false, is_spaced: self.is_spaced, start, end });
            }
            self.is_spaced = c == ' ';
        }
        self.count += 1;
    }

    /// Ends the word that was being read, if there is one, and shows it.
    pub(super) fn end(&mut self, mut show: impl FnMut(Token)) {
        if self.length > 0 {
            let start = self.count - self.length;
            show(Token { key: self.key, is_word: true, is_spaced: self.is_spaced, start, end: self.count });
            (self.length, self.key, self.is_spaced) = (0, 0, false);
        }
    }
}
