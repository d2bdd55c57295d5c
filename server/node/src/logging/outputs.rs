//! The outputs of the log.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::EndReason;
use serde_json::{Map, Value};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::line::{Fields, Line};
use super::output::Output;
use super::rotated::{Rotated, append_to};
use crate::config::{LogOutput, Logging, Rotation};

/// All outputs of the log. Clones share them.
#[derive(Clone)]
pub(super) struct Outputs {
    outputs: Arc<[Output]>,
    is_json: bool,
}

impl Outputs {
    pub(super) fn open(logging: &Logging) -> Result<Self, String> {
        let is_json = logging.is_json;
        let open = |output: &LogOutput| {
            Output::new(open(output, logging.rotation.as_ref())?, move |lines| {
                drops_line(is_json, lines)
            })
            .map_err(|error| format!("cannot start a thread for the log: {error}"))
        };
        let outputs = logging.outputs.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { outputs, is_json })
    }

    pub(super) fn push(&self, line: &[u8]) {
        self.outputs.iter().for_each(|output| output.push(line));
    }

    /// Queues the last line of each output.
    pub(super) fn end(&self, message: &str, reason: Option<EndReason>) {
        // The reason is the only field, so it comes last in both formats: a text that has only the
        // end of the log, such as the status of a container, still has the reason.
        let code = reason.map(|reason| ("reason".to_owned(), reason.code().into()));
        let line = own_line(self.is_json, Level::ERROR, message, Map::from_iter(code));
        self.outputs.iter().for_each(|output| output.end(line.as_bytes()));
    }

    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.outputs.iter().for_each(|output| output.flush(deadline));
    }
}

impl Write for Outputs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn open(output: &LogOutput, rotation: Option<&Rotation>) -> Result<Box<dyn Write + Send>, String> {
    // The log gets a descriptor of its own, because the standard library locks its handle while it
    // writes: a blocked log would block every other writer.
    let standard = |handle: BorrowedFd<'_>| match handle.try_clone_to_owned() {
        Ok(handle) => Ok(Box::new(File::from(handle)) as Box<dyn Write + Send>),
        Err(error) => Err(format!("--log-outputs: cannot open {output:?}: {error}")),
    };
    match output {
        LogOutput::Stderr => standard(io::stderr().as_fd()),
        LogOutput::Stdout => standard(io::stdout().as_fd()),
        LogOutput::File(path) => {
            let opened = match rotation {
                None => append_to(path).map(|file| Box::new(file) as Box<dyn Write + Send>),
                Some(rotation) => Rotated::open(path, rotation.clone())
                    .map(|file| Box::new(file) as Box<dyn Write + Send>),
            };
            opened
                .map_err(|error| format!("--log-outputs: cannot open {}: {error}", path.display()))
        }
    }
}

/// The line that reports how many lines were dropped.
fn drops_line(is_json: bool, lines: u64) -> String {
    let message = "log lines were dropped, because the output did not keep up";
    let fields = Map::from_iter([("lines".to_owned(), lines.into())]);
    own_line(is_json, Level::WARN, message, fields)
}

/// A line that this file writes itself.
fn own_line(is_json: bool, level: Level, message: &str, fields: Map<String, Value>) -> String {
    let fields = Fields { message: message.to_owned(), fields };
    Line { is_json }.text(level, module_path!(), fields).unwrap_or_default()
}
