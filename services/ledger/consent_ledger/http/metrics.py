"""What Prometheus reads. With several workers each scrape adds up the files that all of them write.

prometheus-client decides between memory and files when it is imported, by `PROMETHEUS_MULTIPROC_DIR`:
`consent-ledger serve` sets it before it starts more than one worker, and no parent imports this module.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from consent_ledger.worker import Worker

MEDIA_TYPE = "text/plain; version=0.0.4"
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asked for
REGISTRY = CollectorRegistry()
_requests = Counter("consent_http_requests", "Requests answered", ("operation", "status"), registry=REGISTRY)
_seconds = Histogram(
    "consent_http_seconds", "Time to answer a request", ("operation",), buckets=SECONDS, registry=REGISTRY
)
_decisions = Counter("consent_decisions", "Decisions given", ("decision",), registry=REGISTRY)
_position = Gauge(
    "consent_replica_position", "Position of the replica", registry=REGISTRY, multiprocess_mode="livemax"
)
_staleness = Gauge(
    "consent_replica_staleness_seconds",
    "Age of the newest watermark that the replica has reached",
    registry=REGISTRY,
    multiprocess_mode="livemax",
)

# Looking a labelled child up costs more than counting on it.
_request_children: dict[tuple[str, int], Counter] = {}
_second_children: dict[str, Histogram] = {}
_decision_children: dict[str, Counter] = {}


def count_request(operation: str, status: int, seconds: float) -> None:
    """Count one answer of an operation, and how long it took."""
    child = _request_children.get((operation, status))
    if child is None:
        child = _request_children[operation, status] = _requests.labels(operation, str(status))
    child.inc()
    histogram = _second_children.get(operation)
    if histogram is None:
        histogram = _second_children[operation] = _seconds.labels(operation)
    histogram.observe(seconds)


def count_decisions(decision: str, number: int = 1) -> None:
    """Count decisions given: `permit`, `deny` or `undecided`."""
    child = _decision_children.get(decision)
    if child is None:
        child = _decision_children[decision] = _decisions.labels(decision)
    child.inc(number)


def page(worker: Worker) -> bytes:
    """The metrics of this process, or of all workers where there are several."""
    status = worker.gate.status()
    _position.set(status.position)
    _staleness.set(float("inf") if status.staleness is None else status.staleness)
    if FOLDER_VARIABLE not in os.environ:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)
