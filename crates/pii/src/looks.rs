//! What folding asks of a character, answered by one look into a table: it is asked of every character of every text.

use crate::look_alikes::{is_mark, latin, ligature, undressed};
use regex_syntax::is_word_character;
use std::sync::LazyLock;

/// Code points of a block, which is the unit in which parts of the table are shared.
const BLOCK: u32 = 256;
/// Characters from here on are folded to what they are, but for [`TAGS`].
const ENDS: u32 = 0x2_0000;
const TAGS: std::ops::RangeInclusive<u32> = 0xe_0000..=0xe_01ef;

/// Nobody sees it.
const HIDDEN: u8 = 1;
/// A mark that is put on a letter, or a blank that is none by its kind.
const MARK: u8 = 1 << 1;
const LIGATURE: u8 = 1 << 2;
/// Of a word, or of nothing.
const JOINS: u8 = 1 << 3;
/// No single value reaches across it, in whatever dress.
const PARTS: u8 = 1 << 4;
/// A Latin letter, in whatever dress.
const LATIN: u8 = 1 << 5;
/// Looks like a Latin letter and is none.
const LOOK_ALIKE: u8 = 1 << 6;
/// Something that only a closer look undoes, whatever stands around it.
const DRESSED: u8 = 1 << 7;

/// What Unicode says of it, of those in front of [`ENDS`].
const ALPHABETIC: u8 = 1;
const NUMERIC: u8 = 1 << 1;
const UPPERCASE: u8 = 1 << 2;
const LOWERCASE: u8 = 1 << 3;
/// What regular expressions take for a part of a word.
const WORD: u8 = 1 << 4;

/// What is to be known of a character, or what all those of a word have together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Look {
    flags: u8,
    kind: u8,
    /// Its plain forms, in ASCII; 0 where it has none of its own.
    folded: u8,
    undressed: u8,
    latin: u8,
}

impl Look {
    /// By all that is known of characters.
    fn of(c: char) -> Self {
        let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
        let ascii = |plain: Option<char>| plain.and_then(|c| u8::try_from(c).ok()).unwrap_or(0);
        let (folded, undressed, latin, ligature) = (fold_char(c), undressed(c), latin(c), ligature(c));
        let seen = folded.filter(|c| !is_mark(*c));
        let is_dressed = undressed.is_some() || latin.is_some() || ligature.is_some();
        let parts = |c: char| c.is_whitespace() || (u32::from(c) >= 0x530 && !is_dressed);
        let is_latin = |c: char| c.is_ascii_alphabetic();
        let flags = flag(folded.is_none(), HIDDEN)
            | flag(is_mark(c), MARK)
            | flag(ligature.is_some(), LIGATURE)
            | flag(seen.is_none_or(|c| c.is_alphanumeric() && !parts(c)), JOINS)
            | flag(seen.is_some_and(parts), PARTS)
            | flag(is_latin(c) || undressed.is_some_and(is_latin), LATIN)
            | flag(latin.is_some(), LOOK_ALIKE)
            | flag(is_mark(c) || ligature.is_some() || undressed.is_some(), DRESSED);
        let folded = folded.filter(|plain| *plain != c);
        let kind = if u32::from(c) < ENDS { Kind::of(c).0 } else { 0 };
        Self { flags, kind, folded: ascii(folded), undressed: ascii(undressed), latin: ascii(latin) }
    }

