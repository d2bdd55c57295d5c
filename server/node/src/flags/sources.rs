//! The settings that are set, wherever they come from.

use std::collections::BTreeMap;

use super::flag::{Fate, Flag};
use super::former;
use super::table::GATES;

/// A value that is set, and its source for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) source: String,
    /// Whether the source is a flag of the command line.
    pub(super) is_flag: bool,
}

/// The settings that are set, by the name of the flag.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) given: BTreeMap<&'static str, Given>,
    pub(super) warnings: Vec<String>,
    pub(super) problems: Vec<String>,
}

impl Sources {
    /// Moves settings under former names to their present names. If a setting is given under both,
    /// the value under the present name counts.
    pub(super) fn rename(&mut self) {
        for flag in former::FLAGS {
            match flag.fate {
                Fate::Renamed(name) => {
                    let Some(given) = self.given.remove(flag.name) else { continue };
                    let source = &given.source;
                    self.warnings.push(format!("{source} is a former name; use --{name}"));
                    self.given.entry(name).or_insert(given);
                }
                Fate::Gate(gate) => {
                    let Some(Given { text, source, is_flag }) = self.given.remove(flag.name) else {
                        continue;
                    };
                    let text = format!("{gate}={text}");
                    self.warnings.push(format!("{source} is a former name; use --{GATES}={text}"));
                    // The last value of a gate counts, so those of the present name come last.
                    let others = self.given.remove(GATES).map(|given| given.text);
                    let text = [Some(text), others].into_iter().flatten();
                    let text = text.collect::<Vec<_>>().join(",");
                    self.given.insert(GATES, Given { text, source, is_flag });
                }
                _ => {}
            }
        }
    }

    /// Takes a setting that no code reads, and notes a warning or a problem.
    pub(super) fn dismiss(&mut self, flag: &'static Flag) {
        let Some(Given { text, source, is_flag }) = self.given.remove(flag.name) else { return };
        let accepts = |values: &[&str]| values.contains(&text.as_str());
        match flag.fate {
            // As in etcd, an unknown flag stops the start, but an unknown variable or key does not.
            Fate::Gone(idle, instead) if idle.is_none_or(accepts) || !is_flag => {
                self.warnings.push(format!("{source} is ignored, as in etcd 3.7: {instead}"));
            }
            Fate::Gone(_, instead) => {
                self.problems.push(format!("{source}: etcd 3.7 does not have it; {instead}"));
            }
            Fate::Idle(idle) if idle.is_none_or(accepts) => {
                self.warnings.push(format!("{source} is ignored, as in etcd"));
            }
            Fate::Idle(Some(values)) => {
                let values = values.join(", ");
                self.problems.push(format!("{source}: must be one of {values}, or left out"));
            }
            _ => {}
        }
    }
}
