//! What a scenario has to say, as Markdown and on the terminal.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::failure::{Attempt, Outcome};
use crate::plot::{Panel, svg};
use crate::{document, machine, say};

/// A table of Markdown.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What stands above it.
    pub title: String,
    /// Names of the columns; the first is aligned left.
    pub head: Vec<String>,
    /// The lines, as many cells each.
    pub lines: Vec<Vec<String>>,
    /// What has to be said about it: who is missing, and why.
    pub remarks: Vec<String>,
}

/// The section of one scenario.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Its marker, and the name of its picture.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// What was measured, and how.
    pub text: String,
    /// What came out.
    pub tables: Vec<Table>,
    /// The same as a picture, if there is something to see.
    pub panels: Vec<Panel>,
}

impl Table {
    /// The table as Markdown; its columns are aligned in the text, too.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.title.is_empty() {
            text = format!("**{}**\n\n", self.title);
        }
        let widths: Vec<_> = (0..self.head.len()).map(|column| self.width(column)).collect();
        row(&mut text, &self.head, &widths);
        for (width, column) in widths.iter().zip(0..) {
            let dashes = "-".repeat(*width);
            text.push_str(&if column == 0 {
                format!("| {dashes} ")
            } else {
                format!("| {}: ", dashes.get(1..).unwrap_or(""))
            });
        }
        text.push_str("|\n");
        for line in &self.lines {
            row(&mut text, line, &widths);
        }
        for remark in &self.remarks {
            write!(text, "\n{remark}\n").ok();
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let lines = std::iter::once(&self.head).chain(&self.lines);
        lines
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    }
}

fn row(text: &mut String, cells: &[String], widths: &[usize]) {
    for ((cell, width), column) in cells.iter().zip(widths).zip(0..) {
        let cell =
            if column == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
        text.push_str(&cell);
    }
    text.push_str("|\n");
}

impl Section {
    /// Prints it, and puts it into `benchmarks.md` of the folder, if one is
    /// given, with its picture beside it.
    ///
    /// # Errors
    /// The disk's.
    pub fn publish(&self, command: &str, docs: Option<&Path>) -> Outcome<()> {
        for table in &self.tables {
            say::result(format_args!("\n{}", table.markdown()));
        }
        let Some(docs) = docs else { return Ok(()) };
        fs::create_dir_all(docs).attempt(format!("`{}`", docs.display()))?;
        let picture = format!("bench-{}.svg", self.id);
        if !self.panels.is_empty() {
            fs::write(docs.join(&picture), svg(&self.panels))?;
        }
        let page = docs.join("benchmarks.md");
        let old = fs::read_to_string(&page).unwrap_or_else(|_| PAGE.to_owned());
        fs::write(&page, document::replace(&old, &self.id, &self.markdown(command, &picture)))?;
        Ok(())
    }

    fn markdown(&self, command: &str, picture: &str) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.text);
        write!(text, "`{command}`, {}. {}.\n\n", machine::date(), machine::words()).ok();
        if !self.panels.is_empty() {
            write!(text, "![{}]({picture})\n\n", self.title).ok();
        }
        for table in &self.tables {
            writeln!(text, "{}", table.markdown()).ok();
        }
        text
    }
}

/// The page before anything was measured.
const PAGE: &str = "# Benchmarks\n\n\
    Written by `scripts/bench.sh`; each section says with which command, when, and on what.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let cells = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect();
        Table {
            title: "T".to_owned(),
            head: cells(&["who", "s"]),
            lines: vec![cells(&["Shoal", "0.123"])],
            remarks: vec!["x: is not installed".to_owned()],
        }
    }

    #[test]
    fn a_table() {
        let expected = "**T**\n\n| who   |     s |\n| ----- | ----: |\n| Shoal | 0.123 |\n\nx: is not installed\n";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn published_twice_it_stands_there_once() {
        let dir = tempfile::tempdir().unwrap();
        let section = Section {
            id: "a".to_owned(),
            title: "A".to_owned(),
            tables: vec![table()],
            ..Section::default()
        };
        section.publish("scripts/bench.sh a", Some(dir.path())).unwrap();
        section.publish("scripts/bench.sh a", Some(dir.path())).unwrap();
        let page = fs::read_to_string(dir.path().join("benchmarks.md")).unwrap();
        assert!(page.starts_with("# Benchmarks\n"));
        assert_eq!(page.matches("## A").count(), 1);
        assert_eq!(page.matches("`scripts/bench.sh a`").count(), 1);
    }
}