    fn has(self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether folding leaves it as it is.
    pub(crate) fn is_plain(self) -> bool {
        self.folded == 0 && !self.has(HIDDEN)
    }

    /// The plain form of `c`, whose look it is; `None` if nobody sees it.
    pub(crate) fn folded(self, c: char) -> Option<char> {
        match self.folded {
            _ if self.has(HIDDEN) => None,
            0 => Some(c),
            plain => Some(char::from(plain)),
        }
    }

    /// The same in front of dearer disguises; `None` also if some form of the text is without it.
    pub(crate) fn seen(self, c: char) -> Option<char> {
        if self.has(MARK) { None } else { self.folded(c) }
    }

    /// What `c` is without any dress, and as a Latin letter if it stands among such; `None` for a mark and for what nobody sees.
    pub(crate) fn closer(self, c: char, is_among_latin: bool) -> Option<char> {
        match (self.undressed, self.latin) {
            _ if self.has(MARK) => None,
            (0, 0) => self.folded(c),
            (0, latin) if is_among_latin => Some(char::from(latin)),
            (0, _) => self.folded(c),
            (plain, _) => Some(char::from(plain)),
        }
    }

    /// What `c` is a dress of, or itself.
    pub(crate) fn undressed(self, c: char) -> char {
        if self.undressed == 0 { c } else { char::from(self.undressed) }
    }

    pub(crate) fn is_ligature(self) -> bool {
        self.has(LIGATURE)
    }

    /// Whether it is of a word, or of nothing. Where a text that grows is decided no word goes on; see [`crate::fold::decided`].
    pub(crate) fn joins(self) -> bool {
        self.has(JOINS)
    }

    /// Whether no single value reaches across it.
    pub(crate) fn parts(self) -> bool {
        self.has(PARTS)
    }

    /// Of a word: with what another of its characters has.
    pub(crate) fn and(self, other: Look) -> Self {
        Self { flags: self.flags | other.flags, ..self }
    }

    /// Of a word: whether it has Latin letters and some that only look like them.
    pub(crate) fn is_mixed(self) -> bool {
        self.has(LATIN) && self.has(LOOK_ALIKE)
    }

    /// Whether it looks like a Latin letter and is none.
    pub(crate) fn is_look_alike(self) -> bool {
        self.has(LOOK_ALIKE)
    }

    /// Whether only a closer look undoes it, whatever stands around it.
    pub(crate) fn is_dressed(self) -> bool {
        self.has(DRESSED)
    }
}

/// Whether a character is a letter or a digit, and of which kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind(u8);

impl Kind {
    fn of(c: char) -> Self {
        let flag = |is_so: bool, flag: u8| if is_so { flag } else { 0 };
        let word = flag(is_word_character(c), WORD);
        // whatever has case is alphabetic, by definition
        if !c.is_alphabetic() {
            return Self(word | flag(c.is_numeric(), NUMERIC));
        }
        Self(word | ALPHABETIC | flag(c.is_uppercase(), UPPERCASE) | flag(c.is_lowercase(), LOWERCASE))
    }

    /// See [`char::is_alphanumeric`].
    pub(crate) fn is_alphanumeric(self) -> bool {
        self.0 & (ALPHABETIC | NUMERIC) != 0
    }

    /// See [`char::is_alphabetic`].
    pub(crate) fn is_alphabetic(self) -> bool {
        self.0 & ALPHABETIC != 0
    }

    /// See [`char::is_uppercase`].
    pub(crate) fn is_uppercase(self) -> bool {
        self.0 & UPPERCASE != 0
    }

    /// See [`char::is_lowercase`].
    pub(crate) fn is_lowercase(self) -> bool {
        self.0 & LOWERCASE != 0
    }
}

/// Shows `c` in lower case; see [`char::to_lowercase`], which searches for what is not ASCII.
pub(crate) fn lower(c: char, mut show: impl FnMut(char)) {
    if c.is_ascii() {
        return show(c.to_ascii_lowercase());
    }
    let code = u32::from(c).wrapping_add_signed(Looks::get().lowered.of(c));
    show(char::from_u32(code).unwrap_or(c));
    // the only letter that becomes two
    if c == 'İ' {
        show('\u{307}');
    }
}

/// Whether `c` is of a word, as `\w` of a regular expression has it.
#[inline]
pub fn is_word(c: char) -> bool {
    match c {
        '\0'..='\x7f' => c.is_ascii_alphanumeric() || c == '_',
        _ if u32::from(c) < ENDS => Looks::get().looks.of(c).kind & WORD != 0,
        _ => is_word_character(c),
    }
}

/// See [`char::is_alphanumeric`], which searches for what is not ASCII.
pub(crate) fn is_alphanumeric(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() } else { Looks::get().kind(c).is_alphanumeric() }
}

/// See [`char::is_alphabetic`], which searches for what is not ASCII.
pub(crate) fn is_alphabetic(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { Looks::get().kind(c).is_alphabetic() }
}

/// Something to be known of every character.
struct Table<T> {
    /// By block: where its values begin. Blocks that have the same ones share them.
    begins: Vec<usize>,
    values: Vec<T>,
}

