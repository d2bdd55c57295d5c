//! One figure of both servers over all rounds, and whether it meets its target.

use crate::report::{Table, figure, spread};
use crate::stats::Spread;
use crate::subject::Pair;

/// A figure's target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Quorate's figure divided by etcd's is at most this.
    AtMost(f64),
    /// Quorate's figure divided by etcd's is at least this.
    AtLeast(f64),
    /// etcd's time divided by Quorate's is at least this.
    Faster(f64),
    /// Quorate's figure is at most this in every round, without regard to etcd's.
    Below(f64),
}

/// One row of a table of comparisons.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    what: String,
    /// One figure per round, in the same order for both servers.
    quorate: Vec<f64>,
    etcd: Vec<f64>,
    target: Option<Target>,
    has_ratio: bool,
    /// Words shown in place of large figures; see [`Words`].
    words: Words,
}

/// Words for figures of at least this size, the largest first.
pub(crate) type Words = &'static [(f64, &'static str)];

impl Comparison {
    /// Compares the figure that `get` takes from each round.
    pub(crate) fn new<T>(what: &str, rounds: &[Pair<T>], get: impl Fn(&T) -> f64) -> Self {
        Self {
            what: what.to_owned(),
            quorate: rounds.iter().map(|round| get(&round.quorate)).collect(),
            etcd: rounds.iter().map(|round| get(&round.etcd)).collect(),
            target: None,
            has_ratio: true,
            words: &[],
        }
    }

    /// Hides the ratio where it is meaningless.
    #[must_use]
    pub(crate) fn without_ratio(mut self) -> Self {
        self.has_ratio = false;
        self
    }

    /// Shows words in place of large figures.
    #[must_use]
    pub(crate) fn words(mut self, words: Words) -> Self {
        self.words = words;
        self
    }

    #[must_use]
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// The ratio of each round, in the direction of the target.
    fn ratios(&self) -> Vec<f64> {
        let pairs = self.quorate.iter().zip(&self.etcd).filter(|(_, etcd)| **etcd > 0.0);
        match self.target {
            Some(Target::Faster(_)) => pairs.map(|(quorate, etcd)| etcd / quorate).collect(),
            _ => pairs.map(|(quorate, etcd)| quorate / etcd).collect(),
        }
    }

    /// Whether the target is met; `None` without a target or without figures.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let ratio = Spread::of(&self.ratios()).map(|spread| spread.median);
        match self.target? {
            Target::AtMost(most) => Some(ratio? <= most),
            Target::AtLeast(least) | Target::Faster(least) => Some(ratio? >= least),
            Target::Below(most) => Some(Spread::of(&self.quorate)?.max <= most),
        }
    }

    /// The median and range of the figures, or the words for their median.
    fn shown(&self, figures: &[f64]) -> String {
        let middle = Spread::of(figures).map_or(0.0, |spread| spread.median);
        let word = self.words.iter().find(|(least, _)| middle >= *least);
        word.map_or_else(|| spread(figures), |(_, word)| (*word).to_owned())
    }

    fn row(&self) -> Vec<String> {
        let (ratio, target) = match self.target {
            Some(Target::Below(most)) if !self.has_ratio => {
                (String::new(), format!("Quorate's at most {}", figure(most)))
            }
            None if !self.has_ratio => (String::new(), String::new()),
            None => (spread(&self.ratios()), String::new()),
            Some(Target::AtMost(most)) => {
                (spread(&self.ratios()), format!("ratio at most {}", figure(most)))
            }
            Some(Target::AtLeast(least)) => {
                (spread(&self.ratios()), format!("ratio at least {}", figure(least)))
            }
            Some(Target::Faster(least)) => (
                format!("{} times as fast", spread(&self.ratios())),
                format!("at least {} times as fast", figure(least)),
            ),
            Some(Target::Below(most)) => {
                (spread(&self.ratios()), format!("Quorate's at most {}", figure(most)))
            }
        };
        let verdict = match self.is_met() {
            None => "",
            Some(true) => "met",
            Some(false) => "**missed**",
        };
        let quorate = self.shown(&self.quorate);
        let etcd = self.shown(&self.etcd);
        vec![self.what.clone(), quorate, etcd, ratio, target, verdict.to_owned()]
    }

    fn each_round(&self) -> Vec<String> {
        let pairs = self.quorate.iter().zip(&self.etcd);
        let cells = pairs.map(|(&quorate, &etcd)| {
            format!("{} / {}", self.shown(&[quorate]), self.shown(&[etcd]))
        });
        std::iter::once(self.what.clone()).chain(cells).collect()
    }
}

/// A table with the medians of all rounds, and one with each round if there are several.
pub(crate) fn tables(comparisons: &[Comparison]) -> Vec<Table> {
    let mut all = Table::new(&["", "Quorate", "etcd", "ratio", "target", ""]);
    all.rows = comparisons.iter().map(Comparison::row).collect();
    let rounds = comparisons.iter().map(|comparison| comparison.quorate.len()).max().unwrap_or(0);
    if rounds < 2 {
        return vec![all];
    }
    let mut each = Table::new(&["Quorate / etcd in round"]);
    each.head.extend((1..=rounds).map(|round| round.to_string()));
    each.rows = comparisons.iter().map(Comparison::each_round).collect();
    vec![all, each]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(quorate: &[f64], etcd: &[f64], target: Target) -> Comparison {
        let pairs = quorate.iter().zip(etcd);
        let rounds: Vec<Pair<f64>> =
            pairs.map(|(&quorate, &etcd)| Pair { quorate, etcd }).collect();
        Comparison::new("figure", &rounds, |figure| *figure).target(target)
    }

    #[test]
    fn a_ratio_compares_figures_of_one_round() {
        let comparison = compared(&[1.0, 8.0, 3.0], &[2.0, 10.0, 10.0], Target::AtMost(0.5));
        assert_eq!(comparison.ratios(), [0.5, 0.8, 0.3]);
        assert_eq!(comparison.is_met(), Some(true));
        assert_eq!(compared(&[4.0], &[10.0], Target::AtMost(0.3)).is_met(), Some(false));
        assert_eq!(compared(&[4.0], &[2.0], Target::AtLeast(2.1)).is_met(), Some(false));
        assert_eq!(compared(&[4.0], &[2.0], Target::AtLeast(2.0)).is_met(), Some(true));
    }

    #[test]
    fn faster_inverts_the_ratio() {
        let comparison = compared(&[2.0], &[100.0], Target::Faster(50.0));
        assert_eq!(comparison.is_met(), Some(true));
        assert_eq!(comparison.row()[3], "50.0 times as fast");
        assert_eq!(compared(&[2.0], &[98.0], Target::Faster(50.0)).is_met(), Some(false));
    }

    #[test]
    fn figures_above_a_bound_are_shown_as_words() {
        let words = &[(f64::INFINITY, "it ended"), (9.0, "over 9")];
        let comparison = compared(&[f64::INFINITY], &[9.5], Target::Below(8.0));
        let row = comparison.without_ratio().words(words).row();
        assert_eq!(row[1..], ["it ended", "over 9", "", "Quorate's at most 8.00", "**missed**"]);
    }

    #[test]
    fn a_limit_holds_in_every_round() {
        assert_eq!(compared(&[2.0, 9.0], &[0.0, 0.0], Target::Below(9.0)).is_met(), Some(true));
        assert_eq!(compared(&[2.0, 9.0], &[0.0, 0.0], Target::Below(8.0)).is_met(), Some(false));
    }
}
