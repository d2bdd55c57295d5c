//! The parts of a setting.

/// The kind of value that a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Text. The help text shows this name in its place.
    Value(&'static str),
    /// A duration: text such as `5s`, or a number of nanoseconds in the configuration file.
    Time,
    /// A whole number. The help text shows this name in its place.
    Number(&'static str),
    /// No value, `=true` or `=false`.
    Bool,
}

impl Takes {
    /// The name of the value in the help text; `None` for a switch.
    pub(super) fn shown(self) -> Option<&'static str> {
        match self {
            Self::Value(shown) | Self::Number(shown) => Some(shown),
            Self::Time => Some("TIME"),
            Self::Bool => None,
        }
    }
}

/// The place of a setting in the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The key is the name of the flag.
    Own,
    /// The keys from the outermost to the innermost, with dots between them.
    At(&'static str),
    /// It cannot be set there.
    Nowhere,
}

/// The fate of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// [`crate::config`] reads it.
    Read,
    /// It has no meaning here. The text names its substitute.
    Replaced(&'static str),
    /// It is another name of this flag.
    Renamed(&'static str),
    /// It is another name of this feature gate.
    Gate(&'static str),
    /// etcd 3.7 does not have it any more. These values ask for nothing; `None` means that all
    /// values ask for nothing. The text names its substitute.
    Gone(Option<&'static [&'static str]>, &'static str),
    /// It has no effect in etcd either. etcd accepts these values; `None` means all values.
    Idle(Option<&'static [&'static str]>),
}

/// One setting: a flag, its variable, and its key in the configuration file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
    pub(super) place: Place,
    pub(super) fate: Fate,
    /// Whether no page may show the value.
    pub(super) is_secret: bool,
}

impl Flag {
    /// The setting with another place in the configuration file.
    pub(super) const fn at(self, place: &'static str) -> Self {
        Self { place: Place::At(place), ..self }
    }

    /// The setting, whose value no page may show.
    pub(super) const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }

    /// The setting without a place in the configuration file.
    pub(super) const fn not_in_file(self) -> Self {
        Self { place: Place::Nowhere, ..self }
    }

    /// The keys of the setting in the configuration file, with dots between them.
    pub(super) fn path(&self) -> Option<&'static str> {
        match self.place {
            Place::Own => Some(self.name),
            Place::At(path) => Some(path),
            Place::Nowhere => None,
        }
    }

    /// Whether [`crate::config`] asks for its value.
    pub(super) fn has_value(&self) -> bool {
        matches!(self.fate, Fate::Read | Fate::Replaced(_))
    }
}

const fn flag(name: &'static str, takes: Takes, default: &'static str, help: &'static str) -> Flag {
    Flag { name, takes, default, help, place: Place::Own, fate: Fate::Read, is_secret: false }
}

pub(super) const fn value(
    name: &'static str,
    shown: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    flag(name, Takes::Value(shown), default, help)
}

pub(super) const fn number(
    name: &'static str,
    shown: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    flag(name, Takes::Number(shown), default, help)
}

pub(super) const fn time(name: &'static str, default: &'static str, help: &'static str) -> Flag {
    flag(name, Takes::Time, default, help)
}

pub(super) const fn switch(name: &'static str, help: &'static str) -> Flag {
    flag(name, Takes::Bool, "false", help)
}

pub(super) const fn on(name: &'static str, help: &'static str) -> Flag {
    flag(name, Takes::Bool, "true", help)
}

/// A setting that the help text does not show.
pub(super) const fn hidden(name: &'static str, takes: Takes, fate: Fate) -> Flag {
    Flag { fate, ..flag(name, takes, "", "") }
}
