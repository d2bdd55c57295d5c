//! The flags of the command line and their environment variables, under etcd's names.
//!
//! Every flag `--some-name` can also be set by the variable `ETCD_SOME_NAME`. Values are text here;
//! [`crate::config`] parses them.

mod cluster;
mod flag;
mod security;
mod unsupported;

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use flag::{Flag, Takes, switch, value};

/// Prefix of the variables that set flags.
const ENV_PREFIX: &str = "ETCD_";
/// A variable that has the prefix but sets no flag: the architecture switch of etcd's own binary.
const ENV_IGNORED: &str = "ETCD_UNSUPPORTED_ARCH";
/// The flag whose values are joined if it is given several times, as in etcd.
const REPEATED: &str = "feature-gates";

/// All flags, by their heading in the help text.
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
    value("name", "NAME", "default", "Human-readable name of this member"),
    value("data-dir", "DIR", "", "Data directory of this member [default: NAME.etcd]"),
    value(
        "listen-client-urls",
        "URLS",
        "http://localhost:2379",
        "URLs to serve clients at: http, https, unix or unixs, separated by commas",
    ),
    value(
        "listen-client-http-urls",
        "URLS",
        "",
        "URLs to serve HTTP pages such as /health at; the client URLs then serve only gRPC",
    ),
    value(
        "listen-metrics-urls",
        "URLS",
        "",
        "Additional URLs to serve /metrics, /health, /livez and /readyz at",
    ),
    value("listen-peer-urls", "URLS", "http://localhost:2380", "URLs to serve other members at"),
    switch("socket-reuse-port", "Let several processes listen at the same address"),
    switch(
        "socket-reuse-address",
        "Listen at an address that has connections in TIME_WAIT; always done",
    ),
    value(
        "quota-backend-bytes",
        "BYTES",
        "0",
        "Size of the data above which writes are refused: 0 for 2 GiB, negative for no limit",
    ),
    value(
        "auto-compaction-mode",
        "MODE",
        "periodic",
        "Unit of the retention: periodic (time) or revision",
    ),
    value(
        "auto-compaction-retention",
        "LENGTH",
        "0",
        "History to keep: a time such as 30m or a number of hours, in mode revision a number of \
         revisions; 0 keeps all",
    ),
    value(
        "snapshot-count",
        "COUNT",
        "10000",
        "Entries before a snapshot; ignored: the size of the data in memory decides",
    ),
    value(
        "snapshot-catchup-entries",
        "COUNT",
        "5000",
        "Entries that the log keeps for followers that lag behind",
    ),
    value("heartbeat-interval", "MS", "100", "Milliseconds between the heartbeats of a leader"),
    value("election-timeout", "MS", "1000", "Milliseconds without a leader before an election"),
];

const LIMITS: &[Flag] = &[
    value("max-request-bytes", "BYTES", "1572864", "Largest size of a request"),
    value("max-txn-ops", "COUNT", "128", "Most operations in a transaction"),
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
        "Most open requests and streams on one connection of a client",
    ),
    value(
        "grpc-keepalive-min-time",
        "TIME",
        "5s",
        "Shortest time between the pings of a client; never enforced, because a ping is cheap",
    ),
    value(
        "grpc-keepalive-interval",
        "TIME",
        "2h",
        "Idle time of a connection before the client is pinged; 0 for never",
    ),
    value(
        "grpc-keepalive-timeout",
        "TIME",
        "20s",
        "Time that a pinged client has to answer before its connection is closed",
    ),
    value(
        "watch-progress-notify-interval",
        "TIME",
        "10m",
        "Time between the progress notifications of a watch that asks for them",
    ),
];

const LOGGING: &[Flag] = &[
    value("logger", "NAME", "zap", "Format of the log's fields; only etcd's, zap, exists"),
    value(
        "log-outputs",
        "OUTPUTS",
        "default",
        "Outputs of the log: default or stderr, stdout, or files, separated by commas",
    ),
    value("log-level", "LEVEL", "info", "Lowest level: debug, info, warn, error, panic or fatal"),
    value("log-format", "FORMAT", "json", "Format of a log line: json or console"),
];

const UNSAFE: &[Flag] = &[switch(
    "unsafe-no-fsync",
    "Acknowledge writes before they are synced to the disk: a crash of the machine loses them; \
     for tests only",
)];

/// The value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    text: String,
    /// Whether it is set on the command line or by its variable; otherwise it is the default.
    is_given: bool,
}

/// The values of all flags.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<&'static str, Value>,
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

    /// Whether the flag is set on the command line or by its variable.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.values[name].is_given
    }
}

/// Gives flags with one dash a second one, because Go's programs accept both forms. The argument
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
        is_value = takes_value(name);
        if text.starts_with("--") || text == "-h" || name.is_empty() {
            argument
        } else {
            format!("--{name}").into()
        }
    });
    arguments.collect()
}

