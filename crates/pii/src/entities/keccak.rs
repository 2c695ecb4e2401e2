//! Keccak-256, as Ethereum uses it: the sponge of SHA-3 with the padding of its draft. For checking addresses, not for secrets.

const LANES: usize = 25;
const RATE_BYTES: usize = 136;
const ROUNDS: usize = 24;

/// The digest of a message that fits into one block.
pub(super) fn keccak256(message: &[u8; 40]) -> [u8; 32] {
    let mut block = [0u8; RATE_BYTES];
    block[..message.len()].copy_from_slice(message);
    block[message.len()] = 1;
    block[RATE_BYTES - 1] |= 0x80;
    let mut state = [0u64; LANES];
    for (lane, bytes) in state.iter_mut().zip(block.chunks_exact(8)) {
        *lane = bytes.iter().rev().fold(0, |lane, byte| (lane << 8) | u64::from(*byte));
    }
    permute(&mut state);
    let mut digest = [0; 32];
    for (bytes, lane) in digest.chunks_exact_mut(8).zip(state) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    digest
}

fn permute(state: &mut [u64; LANES]) {
    let mut constants = 1u8;
    for _ in 0..ROUNDS {
        // theta
        let column = |x: usize| (0..5).fold(0, |sum, y| sum ^ state[x + 5 * y]);
        let columns = [column(0), column(1), column(2), column(3), column(4)];
        for (at, lane) in state.iter_mut().enumerate() {
            *lane ^= columns[(at + 4) % 5] ^ columns[(at + 1) % 5].rotate_left(1);
        }
        // rho and pi
        let (mut x, mut y, mut carried) = (1, 0, state[1]);
        for step in 0..24u32 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            let turned = carried.rotate_left((step + 1) * (step + 2) / 2 % 64);
            carried = std::mem::replace(&mut state[x + 5 * y], turned);
        }
        // chi
        for row in state.chunks_exact_mut(5) {
            let old = [row[0], row[1], row[2], row[3], row[4]];
            for (x, lane) in row.iter_mut().enumerate() {
                *lane = old[x] ^ (!old[(x + 1) % 5] & old[(x + 2) % 5]);
            }
        }
        // iota: its constants come from a shift register of eight bits
        for bit in 0..7 {
            if constants & 1 == 1 {
                state[0] ^= 1 << ((1u32 << bit) - 1);
            }
            constants = (constants << 1) ^ if constants & 0x80 == 0 { 0 } else { 0x71 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_hashes_as_the_standard_says() {
        // EIP-55's first example: where the hash's digit is 8 or more, the address has a capital
        let digest = keccak256(b"5aaeb6053f3e94c9b9a09f33669435e7ef1beaed");
        let nibble = |i: usize| if i % 2 == 0 { digest[i / 2] >> 4 } else { digest[i / 2] & 15 };
        for (i, c) in "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed".chars().enumerate().filter(|(_, c)| c.is_alphabetic()) {
            assert_eq!(c.is_uppercase(), nibble(i) >= 8, "{i}");
        }
    }
}
