//! The log: one line for each event, in the form of etcd's.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogOutput, Logging};

/// Targets of this program begin with this; others are heard only in an emergency.
const OUR_TARGETS: &str = "quorate";

/// The form of a line.
struct Line {
    is_json: bool,
}

/// The fields of an event; the message apart.
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
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let level = metadata.level().as_str();
        let caller = format!("{}:{}", metadata.target(), metadata.line().unwrap_or_default());
        if self.is_json {
            let head = [
                ("level", level.to_ascii_lowercase()),
                ("ts", time),
                ("caller", caller),
                ("msg", fields.message),
            ];
            let head = head.map(|(name, text)| format!("\"{name}\":{}", Value::from(text)));
            let rest = fields.fields.iter();
            let rest = rest.map(|(name, value)| format!(",{}:{value}", Value::from(name.as_str())));
            return writeln!(writer, "{{{}{}}}", head.join(","), rest.collect::<String>());
        }
        write!(writer, "{time}\t{level}\t{caller}\t{}", fields.message)?;
        if !fields.fields.is_empty() {
            write!(writer, "\t{}", Value::Object(fields.fields))?;
        }
        writeln!(writer)
    }
}

/// Everything that the log is written to.
#[derive(Clone)]
struct Outputs(Arc<Mutex<Vec<Box<dyn Write + Send>>>>);

impl Write for Outputs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for output in self.0.lock().iter_mut() {
            // A log that cannot be written must not stop the store.
            output.write_all(line).ok();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().iter_mut().for_each(|output| {
            output.flush().ok();
        });
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
    match output {
        LogOutput::Stderr => Ok(Box::new(io::stderr())),
        LogOutput::Stdout => Ok(Box::new(io::stdout())),
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

/// Begins to log, for the rest of the process's life. From here on a panic is logged too.
///
/// # Errors
/// An output that cannot be opened.
pub(crate) fn start(logging: &Logging) -> Result<(), String> {
    let outputs = logging.outputs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let outputs = Outputs(Arc::new(Mutex::new(outputs)));
    let layer = tracing_subscriber::fmt::layer()
        .event_format(Line { is_json: logging.is_json })
        .with_writer(outputs);
    // Libraries warn of what is business as usual here, such as a member that cannot be reached;
    // where it changes something, we say so ourselves.
    let others = match logging.level {
        Level::DEBUG | Level::TRACE => Level::WARN,
        level => level.min(Level::ERROR),
    };
    let filter = Targets::new().with_default(others).with_target(OUR_TARGETS, logging.level);
    tracing_subscriber::registry().with(layer).with(filter).init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no reason given");
        tracing::error!(at, "a fault of the program: {what}");
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(is_json: bool) -> String {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let output = open(&LogOutput::File(path.to_path_buf())).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Line { is_json })
            .with_writer(Outputs(Arc::new(Mutex::new(vec![output]))));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(count = 3, name = "a \"b\"", "something happened");
        });
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
