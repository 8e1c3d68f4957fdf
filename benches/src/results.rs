//! What came out of a race: a table and a picture. Pure.

use crate::figures::{median, spread, three_digits};
use crate::plot::{Bar, Kind, Panel};
use crate::report::Table;

/// Who a contestant is.
#[derive(Debug, Clone)]
pub struct Label {
    /// Its name in the table.
    pub name: String,
    /// Whether what comes is held against a hash: `yes`, `no`, or `-`.
    pub verified: &'static str,
    /// Its colour.
    pub kind: Kind,
}

impl Label {
    /// Of a contestant that is neither Shoal nor a reference.
    pub fn other(name: impl Into<String>, verified: &'static str) -> Self {
        Self { name: name.into(), verified, kind: Kind::Other }
    }
}

/// What one contestant came to.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Who it is.
    pub label: Label,
    /// Each of its runs.
    pub seconds: Vec<f64>,
}

/// What all came to.
#[derive(Debug, Clone)]
pub struct Results {
    /// What they did.
    pub title: String,
    /// What is counted by the second, and how much of it a run moves.
    pub rate: (&'static str, f64),
    /// Those who did it.
    pub standings: Vec<Standing>,
    /// What has to be said below the table.
    pub remarks: Vec<String>,
}

impl Results {
    /// The median of the one with this name, in seconds.
    pub fn median_of(&self, name: &str) -> Option<f64> {
        let one = self.standings.iter().find(|standing| standing.label.name == name);
        one.and_then(|standing| median(&standing.seconds))
    }

    /// What came out, in ratio to the one with the name `reference`.
    pub fn table(&self, reference: &str) -> Table {
        let unit = self.median_of(reference);
        let head = ["", "verified", "median s", "least – most s", self.rate.0, "ratio"];
        let line = |standing: &Standing| standing.line(self.rate.1, unit);
        Table {
            title: self.title.clone(),
            head: head.map(str::to_owned).to_vec(),
            lines: self.standings.iter().filter_map(line).collect(),
            remarks: self.remarks.clone(),
        }
    }

    /// The same as a picture.
    pub fn panel(&self, reference: &str) -> Panel {
        let unit = self.median_of(reference);
        let bars = self.standings.iter().filter_map(|standing| standing.bar(unit)).collect();
        Panel { title: self.title.clone(), unit: "s".to_owned(), bars }
    }
}

impl Standing {
    fn line(&self, amount: f64, unit: Option<f64>) -> Option<Vec<String>> {
        let median = median(&self.seconds)?;
        let (least, most) = spread(&self.seconds)?;
        Some(vec![
            self.label.name.clone(),
            self.label.verified.to_owned(),
            three_digits(median),
            format!("{} – {}", three_digits(least), three_digits(most)),
            three_digits(amount / median),
            ratio(median, unit),
        ])
    }

    fn bar(&self, unit: Option<f64>) -> Option<Bar> {
        let median = median(&self.seconds)?;
        let (least, most) = spread(&self.seconds)?;
        let remark = match unit {
            Some(_) => format!("{} ×", ratio(median, unit)),
            None => String::new(),
        };
        Some(Bar {
            label: self.label.name.clone(),
            kind: self.label.kind,
            median,
            least,
            most,
            remark,
        })
    }
}

fn ratio(value: f64, unit: Option<f64>) -> String {
    unit.map_or_else(|| "-".to_owned(), |unit| format!("{:.2}", value / unit))
}
