//! Pages in the text format of Prometheus.

use std::collections::BTreeMap;

/// The labels of a series.
pub type Labels = BTreeMap<String, String>;

/// One sample of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name, with a histogram's ending such as `_count`.
    pub name: String,
    /// The labels, with a histogram's `le`.
    pub labels: Labels,
    /// The value.
    pub value: f64,
}

/// The samples of a page, in its order.
///
/// # Panics
/// If a line is malformed.
pub fn samples(page: &str) -> Vec<Sample> {
    let lines = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let value = value.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels: parse(labels)?, value })
}

/// Parses `a="b",c="d"}`. No label value of these servers contains a comma.
fn parse(labels: &str) -> Option<Labels> {
    let pairs = labels.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_parsed() {
        let page = "# HELP a_count How many.\na_counts 1\na_count{of=\"b\",le=\"+Inf\"} 3.5e+01\n";
        let found = samples(page);
        assert_eq!((found[0].name.as_str(), found[0].value), ("a_counts", 1.0));
        assert_eq!((found[1].name.as_str(), found[1].value), ("a_count", 35.0));
        assert_eq!(found[1].labels["of"], "b");
        assert_eq!(found[1].labels["le"], "+Inf");
    }
}
