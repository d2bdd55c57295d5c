//! The settings, under etcd's names: flags of the command line and their variables, or the keys of
//! a configuration file.
//!
//! Every flag `--some-name` can also be set by the variable `ETCD_SOME_NAME`. Values are text here;
//! [`crate::config`] parses them. One table has all settings ([`table::all`]).

mod cluster;
mod command_line;
mod file;
mod flag;
mod former;
mod idle;
mod replaced;
mod security;
mod sources;
mod table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::builder::StyledStr;

use flag::Fate;
pub(crate) use flag::Takes;
use sources::{Given, Sources};

/// The value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    text: String,
    /// Whether the flag is set; otherwise `text` is the default.
    is_given: bool,
    /// Whether `text` must not be shown.
    is_secret: bool,
}

/// The values of all flags.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Value>,
    /// Whether the values come from a configuration file.
    pub(crate) are_from_file: bool,
    /// Warnings to log. They do not prevent the start.
    pub(crate) warnings: Vec<String>,
}

/// The outcome of parsing the command line.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// Run with these settings.
    Run(Settings),
    /// Show the version.
    Version,
    /// Print the help text or an error, and exit with this code.
    Print(StyledStr, i32),
}

impl Settings {
    /// The value of a flag, which must exist.
    pub(crate) fn get(&self, name: &str) -> &str {
        &self.values[name].text
    }

    /// Whether the flag is set.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values[name].is_given
    }

    /// All flags that are set, as `--name=value`; `(secret)` replaces each secret value.
    pub(crate) fn given(&self) -> Vec<String> {
        let given = self.values.iter().filter(|(_, value)| value.is_given);
        let shown = given.map(|(name, value)| {
            let text = if value.is_secret { "(secret)" } else { &value.text };
            format!("--{name}={text}")
        });
        shown.collect()
    }
}

/// A setting of etcd that has no meaning here.
pub(crate) struct Replaced {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) default: &'static str,
    /// Text that names the substitute of the setting.
    pub(crate) instead: &'static str,
}

/// The settings of etcd that have no meaning here.
pub(crate) fn replaced() -> impl Iterator<Item = Replaced> {
    replaced::FLAGS.iter().filter_map(|flag| match flag.fate {
        Fate::Replaced(instead) => {
            Some(Replaced { name: flag.name, takes: flag.takes, default: flag.default, instead })
        }
        _ => None,
    })
}

/// Takes the value of each setting from `sources`, or else its default.
fn settings(mut sources: Sources, are_from_file: bool) -> Result<Settings, Vec<String>> {
    sources.rename();
    let mut values = BTreeMap::new();
    for flag in table::all() {
        if !flag.has_value() {
            sources.dismiss(flag);
            continue;
        }
        let (text, is_given) = match sources.given.remove(flag.name) {
            Some(Given { text, .. }) => (text, true),
            None => (flag.default.to_owned(), false),
        };
        values.insert(flag.name, Value { text, is_given, is_secret: flag.is_secret });
    }
    let Sources { warnings, problems, .. } = sources;
    if problems.is_empty() {
        Ok(Settings { values, are_from_file, warnings })
    } else {
        Err(problems)
    }
}

