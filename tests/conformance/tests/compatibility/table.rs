//! The table of compatibility.

use std::collections::{BTreeMap, BTreeSet};

/// The statements of a row about a name.
#[derive(Debug, Default)]
pub(crate) struct Row {
    state: String,
    note: String,
    tests: String,
}

impl Row {
    /// Whether clients find what the row is about.
    pub(crate) fn is_served(&self) -> bool {
        ["same", "better"].contains(&self.state.as_str())
    }

    /// The mistake in the row, if there is one.
    fn broken(&self) -> Option<String> {
        let is_promise = self.is_served() || self.state == "different";
        if !is_promise && self.state != "not yet" {
            return Some(format!("no such state: {}", self.state));
        }
        if self.state != "same" && self.note.is_empty() {
            return Some("no reason".to_owned());
        }
        let has_test = self.tests.contains("`tests/") || self.tests.contains("`server/");
        (is_promise && !has_test).then(|| "no test".to_owned())
    }
}

/// The rows by section and name. A row is `| name | state | note | tests |`.
#[derive(Debug, Default)]
pub(crate) struct Table(BTreeMap<String, BTreeMap<String, Row>>);

impl Table {
    pub(crate) fn parse(text: &str) -> Self {
        let mut table = Self::default();
        let mut section = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                section = title.to_owned();
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, name, state, note, tests, _] = cells[..] else { continue };
            let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else {
                continue;
            };
            let [state, note, tests] = [state, note, tests].map(str::to_owned);
            let rows = table.0.entry(section.clone()).or_default();
            let double = rows.insert(name.to_owned(), Row { state, note, tests });
            assert!(double.is_none(), "{name} has two rows");
        }
        table
    }

    /// The rows of a section.
    pub(crate) fn rows<'a>(
        &'a self,
        section: &str,
    ) -> impl Iterator<Item = (&'a String, &'a Row)> + use<'a> {
        self.0.get(section).into_iter().flatten()
    }

    /// The mistakes in the rows of a section, which must be about these names.
    pub(crate) fn broken(&self, section: &str, names: &BTreeSet<String>) -> Vec<String> {
        assert!(!names.is_empty(), "{section}: etcd has nothing");
        let has = |name: &String| self.rows(section).any(|(listed, _)| listed == name);
        let missing = names.iter().filter(|name| !has(name)).map(|name| format!("{name}: no row"));
        let wrong = self.rows(section).filter_map(|(name, row)| {
            let unknown = || Some("etcd does not have it".to_owned());
            let broken = if names.contains(name) { row.broken() } else { unknown() };
            broken.map(|broken| format!("{name}: {broken}"))
        });
        missing.chain(wrong).collect()
    }
}
