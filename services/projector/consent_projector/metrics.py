"""What Prometheus is told: progress, lease, failures and the alarm for quarantined events."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from consent_projector.consumer import State, Step


class Metrics:
    """Counters and gauges, a label `view` each, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._position = Gauge(
            "consent_view_position", "Last position applied", ["view"], registry=self.registry
        )
        self._leased = Gauge(
            "consent_view_leased", "1 while this process writes the view", ["view"], registry=self.registry
        )
        self._events = Counter("consent_view_events", "Events applied", ["view"], registry=self.registry)
        self._quarantined = Counter(
            "consent_view_quarantined", "Events passed over with alarm", ["view"], registry=self.registry
        )
        self._failures = Counter(
            "consent_view_failures",
            "Steps that failed and were tried again",
            ["view"],
            registry=self.registry,
        )
        self._proofread = Counter(
            "consent_view_rows_proofread",
            "Rows of the facts folded again and compared",
            registry=self.registry,
        )
        self._wrong = Counter(
            "consent_view_rows_wrong",
            "Rows of the facts that were not what the log makes of them",
            registry=self.registry,
        )
        self._changed = Counter(
            "consent_view_events_changed",
            "Events met in proofreading that are not what their hash says",
            registry=self.registry,
        )

    def serve(self, port: int) -> None:
        """Answer `GET /metrics` on a port, in a thread. Raises OSError if it is taken."""
        start_http_server(port, registry=self.registry)

    def stepped(self, view: str, step: Step) -> None:
        """Count a step."""
        self._leased.labels(view).set(step.state in (State.APPLIED, State.IDLE))
        if step.state in (State.APPLIED, State.IDLE):
            self._position.labels(view).set(step.position)
            self._events.labels(view).inc(step.events)
            self._quarantined.labels(view).inc(len(step.faults))

    def failed(self, view: str) -> None:
        """Count a step that failed."""
        self._failures.labels(view).inc()

    def proofread(self, rows: int, wrong: int, changed: int) -> None:
        """Count rows that were folded again, those of them that were wrong, and events that were changed."""
        self._proofread.inc(rows)
        self._wrong.inc(wrong)
        self._changed.inc(changed)
