//! Sets the process's telemetry up, and flushes it at the end.

use std::io;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanLimits};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use crate::metric::Meters;
use crate::propagation::ROOT;

/// One batch to a collector; a slow one must not hold the process's memory.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// How often what was counted is sent: what is lost when a process dies, and the finest step of a graph.
const METRICS_EVERY: Duration = Duration::from_secs(10);
/// A span of ours has a dozen fields; what a bug adds stops here.
const FIELDS_PER_SPAN: u32 = 64;

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// An object per line, for whoever collects them.
    Json,
}

/// What a process's telemetry is like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The process's name in traces and metrics, such as `sandgate-token`.
    pub service: &'static str,
    /// How logs look.
    pub format: LogFormat,
    /// What is logged: `info`, or `warn,sandgate_token=debug`.
    pub filter: String,
    /// The collector that takes OTLP over gRPC, such as `http://127.0.0.1:4317`; `None` for none.
    pub otlp: Option<String>,
}

/// Why telemetry could not be set up. Each message names the setting.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one.
    #[error("log filter must be levels like info or warn,sandgate_token=debug")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The address of the collector has another scheme.
    #[error(
        "otlp endpoint must start with http:// (run a collector on this machine and let it speak TLS to others)"
    )]
    Scheme,
    /// The exporter refused the address.
    #[error("set the otlp exporter up")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// A process has one set-up.
    #[error("telemetry is already set up in this process")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// The running telemetry of a process.
#[derive(Debug)]
pub struct Telemetry {
    tracer: SdkTracerProvider,
    meter: SdkMeterProvider,
}

/// Sets telemetry up for the whole process. With a collector configured, call it within a tokio runtime.
///
/// # Errors
/// A setting is wrong, or it was done before.
pub fn init(settings: &Settings) -> Result<Telemetry, InitError> {
    let (telemetry, subscriber) = Telemetry::with_writer(settings, BoxMakeWriter::new(io::stderr))?;
    tracing::subscriber::set_global_default(subscriber)?;
    opentelemetry::global::set_meter_provider(telemetry.meter.clone());
    Ok(telemetry)
}

impl Telemetry {
    /// Telemetry that writes its logs elsewhere and is nobody's until its subscriber is made the default.
    ///
    /// # Errors
    /// A setting is wrong.
    pub fn with_writer(
        settings: &Settings,
        writer: BoxMakeWriter,
    ) -> Result<(Self, impl Subscriber + Send + Sync + use<>), InitError> {
        let filter = EnvFilter::try_new(&settings.filter)?;
        let telemetry = Self::providers(settings)?;
        let tracer = telemetry.tracer.tracer("sandgate");
        let collects = settings.otlp.is_some();
        // Nothing of ours asks for the context of the thread, nor for how long a span was idle.
        let spans = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(move |metadata| {
                // Where nobody collects, spans only pass a trace on, and what happens within goes nowhere.
                is_ours(metadata) && (collects || is_passed_on(metadata))
            }));
        let logs = tracing_subscriber::fmt::layer()
            .with_writer(writer)
            .with_ansi(false);
        let logs = match settings.format {
            LogFormat::Text => logs.with_filter(filter).boxed(),
            LogFormat::Json => logs.json().flatten_event(true).with_filter(filter).boxed(),
        };
        Ok((telemetry, Registry::default().with(spans).with(logs)))
    }

    fn providers(settings: &Settings) -> Result<Self, InitError> {
        let resource = Resource::builder_empty()
            .with_service_name(settings.service)
            .build();
        let limits = SpanLimits {
            max_attributes_per_span: FIELDS_PER_SPAN,
            ..SpanLimits::default()
        };
        let mut tracer = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_limits(limits);
        let mut meter = SdkMeterProvider::builder().with_resource(resource);
        if let Some(endpoint) = &settings.otlp {
            if !endpoint.starts_with("http://") {
                return Err(InitError::Scheme);
            }
            let spans = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_LIMIT);
            tracer = tracer.with_batch_exporter(spans.build()?);
            let metrics = MetricExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_LIMIT);
            let reader = PeriodicReader::builder(metrics.build()?).with_interval(METRICS_EVERY);
            meter = meter.with_reader(reader.build());
        } else {
            // Nobody collects: spans only pass the trace of a caller on.
            tracer = tracer.with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)));
        }
        Ok(Self {
            tracer: tracer.build(),
            meter: meter.build(),
        })
    }

    /// Where this telemetry's instruments are made.
    pub fn meters(&self) -> Meters {
        Meters::new(self.meter.meter("sandgate"))
    }

    /// Sends what is left and ends, within `limit`. Nothing is recorded afterwards.
    pub async fn flush(self, limit: Duration) {
        let ending = tokio::task::spawn_blocking(move || {
            // What a collector does not take any more is lost: the process ends, whatever it says.
            let spans = self.tracer.shutdown_with_timeout(limit);
            let metrics = self.meter.shutdown_with_timeout(limit);
            spans.and(metrics)
        });
        match tokio::time::timeout(limit, ending).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "the last spans or metrics were not delivered")
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("the last spans or metrics were not delivered in time")
            }
        }
    }
}

/// Spans of our own code only: those of the exporter's own connection would be exported by it for ever.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("sandgate")
}

/// Spans that a call may be made under, of a request that came with a trace.
fn is_passed_on(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= Level::INFO && metadata.target() != ROOT
}
