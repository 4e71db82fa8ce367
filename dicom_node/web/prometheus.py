"""The metrics port on top of prometheus_client."""

import threading

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

log = structlog.get_logger()

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS_BUCKETS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
BYTES_BUCKETS = tuple(float(1 << power) for power in range(10, 33, 2))
_PREFIX = "dicom_node_"


class PrometheusMetrics:
    """Counts, observations and gauges that Prometheus can scrape; thread-safe.

    A metric comes to be at its first sample, and keeps the label names of that one. A later
    sample with other label names, or of another kind, is left out and logged once: counting
    must never break what is counted.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._known: dict[str, tuple[MetricWrapperBase, frozenset[str]]] = {}
        self._complained: set[str] = set()
        self._lock = threading.Lock()

    def count(self, name: str, value: float = 1, /, **labels: str) -> None:
        """Add `value` to the counter `name`, which ends in ``_total``."""
        metric = self._metric(Counter, name, labels)
        if isinstance(metric, Counter):
            metric.inc(value)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Put `value` into the histogram `name`, which ends in ``_seconds`` or ``_bytes``."""
        metric = self._metric(Histogram, name, labels)
        if isinstance(metric, Histogram):
            metric.observe(value)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set the gauge `name` to `value`."""
        metric = self._metric(Gauge, name, labels)
        if isinstance(metric, Gauge):
            metric.set(value)

    def exposition(self) -> bytes:
        """Return everything in the text format 0.0.4 of Prometheus."""
        return generate_latest(self._registry)

    def _metric(
        self, kind: type[MetricWrapperBase], name: str, labels: dict[str, str]
    ) -> MetricWrapperBase | None:
        names = frozenset(labels)
        with self._lock:
            if name not in self._known:
                self._known[name] = (self._make(kind, name, sorted(names)), names)
            metric, known_names = self._known[name]
            if names == known_names and isinstance(metric, kind):
                return metric.labels(**labels) if labels else metric
            complained = name in self._complained
            self._complained.add(name)
        if not complained:
            log.error("metrics.sample.dropped", metric=name)
        return None

    def _make(
        self, kind: type[MetricWrapperBase], name: str, labels: list[str]
    ) -> MetricWrapperBase:
        # The name says what is measured; a help text that repeats it would tell nothing.
        if kind is Histogram:
            buckets = BYTES_BUCKETS if name.endswith("_bytes") else SECONDS_BUCKETS
            return Histogram(_PREFIX + name, "", labels, registry=self._registry, buckets=buckets)
        return kind(_PREFIX + name, "", labels, registry=self._registry)
