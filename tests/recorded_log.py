"""The log as an auditor reads it over HTTP, proven against the head that PostgreSQL holds."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import asyncpg
from consent_domain import merkle
from http_service import Caller
from stack import Stack

LIMIT = 10_000


class Head(NamedTuple):
    """The last position, and the root of the tree up to it."""

    position: int
    root: bytes


async def head_of(stack: Stack) -> Head:
    """The head as it is stored."""
    connection = await asyncpg.connect(stack.credentials["databaseUrl"], timeout=10, command_timeout=20)
    try:
        row = await connection.fetchrow("SELECT position, range FROM ledger.head")
        assert row is not None
        return Head(row["position"], merkle.root(merkle.split(row["range"])))
    finally:
        await connection.close(timeout=10)


async def bytes_of_log(call: Caller) -> list[bytes]:
    """The bytes of every event, as stored, in order."""
    found: list[bytes] = []
    while True:
        answer = await call("GET", "/v1/events", "auditor", params={"after": len(found), "limit": LIMIT})
        assert answer.status_code == 200, answer.text
        lines = answer.content.split(b"\n")
        assert lines.pop() == b"", "the last line is cut off"
        found += lines
        if not lines:
            return found


def require_gapless_and_proven(log: list[bytes], head: Head) -> list[dict[str, Any]]:
    """The events, read. Raises AssertionError for a gap, or bytes of which the head is not the root."""
    events = [json.loads(body) for body in log]
    assert [int(event["sequence"]) for event in events] == list(range(1, head.position + 1))
    size, hashes = 0, list[bytes]()
    for body in log:
        size = merkle.append(size, hashes, merkle.leaf_hash(body))
    assert merkle.root(hashes) == head.root
    return events
