//! The configuration file: YAML with etcd's keys.
//!
//! As in etcd, unknown keys are ignored, and a number for a time is in nanoseconds. Unlike etcd,
//! Quorate also takes a time as text, a list for values with commas between them, and a single
//! value for a list with one element.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::flag::{Flag, Takes};
use super::sources::{Given, Sources};
use super::table::{all, takes};

/// Reads the settings of a file.
///
/// # Errors
/// The file cannot be read, is not YAML, or has a map in place of a value.
pub(super) fn read(path: &Path) -> Result<Sources, String> {
    let shown = path.display();
    let problem = |problem: String| format!("--config-file: {shown}: {problem}");
    let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let mut file = File { shown: shown.to_string(), ..File::default() };
    match parse(&text).map_err(problem)? {
        Value::Null => {}
        Value::Object(map) => file.take("", map).map_err(problem)?,
        _ => return Err(problem("it does not begin with the name of a setting".to_owned())),
    }
    let File { mut sources, unknown, .. } = file;
    if !unknown.is_empty() {
        let keys = unknown.join(", ");
        sources.warnings.push(format!("{shown}: unknown settings are ignored: {keys}"));
    }
    Ok(sources)
}

fn parse(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        // As in etcd, the last of several equal keys counts.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// A file whose settings are being collected.
#[derive(Default)]
struct File {
    /// Its path, for messages.
    shown: String,
    sources: Sources,
    /// Keys that belong to no setting.
    unknown: Vec<String>,
}

impl File {
    /// Takes the settings of a map. `prefix` has the keys of the maps around it.
    fn take(&mut self, prefix: &str, map: Map<String, Value>) -> Result<(), String> {
        for (key, value) in map {
            let path = format!("{prefix}{key}");
            // As in Go, the case of keys does not matter.
            let is_it = |at: &str| at.eq_ignore_ascii_case(&path);
            if let Some(flag) = all().find(|flag| flag.path().is_some_and(is_it)) {
                if let Some(text) = text(flag, value, &path)? {
                    let source = format!("{path} in {}", self.shown);
                    self.sources.given.insert(flag.name, Given { text, source, is_flag: false });
                }
                continue;
            }
            let inner = format!("{path}.");
            let holds = |at: &str| {
                at.get(..inner.len()).is_some_and(|start| start.eq_ignore_ascii_case(&inner))
            };
            if !all().any(|flag| flag.path().is_some_and(holds)) {
                self.unknown.push(path);
                continue;
            }
            match value {
                Value::Object(map) => self.take(&inner, map)?,
                Value::Null => {}
                _ => return Err(format!("{path} must have settings below it, not a value")),
            }
        }
        Ok(())
    }
}

/// The text of a setting's value; `None` for an empty one, which leaves the default.
fn text(flag: &Flag, value: Value, path: &str) -> Result<Option<String>, String> {
    let takes = takes(flag);
    let text = match value {
        Value::Array(values) => {
            let texts = values.into_iter().map(|value| scalar(takes, value));
            let texts = texts.collect::<Option<Vec<Option<String>>>>();
            texts.map(|texts| Some(texts.into_iter().flatten().collect::<Vec<_>>().join(",")))
        }
        value => scalar(takes, value),
    };
    let text = text.ok_or_else(|| format!("{path} must have a value, not settings below it"))?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// The text of a single value; `Some(None)` for an empty one, `None` for a list or map.
#[expect(clippy::option_option, reason = "the caller tells an empty value from a wrong one")]
fn scalar(takes: Takes, value: Value) -> Option<Option<String>> {
    let text = match value {
        Value::Null => return Some(None),
        Value::Bool(is_on) => is_on.to_string(),
        Value::Number(number) if takes == Takes::Time => format!("{number}ns"),
        Value::Number(number) => number.to_string(),
        // YAML 1.1 has these words for booleans.
        Value::String(word) if takes == Takes::Bool => match word.to_ascii_lowercase().as_str() {
            "y" | "yes" | "on" => "true".to_owned(),
            "n" | "no" | "off" => "false".to_owned(),
            _ => word,
        },
        Value::String(text) => text,
        Value::Array(_) | Value::Object(_) => return None,
    };
    Some(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values by flag, and the warnings.
    type Found = (Vec<(&'static str, String)>, Vec<String>);

    fn given(yaml: &str) -> Result<Found, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, yaml).unwrap();
        let Sources { given, warnings, .. } = read(file.path())?;
        Ok((given.into_iter().map(|(name, given)| (name, given.text)).collect(), warnings))
    }

    fn value_of(yaml: &str) -> String {
        let (given, warnings) = given(yaml).unwrap();
        assert_eq!((given.len(), warnings.len()), (1, 0), "{yaml}: {given:?} {warnings:?}");
        format!("{}={}", given[0].0, given[0].1)
    }

    #[test]
    fn values_become_the_text_of_flags() {
        for (yaml, flag) in [
            ("name: 'a'", "name=a"),
            ("name: 12", "name=12"),
            ("Data-Dir: /x", "data-dir=/x"),
            ("quota-backend-bytes: 8589934592", "quota-backend-bytes=8589934592"),
            ("corrupt-check-time: 5000000000", "corrupt-check-time=5000000000ns"),
            ("corrupt-check-time: 5s", "corrupt-check-time=5s"),
            ("auto-compaction-retention: 1", "auto-compaction-retention=1"),
            ("log-outputs: [stderr, /log]", "log-outputs=stderr,/log"),
            ("log-outputs: stderr", "log-outputs=stderr"),
            (
                "listen-client-urls: [http://a:1, http://b:1]",
                "listen-client-urls=http://a:1,http://b:1",
            ),
            ("client-transport-security: {cert-file: /c}", "cert-file=/c"),
            ("peer-transport-security: {client-cert-auth: yes}", "peer-client-cert-auth=true"),
            ("peer-transport-security: {allowed-cn: [a, b]}", "peer-cert-allowed-cn=a,b"),
            ("socket-options: {reuse-port: true}", "socket-reuse-port=true"),
            ("discovery-config: {client: {secure: {cacert: /a}}}", "discovery-cacert=/a"),
            ("discovery-config: {client: {dial-timeout: 7}}", "discovery-dial-timeout=7ns"),
            ("pre-vote: off", "pre-vote=false"),
            ("name: a\nname: b", "name=b"),
        ] {
            assert_eq!(value_of(yaml), flag);
        }
    }

    #[test]
    fn empty_values_leave_the_default() {
        let yaml = "name:\ndata-dir: ''\nlog-outputs: []\nclient-transport-security:\n";
        assert_eq!(given(yaml), Ok((Vec::new(), Vec::new())));
        assert_eq!(given(""), Ok((Vec::new(), Vec::new())));
    }

    #[test]
    fn unknown_keys_are_named_once() {
        let yaml = "cert-file: c\nproxying: 1\ndiscovery-fallback: proxy\n\
                    client-transport-security: {crt: 1}";
        let (given, warnings) = given(yaml).unwrap();
        assert_eq!((given.len(), warnings.len()), (0, 1), "{given:?} {warnings:?}");
        for key in ["cert-file", "proxying", "discovery-fallback", "client-transport-security.crt"]
        {
            assert!(warnings[0].contains(key), "{warnings:?}");
        }
    }

    #[test]
    fn bad_files_are_refused() {
        assert!(read(Path::new("/none")).unwrap_err().contains("--config-file: /none: "));
        for (yaml, part) in [
            ("name: [", "--config-file: "),
            ("- name", "does not begin with the name"),
            ("name: {a: b}", "name must have a value"),
            ("client-transport-security: yes", "must have settings below it"),
        ] {
            let problem = given(yaml).unwrap_err();
            assert!(problem.contains(part), "{yaml}: {problem}");
        }
    }
}
