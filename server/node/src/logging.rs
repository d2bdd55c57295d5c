//! The log: one line per event, in etcd's format.

mod output;
mod refusals;
mod seldom;

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogOutput, Logging};
use output::Output;
use refusals::Refusals;
pub(crate) use seldom::Seldom;

/// Prefix of this program's log targets. Of other targets, only errors are logged by default.
const OUR_TARGETS: &str = "quorate";
/// How long the end of the process waits for slow log outputs.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The format of a line.
struct Line {
    is_json: bool,
}

/// The message of an event, and its other fields.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            _ => self.add(field, text),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let caller = format!("{}:{}", metadata.target(), metadata.line().unwrap_or_default());
        writer.write_str(&self.text(*metadata.level(), &caller, fields)?)
    }
}

impl Line {
    fn text(&self, level: Level, caller: &str, fields: Fields) -> Result<String, fmt::Error> {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = level.as_str();
        if self.is_json {
            let head = [
                ("level", level.to_ascii_lowercase()),
                ("ts", time),
                ("caller", caller.to_owned()),
                ("msg", fields.message),
            ];
            let head = head.map(|(name, text)| format!("\"{name}\":{}", Value::from(text)));
            let rest = fields.fields.iter();
            let rest = rest.map(|(name, value)| format!(",{}:{value}", Value::from(name.as_str())));
            return Ok(format!("{{{}{}}}\n", head.join(","), rest.collect::<String>()));
        }
        let mut line = format!("{time}\t{level}\t{caller}\t{}", fields.message);
        if !fields.fields.is_empty() {
            write!(line, "\t{}", Value::Object(fields.fields))?;
        }
        line.push('\n');
        Ok(line)
    }
}

/// All outputs of the log. Clones share them.
#[derive(Clone)]
struct Outputs(Arc<[Output]>);

impl Outputs {
    fn open(logging: &Logging) -> Result<Self, String> {
        let is_json = logging.is_json;
        let open = |output: &LogOutput| {
            Output::new(open(output)?, move |lines| drops_line(is_json, lines))
                .map_err(|error| format!("cannot start a thread for the log: {error}"))
        };
        Ok(Self(logging.outputs.iter().map(open).collect::<Result<_, _>>()?))
    }

    fn push(&self, line: &[u8]) {
        self.0.iter().for_each(|output| output.push(line));
    }

    fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.0.iter().for_each(|output| output.flush(deadline));
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

fn open(output: &LogOutput) -> Result<Box<dyn Write + Send>, String> {
    // A file descriptor of its own, because the standard library locks its handle while it writes:
    // a blocked log would block every other writer.
    let standard = |handle: BorrowedFd<'_>| match handle.try_clone_to_owned() {
        Ok(handle) => Ok(Box::new(File::from(handle)) as Box<dyn Write + Send>),
        Err(error) => Err(format!("--log-outputs: cannot open {output:?}: {error}")),
    };
    match output {
        LogOutput::Stderr => standard(io::stderr().as_fd()),
        LogOutput::Stdout => standard(io::stdout().as_fd()),
        LogOutput::File(path) => {
            let mut options = OpenOptions::new();
            match options.create(true).append(true).mode(0o600).open(path) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => {
                    Err(format!("--log-outputs: cannot open {}: {error}", path.display()))
                }
            }
        }
    }
}

/// The line that reports how many lines were dropped.
fn drops_line(is_json: bool, lines: u64) -> String {
    let message = "log lines were dropped, because the output did not keep up".to_owned();
    let fields = Map::from_iter([("lines".to_owned(), lines.into())]);
    let line = Line { is_json }.text(Level::WARN, module_path!(), Fields { message, fields });
    line.unwrap_or_default()
}

/// The outputs, once logging has started.
static STARTED: OnceLock<Outputs> = OnceLock::new();

/// Waits until all logged lines are written, but at most [`FLUSH_LIMIT`]. Called before the process
/// ends.
pub(crate) fn flush() {
    if let Some(outputs) = STARTED.get() {
        outputs.flush(FLUSH_LIMIT);
    }
}

/// Starts logging for the rest of the process's life. Panics are logged from then on, too.
///
/// # Errors
/// An output cannot be opened.
pub(crate) fn start(logging: &Logging) -> Result<(), String> {
    let outputs = Outputs::open(logging)?;
    let outputs = STARTED.get_or_init(|| outputs).clone();
    let layer = tracing_subscriber::fmt::layer()
        .event_format(Line { is_json: logging.is_json })
        .with_writer(outputs.clone());
    // The second layer receives the library events that the first one does not log as they are.
    let refusals = (logging.level >= Level::WARN).then(|| {
        let concerns = filter_fn(Refusals::concerns).with_max_level_hint(Level::DEBUG);
        Refusals::new(logging.is_json, outputs).with_filter(concerns)
    });
    // Libraries warn about events that are normal here, such as an unreachable member. Where such
    // an event matters, this program logs it itself.
    let others = match logging.level {
        Level::DEBUG | Level::TRACE => Level::WARN,
        level => level.min(Level::ERROR),
    };
    let filter = Targets::new().with_default(others).with_target(OUR_TARGETS, logging.level);
    tracing_subscriber::registry().with(layer.with_filter(filter)).with(refusals).init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or("no reason given");
        tracing::error!(at, "a fault of the program: {reason}");
        flush();
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(is_json: bool) -> String {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let outputs = vec![LogOutput::File(path.to_path_buf())];
        let outputs = Outputs::open(&Logging { level: Level::INFO, is_json, outputs }).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Line { is_json })
            .with_writer(outputs.clone());
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(count = 3, name = "a \"b\"", "something happened");
        });
        outputs.flush(Duration::from_secs(20));
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn a_line_has_the_fields_of_etcd() {
        let line = logged(true);
        let fields: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(fields["level"], "warn");
        assert_eq!(fields["msg"], "something happened");
        assert_eq!((&fields["count"], &fields["name"]), (&3.into(), &"a \"b\"".into()));
        assert!(line.starts_with("{\"level\":\"warn\",\"ts\":\"2"), "{line}");
        assert!(logged(false).contains("\tWARN\t"));
    }
}
