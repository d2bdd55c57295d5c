//! The settings of the log, and the flags that set them.

use std::path::PathBuf;

use tracing::Level;

use super::reader::Reader;

/// An output of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

/// The settings of the log.
#[derive(Clone, Debug)]
pub(crate) struct Logging {
    pub(crate) level: Level,
    pub(crate) is_json: bool,
    pub(crate) outputs: Vec<LogOutput>,
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
    Logging {
        level: read_level(reader),
        is_json: reader.choice("log-format", &[("json", true), ("console", false)]),
        outputs,
    }
}

/// The log level. All names that etcd's logger accepts are accepted, in any case.
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
