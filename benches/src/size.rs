//! Sizes as people write them, and as they read them.

/// Bytes in a mebibyte.
pub const MIB: u64 = 1 << 20;

/// The file that FACTS and the issue measure with: `file.deb` of the starting
/// set, in bytes.
pub const BIG: u64 = 393_775_740;

/// Reads `394MB` (the big file of the starting set), `64MiB`, `4GiB`, `10KiB`,
/// or a number of bytes.
///
/// # Errors
/// It is none of these.
pub fn parse(text: &str) -> Result<u64, String> {
    if text == "394MB" {
        return Ok(BIG);
    }
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        other => return Err(format!("`{other}` is no unit: use KiB, MiB, GiB, kB, MB or GB")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is no size"))?;
    number.checked_mul(unit).ok_or_else(|| format!("`{text}` is too large"))
}

/// `394 MB`, `4 GiB`: powers of two where they fit.
pub fn words(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
    }
    for (unit, name) in [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")] {
        if bytes >= 10 * unit {
            return format!("{:.0} {name}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        assert_eq!(parse("394MB"), Ok(BIG));
        assert_eq!(words(BIG), "394 MB");
        assert_eq!(parse("4GiB"), Ok(4 << 30));
        assert_eq!(words(4 << 30), "4 GiB");
        assert_eq!(parse("50MB"), Ok(50_000_000));
        assert_eq!(parse("10240"), Ok(10_240));
        assert_eq!(words(10_240), "10 KiB");
        assert_eq!(words(999), "999 bytes");
        for bad in ["", "MB", "4 GiB", "4Gi", "-1", "99999999999GiB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
