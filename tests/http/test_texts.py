"""Given the words of a policy, when they are kept, then everybody reads exactly them, and nothing else."""

from __future__ import annotations

from hashlib import sha256
from uuid import uuid4

from http_service import Caller


def words() -> str:
    return f"# Principles {uuid4()}\r\n\r\nWir fragen zuerst: “May we?”\n"


async def test_given_kept_words_when_they_are_read_then_they_are_the_same_bytes(call: Caller) -> None:
    text = words()
    kept = await call.done("POST", "/v1/texts", json={"text": text})
    digest = sha256(text.encode()).hexdigest()
    assert kept == {"textSha256": digest, "bytes": len(text.encode())}
    for who in ("auditor", "pipeline", "workspace/acme"):
        answer = await call("GET", f"/v1/texts/{digest}", who)
        assert answer.content == text.encode()
        assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_given_kept_words_when_they_are_sent_again_then_the_answer_is_the_same(call: Caller) -> None:
    text = words()
    first = await call.done("POST", "/v1/texts", json={"text": text})
    assert await call.done("POST", "/v1/texts", json={"text": text, "format": "plain"}) == first


async def test_given_words_that_nobody_kept_when_they_are_read_then_404(call: Caller) -> None:
    answer = await call("GET", f"/v1/texts/{'0' * 64}", "auditor")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_given_what_is_no_text_when_it_is_sent_or_asked_for_then_it_is_refused(call: Caller) -> None:
    for body, code in (
        ({"text": " \n"}, "invalid_value"),
        ({"text": 7}, "malformed"),
        ({"text": "words", "format": "html"}, "malformed"),
        ({"text": "x" * (1024 * 1024)}, "too_large"),
    ):
        assert (await call("POST", "/v1/texts", json=body)).json()["code"] == code
    for name in ("A" * 64, "0" * 63, "..%2f..%2fkeys"):
        assert (await call("GET", f"/v1/texts/{name}", "auditor")).status_code in (400, 404)


async def test_given_no_admin_when_words_are_sent_then_403(call: Caller) -> None:
    for who in ("auditor", "pipeline", "workspace/acme"):
        assert (await call("POST", "/v1/texts", who, json={"text": words()})).status_code == 403
