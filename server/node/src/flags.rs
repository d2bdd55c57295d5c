//! What can be set on the command line and in the environment, under etcd's names.
//!
//! Every flag `--some-name` is also the variable `ETCD_SOME_NAME`. Values are text here;
//! [`crate::config`] reads them.

mod cluster;
mod elsewhere;
mod security;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

/// The variables that set flags begin with this.
const ENV_PREFIX: &str = "ETCD_";
/// A variable with the prefix that is no flag: the architecture switch of etcd's own binary.
const ENV_IGNORED: &str = "ETCD_UNSUPPORTED_ARCH";
/// The flag whose values add up when it is given several times, as in etcd.
const REPEATED: &str = "feature-gates";

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// A value, which help shows under this name.
    Value(&'static str),
    /// Nothing, or `=true` or `=false`.
    Bool,
}

/// One flag.
struct Flag {
    name: &'static str,
    takes: Takes,
    default: &'static str,
    help: &'static str,
}

const fn value(
    name: &'static str,
    shown: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, takes: Takes::Value(shown), default, help }
}

const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::Bool, default: "false", help }
}

const fn on(name: &'static str, help: &'static str) -> Flag {
    Flag { name, takes: Takes::Bool, default: "true", help }
}

/// All flags by the heading under which help shows them.
const FLAGS: &[(&str, &[Flag])] = &[
    ("Member", MEMBER),
    ("Cluster", cluster::FLAGS),
    ("Discovery", cluster::DISCOVERY),
    ("Integrity", cluster::INTEGRITY),
    ("Limits", LIMITS),
    ("Security of the client port", security::CLIENTS),
    ("Security between members", security::PEERS),
    ("Logging and monitoring", LOGGING),
    ("Unsafe", UNSAFE),
];

const MEMBER: &[Flag] = &[
    value("name", "NAME", "default", "Name of this member, for people"),
    value("data-dir", "DIR", "", "Where this member keeps its data [default: NAME.etcd]"),
    value(
        "listen-client-urls",
        "URLS",
        "http://localhost:2379",
        "Where clients are served: http, https, unix or unixs URLs, separated by commas",
    ),
    value(
        "listen-client-http-urls",
        "URLS",
        "",
        "Where pages such as /health are served to clients; the client URLs then serve gRPC alone",
    ),
    value(
        "listen-metrics-urls",
        "URLS",
        "",
        "Where /metrics, /health, /livez and /readyz are served besides",
    ),
    value("listen-peer-urls", "URLS", "http://localhost:2380", "Where other members are served"),
    switch("socket-reuse-port", "Let several processes listen at the same address"),
    switch(
        "socket-reuse-address",
        "Listen at an address although old connections linger there; always done",
    ),
    value(
        "quota-backend-bytes",
        "BYTES",
        "0",
        "Space for data above which writes are refused: 0 for 2 GiB, a negative number for none",
    ),
    value(
        "auto-compaction-mode",
        "MODE",
        "periodic",
        "What the retention counts: periodic or revision",
    ),
    value(
        "auto-compaction-retention",
        "LENGTH",
        "0",
        "History that is kept: 30m, hours, or in mode revision a number; 0 keeps all",
    ),
    value(
        "snapshot-count",
        "COUNT",
        "10000",
        "Changes before a snapshot; of no effect, the size of what is in memory decides here",
    ),
    value(
        "snapshot-catchup-entries",
        "COUNT",
        "5000",
        "Changes that the log keeps for members that lag behind",
    ),
    value("heartbeat-interval", "MS", "100", "Milliseconds between the heartbeats of a leader"),
    value("election-timeout", "MS", "1000", "Milliseconds without a leader before an election"),
];

const LIMITS: &[Flag] = &[
    value("max-request-bytes", "BYTES", "1572864", "Size of the largest request"),
    value("max-txn-ops", "COUNT", "128", "Operations that a transaction may have"),
    value(
        "memory-budget",
        "BYTES",
        "0",
        "Memory for requests, answers and events in flight. When it is used up, requests wait, and \
         fail with \"too many requests\" if that lasts. 0 for a twelfth of the memory limit of the \
         process's control group, or of the machine",
    ),
    value(
        "max-concurrent-streams",
        "COUNT",
        "4294967295",
        "Requests and streams that a client may have open on one connection",
    ),
    value(
        "grpc-keepalive-min-time",
        "TIME",
        "5s",
        "How often clients may ping; never enforced, a ping costs nothing here",
    ),
    value(
        "grpc-keepalive-interval",
        "TIME",
        "2h",
        "How long a connection is silent before the client is pinged; 0 for never",
    ),
    value(
        "grpc-keepalive-timeout",
        "TIME",
        "20s",
        "How long a pinged client may take before its connection is closed",
    ),
    value(
        "watch-progress-notify-interval",
        "TIME",
        "10m",
        "How often a watch that asks for it is told how far it has come",
    ),
];

