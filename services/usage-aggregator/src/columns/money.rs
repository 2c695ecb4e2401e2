//! Money as the table keeps it: US dollars as `decimal(38,12)`, an integer of 10⁻¹² dollars.

use arrow_schema::DataType;
use rust_decimal::Decimal;

/// All digits.
pub const PRECISION: u8 = 38;
/// Digits after the point.
pub const SCALE: i8 = 12;

const DIGITS: u32 = 12;

/// The Arrow type of a money column.
pub fn data_type() -> DataType {
    DataType::Decimal128(PRECISION, SCALE)
}

/// `amount` in units of 10⁻¹² dollars, rounded half to even; `None` if it has more than 38 digits.
pub fn to_units(amount: Decimal) -> Option<i128> {
    let amount = amount.round_dp(DIGITS);
    let units = amount.mantissa().checked_mul(10_i128.pow(DIGITS.saturating_sub(amount.scale())))?;
    (units.unsigned_abs() < 10_u128.pow(u32::from(PRECISION))).then_some(units)
}

/// The amount that [`to_units`] was given, without trailing zeros; `None` above what a [`Decimal`] can hold (7.9 · 10¹⁶).
pub fn from_units(units: i128) -> Option<Decimal> {
    Decimal::try_from_i128_with_scale(units, DIGITS).ok().map(|d| d.normalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(s: &str) -> Decimal {
        s.parse().unwrap()
    }

    #[test]
    fn keeps_twelve_decimals_exactly() {
        assert_eq!(to_units(d("0.000000000001")), Some(1));
        assert_eq!(to_units(d("-12.5")), Some(-12_500_000_000_000));
        assert_eq!(to_units(d("0.0000000000005")), Some(0), "half to even");
        assert_eq!(to_units(d("0.0000000000015")), Some(2), "half to even");
        assert_eq!(to_units(Decimal::MAX), None, "too many digits");
        for text in ["0", "0.1", "123456789.000000000001"] {
            assert_eq!(from_units(to_units(d(text)).unwrap()), Some(d(text)));
        }
    }
}
