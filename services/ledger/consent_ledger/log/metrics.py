"""What Prometheus is told of the log: progress, the alarm, failures, and every witness."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from consent_ledger.log.folder import Status
from consent_ledger.log.publisher import State, Step

GOOD = "cosigning"


class Metrics:
    """Counters and gauges in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._halted = self._gauge("consent_log_halted", "1 while the log is halted: look at once")
        self._leads = self._gauge("consent_log_publishing", "1 while this process publishes")
        self._size = self._gauge("consent_log_size", "Events in the published checkpoint")
        self._position = self._gauge("consent_log_head", "Events in the ledger when it was read last")
        self._witnessed = self._gauge(
            "consent_log_witnessed_size", "Events in the latest checkpoint that satisfied the witness policy"
        )
        self._published = Counter("consent_log_checkpoints", "Checkpoints published", registry=self.registry)
        self._failures = Counter(
            "consent_log_failures", "Steps that failed and were tried again", registry=self.registry
        )
        self._cosigned = Gauge(
            "consent_log_witness_size",
            "Largest checkpoint that the witness cosigned",
            ["witness"],
            registry=self.registry,
        )
        self._up = Gauge(
            "consent_log_witness_up", "1 while the witness cosigns", ["witness"], registry=self.registry
        )

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, registry=self.registry)

    def serve(self, port: int) -> None:
        """Answer `GET /metrics` on a port, in a thread. Raises OSError if it is taken."""
        start_http_server(port, registry=self.registry)

    def leads(self) -> None:
        """This process publishes from now on."""
        self._leads.set(1)

    def stepped(self, step: Step) -> None:
        """Count a step."""
        self._halted.set(step.state is State.HALTED)
        if step.state is State.HALTED:
            return
        self._size.set(step.size)
        self._position.set(step.position)
        if step.state is State.PUBLISHED:
            self._published.inc()

    def failed(self) -> None:
        """Count a step that failed."""
        self._failures.inc()

    def told(self, status: Status) -> None:
        """Show what the witnesses did."""
        self._witnessed.set(status.witnessed_size)
        for witness in status.witnesses:
            self._up.labels(witness.name).set(witness.state == GOOD)
            self._cosigned.labels(witness.name).set(witness.size)
