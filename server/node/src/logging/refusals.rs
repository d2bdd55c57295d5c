//! Logs the requests that the HTTP/2 library refuses by itself. The library resets their streams
//! and reports the reason only in its own debug events, so this layer reads those.

use std::time::Duration;

use quorate_raft::RateLimit;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::line::{Fields, Line};
use super::outputs::Outputs;

/// Log targets of the library's events about refusals.
const TARGETS: [&str; 3] =
    ["h2::server", "h2::proto::streams::recv", "h2::proto::streams::streams"];
/// Prefixes of these events' messages. The reason follows.
const BEGINNINGS: [&str; 2] = ["malformed headers: ", "stream error PROTOCOL_ERROR -- "];
/// Shortest time between two log lines about refusals.
const PAUSE: Duration = Duration::from_secs(1);

/// Logs why the library refused requests.
pub(super) struct Refusals {
    pub(super) is_json: bool,
    outputs: Outputs,
    limit: RateLimit,
}

impl Refusals {
    pub(super) fn new(is_json: bool, outputs: Outputs) -> Self {
        Self { is_json, outputs, limit: RateLimit::new(PAUSE) }
    }

    /// Whether an event with this metadata can be about a refusal.
    pub(super) fn concerns(metadata: &Metadata<'_>) -> bool {
        let is_text = metadata.is_event() && metadata.fields().len() == 1;
        is_text && *metadata.level() == Level::DEBUG && TARGETS.contains(&metadata.target())
    }
}

impl<S: Subscriber> Layer<S> for Refusals {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut recorded = Fields::default();
        event.record(&mut recorded);
        let reason = BEGINNINGS.iter().find_map(|begin| recorded.message.strip_prefix(begin));
        let Some(reason) = reason else { return };
        let Some(others) = self.limit.allows() else { return };
        let mut fields = Fields { message: "refused a request".to_owned(), ..Fields::default() };
        fields.fields.insert("reason".to_owned(), reason.into());
        fields.fields.insert("others".to_owned(), others.into());
        // Written directly: emitting an event while another one is handled would nest them.
        let line = Line { is_json: self.is_json }.text(Level::WARN, module_path!(), fields);
        self.outputs.push(line.unwrap_or_default().as_bytes());
    }
}
