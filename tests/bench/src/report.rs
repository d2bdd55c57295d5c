//! The report: sections of Markdown with tables.

use std::fmt::Write as _;

use crate::stats::Spread;

/// One table. All rows must be as long as its head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&cell| cell.to_owned()).collect(), rows: Vec::new() }
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = "|---".repeat(self.head.len());
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{rule}|\n{rows}", line(&self.head))
    }
}

/// A section of the report.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// How the figures were measured.
    pub(crate) text: String,
    pub(crate) tables: Vec<Table>,
}

/// The whole report, under a first-level heading.
pub(crate) fn markdown(title: &str, text: &str, sections: &[Section]) -> String {
    let mut report = format!("# {title}\n\n{}\n", text.trim_end());
    for Section { title, text, tables } in sections {
        let tables = tables.iter().map(|table| format!("\n{}", table.markdown()));
        write!(report, "\n## {title}\n\n{text}\n{}", tables.collect::<String>())
            .expect("a string grows");
    }
    report
}

/// A number with up to three significant digits.
pub(crate) fn figure(number: f64) -> String {
    let decimals = match number.abs() {
        0.0 => 0,
        below if below < 0.1 => 4,
        below if below < 1.0 => 3,
        below if below < 10.0 => 2,
        below if below < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

/// The median of several figures, followed by minimum and maximum in parentheses.
pub(crate) fn spread(figures: &[f64]) -> String {
    match Spread::of(figures) {
        None => "–".to_owned(),
        Some(Spread { median, .. }) if figures.len() == 1 => figure(median),
        Some(Spread { min, median, max }) => {
            format!("{} ({}–{})", figure(median), figure(min), figure(max))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_with_three_digits() {
        let shown = [0.0, 0.0123, 0.4567, 1.234, 12.34, 123.4, 1234.0].map(figure);
        assert_eq!(shown, ["0", "0.0123", "0.457", "1.23", "12.3", "123", "1234"]);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), "2.00 (1.00–3.00)");
        assert_eq!(spread(&[3.0]), "3.00");
        assert_eq!(spread(&[]), "–");
    }

    #[test]
    fn a_report_is_markdown() {
        let mut table = Table::new(&["a", "b"]);
        table.rows.push(vec!["1".to_owned(), "2".to_owned()]);
        let title = "Part".to_owned();
        let text = "How.".to_owned();
        let section = Section { title, text, tables: vec![table] };
        let expected = "# Title\n\nText.\n\n## Part\n\nHow.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";
        assert_eq!(markdown("Title", "Text.", &[section]), expected);
    }
}
