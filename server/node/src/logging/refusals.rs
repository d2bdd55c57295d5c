//! Requests that the HTTP/2 library refuses by itself. It resets their streams and tells nobody
//! but its own log, so that is where we read it.

use std::time::Duration;

use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{Fields, Line, Outputs, Seldom};

/// Where the library tells it.
const TARGETS: [&str; 3] =
    ["h2::server", "h2::proto::streams::recv", "h2::proto::streams::streams"];
/// How it begins.
const BEGINNINGS: [&str; 2] = ["malformed headers: ", "stream error PROTOCOL_ERROR -- "];
/// How often it is passed on.
const PAUSE: Duration = Duration::from_secs(1);

/// Passes on why requests were refused.
pub(super) struct Refusals {
    pub(super) is_json: bool,
    outputs: Outputs,
    seldom: Seldom,
}

impl Refusals {
    pub(super) fn new(is_json: bool, outputs: Outputs) -> Self {
        Self { is_json, outputs, seldom: Seldom::new(PAUSE) }
    }

    /// Whether something of this kind can be a refusal.
    pub(super) fn concerns(metadata: &Metadata<'_>) -> bool {
        let is_text = metadata.is_event() && metadata.fields().len() == 1;
        is_text && *metadata.level() == Level::DEBUG && TARGETS.contains(&metadata.target())
    }
}

impl<S: Subscriber> Layer<S> for Refusals {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut said = Fields::default();
        event.record(&mut said);
        let reason = BEGINNINGS.iter().find_map(|begin| said.message.strip_prefix(begin));
        let Some(reason) = reason else { return };
        let Some(others) = self.seldom.allows() else { return };
        let mut fields = Fields { message: "refused a request".to_owned(), ..Fields::default() };
        fields.fields.insert("reason".to_owned(), reason.into());
        fields.fields.insert("others".to_owned(), others.into());
        // Not by an event of our own: we are within one.
        let line = Line { is_json: self.is_json }.text(Level::WARN, module_path!(), fields);
        self.outputs.push(line.unwrap_or_default().as_bytes());
    }
}
