//! Metrics: `sandgate_<part>_<noun>_<unit|total>`, base units, labels from closed enums only.
//!
//! A label is an enum of ours that implements [`Label`]; so a tenant, an id, a path or an error's text
//! cannot become one, and the number of series is known before the process starts.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// The name, unit and help of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// `sandgate_<part>_<noun>_<unit|total>`.
    pub name: &'static str,
    /// The unit by UCUM: `s`, `By`, or `1` for a count.
    pub unit: &'static str,
    /// What it counts, for the person who reads a graph.
    pub help: &'static str,
}

/// Requests that a server of ours answered.
pub const RPC_REQUESTS: Metric = Metric {
    name: "sandgate_rpc_requests_total",
    unit: "1",
    help: "requests answered, by service and status",
};

/// How long they took, to the end of the answer.
pub const RPC_DURATION: Metric = Metric {
    name: "sandgate_rpc_request_duration_seconds",
    unit: "s",
    help: "time from a request's headers to the end of its answer, by service and status",
};

/// From 100 µs (a token minted) to 60 s (a cold create).
const SECONDS: [f64; 13] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0,
];

/// A label with a closed set of values.
pub trait Label: Copy {
    /// The label's name.
    const KEY: &'static str;

    /// The value, one of few that are known when the code is written.
    fn as_str(self) -> &'static str;
}

/// What one observation is labelled with: a tuple of [`Label`]s, `()` for none.
pub trait Labels: Copy {
    /// The pairs, as the exporter takes them.
    fn pairs(self) -> impl AsRef<[KeyValue]>;
}

fn pair<L: Label>(label: L) -> KeyValue {
    KeyValue::new(L::KEY, label.as_str())
}

impl Labels for () {
    fn pairs(self) -> impl AsRef<[KeyValue]> {
        [] as [KeyValue; 0]
    }
}

impl<A: Label> Labels for (A,) {
    fn pairs(self) -> impl AsRef<[KeyValue]> {
        [pair(self.0)]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    fn pairs(self) -> impl AsRef<[KeyValue]> {
        [pair(self.0), pair(self.1)]
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    fn pairs(self) -> impl AsRef<[KeyValue]> {
        [pair(self.0), pair(self.1), pair(self.2)]
    }
}

/// Where instruments are made.
#[derive(Clone)]
pub struct Meters(Meter);

impl Meters {
    /// Those of this process, as [`crate::init`] set them up. Before that, they count nothing.
    pub fn of_this_process() -> Self {
        Self(opentelemetry::global::meter("sandgate"))
    }

    pub(crate) fn new(meter: Meter) -> Self {
        Self(meter)
    }

    /// A number that only grows.
    pub fn counter<L: Labels>(&self, metric: Metric) -> Counter<L> {
        let counter = self
            .0
            .u64_counter(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.help);
        Counter {
            counter: counter.build(),
            labels: PhantomData,
        }
    }

    /// How durations are distributed.
    pub fn durations<L: Labels>(&self, metric: Metric) -> Durations<L> {
        let histogram = self
            .0
            .f64_histogram(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.help);
        Durations {
            histogram: histogram.with_boundaries(SECONDS.to_vec()).build(),
            labels: PhantomData,
        }
    }

    /// A number that goes up and down.
    pub fn level<L: Labels>(&self, metric: Metric) -> Level<L> {
        let level = self
            .0
            .i64_up_down_counter(metric.name)
            .with_unit(metric.unit)
            .with_description(metric.help);
        Level {
            level: level.build(),
            labels: PhantomData,
        }
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

/// A number that only grows.
#[derive(Debug, Clone)]
pub struct Counter<L> {
    counter: opentelemetry::metrics::Counter<u64>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Counter<L> {
    /// Counts `count` more.
    pub fn add(&self, count: u64, labels: L) {
        self.counter.add(count, labels.pairs().as_ref());
    }
}

/// How durations are distributed.
#[derive(Debug, Clone)]
pub struct Durations<L> {
    histogram: opentelemetry::metrics::Histogram<f64>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Durations<L> {
    /// Notes that something took this long.
    pub fn record(&self, took: Duration, labels: L) {
        self.histogram
            .record(took.as_secs_f64(), labels.pairs().as_ref());
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone)]
pub struct Level<L> {
    level: opentelemetry::metrics::UpDownCounter<i64>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Level<L> {
    /// Adds, or takes away.
    pub fn add(&self, change: i64, labels: L) {
        self.level.add(change, labels.pairs().as_ref());
    }
}
