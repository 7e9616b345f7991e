//! Tables as Markdown, and the file they go into.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::compare::contestant::Contestant;

/// A workload's figures.
pub struct Table {
    /// By which it is asked for, and found in the report.
    pub name: &'static str,
    /// What was done, for people.
    pub title: String,
    /// What the first figure is.
    pub unit: &'static str,
    /// The other figures.
    pub columns: Vec<&'static str>,
    pub rows: Vec<Row>,
    /// What else is to be known.
    pub notes: Vec<String>,
}

/// One server's figures.
#[derive(Clone)]
pub struct Row {
    pub contestant: Contestant,
    /// The figure that is compared; none where it could not be measured.
    pub figure: Option<f64>,
    /// Shown instead where there is none.
    pub why: &'static str,
    pub others: Vec<String>,
}

impl Table {
    /// The figure of one.
    pub fn figure(&self, contestant: Contestant) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.contestant == contestant);
        row.and_then(|row| row.figure)
    }

    /// The smallest figure of anybody else's server.
    pub fn best_peer(&self) -> Option<f64> {
        let peers = self.rows.iter().filter(|row| row.contestant.is_peer());
        peers.filter_map(|row| row.figure).min_by(f64::total_cmp)
    }

    pub fn markdown(&self) -> String {
        let (floor, best) = (self.figure(Contestant::Floor), self.best_peer());
        let mut out = format!("### {}\n\n", self.title);
        let mut head = vec!["server", self.unit];
        if floor.is_some() {
            head.push("to the floor");
        }
        head.push("to the best peer");
        head.extend(&self.columns);
        let _ = writeln!(out, "| {} |", head.join(" | "));
        let _ = writeln!(out, "| --- |{}", " ---: |".repeat(head.len() - 1));
        for row in &self.rows {
            let ratio = |to: Option<f64>| match (row.figure, to) {
                (Some(figure), Some(to)) if 0.0 < to => format!("{:.2}", figure / to),
                _ => String::new(),
            };
            let figure = row.figure.map_or_else(|| row.why.to_owned(), shown);
            let mut cells = vec![row.contestant.name().to_owned(), figure];
            if floor.is_some() {
                cells.push(ratio(floor));
            }
            cells.push(ratio(best));
            cells.extend(row.others.iter().cloned());
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        out
    }
}

/// Three digits that matter.
pub fn shown(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        ..0.095 => format!("{figure:.3}"),
        ..9.95 => format!("{figure:.2}"),
        ..99.5 => format!("{figure:.1}"),
        _ => count(figure),
    }
}

/// With a comma before each three digits.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Puts a section into the report, in place of the one of this name.
pub fn record(report: &Path, name: &str, section: &str) -> Result<()> {
    let text = fs::read_to_string(report)?;
    fs::write(report, replaced(&text, name, section)?)?;
    Ok(())
}

fn replaced(text: &str, name: &str, section: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let place = || format!("the report has no place for `{name}`");
    let (before, rest) = text.split_once(&begin).with_context(place)?;
    let (_, after) = rest.split_once(&end).with_context(place)?;
    Ok(format!("{before}{begin}{section}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_ratios_to_the_floor_and_to_the_best_peer() {
        let row = |contestant, figure| Row {
            contestant,
            figure,
            why: "never",
            others: vec!["x".to_owned()],
        };
        let table = Table {
            name: "test",
            title: "A test".to_owned(),
            unit: "µs",
            columns: vec!["other"],
            rows: vec![
                row(Contestant::Floor, Some(2.0)),
                row(Contestant::YWebsocket, Some(8.0)),
                row(Contestant::YrsWarp, None),
                row(Contestant::Relay, Some(4.0)),
            ],
            notes: vec![],
        };
        let markdown = table.markdown();
        let last = markdown.lines().last().unwrap();
        assert_eq!(last, "| **copresence**, `/sync` | 4.00 | 2.00 | 0.50 | x |");
        assert!(markdown.contains("| yrs-warp 0.9 | never |  |  | x |"));
    }

    #[test]
    fn only_the_named_section_of_a_report_is_replaced() {
        let report = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        assert_eq!(
            replaced(report, "x", "new\n").unwrap(),
            "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n"
        );
        assert!(replaced(report, "y", "new\n").is_err());
    }
}