/// Parses the command line (with the program's name first) and the environment, or the
/// configuration file that one of them names.
///
/// # Errors
/// All flags that are also set by a variable, all refused values of settings that have no effect or
/// that etcd has given up, and an unreadable configuration file.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Invocation, Vec<String>> {
    let matches = match command_line::parse(arguments) {
        Ok(matches) => matches,
        Err(error) => return Ok(Invocation::Print(error.render(), error.exit_code())),
    };
    if matches.get_flag("version") {
        return Ok(Invocation::Version);
    }
    let variables = command_line::variables(environment);
    let Some(path) = command_line::config_file(&matches, &variables) else {
        let sources = command_line::sources(&matches, variables);
        return settings(sources, false).map(Invocation::Run);
    };
    let mut sources = file::read(Path::new(&path)).map_err(|problem| vec![problem])?;
    let others = command_line::sources(&matches, variables).given;
    let others = others.into_values().map(|given| given.source).collect::<Vec<_>>();
    if !others.is_empty() {
        let others = others.join(", ");
        let text = format!("the settings come from the file {path}; these are ignored: {others}");
        sources.warnings.push(text);
    }
    settings(sources, true).map(Invocation::Run)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::table::all;
    use super::*;

    /// Settings from a command line without the program's name.
    pub(crate) fn settings(arguments: &[&str]) -> Settings {
        match read_line(arguments, &[]) {
            Ok(Invocation::Run(settings)) => settings,
            other => panic!("{other:?}"),
        }
    }

    fn read_line(
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Invocation, Vec<String>> {
        let arguments = ["quorate"].iter().chain(arguments).map(OsString::from);
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        read(arguments, environment)
    }

    #[test]
    fn flags_are_read_as_by_go() {
        let settings = settings(&[
            "-name=a",
            "-data-dir",
            "/x",
            "--client-cert-auth",
            "--socket-reuse-port=false",
            "--name=b",
        ]);
        assert_eq!(settings.get("name"), "b");
        assert_eq!(settings.get("data-dir"), "/x");
        assert_eq!(settings.get("client-cert-auth"), "true");
        assert_eq!(settings.get("socket-reuse-port"), "false");
        assert_eq!(settings.get("listen-client-urls"), "http://localhost:2379");
        assert!(settings.is_given("name") && !settings.is_given("listen-client-urls"));
    }

    #[test]
    fn variables_set_flags_but_not_twice() {
        let Ok(Invocation::Run(settings)) =
            read_line(&[], &[("ETCD_MAX_TXN_OPS", "7"), ("ETCD_PORT", "1"), ("HOME", "/")])
        else {
            panic!("the flags must be accepted")
        };
        assert_eq!(settings.get("max-txn-ops"), "7");
        assert!(settings.is_given("max-txn-ops"));
        assert_eq!(settings.warnings, ["the variable ETCD_PORT is unknown and ignored"]);
        let both = [("ETCD_NAME", "a"), ("ETCD_DATA_DIR", "b")];
        let problems = read_line(&["--name=b", "--data-dir=c"], &both).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("--name") && problems[0].contains("ETCD_NAME"));
    }

    #[test]
    fn empty_variables_are_unset() {
        let empty: Vec<String> = all().map(command_line::variable_of).collect();
        let empty: Vec<(&str, &str)> = empty.iter().map(|name| (name.as_str(), "")).collect();
        let Ok(Invocation::Run(read)) = read_line(&["--name=b"], &empty) else {
            panic!("accepted")
        };
        let mut expected = settings(&[]);
        let name = expected.values.get_mut("name").expect("it is a flag");
        (name.text, name.is_given) = ("b".to_owned(), true);
        assert_eq!((read.values, read.warnings.len()), (expected.values, 0));
    }

    #[test]
    fn given_settings_are_shown_without_secrets() {
        let line = ["--discovery-token=aa", "--discovery-user=bb", "--name=c"];
        let variables = [("ETCD_DISCOVERY_PASSWORD", "dd"), ("ETCD_DATA_DIR", "e")];
        let Ok(Invocation::Run(read)) = read_line(&line, &variables) else { panic!("accepted") };
        let expected = [
            "--data-dir=e",
            "--discovery-password=(secret)",
            "--discovery-token=(secret)",
            "--discovery-user=(secret)",
            "--name=c",
        ];
        assert_eq!(read.given(), expected);
    }

    #[test]
    fn feature_gates_are_joined() {
        let settings = settings(&["--feature-gates=A=true", "--feature-gates", "B=false"]);
        assert_eq!(settings.get("feature-gates"), "A=true,B=false");
    }

    #[test]
    fn values_may_look_like_flags() {
        let settings = settings(&["-name", "-x", "--quota-backend-bytes", "-10", "-data-dir=-d"]);
        assert_eq!(settings.get("name"), "-x");
        assert_eq!(settings.get("quota-backend-bytes"), "-10");
        assert_eq!(settings.get("data-dir"), "-d");
    }

    #[test]
    fn settings_without_an_effect_take_only_values_of_etcd() {
        assert!(read_line(&["--v2-deprecation=gone", "-v=3"], &[]).is_ok());
        let problems = read_line(&["-v=3"], &[("ETCD_V2_DEPRECATION", "not-yet")]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("the variable ETCD_V2_DEPRECATION: must be one of "));
    }

    #[test]
    fn former_names_give_the_present_settings() {
        let line = [
            "--experimental-initial-corrupt-check=true",
            "--experimental-watch-progress-notify-interval",
            "5s",
            "--experimental-corrupt-check-time=1m",
            "--corrupt-check-time=2m",
            "--feature-gates=CompactHashCheck=true",
            "-experimental-compact-hash-check-enabled=false",
        ];
        let settings = settings(&line);
        assert_eq!(settings.get("watch-progress-notify-interval"), "5s");
        assert_eq!(settings.get("corrupt-check-time"), "2m");
        let gates = "CompactHashCheck=false,InitialCorruptCheck=true,CompactHashCheck=true";
        assert_eq!(settings.get("feature-gates"), gates);
        assert_eq!(settings.warnings.len(), 4, "{:?}", settings.warnings);
        assert!(settings.warnings.iter().all(|warning| warning.contains("is a former name; use")));
        for flag in former::FLAGS {
            if let Fate::Renamed(name) = flag.fate {
                assert!(all().any(|flag| flag.name == name), "{} is not {name}", flag.name);
            }
        }
    }

    #[test]
    fn settings_that_etcd_has_given_up_must_ask_for_nothing() {
        let idle = settings(&["--enable-v2=false", "--proxy=off", "--proxy-read-timeout=7"]);
        assert_eq!(idle.warnings.len(), 3, "{:?}", idle.warnings);
        let asking = ["--enable-v2", "--proxy=on", "--debug", "--discovery=https://a"];
        let problems = read_line(&asking, &[]).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.contains("use --log-level=debug")));
        // etcd 3.7 does not know this variable and starts. So Quorate must start, too.
        let Ok(Invocation::Run(read)) = read_line(&[], &[("ETCD_ENABLE_V2", "true")]) else {
            panic!("accepted")
        };
        assert!(read.warnings[0].contains("only the v3 API is served"), "{:?}", read.warnings);
    }

    #[test]
    fn a_configuration_file_replaces_flags_and_variables() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let yaml = "name: a\nexperimental-corrupt-check-time: 60000000000\nproxy: 'off'\n";
        std::fs::write(&file, yaml).unwrap();
        let path = file.path().to_str().unwrap();
        let variables = [("ETCD_CONFIG_FILE", path), ("ETCD_NAME", "b"), ("ETCD_PORT", "1")];
        let Ok(Invocation::Run(read)) = read_line(&["--data-dir=c"], &variables) else {
            panic!("accepted")
        };
        assert_eq!((read.get("name"), read.get("data-dir")), ("a", ""));
        assert_eq!(read.get("corrupt-check-time"), "60000000000ns");
        assert_eq!(read.warnings.len(), 3, "{:?}", read.warnings);
        let ignored = &read.warnings[0];
        assert!(ignored.contains("--data-dir") && ignored.contains("ETCD_NAME"), "{ignored}");
        // The flag has precedence over the variable.
        let other = ["--config-file", "/none"];
        assert!(read_line(&other, &variables).unwrap_err()[0].contains("/none"));
    }

    #[test]
    fn unknown_arguments_are_refused() {
        for line in [&["--nmae=x"][..], &["serve"], &["--name"]] {
            match read_line(line, &[]) {
                Ok(Invocation::Print(_, 2)) => {}
                other => panic!("{line:?}: {other:?}"),
            }
        }
        assert!(matches!(read_line(&["--help"], &[]), Ok(Invocation::Print(_, 0))));
        assert!(matches!(read_line(&["--version"], &[]), Ok(Invocation::Version)));
    }
}
