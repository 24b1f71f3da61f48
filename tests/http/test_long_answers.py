"""Long answers of the hot paths go in parts: the server holds no copy for each who reads slowly."""

from __future__ import annotations

from typing import Any

import pytest
from consent_ledger.http.calls import Answer, Call, Operation
from consent_ledger.http.dispatcher import PART_BYTES, Dispatcher
from consent_ledger.http.permissions import PUBLIC

OPERATION = Operation(id="test", tag="Test", summary="", roles=PUBLIC)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 5 * PART_BYTES + 7])
async def test_given_an_answer_of_any_length_then_its_parts_are_the_whole_of_it_and_the_last_says_so(
    size: int,
) -> None:
    body = bytes(number % 251 for number in range(size))
    sent: list[Any] = []

    async def answer(_: Call) -> Answer:
        return Answer(200, body)

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    dispatcher = Dispatcher(None, {("GET", "/long"): (OPERATION, answer)})
    dispatcher.worker = object()  # type: ignore[assignment]  # who is public asks nothing of it
    scope = {"type": "http", "method": "GET", "path": "/long", "headers": [], "query_string": b""}
    await dispatcher(scope, receive, send)
    start, *parts = sent
    assert dict(start["headers"])[b"content-length"] == str(size).encode()
    assert b"".join(part["body"] for part in parts) == body
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(len(part["body"]) <= PART_BYTES for part in parts)
