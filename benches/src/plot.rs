//! Bars with whiskers, as SVG. Pure.
//!
//! The colours follow the reader's light or dark theme.

use std::fmt::Write;

use crate::figures::three_digits;

/// What a bar is; it decides the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Shoal.
    Ours,
    /// What Shoal is held against.
    Reference,
    /// Anybody else.
    Other,
}

/// One bar: a median between its extremes.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Whose it is.
    pub label: String,
    /// Its colour.
    pub kind: Kind,
    /// The length of the bar.
    pub median: f64,
    /// Where the whisker begins.
    pub least: f64,
    /// Where the whisker ends.
    pub most: f64,
    /// What stands behind the value.
    pub remark: String,
}

/// Bars on one scale, with a title.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What was measured.
    pub title: String,
    /// Of what: `s`, `MiB`.
    pub unit: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

// In pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 310.0;
const RIGHT: f64 = 720.0;
const ROW: f64 = 24.0;
const TITLE: f64 = 36.0;
const GAP: f64 = 14.0;

const STYLE: &str = "<style>\
text{font:13px system-ui,sans-serif;fill:#24292f}\
.title{font-weight:600;font-size:14px}\
.remark{fill:#57606a}\
.ours{fill:#0969da}.reference{fill:#57606a}.other{fill:#b6bec8}\
.whisker{stroke:#24292f;stroke-width:1.5;fill:none}\
.axis{stroke:#d0d7de}\
@media(prefers-color-scheme:dark){\
text{fill:#e6edf3}.remark{fill:#9198a1}\
.ours{fill:#4493f8}.reference{fill:#9198a1}.other{fill:#4b535d}\
.whisker{stroke:#e6edf3}.axis{stroke:#3d444d}}\
</style>";

/// The panels one below the other.
pub fn svg(panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(height).sum::<f64>() + GAP;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n{STYLE}\n"
    );
    let mut top = 0.0;
    for panel in panels {
        draw(&mut text, panel, top);
        top += height_of(panel.bars.len());
    }
    text.push_str("</svg>\n");
    text
}

fn height(panel: &Panel) -> f64 {
    height_of(panel.bars.len())
}

fn height_of(bars: usize) -> f64 {
    TITLE + ROW * bars as f64 + GAP
}

// Writing to a string does not fail.
fn draw(text: &mut String, panel: &Panel, top: f64) {
    let longest = panel.bars.iter().map(|bar| bar.most).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / longest;
    let title = escape(&panel.title);
    writeln!(text, "<text class=\"title\" x=\"12\" y=\"{:.0}\">{title}</text>", top + 22.0).ok();
    for (bar, row) in panel.bars.iter().zip(0_u16..) {
        let middle = top + TITLE + ROW * (f64::from(row) + 0.5);
        draw_bar(text, bar, &panel.unit, middle, [bar.median, bar.least, bar.most].map(x));
    }
    let (above, below) = (top + TITLE, top + height(panel) - GAP);
    writeln!(
        text,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{above}\" y2=\"{below}\"/>"
    )
    .ok();
}

fn draw_bar(text: &mut String, bar: &Bar, unit: &str, middle: f64, x: [f64; 3]) {
    let [median, least, most] = x;
    let class = match bar.kind {
        Kind::Ours => "ours",
        Kind::Reference => "reference",
        Kind::Other => "other",
    };
    let (base, width, bar_top) = (middle + 4.5, median - LEFT, middle - 8.0);
    let label = escape(&bar.label);
    let (up, down) = (middle - 4.0, middle + 4.0);
    let whisker =
        format!("M{least:.1} {up}V{down}M{least:.1} {middle}H{most:.1}M{most:.1} {up}V{down}");
    let value = format!("{} {}", three_digits(bar.median), escape(unit));
    let remark = escape(&bar.remark);
    let beside = most + 10.0;
    writeln!(
        text,
        "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{label}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{bar_top}\" width=\"{width:.1}\" height=\"16\" rx=\"2\"/>\
         <path class=\"whisker\" d=\"{whisker}\"/>\
         <text x=\"{beside:.1}\" y=\"{base}\">{value} <tspan class=\"remark\">{remark}</tspan></text>",
        LEFT - 10.0
    )
    .ok();
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, median: f64, most: f64) -> Bar {
        Bar {
            label: label.to_owned(),
            kind: Kind::Other,
            median,
            least: median / 2.0,
            most,
            remark: "1.00 ×".to_owned(),
        }
    }

    #[test]
    fn the_longest_whisker_ends_at_the_edge_and_names_are_escaped() {
        let bars = vec![bar("a<b", 1.0, 2.0), bar("c", 2.0, 4.0)];
        let panel = Panel { title: "A & B".to_owned(), unit: "s".to_owned(), bars };
        let svg = svg(&[panel.clone(), panel]);
        assert!(svg.contains("A &amp; B") && svg.contains("a&lt;b"));
        assert_eq!(svg.matches(&format!("M{RIGHT:.1} ")).count(), 2);
        assert_eq!(svg.matches("<rect").count(), 4);
        assert_eq!(svg.matches('<').count(), svg.matches('>').count());
    }

    #[test]
    fn nothing_measured_is_still_a_picture() {
        let panel = Panel { title: String::new(), unit: String::new(), bars: Vec::new() };
        assert!(!svg(&[panel]).contains("NaN"));
    }
}
