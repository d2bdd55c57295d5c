//! Reads the settings of distributed tracing.

use http::uri::Authority;

use super::reader::Reader;

const ADDRESS: &str = "distributed-tracing-address";
const RATE: &str = "distributed-tracing-sampling-rate";
/// The rate at which all spans are sent.
const RATE_MAX: u32 = 1_000_000;

/// The settings of distributed tracing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tracing {
    /// The host and the port of the collector.
    pub(crate) collector: String,
    pub(crate) service: String,
    /// `None` if the instance has no name.
    pub(crate) instance: Option<String>,
    /// The part of the calls that are traced although the client does not ask for it: 0 to 1.
    pub(crate) share: f64,
}

/// Reads the settings; `None` if tracing is off. As in etcd, they are checked only if it is on,
/// except that the rate must always be a whole number.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Tracing> {
    let is_on = reader.switch("enable-distributed-tracing");
    let rate: i64 = reader.number(RATE, "a whole number");
    if !is_on {
        return None;
    }
    let rate = u32::try_from(rate).ok().filter(|rate| *rate <= RATE_MAX).unwrap_or_else(|| {
        reader.problem(RATE, format!("must be from 0 to {RATE_MAX}, which samples all spans"));
        0
    });
    let collector = reader.text(ADDRESS);
    let has_port = |address: &Authority| address.port().is_some() && !address.host().is_empty();
    if !collector.parse().is_ok_and(|address| has_port(&address)) {
        let text = format!("{collector:?} is not a host and a port such as localhost:4317");
        reader.problem(ADDRESS, text);
    }
    let instance = reader.text("distributed-tracing-instance-id");
    Some(Tracing {
        collector,
        service: reader.text("distributed-tracing-service-name"),
        instance: (!instance.is_empty()).then_some(instance),
        share: f64::from(rate) / f64::from(RATE_MAX),
    })
}
