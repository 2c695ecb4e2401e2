//! `CRYPTO`: addresses of Bitcoin and its kin (Base58Check; Bech32 and Bech32m, BIP 173 and 350) and of Ethereum (EIP-55 where
//! the case is mixed; 40 digits after `0x` where it is not).

use super::score::{CHECKED, FORMAT};
use super::{Report, Text};
use sha2::{Digest, Sha256};
use sha3::Keccak256;
use std::ops::Range;

pub(super) const CONTEXT: &[&str] = &[];

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// By byte.
const BASE58_VALUES: [u8; 256] = values(BASE58);
const NONE: u8 = u8::MAX;
const BASE58_CHARS: Range<usize> = 26..36;
/// Version, 20 bytes of hash, 4 of checksum.
const BASE58_BYTES: usize = 25;
/// How addresses of Bitcoin, Litecoin, Dogecoin, Dash and Tron begin.
const BASE58_STARTS: &[u8] = b"13LMDAX9T";

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const BECH32_PREFIXES: &[&str] = &["bc", "tb", "ltc"];
const BECH32_CHARS: Range<usize> = 14..91;
const BECH32_CONSTANTS: [u32; 2] = [1, 0x2bc8_30a3];

const HEX_CHARS: usize = 40;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for code in text.codes() {
        let written = &text.as_str()[code.clone()];
        let score = match written.as_bytes() {
            [b'0', b'x' | b'X', hex @ ..] if hex.len() == HEX_CHARS => ethereum(hex),
            [first, ..] if BASE58_STARTS.contains(first) && BASE58_CHARS.contains(&written.len()) => {
                base58(written).then_some(CHECKED)
            }
            _ => bech32(written).then_some(CHECKED),
        };
        if let Some(score) = score {
            report(code.clone(), score);
        }
    }
}

/// The place of every byte among these, or [`NONE`].
const fn values(of: &[u8]) -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < of.len() {
        values[of[value] as usize] = value as u8;
        value += 1;
    }
    values
}

fn ethereum(hex: &[u8]) -> Option<f32> {
    let lower: [u8; HEX_CHARS] = hex.to_ascii_lowercase().try_into().ok()?;
    if !lower.iter().all(u8::is_ascii_hexdigit) || lower.iter().all(|b| *b == lower[0]) {
        return None;
    }
    let mixed = hex.iter().any(u8::is_ascii_lowercase) && hex.iter().any(u8::is_ascii_uppercase);
    if !mixed {
        return Some(FORMAT);
    }
    let digest = Keccak256::digest(lower);
    let capital = |i: usize| (digest[i / 2] >> (if i.is_multiple_of(2) { 4 } else { 0 })) & 8 != 0;
    let checked = hex.iter().enumerate().all(|(i, b)| !b.is_ascii_alphabetic() || b.is_ascii_uppercase() == capital(i));
    checked.then_some(CHECKED)
}

fn base58(written: &str) -> bool {
    // base 2³², lowest first
    let mut limbs = [0u32; BASE58_BYTES.div_ceil(4)];
    for byte in written.bytes() {
        let mut carry = u64::from(BASE58_VALUES[usize::from(byte)]);
        if carry == u64::from(NONE) {
            return false;
        }
        for limb in &mut limbs {
            carry += u64::from(*limb) * 58;
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            return false;
        }
    }
    let mut decoded = [0u8; 4 * BASE58_BYTES.div_ceil(4)];
    let bytes = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes());
    decoded.iter_mut().zip(bytes).for_each(|(slot, byte)| *slot = byte);
    let (beyond, decoded) = decoded.split_at(decoded.len() - BASE58_BYTES);
    let (payload, checksum) = decoded.split_at(BASE58_BYTES - 4);
    beyond.iter().all(|byte| *byte == 0) && Sha256::digest(Sha256::digest(payload))[..4] == *checksum
}

fn bech32(written: &str) -> bool {
    let Some((prefix, data)) = written.split_once('1').filter(|_| BECH32_CHARS.contains(&written.len())) else {
        return false;
    };
    let known = BECH32_PREFIXES.iter().any(|known| prefix.eq_ignore_ascii_case(known));
    let mixed = written.bytes().any(|b| b.is_ascii_lowercase()) && written.bytes().any(|b| b.is_ascii_uppercase());
    if !known || mixed {
        return false;
    }
    let prefix = prefix.bytes().map(|b| b.to_ascii_lowercase());
    let data = data.bytes().map(|b| BECH32.iter().position(|c| *c == b.to_ascii_lowercase()).unwrap_or(usize::MAX));
    let mut sum = 1u32;
    let expanded = prefix.clone().map(|b| usize::from(b >> 5)).chain([0]).chain(prefix.map(|b| usize::from(b & 31)));
    for value in expanded.chain(data) {
        let Some(value) = u32::try_from(value).ok().filter(|value| *value < 32) else { return false };
        let top = sum >> 25;
        sum = ((sum & 0x01ff_ffff) << 5) ^ value;
        for (bit, generator) in
            [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3].into_iter().enumerate()
        {
            if (top >> bit) & 1 == 1 {
                sum ^= generator;
            }
        }
    }
    BECH32_CONSTANTS.contains(&sum)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::Crypto,
            &[
                "send to «1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa».",
                "«3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy»",
                "«bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4»",
                "\"«BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4»\"",
                "«bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0»",
                "eth «0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed»",
                "«0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed»",
            ],
            &[
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
                "0x5aaeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
                "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
                "0x0000000000000000000000000000000000000000",
                "0x9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ],
        );
    }
}
