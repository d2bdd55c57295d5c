//! Sends the spans of calls to an OpenTelemetry collector.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use quorate_api::Tracer;

use crate::config::Tracing;

/// Time limit for the last spans of a process that stops.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// The connection to a collector. Its own thread sends the spans in batches. If the collector is
/// slow or away, further spans are dropped, and the log says so: no call waits.
pub(crate) struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Starts to send spans. Returns before a connection is made. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// A variable of OpenTelemetry (`OTEL_…`) has a value that cannot be used.
    pub(crate) fn start(tracing: &Tracing) -> Result<Self, ExporterBuildError> {
        let endpoint = format!("http://{}", tracing.collector);
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let others = if tracing.share > 0.0 {
            Sampler::TraceIdRatioBased(tracing.share)
        } else {
            Sampler::AlwaysOff
        };
        let resource = Resource::builder_empty().with_service_name(tracing.service.clone());
        let instance = tracing.instance.clone();
        let instance = instance.map(|instance| KeyValue::new("service.instance.id", instance));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(others)))
            .with_resource(resource.with_attributes(instance).build())
            .build();
        tracing::info!(
            address = tracing.collector,
            service_name = tracing.service,
            share = tracing.share,
            "distributed tracing is on"
        );
        Ok(Self { provider })
    }

    /// A tracer for calls.
    pub(crate) fn tracer(&self) -> Tracer {
        Tracer::new(&self.provider, TraceContextPropagator::new())
    }

    /// Sends the spans that are left, for at most a second.
    pub(crate) async fn stop(self) {
        let stop = move || self.provider.shutdown_with_timeout(STOP_WITHIN);
        match tokio::task::spawn_blocking(stop).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not sent"),
        }
    }
}
