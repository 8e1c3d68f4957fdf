//! Pieces of text as a person reads them. Pure.

use shoal_common::name::is_harmful;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How text may look where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Whether colours and weights are understood and wanted.
    pub color: bool,
    /// Columns of the terminal, if it is one.
    pub width: Option<usize>,
}

impl Look {
    /// Heads of tables.
    pub fn bold(self, text: &str) -> String {
        self.styled("1", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.styled("2", text)
    }

    /// What went well.
    pub fn good(self, text: &str) -> String {
        self.styled("32", text)
    }

    /// What went wrong.
    pub fn bad(self, text: &str) -> String {
        self.styled("31", text)
    }

    fn styled(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Text from elsewhere, harmless on a terminal: control characters and those
/// that reorder text or are never seen become visible escapes. Line breaks too,
/// so a line stays one line. A text of which nothing would be seen is escaped
/// as a whole.
pub fn escape(text: &str) -> String {
    let unseen = text.chars().all(|c| c.is_whitespace() || c.width() == Some(0) || is_blank(c));
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if unseen || is_hidden(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Whether a character is shown as its escape: one that does harm, or one
/// without a width and without a use beside other characters.
fn is_hidden(c: char) -> bool {
    is_harmful(c) || matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Blank although it is no white space.
fn is_blank(c: char) -> bool {
    matches!(c, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
}

/// Columns that a text without control characters takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The beginning of a text that fits into so many columns, with `…` where
/// something is missing.
pub fn clip(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut clipped = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        clipped.push(c);
    }
    if columns > 0 {
        clipped.push('…');
    }
    clipped
}

/// A size in a readable unit, to three digits: `393 MB`, `1.21 GB`.
pub fn size(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    scaled(bytes as f64)
}

/// A rate in a readable unit.
pub fn rate(bytes_a_second: f64) -> String {
    // `max` also turns what is no number into 0.
    let bytes_a_second = bytes_a_second.max(0.0);
    if bytes_a_second < 1000.0 {
        return format!("{bytes_a_second:.0} B/s");
    }
    format!("{}/s", scaled(bytes_a_second))
}

/// Of at least a thousand: three digits and a unit.
fn scaled(bytes: f64) -> String {
    let mut value = bytes / 1e3;
    let mut unit = "kB";
    for larger in ["MB", "GB", "TB", "PB", "EB"] {
        if value < 999.5 {
            break;
        }
        value /= 1e3;
        unit = larger;
    }
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// An exact number of bytes, in groups of three digits.
pub fn bytes(bytes: u64) -> String {
    let unit = if bytes == 1 { "byte" } else { "bytes" };
    format!("{} {unit}", grouped(bytes))
}

/// A number in groups of three digits: `1,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A time that something took.
pub fn took(seconds: f64) -> String {
    match seconds {
        s if s < 9.95 => format!("{:.1} s", s.max(0.0)),
        s if s < 90.0 => format!("{s:.0} s"),
        s => clock(s),
    }
}

/// A time that was measured, to the millisecond.
pub fn measured(seconds: f64) -> String {
    format!("{:.3} s", seconds.max(0.0))
}

/// A time as on a clock: `0:07`, `12:34`, `1:02:03`.
pub fn clock(seconds: f64) -> String {
    // Beyond a few thousand days nobody reads the digits.
    let Ok(whole) = format!("{:.0}", seconds.clamp(0.0, 1e9)).parse::<u64>() else {
        return "?".to_owned();
    };
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// The percentage of a whole that is there; never 100 before it is all there.
pub fn percent(done: u64, whole: u64) -> u8 {
    let hundred = u128::from(done.min(whole)) * 100;
    hundred.checked_div(u128::from(whole)).and_then(|p| u8::try_from(p).ok()).unwrap_or(100)
}

/// The percentage of a part, rounded: of a few parts they sum up to about 100.
pub fn share(part: u64, whole: u64) -> u64 {
    let (part, whole) = (u128::from(part), u128::from(whole));
    let rounded = (part * 100 + whole / 2).checked_div(whole).unwrap_or(0);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

/// `1 peer`, `2 peers`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `1 file`, `1,000 files`.
pub fn count_of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// On which side a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows with aligned columns.
#[derive(Debug, Clone)]
pub struct Table {
    sides: Vec<Side>,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    flexible: Option<usize>,
}

/// Least width of a column that becomes narrower.
const NARROWEST: usize = 8;

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Side)]) -> Self {
        Self {
            sides: columns.iter().map(|(_, side)| *side).collect(),
            head: columns.iter().map(|(title, _)| (*title).to_owned()).collect(),
            rows: Vec::new(),
            flexible: None,
        }
    }

    /// Adds a row; cells are clean text without styles.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The column that becomes narrower where the terminal is too narrow.
    pub fn flexible(mut self, column: usize) -> Self {
        self.flexible = Some(column);
        self
    }

    /// Columns that the longest row takes.
    pub fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1)
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        widths
    }

    /// The lines, clipped to the terminal.
    pub fn lines(&self, look: Look) -> Vec<String> {
        let mut widths = self.widths();
        let excess = look.width.map_or(0, |columns| self.width().saturating_sub(columns));
        if let Some(width) = self.flexible.and_then(|column| widths.get_mut(column)) {
            *width = (*width).saturating_sub(excess).max(NARROWEST);
        }
        let fit = |line: String| match look.width {
            Some(columns) => clip(&line, columns),
            None => line,
        };
        let mut lines = vec![look.bold(&fit(self.line(&self.head, &widths)))];
        lines.extend(self.rows.iter().map(|row| fit(self.line(row, &widths))));
        lines
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (index, ((cell, width), side)) in row.iter().zip(widths).zip(&self.sides).enumerate() {
            if index > 0 {
                line.push_str(GAP);
            }
            let cell = clip(cell, *width);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match side {
                Side::Left => line.extend([cell, space]),
                Side::Right => line.extend([space, cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_elsewhere_reaches_the_terminal_as_control() {
        assert_eq!(escape("été ☃ 名"), "été ☃ 名");
        assert_eq!(escape("a\x1b[2Jb\n\r\u{9b}c"), "a\\u{1b}[2Jb\\u{a}\\u{d}\\u{9b}c");
        assert_eq!(escape("exe.\u{202e}gpj"), "exe.\\u{202e}gpj");
        assert_eq!(escape("exe.\u{61c}gpj"), "exe.\\u{61c}gpj");
        assert_eq!(escape("a\u{200b}b"), "a\\u{200b}b");
        assert_eq!(escape("\u{200d}\u{2800} "), "\\u{200d}\\u{2800}\\u{20}");
        assert_eq!(escape("👩\u{200d}💻 e\u{301}"), "👩\u{200d}💻 e\u{301}");
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        assert!(!escape(&all).chars().any(is_hidden));
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (12_345, "12.3 kB"),
            (393_775_740, "394 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(rate(0.0), "0 B/s");
        assert_eq!(rate(1.5e9), "1.50 GB/s");
        assert_eq!(rate(-1.0), "0 B/s");
        assert_eq!(rate(f64::NAN), "0 B/s");
    }

    #[test]
    fn exact_sizes_have_groups() {
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(100), "100 bytes");
        assert_eq!(bytes(393_775_740), "393,775,740 bytes");
    }

    #[test]
    fn times() {
        assert_eq!(took(0.04), "0.0 s");
        assert_eq!(took(9.96), "10 s");
        assert_eq!(took(100.0), "1:40");
        assert_eq!(measured(0.12345), "0.123 s");
        assert_eq!(measured(-1.0), "0.000 s");
        assert_eq!(clock(3_723.0), "1:02:03");
        assert_eq!(clock(f64::INFINITY), clock(1e9));
        assert_eq!(clock(f64::NAN), "?");
    }

    #[test]
    fn a_hundred_percent_is_all_of_it() {
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(999, 1000), 99);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(5, 4), 100);
    }

    #[test]
    fn shares_are_rounded() {
        assert_eq!((share(1, 3), share(2, 3), share(1, 2), share(5, 0)), (33, 67, 50, 0));
    }

    #[test]
    fn clipping_counts_columns_not_characters() {
        assert_eq!(clip("shoal", 5), "shoal");
        assert_eq!(clip("shoals", 5), "shoa…");
        assert_eq!(clip("名前名前", 5), "名前…");
        assert_eq!(clip("名前", 0), "");
    }

    #[test]
    fn columns_are_aligned_by_width() {
        let mut table = Table::new(&[("NAME", Side::Left), ("SIZE", Side::Right)]);
        table.row(["名前".into(), "1 B".into()]);
        table.row(["a".into(), "12 kB".into()]);
        assert_eq!(table.lines(Look::default()), ["NAME   SIZE", "名前    1 B", "a     12 kB"]);
        let narrow = Look { width: Some(8), ..Look::default() };
        assert!(table.lines(narrow).iter().all(|line| width(line) <= 8));
        let mut table = Table::new(&[("NAME", Side::Left), ("SIZE", Side::Right)]).flexible(0);
        table.row(["a longer name".into(), "12 kB".into()]);
        let narrow = Look { width: Some(16), ..Look::default() };
        assert_eq!(table.lines(narrow), ["NAME        SIZE", "a longer…  12 kB"]);
    }
}
