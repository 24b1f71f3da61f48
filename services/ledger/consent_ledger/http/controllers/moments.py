"""The parameters by which a read is asked about another moment than now."""

from __future__ import annotations

from consent_ledger.http.calls import Parameter

MOMENT = (
    Parameter("knownAt", {"type": "string"}, "A token or a time: what the ledger knew then. By default now."),
    Parameter("asOf", {"type": "string"}, "A time: what was in effect then. By default now."),
)
MOMENT_REFUSALS = ("invalid_token", "invalid_time")