/// Whether the next argument is the value of this flag.
fn takes_value(name: &str) -> bool {
    let mut flags = FLAGS.iter().flat_map(|(_, flags)| *flags);
    flags.any(|flag| flag.name == name && flag.takes != Takes::Bool)
        || unsupported::FLAGS.iter().any(|flag| flag.name == name && !flag.is_switch)
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
                // As in Go, the next argument is the value even if it begins with a dash.
                Takes::Value(shown) => arg.value_name(shown).allow_hyphen_values(true),
                Takes::Bool => {
                    arg.num_args(0..=1).require_equals(true).default_missing_value("true")
                }
            };
            // The help text does not show an empty default.
            let arg = if flag.default.is_empty() { arg } else { arg.default_value(flag.default) };
            let arg = if flag.name == REPEATED { arg.action(ArgAction::Append) } else { arg };
            command = command.arg(arg.hide_possible_values(true));
        }
    }
    command.args(unsupported::FLAGS.iter().map(unsupported::Unsupported::arg))
}

/// The sources of the values: the command line and the environment.
struct Sources {
    matches: ArgMatches,
    /// Variables with etcd's prefix that no flag has taken yet. Empty ones count as unset.
    variables: BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Sources {
    /// The value of a flag, and the name of its source for messages; `None` if it is not set.
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

/// Parses the command line (with the program's name first) and the environment.
///
/// # Errors
/// All flags that are set twice, and all settings of etcd that Quorate does not support.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Invocation, Vec<String>> {
    let matches = match command().try_get_matches_from(with_two_dashes(arguments)) {
        Ok(matches) => matches,
        Err(error) => return Ok(Invocation::Print(error.render(), error.exit_code())),
    };
    if matches.get_flag("version") {
        return Ok(Invocation::Version);
    }
    let variables = environment.into_iter().filter(|(name, value)| {
        name.starts_with(ENV_PREFIX) && name != ENV_IGNORED && !value.is_empty()
    });
    let mut sources = Sources { matches, variables: variables.collect(), problems: Vec::new() };
    let mut values = BTreeMap::new();
    let mut warnings = Vec::new();
    for flag in FLAGS.iter().flat_map(|(_, flags)| *flags) {
        let value = match sources.take(flag.name) {
            Some((text, _)) => Value { text, is_given: true },
            None => Value { text: flag.default.to_owned(), is_given: false },
        };
        values.insert(flag.name, value);
    }
    for flag in unsupported::FLAGS {
        if let Some((value, place)) = sources.take(flag.name) {
            match flag.check(&value) {
                Ok(warning) => warnings.extend(warning.map(|warning| format!("{place} {warning}"))),
                Err(problem) => sources.problems.push(format!("{place}: {problem}")),
            }
        }
    }
    let unknown = sources.variables.keys();
    warnings.extend(unknown.map(|name| format!("the variable {name} is unknown and ignored")));
    if sources.problems.is_empty() {
        Ok(Invocation::Run(Settings { values, warnings }))
    } else {
        Err(sources.problems)
    }
}

#[cfg(test)]
pub(crate) mod tests {
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
            read_line(&[], &[("ETCD_MAX_TXN_OPS", "7"), ("ETCD_PROXY", "off"), ("HOME", "/")])
        else {
            panic!("the flags must be accepted")
        };
        assert_eq!(settings.get("max-txn-ops"), "7");
        assert!(settings.is_given("max-txn-ops"));
        assert_eq!(settings.warnings, ["the variable ETCD_PROXY is unknown and ignored"]);
        let both = [("ETCD_NAME", "a"), ("ETCD_DATA_DIR", "b")];
        let problems = read_line(&["--name=b", "--data-dir=c"], &both).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("--name") && problems[0].contains("ETCD_NAME"));
    }

    #[test]
    fn empty_variables_are_unset() {
        let variables = FLAGS.iter().flat_map(|(_, flags)| *flags).map(|flag| env_name(flag.name));
        let others = unsupported::FLAGS.iter().map(|flag| env_name(flag.name));
        let empty: Vec<String> = variables.chain(others).collect();
        let empty: Vec<(&str, &str)> = empty.iter().map(|name| (name.as_str(), "")).collect();
        let Ok(Invocation::Run(read)) = read_line(&["--name=b"], &empty) else {
            panic!("accepted")
        };
        let mut expected = settings(&[]);
        expected.values.insert("name", Value { text: "b".to_owned(), is_given: true });
        assert_eq!((read.values, read.warnings.len()), (expected.values, 0));
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
    fn settings_that_only_etcd_has_are_refused() {
        let variables = [("ETCD_CLIENT_CRL_FILE", "x"), ("ETCD_METRICS", "basic")];
        let problems = read_line(&["-auto-tls", "--cors=*", "-v=3"], &variables).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().any(|p| p.starts_with("the variable ETCD_CLIENT_CRL_FILE: ")));
        assert!(problems.iter().any(|p| p.starts_with("--auto-tls: ")));
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
