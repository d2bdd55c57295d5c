//! The parts of a flag.

/// The kind of value that a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// A value, under this name in the help text.
    Value(&'static str),
    /// No value, `=true` or `=false`.
    Bool,
}

/// One flag.
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) default: &'static str,
    pub(super) help: &'static str,
}

pub(super) const fn value(
    name: &'static str,
    shown: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, takes: Takes::Value(shown), default, help }
}

pub(super) const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::Bool, default: "false", help }
}

pub(super) const fn on(name: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::Bool, default: "true", help }
}
