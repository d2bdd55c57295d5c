//! Parses the flags' values and collects the problems with them.

use std::path::PathBuf;
use std::time::Duration;

use super::url::Url;
use super::{duration, number};
use crate::flags::Settings;

/// A problem with the value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    flag: &'static str,
    text: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{}: {}", self.flag, self.text)
    }
}

/// Parses a boolean in Go's syntax.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Some(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads settings and collects problems and warnings. For a value with a problem, the functions
/// return some valid value.
pub(super) struct Reader<'a> {
    pub(super) settings: &'a Settings,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader that begins with the settings' own warnings.
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, problems: Vec::new(), warnings: settings.warnings.clone() }
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }

    pub(super) fn problem(&mut self, flag: &'static str, text: impl Into<String>) {
        let text = text.into();
        // Two parts of the configuration may need the same flag.
        let is_known = |known: &Problem| known.flag == flag && known.text == text;
        if !self.problems.iter().any(is_known) {
            self.problems.push(Problem { flag, text });
        }
    }

    pub(super) fn text(&self, flag: &str) -> String {
        self.settings.get(flag).to_owned()
    }

    /// Parts separated by commas, without empty ones.
    pub(super) fn list(&self, flag: &str) -> Vec<String> {
        let parts = self.settings.get(flag).split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    pub(super) fn path(&self, flag: &str) -> Option<PathBuf> {
        let text = self.settings.get(flag);
        (!text.is_empty()).then(|| PathBuf::from(text))
    }

    pub(super) fn number<N>(&mut self, flag: &'static str, wanted: &str) -> N
    where
        N: TryFrom<i128> + Default,
    {
        let text = self.text(flag);
        number::parse(&text).unwrap_or_else(|| {
            self.problem(flag, format!("{text:?} is not {wanted}"));
            N::default()
        })
    }

    /// A number that must not be zero.
    pub(super) fn count<N>(&mut self, flag: &'static str) -> N
    where
        N: TryFrom<i128> + Default + PartialEq,
    {
        let wanted = "a positive whole number";
        let number = self.number(flag, wanted);
        if number == N::default() && self.problems.iter().all(|problem| problem.flag != flag) {
            self.problem(flag, format!("must be {wanted}"));
        }
        number
    }

    pub(super) fn switch(&mut self, flag: &'static str) -> bool {
        let text = self.settings.get(flag);
        parse_bool(text).unwrap_or_else(|| {
            self.problem(flag, format!("{text:?} is neither true nor false"));
            false
        })
    }

    pub(super) fn duration(&mut self, flag: &'static str) -> Duration {
        let text = self.text(flag);
        duration::parse(&text).unwrap_or_else(|| {
            self.problem(flag, format!("{text:?} is not a time such as 500ms, 10s or 1h30m"));
            Duration::ZERO
        })
    }

    pub(super) fn millis(&mut self, flag: &'static str) -> Duration {
        Duration::from_millis(u64::from(self.count::<u32>(flag)))
    }

    pub(super) fn choice<T: Copy>(&mut self, flag: &'static str, choices: &[(&str, T)]) -> T {
        let text = self.settings.get(flag);
        if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
            return *chosen;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let text = format!("{text:?} is none of {}", names.join(", "));
        self.problem(flag, text);
        choices[0].1
    }

    /// URLs separated by commas. An empty value is a problem unless `may_be_empty`.
    pub(super) fn urls(&mut self, flag: &'static str, may_be_empty: bool) -> Vec<Url> {
        let text = self.text(flag);
        if text.is_empty() && may_be_empty {
            return Vec::new();
        }
        Url::parse_list(&text).unwrap_or_else(|problems| {
            problems.into_iter().for_each(|problem| self.problem(flag, problem));
            Vec::new()
        })
    }

    /// URLs at which to listen.
    pub(super) fn bindable(&mut self, flag: &'static str, may_be_empty: bool) -> Vec<Url> {
        let urls = self.urls(flag, may_be_empty);
        for url in &urls {
            if let Err(problem) = url.bind_address() {
                self.problem(flag, problem);
            }
        }
        urls
    }
}