impl<T: Copy + Default + PartialEq> Table<T> {
    /// Of what from [`ENDS`] on is the same for all characters but [`TAGS`].
    fn new(of: impl Fn(char) -> T) -> Self {
        let (mut begins, mut values) = (Vec::new(), Vec::<T>::new());
        let size = BLOCK as usize;
        let mut plain = None;
        for first in (0..=u32::from(char::MAX)).step_by(size) {
            let is_plain = first >= ENDS && !(*TAGS.start()..=*TAGS.end()).contains(&first);
            if let Some(begin) = plain.filter(|_| is_plain) {
                begins.push(begin);
                continue;
            }
            let of = |code: u32| char::from_u32(code).map(&of).unwrap_or_default();
            let block = (first..first + BLOCK).map(of).collect::<Vec<_>>();
            let known = values.chunks(size).position(|known| *known == block[..]).map(|at| at * size);
            let begin = known.unwrap_or(values.len());
            if known.is_none() {
                values.extend(block);
            }
            plain = plain.or(Some(begin).filter(|_| is_plain));
            begins.push(begin);
        }
        Self { begins, values }
    }

    fn of(&self, c: char) -> T {
        let code = c as usize;
        self.values[self.begins[code >> 8] + (code & 0xff)]
    }
}

/// The looks of all characters.
pub(crate) struct Looks {
    looks: Table<Look>,
    /// How far behind a character its lower-case form comes, or the first of two.
    lowered: Table<i32>,
}

impl Looks {
    /// The table, which is made when it is asked for first.
    pub(crate) fn get() -> &'static Self {
        static LOOKS: LazyLock<Looks> = LazyLock::new(Looks::new);
        &LOOKS
    }

    fn new() -> Self {
        let lowered = |c: char| c.to_lowercase().next().map_or(0, |lower| lower as i32 - c as i32);
        Self { looks: Table::new(Look::of), lowered: Table::new(lowered) }
    }

    /// How a character looks.
    pub(crate) fn of(&self, c: char) -> Look {
        self.looks.of(c)
    }

    /// Of which kind a character is.
    pub(crate) fn kind(&self, c: char) -> Kind {
        match u32::from(c) < ENDS {
            true => Kind(self.of(c).kind),
            // there are letters without case, and nothing else
            false => Kind(if c.is_alphabetic() { ALPHABETIC } else { 0 }),
        }
    }
}

/// The plain form of a character; `None` for one that nobody sees. What is not itself is ASCII.
fn fold_char(c: char) -> Option<char> {
    let code = c as u32;
    let digit = |zero: u32| char::from_digit((code - zero) % 10, 10);
    match code {
        0..=0x7f => Some(c),
        // soft hyphen, combining grapheme joiner, Mongolian vowel separator, zero-width and bidi controls, BOM
        0xad | 0x34f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x2069 | 0xfeff => None,
        // variation selectors and tags
        0xfe00..=0xfe0f => None,
        _ if TAGS.contains(&code) => None,
        0x660..=0x669 => digit(0x660),
        0x6f0..=0x6f9 => digit(0x6f0),
        0x966..=0x96f => digit(0x966),
        0x1d7ce..=0x1d7ff => digit(0x1d7ce),
        // full-width ASCII
        0xff01..=0xff5e => char::from_u32(code - 0xfee0),
        0x2010..=0x2015 | 0x2212 | 0xfe58 | 0xfe63 => Some('-'),
        _ if c.is_whitespace() => Some(' '),
        _ => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_of_every_character_what_is_known_of_it() {
        let looks = Looks::get();
        for c in '\0'..=char::MAX {
            assert_eq!(looks.of(c), Look::of(c), "{c:?}");
            assert_eq!(is_alphanumeric(c), c.is_alphanumeric(), "{c:?}");
            assert_eq!(is_alphabetic(c), c.is_alphabetic(), "{c:?}");
            assert_eq!(is_word(c), is_word_character(c), "{c:?}");
            let kind = looks.kind(c);
            assert_eq!((kind.is_uppercase(), kind.is_lowercase()), (c.is_uppercase(), c.is_lowercase()), "{c:?}");
            let mut lowered = String::new();
            lower(c, |c| lowered.push(c));
            assert!(lowered.chars().eq(c.to_lowercase()), "{c:?}");
            let plain = [fold_char(c), undressed(c), latin(c)].into_iter().flatten();
            assert!(plain.clone().all(|plain| plain == c || (plain.is_ascii() && plain != '\0')), "{c:?}");
        }
        assert!(looks.looks.values.len() < 0x1_0000, "blocks are shared");
        assert!(looks.lowered.values.len() < 0x4000, "blocks are shared");
    }
}
