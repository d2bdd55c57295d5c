//! The settings of the log, and the flags that set them.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tracing::Level;

use super::reader::Reader;

/// Largest size of a log file in MB if the settings have none, as in etcd.
const ROTATION_MB: u64 = 100;

/// An output of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

/// The rules for replacing the file of the log by a new one, and for keeping the earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// Largest size of a file in bytes.
    pub(crate) bytes_max: u64,
    /// Time for which an earlier file is kept; `None` for ever.
    pub(crate) age_max: Option<Duration>,
    /// Number of earlier files that are kept; `None` for all.
    pub(crate) files_max: Option<usize>,
    pub(crate) compresses: bool,
}

/// The settings of the log.
#[derive(Clone, Debug)]
pub(crate) struct Logging {
    pub(crate) level: Level,
    pub(crate) is_json: bool,
    pub(crate) outputs: Vec<LogOutput>,
    /// `None` if the files of the log grow without end.
    pub(crate) rotation: Option<Rotation>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Logging {
    reader.choice("logger", &[("zap", ())]);
    let outputs = reader.text("log-outputs");
    let outputs = outputs.split(',').map(|output| match output.trim() {
        // systemd forwards the standard error to the journal.
        "default" | "stderr" | "systemd/journal" => LogOutput::Stderr,
        "stdout" => LogOutput::Stdout,
        path => LogOutput::File(path.into()),
    });
    let outputs: Vec<LogOutput> = outputs.collect();
    if outputs.contains(&LogOutput::File(PathBuf::new())) {
        let text = "an output is empty; each must be default, stderr, stdout or a file";
        reader.problem("log-outputs", text);
    }
    let rotation = read_rotation(reader, &outputs);
    Logging {
        rotation,
        level: read_level(reader),
        is_json: reader.choice("log-format", &[("json", true), ("console", false)]),
        outputs,
    }
}

/// The settings of the rotation, in the JSON of the library that etcd uses for it.
fn read_rotation(reader: &mut Reader<'_>, outputs: &[LogOutput]) -> Option<Rotation> {
    let flag = "log-rotation-config-json";
    let is_on = reader.switch("enable-log-rotation");
    let text = reader.settings.get(flag);
    let settings = match serde_json::from_str::<serde_json::Map<String, Value>>(text) {
        Ok(settings) => settings,
        Err(error) => {
            reader.problem(flag, format!("{text:?} is not a map in JSON: {error}"));
            return None;
        }
    };
    let mut number = |name: &str| match settings.get(name) {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_u64().unwrap_or_else(|| {
            reader.problem(flag, format!("{name:?} must be a whole number, not {value}"));
            0
        }),
    };
    let [megabytes, days, files] = ["maxsize", "maxage", "maxbackups"].map(&mut number);
    let mut is_set = |name: &str| match settings.get(name) {
        None | Some(Value::Null) => false,
        Some(value) => value.as_bool().unwrap_or_else(|| {
            reader.problem(flag, format!("{name:?} must be true or false, not {value}"));
            false
        }),
    };
    let [in_local_time, compresses] = ["localtime", "compress"].map(&mut is_set);
    if !is_on {
        return None;
    }
    let files_of = |output: &&LogOutput| matches!(output, LogOutput::File(_));
    if outputs.iter().filter(files_of).count() != 1 {
        let text = "requires exactly one file in --log-outputs";
        reader.problem("enable-log-rotation", text);
    }
    if in_local_time {
        reader.warn(format!("--{flag}: the times in the names of earlier files are in UTC"));
    }
    let megabytes = if megabytes == 0 { ROTATION_MB } else { megabytes };
    Some(Rotation {
        bytes_max: megabytes.saturating_mul(1 << 20),
        age_max: (days > 0).then(|| Duration::from_secs(days.saturating_mul(24 * 3600))),
        files_max: usize::try_from(files).ok().filter(|files| *files > 0),
        compresses,
    })
}

/// The log level. All names that etcd's logger accepts are accepted, in upper or lower case.
fn read_level(reader: &mut Reader<'_>) -> Level {
    let text = reader.text("log-level");
    match text.to_ascii_lowercase().as_str() {
        "debug" => Level::DEBUG,
        "info" | "" => Level::INFO,
        "warn" | "warning" => Level::WARN,
        "error" | "dpanic" | "panic" | "fatal" => Level::ERROR,
        _ => {
            let names = "debug, info, warn, error, dpanic, panic, fatal";
            reader.problem("log-level", format!("{text:?} is none of {names}"));
            Level::INFO
        }
    }
}
