//! The log: one line per event, in etcd's format.

mod line;
mod output;
mod outputs;
mod refusals;
mod rotated;

use std::sync::OnceLock;
use std::time::Duration;

use quorate_core::EndReason;
use tracing::Level;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Logging;
use line::Line;
use outputs::Outputs;
pub(crate) use quorate_raft::RateLimit;
use refusals::Refusals;

/// Prefix of this program's log targets. Of other targets, only errors are logged by default.
const OUR_TARGETS: &str = "quorate";
/// How long the end of the process waits for slow log outputs.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The outputs, once logging has started.
static STARTED: OnceLock<Outputs> = OnceLock::new();

/// Waits until all logged lines are written, but at most [`FLUSH_LIMIT`]. Called before the process
/// ends.
pub(crate) fn flush() {
    if let Some(outputs) = STARTED.get() {
        outputs.flush(FLUSH_LIMIT);
    }
}

/// Writes the last line of the log, whatever the log level, with the reason's code in the field
/// `reason`. Waits until all lines are written, but at most [`FLUSH_LIMIT`]. Later lines are
/// dropped, so that programs find the reason in the last line.
pub(crate) fn end(message: &str, reason: Option<EndReason>) {
    if let Some(outputs) = STARTED.get() {
        outputs.end(message, reason);
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
    // The second layer reads events of the HTTP/2 library that the first layer does not log.
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
        tracing::error!(at, "panic: {reason}");
        flush();
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::config::LogOutput;

    fn logged(is_json: bool) -> String {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let outputs = vec![LogOutput::File(path.to_path_buf())];
        let outputs =
            Outputs::open(&Logging { level: Level::INFO, is_json, outputs, rotation: None })
                .unwrap();
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
