//! The flags of the command line, and their variables.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::flag::{Flag, Takes};
use super::sources::{Given, Sources};
use super::table::{CONFIG_FILE, FLAGS, GATES, all, takes};

/// Prefix of the variables that set flags.
const ENV_PREFIX: &str = "ETCD_";
/// A variable with this prefix that sets no flag: the architecture switch of etcd's own binary.
const ENV_IGNORED: &str = "ETCD_UNSUPPORTED_ARCH";

/// Variables that may set flags, by name.
pub(super) type Variables = BTreeMap<String, String>;

/// Gives a second dash to flags with one dash, because Go's programs accept these. The argument
/// after a flag that takes a value is that value, even if it begins with a dash.
fn with_two_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut is_value = false;
    let arguments = arguments.into_iter().map(|argument| {
        if std::mem::take(&mut is_value) {
            return argument;
        }
        let text = argument.to_str().filter(|text| text.starts_with('-'));
        let Some(text) = text else { return argument };
        let name = text.trim_start_matches('-');
        is_value = all().any(|flag| flag.name == name && takes(flag) != Takes::Bool);
        if text.starts_with("--") || text == "-h" || name.is_empty() {
            argument
        } else {
            format!("--{name}").into()
        }
    });
    arguments.collect()
}

fn env_name(flag: &str) -> String {
    format!("{ENV_PREFIX}{}", flag.to_ascii_uppercase().replace('-', "_"))
}

fn arg(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).hide_possible_values(true);
    let arg = match takes(flag).shown() {
        // As in Go, the next argument is the value even if it begins with a dash.
        Some(shown) => arg.value_name(shown).allow_hyphen_values(true),
        None => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
    };
    if flag.name == GATES { arg.action(ArgAction::Append) } else { arg }
}

fn command() -> Command {
    let mut command = Command::new("quorate")
        .about("A replicated key-value store that every client of etcd v3 can use.")
        .after_help(
            "Every flag --some-name can also be given as the variable ETCD_SOME_NAME. The program \
             knows all other flags of etcd 3.4 to 3.7, too: if one is set, the log says what takes \
             its place, or an error says why the program does not start.",
        )
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(
            Arg::new("version").long("version").action(ArgAction::SetTrue).help("Show the version"),
        );
    for (heading, flags) in FLAGS {
        for flag in *flags {
            let arg = arg(flag).help(flag.help).help_heading(*heading);
            // The help text does not show an empty default.
            let is_empty = flag.default.is_empty();
            command = command.arg(if is_empty { arg } else { arg.default_value(flag.default) });
        }
    }
    let is_shown = |flag: &Flag| !flag.help.is_empty();
    command.args(all().filter(|flag| !is_shown(flag)).map(|flag| arg(flag).hide(true)))
}

/// Parses the command line, with the program's name first.
///
/// # Errors
/// A flag is unknown, or `--help` is given. The error has the text to print.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, clap::Error> {
    command().try_get_matches_from(with_two_dashes(arguments))
}

/// The variables that may set flags. Empty ones count as unset.
pub(super) fn variables(environment: impl IntoIterator<Item = (String, String)>) -> Variables {
    let is_ours = |(name, value): &(String, String)| {
        name.starts_with(ENV_PREFIX) && name != ENV_IGNORED && !value.is_empty()
    };
    environment.into_iter().filter(is_ours).collect()
}

/// The value of a flag on the command line, if it is there.
fn on_line(matches: &ArgMatches, flag: &str) -> Option<String> {
    if matches.value_source(flag) != Some(ValueSource::CommandLine) {
        return None;
    }
    let values = matches.get_many::<String>(flag).unwrap_or_default();
    Some(values.cloned().collect::<Vec<_>>().join(","))
}

/// The path of the configuration file. As in etcd, the flag has precedence over the variable.
pub(super) fn config_file(matches: &ArgMatches, variables: &Variables) -> Option<String> {
    let flag = on_line(matches, CONFIG_FILE).filter(|path| !path.is_empty());
    flag.or_else(|| variables.get(&env_name(CONFIG_FILE)).cloned())
}

/// The settings of the command line and the variables, except for the path of the configuration
/// file.
pub(super) fn sources(matches: &ArgMatches, mut variables: Variables) -> Sources {
    let mut sources = Sources::default();
    variables.remove(&env_name(CONFIG_FILE));
    for flag in all().filter(|flag| flag.name != CONFIG_FILE) {
        let name = flag.name;
        let variable = env_name(name);
        let given = match (variables.remove(&variable), on_line(matches, name)) {
            (Some(_), Some(_)) => {
                sources.problems.push(format!(
                    "--{name} and the variable {variable} are both set; unset one of them"
                ));
                continue;
            }
            (Some(text), None) => {
                Given { text, source: format!("the variable {variable}"), is_flag: false }
            }
            (None, Some(text)) => Given { text, source: format!("--{name}"), is_flag: true },
            (None, None) => continue,
        };
        sources.given.insert(name, given);
    }
    let unknown = variables.into_keys();
    let unknown = unknown.map(|name| format!("the variable {name} is unknown and ignored"));
    sources.warnings.extend(unknown);
    sources
}

#[cfg(test)]
pub(super) fn variable_of(flag: &Flag) -> String {
    env_name(flag.name)
}
