//! Sizes, rates and numbers as people write them. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shoal_common::limits::{KIB, LEAST_LIMIT, REQUEST_SIZE, REQUEST_SIZES};

/// Why a size or a rate can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// It is no number of bytes.
    #[error("`{0}` is no number of bytes; write it as in `800kB`, `50MB`, `1.5MiB`")]
    NotANumber(String),
    /// A limit below the least one.
    #[error(
        "a limit of {0} bytes a second is too low: at least {least} kB a second, or `off`",
        least = LEAST_LIMIT / 1000
    )]
    LimitTooLow(u64),
    /// A request size that is not allowed.
    #[error(
        "a request size of {0} bytes is not possible: {least} KiB to {most} KiB are",
        least = REQUEST_SIZES.0 / KIB,
        most = REQUEST_SIZES.1 / KIB
    )]
    RequestSize(u64),
}

/// What a unit stands for, in bytes; in lower case.
const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1000),
    ("kb", 1000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
];

/// Most digits behind the point: those of the largest unit.
const MAX_DIGITS: u32 = 9;

/// The bytes in a text like `800kB`, `50 MB`, `1.5MiB` or `1000`. The case of
/// a unit does not matter; what is less than a byte is cut off.
///
/// # Errors
/// It is no such text, or more than can be counted.
pub fn bytes(text: &str) -> Result<u64, AmountError> {
    parse(text.trim())
        .ok_or_else(|| AmountError::NotANumber(text.escape_debug().take(40).collect()))
}

/// So many beside those that were named: `1 other`, `3 others`.
pub(crate) fn others(count: u64) -> String {
    format!("{count} other{}", if count == 1 { "" } else { "s" })
}

fn parse(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        u32::try_from(part.len()).ok().filter(|digits| (1..=MAX_DIGITS).contains(digits))?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(*unit)?;
    let part = part.parse::<u64>().ok()?.checked_mul(*unit)? / 10_u64.checked_pow(digits)?;
    whole.checked_add(part)
}

/// A limit on a rate, in bytes a second, or none: `50MB`, `800kB/s`, `off`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limit(pub Option<u64>);

impl Limit {
    /// Whether it can be kept.
    ///
    /// # Errors
    /// It is below [`LEAST_LIMIT`].
    pub fn check(self) -> Result<Self, AmountError> {
        match self.0 {
            Some(rate) if rate < LEAST_LIMIT => Err(AmountError::LimitTooLow(rate)),
            _ => Ok(self),
        }
    }
}

impl FromStr for Limit {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if ["off", "none", "unlimited"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(Self(None));
        }
        Self(Some(bytes(text.strip_suffix("/s").unwrap_or(text))?)).check()
    }
}

/// How many bytes one request asks for: `256KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestSize(pub u64);

impl Default for RequestSize {
    fn default() -> Self {
        Self(REQUEST_SIZE)
    }
}

impl RequestSize {
    /// Whether it is allowed.
    ///
    /// # Errors
    /// It is not within [`REQUEST_SIZES`].
    pub fn check(self) -> Result<Self, AmountError> {
        if (REQUEST_SIZES.0..=REQUEST_SIZES.1).contains(&self.0) {
            Ok(self)
        } else {
            Err(AmountError::RequestSize(self.0))
        }
    }
}

impl FromStr for RequestSize {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self(bytes(text)?).check()
    }
}

impl fmt::Display for RequestSize {
    /// As it could be typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(KIB * KIB) => {
                write!(f, "{}MiB", bytes / KIB / KIB)
            }
            bytes if bytes > 0 && bytes.is_multiple_of(KIB) => write!(f, "{}KiB", bytes / KIB),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, size) in [
            ("0", 0),
            ("1000", 1000),
            ("12 B", 12),
            ("800kB", 800_000),
            ("800 KB", 800_000),
            ("50MB", 50_000_000),
            ("50m", 50_000_000),
            ("1.5MiB", 3 << 19),
            ("0.25 gib", 1 << 28),
            ("1.000000001GB", 1_000_000_001),
            (" 2G ", 2_000_000_000),
            ("1.9999", 1),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in [
            "",
            " ",
            "MB",
            "-1",
            "+1",
            "1e6",
            "1,5MB",
            "1.5.2MB",
            "1.MB",
            ".5MB",
            "5 M B",
            "5TB",
            "0x10",
            "inf",
            "NaN",
            "5Mbit",
            "1.0000000001GB",
            "18446744073709551616",
            "99999999999GB",
            "٣MB",
            "5\u{212a}B",
        ] {
            assert_eq!(bytes(text), Err(AmountError::NotANumber(text.to_owned())), "{text}");
        }
        let error = bytes("1\x1b[2J").unwrap_err().to_string();
        assert!(error.starts_with("`1\\u{1b}[2J` is no number of bytes; write it as"), "{error}");
    }

    #[test]
    fn limits() {
        let limit = |text: &str| text.parse::<Limit>();
        assert_eq!(limit("50MB"), Ok(Limit(Some(50_000_000))));
        assert_eq!(limit("50MB/s"), Ok(Limit(Some(50_000_000))));
        assert_eq!(limit("10kB"), Ok(Limit(Some(LEAST_LIMIT))));
        for off in ["off", "OFF", " none ", "unlimited"] {
            assert_eq!(limit(off), Ok(Limit(None)));
        }
        for (text, said) in [
            (
                "9999",
                "a limit of 9999 bytes a second is too low: at least 10 kB a second, or `off`",
            ),
            ("0", "a limit of 0 bytes"),
            ("fast", "`fast` is no number"),
            ("/s", "`` is no number"),
        ] {
            let error = limit(text).unwrap_err().to_string();
            assert!(error.starts_with(said), "{text}: {error}");
        }
    }

    #[test]
    fn request_sizes() {
        let size = |text: &str| text.parse::<RequestSize>();
        assert_eq!(size("64KiB"), Ok(RequestSize(REQUEST_SIZES.0)));
        assert_eq!(size("16MiB"), Ok(RequestSize(REQUEST_SIZES.1)));
        for (text, bytes) in [("64kB", 64_000), ("17MiB", 17 << 20), ("0", 0)] {
            assert_eq!(size(text), Err(AmountError::RequestSize(bytes)), "{text}");
        }
        assert_eq!(
            size("1GB").unwrap_err().to_string(),
            "a request size of 1000000000 bytes is not possible: 64 KiB to 16384 KiB are"
        );
        for (bytes, text) in [(1 << 20, "1MiB"), (65_536, "64KiB"), (100_000, "100000B")] {
            assert_eq!(RequestSize(bytes).to_string(), text);
            assert_eq!(size(text), Ok(RequestSize(bytes)));
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "\\PC{0,20}|[0-9.]{0,24} ?[a-zA-Z]{0,3}") {
            let _ = bytes(&text);
            let _ = text.parse::<Limit>();
            let _ = text.parse::<RequestSize>();
        }

        #[test]
        fn whole_numbers_are_exact(number in 0_u64..1 << 33) {
            prop_assert_eq!(bytes(&format!("{number}KiB")), Ok(number << 10));
            prop_assert_eq!(bytes(&format!("{number}.5kB")), Ok(number * 1000 + 500));
        }
    }
}
