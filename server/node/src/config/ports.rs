//! The ports of this member, and the flags that set them.

use std::time::Duration;

use super::reader::Reader;
use super::url::Url;

/// The URLs to serve, and the settings of their connections.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    pub(crate) clients: Vec<Url>,
    /// URLs of the HTTP pages for clients; empty if the client ports serve the pages.
    pub(crate) pages: Vec<Url>,
    pub(crate) metrics: Vec<Url>,
    pub(crate) peers: Vec<Url>,
    pub(crate) reuse_port: bool,
    pub(crate) max_concurrent_streams: u32,
    /// Idle time after which a client is pinged; `None` for never.
    pub(crate) ping_interval: Option<Duration>,
    pub(crate) ping_timeout: Duration,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Ports {
    let interval = reader.duration("grpc-keepalive-interval");
    reader.duration("grpc-keepalive-min-time");
    // As in gRPC, 0 means any number.
    let streams: u32 = reader.number("max-concurrent-streams", "a number from 0 to 4294967295");
    // The value is only checked: addresses are always reused.
    reader.switch("socket-reuse-address");
    Ports {
        clients: reader.bindable("listen-client-urls", false),
        pages: reader.bindable("listen-client-http-urls", true),
        metrics: reader.bindable("listen-metrics-urls", true),
        peers: reader.bindable("listen-peer-urls", false),
        reuse_port: reader.switch("socket-reuse-port"),
        max_concurrent_streams: if streams == 0 { u32::MAX } else { streams },
        ping_interval: (!interval.is_zero()).then_some(interval),
        ping_timeout: reader.duration("grpc-keepalive-timeout"),
    }
}
