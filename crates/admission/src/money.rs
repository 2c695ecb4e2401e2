//! Money as the stores count it: whole nano-dollars.
//!
//! Bounds: one call counts at most 1,000,000 dollars, a budget at most 1,000,000,000. In memory sums are exact. In Valkey they are
//! exact too (64-bit integers), but a script compares them as doubles: exact up to 9,007,199 dollars, then to within a millionth of one.

use rust_decimal::{Decimal, prelude::ToPrimitive};

/// Nano-dollars of a dollar.
pub(crate) const NANO: u64 = 1_000_000_000;
/// The most that one call counts: a million dollars.
pub(crate) const CALL_MAX_NANO: u64 = 1_000_000 * NANO;
/// The most that a budget can allow: a thousand million dollars.
pub(crate) const BUDGET_MAX_NANO: u64 = 1_000_000_000 * NANO;

/// Dollars in nano-dollars, rounded up, so that nothing is free because it is small. Below zero is zero.
pub(crate) fn nano(usd: Decimal) -> u64 {
    let nano = usd.checked_mul(Decimal::from(NANO)).map_or(Decimal::MAX, |nano| nano.ceil());
    if nano.is_sign_negative() { 0 } else { nano.to_u64().unwrap_or(u64::MAX) }
}

/// What a call counts for.
pub(crate) fn call_nano(usd: Decimal) -> u64 {
    nano(usd).min(CALL_MAX_NANO)
}

/// Nano-dollars in dollars.
pub(crate) fn usd(nano: u64) -> Decimal {
    Decimal::from_i128_with_scale(i128::from(nano), 9).normalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_rounded_up_to_nano_dollars() {
        for (text, expected) in [("0", 0), ("-1", 0), ("0.0000000001", 1), ("1", NANO), ("0.123456789", 123_456_789)] {
            assert_eq!(nano(text.parse().expect("decimal")), expected, "{text}");
        }
        assert_eq!(nano(Decimal::MAX), u64::MAX);
        assert_eq!(call_nano(Decimal::MAX), CALL_MAX_NANO);
        assert_eq!(usd(1_500_000_000).to_string(), "1.5");
    }
}
