//! Durations as people write them.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{str::FromStr, time::Duration};

/// A duration written as `200ms`, `5s`, `9m`, `1h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Millis {
    /// As the standard library's type.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a duration; write a whole number and ms, s, m, h or d, as in 200ms or 7d");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
        let number: u64 = number.parse().map_err(|_| bad())?;
        number
            .checked_mul(scale)
            .filter(|ms| *ms <= 3650 * 86_400_000)
            .map(Millis)
            .ok_or_else(|| format!("`{text}` is longer than ten years"))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, scale) =
            UNITS.iter().rev().find(|(_, scale)| self.0 > 0 && self.0.is_multiple_of(*scale)).unwrap_or(&UNITS[0]);
        serializer.collect_str(&format_args!("{}{name}", self.0 / scale))
    }
}

/// A period of a limit or a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Per {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Total,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("0ms", 0), ("200ms", 200), ("5s", 5000), ("9m", 540_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(text.parse::<Millis>(), Ok(Millis(ms)));
            assert_eq!(serde_json::to_string(&Millis(ms)).expect("json"), format!("\"{text}\""));
        }
        for bad in ["", "5", "s", "5 s", "-5s", "5min", "99999999999999999999s", "9999999d"] {
            assert!(bad.parse::<Millis>().is_err(), "{bad}");
        }
    }
}
