//! Characters that look like plain ones, and what they look like. A table of our own of those that people use; Unicode's is at
//! <https://www.unicode.org/Public/security/latest/confusables.txt>.
//!
//! Letters of other scripts count only in a word that has Latin letters too: Russian, Greek and Armenian words are what they are.
//!
//! These are slow to ask; [`crate::looks`] has the answers in a table.

use std::ops::Range;

/// Pairs of a letter of another script and the Latin one that it looks like.
const OTHER_SCRIPTS: &str = "аaАAВBеeЕEіiІIјjЈJкkКKМMНHоoОOрpРPсcСCѕsЅSТTхxХXуyУYԁdԛqԝwһhӏlӀIѵvѴVүyҮY\
    ΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXαaιiκkνvοoρpυuγyχxϲcϹCϳj\
    օoՕOսuՍUհhոnցgզqɑaɡgıiſs";

/// Where the letters of other scripts are that have one.
const OTHERS: Range<u32> = 0x131..0x590;

/// Pairs of a letter that is a Latin one in another dress, and that one.
const DRESSES: &str = "ℂCℊgℋHℌHℍHℎhℏhℐIℑIℒLℓlℕNℙPℚQℛRℜRℝRℤZℨZ\u{212a}KℬBℭCℯeℰEℱFℳMℴoℹiⅅDⅆdⅇeⅈiⅉj𝚤i𝚥j\
    ᴀaʙbᴄcᴅdᴇeꜰfɢgʜhɪiᴊjᴋkʟlᴍmɴnᴏoᴘpʀrꜱsᴛtᴜuᴠvᴡwʏyᴢz";

/// Where the digits of a script begin that are not undone anyway, in order.
const ZEROS: [u32; 33] = [
    0x7c0, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0,
    0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0,
    0xaa50, 0xabf0, 0x104a0,
];

/// Where alphabets begin, upper case or lower, that dress all 26 letters.
const UPPER: [u32; 4] = [0x24b6, 0x1f130, 0x1f150, 0x1f170];
const LOWER: [u32; 2] = [0x249c, 0x24d0];

/// The letter of Latin script that one of another script looks like.
pub(crate) fn latin(c: char) -> Option<char> {
    OTHERS.contains(&u32::from(c)).then(|| pair(OTHER_SCRIPTS, c))?
}

/// What a character is a dress of: mathematical, circled and small capital letters, other digits.
pub(crate) fn undressed(c: char) -> Option<char> {
    let code = u32::from(c);
    let counted = |begin: u32, count: u32, first: char| {
        let at = code.checked_sub(begin).filter(|at| *at < count)?;
        char::from_u32(u32::from(first) + at)
    };
    match code {
        // most of what is written in other scripts
        0..0x250 | 0x2b0..0x7c0 | 0x2e80..0xa620 | 0xac00..0x10000 => None,
        0x250..0x2b0 | 0x1d00..0x1d30 | 0x2100..0x2150 | 0xa730..0xa732 | 0x1d6a4..0x1d6a6 => pair(DRESSES, c),
        // thirteen styles, each upper case and then lower
        0x1d400..0x1d6a4 => match (code - 0x1d400) % 52 {
            at @ 0..26 => char::from_u32(u32::from('A') + at),
            at => char::from_u32(u32::from('a') + at - 26),
        },
        _ => {
            let zeros = ZEROS.partition_point(|zero| *zero <= code);
            let digit = ZEROS[..zeros].last().and_then(|zero| counted(*zero, 10, '0'));
            digit
                .or_else(|| UPPER.iter().find_map(|begin| counted(*begin, 26, 'A')))
                .or_else(|| LOWER.iter().find_map(|begin| counted(*begin, 26, 'a')))
        }
    }
}

/// The letters that a ligature joins.
pub(crate) fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' | 'ﬆ' => "st",
        _ => return None,
    })
}

/// Marks that are put on a letter, and blanks that are none by their kind.
pub(crate) fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe20..=0xfe2f
        | 0x115f | 0x1160 | 0x2800 | 0x3164 | 0xffa0)
}

/// The second of the pair whose first is `c`.
fn pair(pairs: &str, c: char) -> Option<char> {
    let mut chars = pairs.chars();
    while let (Some(dressed), Some(plain)) = (chars.next(), chars.next()) {
        if dressed == c {
            return Some(plain);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_pairs_of_something_else_and_ascii() {
        type Plain = fn(char) -> Option<char>;
        for (pairs, plain) in [(OTHER_SCRIPTS, latin as Plain), (DRESSES, undressed)] {
            let chars: Vec<char> = pairs.chars().collect();
            assert_eq!(chars.len() % 2, 0);
            for pair in chars.chunks(2) {
                assert!(!pair[0].is_ascii() && pair[1].is_ascii_alphabetic(), "{pair:?}");
                assert_eq!(plain(pair[0]), Some(pair[1]), "{pair:?}");
            }
        }
    }

    #[test]
    fn dresses_are_taken_off() {
        let plain = |text: &str| text.chars().map(|c| undressed(c).unwrap_or(c)).collect::<String>();
        assert_eq!(plain("𝐎𝓻𝖎𝗈𝘯 𝙊𝚛 ⓞⓡⒾⓄ 🅾🄾 ᴏʀɪᴏɴ ৪১১১ ๔"), "Orion Or orIO OO orion 4111 4");
        assert!("aé中жß1".chars().all(|c| undressed(c).is_none()));
    }
}
