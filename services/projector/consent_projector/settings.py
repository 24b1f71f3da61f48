"""What the projector reads from the environment, beside what every process reads."""

from __future__ import annotations

from typing import ClassVar

from consent_plumbing.settings import Settings


class ProjectorSettings(Settings, frozen=True, kw_only=True):
    """`CONSENT_DATABASE_URL`, `CONSENT_NATS_URL`, `CONSENT_ORIGIN`, `CONSENT_LOG_LEVEL`, and these."""

    SECRETS: ClassVar[frozenset[str]] = frozenset({"database_url", "nats_url"})

    metrics_port: int = 0
    """`CONSENT_METRICS_PORT`: where Prometheus finds `/metrics`; 0: nowhere."""

    relay_from: int = 1
    """`CONSENT_RELAY_FROM`: the position from which the relay fills a stream that is new or was deleted."""


class ToolSettings(Settings, frozen=True, kw_only=True):
    """What `migrate`, `lag` and `rebuild` read: only where the database is."""

    SECRETS: ClassVar[frozenset[str]] = frozenset({"database_url", "nats_url"})
