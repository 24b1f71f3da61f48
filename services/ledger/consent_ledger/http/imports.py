"""Imports over HTTP: lines of NDJSON, recorded while they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

from consent_ledger.http.calls import Answer, Call, encode


async def import_lines(call: Call, parts: AsyncIterator[bytes]) -> Answer:
    """Import the lines of a body however long; answered when the last one is recorded or refused."""
    summary = await call.worker.importer.run(parts, call.principal)
    headers = [(b"consent-token", summary.token.encode())] if summary.token else []
    return Answer(200, encode(summary), headers)
