//! Moments as people write them, in UTC: so that the transcripts of machines in
//! different places are the same.

use std::time::{Duration, SystemTime};

/// The present moment, milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Year, month and day of a number of days since 1970. After H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

fn time(ms: u64) -> (u64, u64, u64, u64) {
    let of_day = Duration::from_millis(ms).as_secs() % 86_400;
    (of_day / 3600, of_day / 60 % 60, of_day % 60, ms % 1000)
}

/// `16:03:59`
pub fn clock(ms: u64) -> String {
    let (hour, minute, second, _) = time(ms);
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// `2026-11-28 16:03:59.250 UTC`
pub fn moment(ms: u64) -> String {
    let (year, month, day) = date(ms / 86_400_000);
    format!("{year:04}-{month:02}-{day:02} {}.{:03} UTC", clock(ms), ms % 1000)
}

/// `20261128T160359`: for the name of a file.
pub fn stamp(ms: u64) -> String {
    let (year, month, day) = date(ms / 86_400_000);
    let (hour, minute, second, _) = time(ms);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment(0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(moment(951_782_400_007), "2000-02-29 00:00:00.007 UTC");
        assert_eq!(moment(1_767_225_599_999), "2025-12-31 23:59:59.999 UTC");
        assert_eq!(stamp(1_767_225_600_000), "20260101T000000");
        assert_eq!(clock(1_764_345_839_000), "16:03:59");
    }
}