const LOGGING: &[Flag] = &[
    value("logger", "NAME", "zap", "Form of the log's fields; only zap, etcd's, exists"),
    value(
        "log-outputs",
        "OUTPUTS",
        "default",
        "Where the log goes: default or stderr, stdout, or files, separated by commas",
    ),
    value("log-level", "LEVEL", "info", "What is logged: debug, info, warn, error, panic or fatal"),
    value("log-format", "FORMAT", "json", "How a line of the log looks: json or console"),
];

const UNSAFE: &[Flag] = &[switch(
    "unsafe-no-fsync",
    "Do not wait until what is written is on the disk: a crash of the machine loses it; for tests",
)];

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Default,
    Given,
}

/// The values of all flags.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// What to tell the user, although it stops nothing.
    pub(crate) warnings: Vec<String>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// To run with these settings.
    Run(Settings),
    /// To show the version.
    Version,
    /// Nothing that can be done: what to print, and with which exit code.
    Print(StyledStr, i32),
}

impl Settings {
    /// The value of a flag, which must exist.
    pub(crate) fn get(&self, name: &str) -> &str {
        &self.values[name].0
    }

    /// Whether somebody set the flag.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values[name].1 == Origin::Given
    }
}

/// Flags as Go's programs take them: one dash is as good as two. What stands where a value is
/// expected is one, whatever it looks like.
fn with_two_dashes(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut is_value = false;
    let arguments = arguments.into_iter().map(|argument| {
        if std::mem::take(&mut is_value) {
            return argument;
        }
        let text = argument.to_str().filter(|text| text.starts_with('-'));
        let Some(text) = text else { return argument };
        let name = text.trim_start_matches('-');
        is_value = takes_value(name);
        match text.starts_with("--") || text == "-h" || name.is_empty() {
            true => argument,
            false => format!("--{name}").into(),
        }
    });
    arguments.collect()
}

/// Whether the next argument is the value of this flag.
fn takes_value(name: &str) -> bool {
    let mut flags = FLAGS.iter().flat_map(|(_, flags)| *flags);
    flags.any(|flag| flag.name == name && flag.takes != Takes::Bool)
        || elsewhere::FLAGS.iter().any(|flag| flag.name == name && !flag.is_switch)
}

fn env_name(flag: &str) -> String {
    format!("{ENV_PREFIX}{}", flag.to_ascii_uppercase().replace('-', "_"))
}

fn command() -> Command {
    let mut command = Command::new("quorate")
        .about("A replicated key-value store that every client of etcd v3 can use.")
        .after_help("Every flag --some-name can also be given as ETCD_SOME_NAME.")
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(
            Arg::new("version").long("version").action(ArgAction::SetTrue).help("Show the version"),
        );
    for (heading, flags) in FLAGS {
        for flag in *flags {
            let arg = Arg::new(flag.name).long(flag.name).help(flag.help).help_heading(*heading);
            let arg = match flag.takes {
                // What follows is the value, whatever it looks like: as Go reads it.
                Takes::Value(shown) => arg.value_name(shown).allow_hyphen_values(true),
                Takes::Bool => {
                    arg.num_args(0..=1).require_equals(true).default_missing_value("true")
                }
            };
            // An empty default is nothing that help could show.
            let arg = if flag.default.is_empty() { arg } else { arg.default_value(flag.default) };
            let arg = if flag.name == REPEATED { arg.action(ArgAction::Append) } else { arg };
            command = command.arg(arg.hide_possible_values(true));
        }
    }
    command.args(elsewhere::FLAGS.iter().map(elsewhere::Elsewhere::arg))
}

