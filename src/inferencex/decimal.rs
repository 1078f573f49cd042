//! Exact decimal numbers, for what upstream computes with Python's `decimal`.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Add;

use super::pyvalue::PyValue;

/// `digits` / 10^`places`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal {
    digits: i128,
    places: u32,
}

impl Decimal {
    pub(super) const ZERO: Self = Self { digits: 0, places: 0 };

    /// The number that a value's text says, as `Decimal(str(value))` reads it; none when it is no number, or none of
    /// a size that a config holds.
    pub(super) fn of(value: &PyValue) -> Option<Self> {
        match value {
            PyValue::Bool(value) => Some(Self {
                digits: i128::from(*value),
                places: 0,
            }),
            PyValue::Int(_) | PyValue::Float(_) | PyValue::Str(_) => Self::parse(value.to_string().trim()),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let places = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        match u32::try_from(places) {
            Ok(places) => (places <= 24).then_some(Self { digits, places }),
            Err(_) => Some(Self {
                digits: digits.checked_mul(10_i128.checked_pow(places.unsigned_abs())?)?,
                places: 0,
            }),
        }
    }

    /// The integer part of `self` × `factor` / `divisor`, rounded down; none when it leaves 128 bits.
    pub(super) fn scaled_floor(self, factor: i128, divisor: i128) -> Option<i64> {
        let divisor = divisor.checked_mul(10_i128.checked_pow(self.places)?)?;
        i64::try_from(self.digits.checked_mul(factor)?.div_euclid(divisor)).ok()
    }

    /// With three places, halves rounded away from zero.
    pub(super) fn to_thousandths(self) -> String {
        let digits = self.at(self.places.max(3));
        let unit = 10_i128.pow(self.places.max(3) - 3);
        let rounded = (digits.abs() * 2 + unit) / (unit * 2);
        let sign = if digits < 0 && rounded != 0 { "-" } else { "" };
        format!("{sign}{}.{:03}", rounded / 1000, rounded % 1000)
    }

    fn at(self, places: u32) -> i128 {
        self.digits * 10_i128.pow(places - self.places)
    }
}

impl Add for Decimal {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let places = self.places.max(other.places);
        Self {
            digits: self.at(places) + other.at(places),
            places,
        }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let places = self.places.max(other.places);
        Some(self.at(places).cmp(&other.at(places)))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_i128.pow(self.places);
        write!(f, "{}", self.digits / unit)?;
        match self.places {
            0 => Ok(()),
            places => write!(
                f,
                ".{:0width$}",
                (self.digits % unit).abs(),
                width = places as usize
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn decimal(value: impl Into<PyValue>) -> Decimal {
        Decimal::of(&value.into()).unwrap()
    }

    #[test]
    fn halves_round_up() {
        for (value, text) in [
            (1.0, "1.000"),
            (0.0005, "0.001"),
            (0.00049, "0.000"),
            (2.675, "2.675"),
            (-0.0005, "-0.001"),
            (1e-7, "0.000"),
        ] {
            assert_eq!(decimal(value).to_thousandths(), text);
        }
        assert_eq!((decimal(0.1) + decimal(0.2)).to_thousandths(), "0.300");
        assert_eq!(decimal(0.1) + decimal(0.2), decimal("0.3"));
    }

    #[test]
    fn scaling_is_exact() {
        // As floats, 0.29 × 100 is 28.999999999999996.
        assert_eq!(decimal(0.29).scaled_floor(100, 1), Some(29));
        assert_eq!(
            decimal(0.8).scaled_floor(2_000_000 << 20, 1_000_000_000),
            Some(1677)
        );
        assert!(Decimal::of(&PyValue::from("x")).is_none());
        assert!(Decimal::of(&PyValue::Float(f64::INFINITY)).is_none());
    }
}
