//! Whom the mesh tells things: a collector that takes spans and metrics over OTLP, and a backend that an agent asks
//! through the gate. Both keep all that they are sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::HeaderMap;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// How long what was recorded may take to arrive; each process sends every few seconds.
const ARRIVAL: Duration = Duration::from_secs(60);

/// A span, as far as stories look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Of which process.
    pub service: String,
    /// What was done.
    pub name: String,
    /// Whether it answers or asks.
    pub kind: SpanKind,
    /// Its trace, in hex.
    pub trace: String,
    /// Its own id, in hex.
    pub id: String,
    /// Its parent's id, in hex; empty for none.
    pub parent: String,
    /// Its attributes, as text.
    pub texts: Vec<(String, String)>,
}

impl Span {
    /// An attribute.
    pub fn text(&self, key: &str) -> Option<&str> {
        let found = self.texts.iter().find(|(there, _)| there == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// One series of a metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Of which process.
    pub service: String,
    /// The metric.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

/// Everything that arrived.
#[derive(Debug, Default)]
struct Arrived {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
}

/// A collector that serves until the runtime ends.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Where it is, as a URL.
    pub endpoint: String,
    arrived: Arc<watch::Sender<Arrived>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        self.arrived.send_modify(|all| all.traces.push(request));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let request = request.into_inner();
        self.arrived.send_modify(|all| all.metrics.push(request));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// Serves on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[expect(
        clippy::disallowed_methods,
        reason = "the collector ends with the story's runtime"
    )]
    pub async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let collector = Self {
            endpoint: format!("http://{address}"),
            arrived: Arc::new(watch::Sender::new(Arrived::default())),
        };
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(collector.clone()))
                .add_service(MetricsServiceServer::new(collector.clone()))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        collector
    }

    /// Waits until what arrived is what a story needs, as `enough` sees it.
    ///
    /// # Panics
    /// When it does not arrive; says what did.
    pub async fn wait_for<T>(&self, what: &str, mut enough: impl FnMut(&Self) -> Option<T>) -> T {
        let mut arrivals = self.arrived.subscribe();
        let waiting = async {
            loop {
                arrivals.mark_unchanged();
                if let Some(found) = enough(self) {
                    return found;
                }
                arrivals.changed().await.expect("the collector is there");
            }
        };
        let found = tokio::time::timeout(ARRIVAL, waiting).await;
        found.unwrap_or_else(|_| panic!("{what} did not arrive; what did: {:#?}", self.spans()))
    }

    /// The spans.
    pub fn spans(&self) -> Vec<Span> {
        let arrived = self.arrived.borrow();
        let resources = arrived.traces.iter().flat_map(|all| &all.resource_spans);
        let spans = resources.flat_map(|resource| {
            let service = service_of(resource.resource.as_ref());
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| Span {
                service: service.clone(),
                name: span.name.clone(),
                kind: span.kind(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                texts: texts(&span.attributes),
            })
        });
        spans.collect()
    }

    /// The series of all metrics.
    ///
    /// # Panics
    /// When a metric is of a kind that we do not make.
    pub fn series(&self) -> Vec<Series> {
        let arrived = self.arrived.borrow();
        let mut all = Vec::new();
        for resource in arrived.metrics.iter().flat_map(|all| &all.resource_metrics) {
            let service = service_of(resource.resource.as_ref());
            for metric in resource.scope_metrics.iter().flat_map(|all| &all.metrics) {
                let labels: Vec<_> = match metric.data.as_ref().expect("data") {
                    Data::Sum(sum) => sum.data_points.iter().map(|p| &p.attributes).collect(),
                    Data::Histogram(all) => all.data_points.iter().map(|p| &p.attributes).collect(),
                    other @ (Data::Gauge(_) | Data::ExponentialHistogram(_) | Data::Summary(_)) => {
                        panic!("{}: {other:?}", metric.name)
                    }
                };
                all.extend(labels.into_iter().map(|labels| Series {
                    service: service.clone(),
                    name: metric.name.clone(),
                    labels: texts(labels),
                }));
            }
        }
        all
    }

    /// All bytes that arrived, as they were sent.
    pub fn bytes(&self) -> Vec<u8> {
        let arrived = self.arrived.borrow();
        let traces = arrived.traces.iter().map(|all| all.encode_to_vec());
        let metrics = arrived.metrics.iter().map(|all| all.encode_to_vec());
        traces.chain(metrics).flatten().collect()
    }
}

fn service_of(resource: Option<&Resource>) -> String {
    let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
    let found = texts(attributes)
        .into_iter()
        .find(|(key, _)| key == "service.name");
    found.map(|(_, name)| name).unwrap_or_default()
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        let text = match value {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            value => format!("{value:?}"),
        };
        (pair.key.clone(), text)
    };
    attributes.iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request that reached the backend.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A backend that answers everything and keeps what it was asked, until the runtime ends.
#[derive(Debug, Clone)]
pub struct Witness {
    /// Where it listens.
    pub address: SocketAddr,
    reached: Arc<Mutex<Vec<Reached>>>,
}

impl Witness {
    /// Serves on a free port.
    ///
    /// # Panics
    /// When there is none.
    #[expect(
        clippy::disallowed_methods,
        reason = "the backend ends with the story's runtime"
    )]
    pub async fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let reached = Arc::default();
        let witness = Self { address, reached };
        let serving = witness.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let witness = serving.clone();
                let service =
                    hyper::service::service_fn(move |request| witness.clone().note(request));
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let served = server.serve_connection(TokioIo::new(stream), service);
                    // A client that hangs up is none of the backend's business.
                    if served.await.is_err() {}
                });
            }
        });
        witness
    }

    /// What reached it.
    ///
    /// # Panics
    /// When a request panicked.
    pub fn reached(&self) -> Vec<Reached> {
        self.reached.lock().expect("no panic").clone()
    }

    async fn note(
        self,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("the whole body").to_bytes();
        let headers = head.headers;
        let mut reached = self.reached.lock().expect("no panic");
        reached.push(Reached { headers, body });
        Ok(hyper::Response::new(Full::new(Bytes::from("noted\n"))))
    }
}
