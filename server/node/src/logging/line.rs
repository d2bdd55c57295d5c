//! A line of the log.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of a line.
pub(super) struct Line {
    pub(super) is_json: bool,
}

/// The message of an event, and its other fields.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
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
    pub(super) fn text(
        &self,
        level: Level,
        caller: &str,
        fields: Fields,
    ) -> Result<String, fmt::Error> {
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