/// Where the values come from.
struct Sources {
    matches: ArgMatches,
    /// Variables of etcd that nobody has asked for yet. An empty one counts as unset.
    variables: BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Sources {
    /// The value of a flag, and what to call the place that it comes from; `None` if nobody set it.
    fn take(&mut self, flag: &str) -> Option<(String, String)> {
        let on_line = self.matches.value_source(flag) == Some(ValueSource::CommandLine);
        let variable = env_name(flag);
        match (self.variables.remove(&variable), on_line) {
            (Some(_), true) => {
                self.problems.push(format!(
                    "--{flag} and the variable {variable} are both set; unset one of them"
                ));
                None
            }
            (Some(value), false) => Some((value, format!("the variable {variable}"))),
            (None, true) => Some((self.on_line(flag), format!("--{flag}"))),
            (None, false) => None,
        }
    }

    fn on_line(&self, flag: &str) -> String {
        let values = self.matches.get_many::<String>(flag).unwrap_or_default();
        values.cloned().collect::<Vec<_>>().join(",")
    }
}

/// Reads the command line (with the program's name first) and the environment.
///
/// # Errors
/// Variables that contradict flags, and settings of etcd that there are not here; all of them.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Asked, Vec<String>> {
    let matches = match command().try_get_matches_from(with_two_dashes(arguments)) {
        Ok(matches) => matches,
        Err(error) => return Ok(Asked::Print(error.render(), error.exit_code())),
    };
    if matches.get_flag("version") {
        return Ok(Asked::Version);
    }
    let variables = environment.into_iter().filter(|(name, value)| {
        name.starts_with(ENV_PREFIX) && name != ENV_IGNORED && !value.is_empty()
    });
    let mut sources = Sources { matches, variables: variables.collect(), problems: Vec::new() };
    let (mut values, mut warnings) = (BTreeMap::new(), Vec::new());
    for flag in FLAGS.iter().flat_map(|(_, flags)| *flags) {
        let value = match sources.take(flag.name) {
            Some((value, _)) => (value, Origin::Given),
            None => (flag.default.to_owned(), Origin::Default),
        };
        values.insert(flag.name, value);
    }
    for flag in elsewhere::FLAGS {
        if let Some((value, place)) = sources.take(flag.name) {
            match flag.check(&value) {
                Ok(warning) => warnings.extend(warning.map(|warning| format!("{place} {warning}"))),
                Err(problem) => sources.problems.push(format!("{place}: {problem}")),
            }
        }
    }
    let unknown = sources.variables.keys();
    warnings.extend(unknown.map(|name| format!("the variable {name} sets nothing")));
    match sources.problems.is_empty() {
        true => Ok(Asked::Run(Settings { values, warnings })),
        false => Err(sources.problems),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings from a command line without the program's name.
    pub(crate) fn settings(arguments: &[&str]) -> Settings {
        match read_line(arguments, &[]) {
            Ok(Asked::Run(settings)) => settings,
            other => panic!("{other:?}"),
        }
    }

    fn read_line(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Asked, Vec<String>> {
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
        let Ok(Asked::Run(settings)) =
            read_line(&[], &[("ETCD_MAX_TXN_OPS", "7"), ("ETCD_PROXY", "off"), ("HOME", "/")])
        else {
            panic!("it must be accepted")
        };
        assert_eq!(settings.get("max-txn-ops"), "7");
        assert!(settings.is_given("max-txn-ops"));
        assert_eq!(settings.warnings, ["the variable ETCD_PROXY sets nothing"]);
        let both = [("ETCD_NAME", "a"), ("ETCD_DATA_DIR", "b")];
        let problems = read_line(&["--name=b", "--data-dir=c"], &both).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("--name") && problems[0].contains("ETCD_NAME"));
    }

    #[test]
    fn empty_variables_are_unset() {
        let variables = FLAGS.iter().flat_map(|(_, flags)| *flags).map(|flag| env_name(flag.name));
        let elsewhere = elsewhere::FLAGS.iter().map(|flag| env_name(flag.name));
        let empty: Vec<String> = variables.chain(elsewhere).collect();
        let empty: Vec<(&str, &str)> = empty.iter().map(|name| (name.as_str(), "")).collect();
        let Ok(Asked::Run(read)) = read_line(&["--name=b"], &empty) else { panic!("accepted") };
        let mut expected = settings(&[]);
        expected.values.insert("name", ("b".to_owned(), Origin::Given));
        assert_eq!((read.values, read.warnings.len()), (expected.values, 0));
    }

    #[test]
    fn gates_add_up() {
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
    fn settings_of_etcd_alone_are_refused() {
        let variables = [("ETCD_CLIENT_CRL_FILE", "x"), ("ETCD_METRICS", "basic")];
        let problems = read_line(&["-auto-tls", "--cors=*", "-v=3"], &variables).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().any(|p| p.starts_with("the variable ETCD_CLIENT_CRL_FILE: ")));
        assert!(problems.iter().any(|p| p.starts_with("--auto-tls: ")));
    }

    #[test]
    fn what_is_not_a_flag_is_refused() {
        for line in [&["--nmae=x"][..], &["serve"], &["--name"]] {
            match read_line(line, &[]) {
                Ok(Asked::Print(_, 2)) => {}
                other => panic!("{line:?}: {other:?}"),
            }
        }
        assert!(matches!(read_line(&["--help"], &[]), Ok(Asked::Print(_, 0))));
        assert!(matches!(read_line(&["--version"], &[]), Ok(Asked::Version)));
    }
}
