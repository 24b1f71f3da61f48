"""The suite of sources over HTTP, and all that a stranger on the way may answer."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from consent_domain.feed import (
    MEDIA_TYPE,
    PAGE_BYTES_MAX,
    Page,
    Signed,
    Watermark,
    decode_signed,
    encode_signed,
)
from consent_domain.identifiers import Token
from consent_gate import http_source
from consent_gate.follower import RETRY_AFTER_SECONDS_MAX, WAIT_SECONDS_MAX
from consent_gate.http_source import HttpSource
from consent_gate.signatures import Signer
from consent_gate.sources import ClosableSource
from feed_server import KEY, FeedServer, http, problem
from gate_ledger import EPOCH, SIGNER, signed
from relay import Relay
from scenario import ORIGIN, SECOND, Command, enrolled, opt_out, workspace
from source_suite import Followed, Side, SourceSuite


class HttpSide(Side):
    """A feed behind a relay."""

    def __init__(self, server: FeedServer, relay: Relay) -> None:
        self.server = server
        self.relay = relay

    def source(self) -> ClosableSource:
        return HttpSource(f"http://127.0.0.1:{self.relay.port}", KEY, SIGNER.verifier)

    async def happen(self, *commands: Command) -> None:
        self.server.ledger.given(*commands)

    async def lie(self, lie: str) -> None:
        server = self.server
        end, time = len(server.ledger.log), server.ledger.now + SECOND

        def said(after: Token | None) -> bytes:
            match lie:
                case "a gap":
                    return server.told(Token(ORIGIN, EPOCH, end - 1))
                case "a log that stands before":
                    return problem("forked", "this log stands before the token")
                case "an older epoch":
                    return server.told(after, epoch=0, watermark=Watermark(ORIGIN, 0, end, time))
            evil = "evil.test/ledger"
            return server.told(after, origin=evil, watermark=Watermark(evil, EPOCH, end, time))

        server.says = said

    async def mend(self) -> None:
        self.server.says = None

    async def begin_epoch(self) -> None:
        self.server.epoch += 1

    async def set_clock(self, seconds: float) -> None:
        self.server.ledger.now += int(seconds * SECOND)

    async def go_away(self) -> None:
        await self.relay.stop()

    async def come_back(self) -> None:
        await self.relay.start()

    def stall(self) -> None:
        self.relay.stall()

    def flow(self) -> None:
        self.relay.flow()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FeedServer]:
    made = FeedServer(enrolled().given(workspace("w2")))
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def side(server: FeedServer) -> AsyncIterator[Side]:
    relay = Relay(server.port)
    await relay.start()
    yield HttpSide(server, relay)
    await relay.stop()


class TestHttp(SourceSuite):
    """The feed."""


# -- strangers -----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def followed(side: Side, tmp_path: Path) -> AsyncIterator[Followed]:
    made = Followed(side, tmp_path / "replica")
    await made.until_live()
    yield made
    made.follower.close()
    await made.source.close()


def compressed(body: bytes, coding: str = "gzip") -> bytes:
    return http(200, body, content_encoding=coding)


def of_another_key(page: Page) -> bytes:
    return http(200, signed(page, Signer("consent.test/feed", b"\x07" * 32)))


def in_another_order(page: Page) -> bytes:
    return http(200, signed(msgspec.structs.replace(page, rows=list(page.rows)[::-1])))


def under_its_hash(page: Page) -> bytes:
    """By another key, which says that it is the pinned one."""
    other = decode_signed(signed(page, Signer("consent.test/feed", b"\x07" * 32)))
    lied = Signed(other.message, SIGNER.verifier.key_hash, other.signature)
    return http(200, encode_signed(lied))


def tampered(page: Page) -> bytes:
    return http(200, signed(page).replace(b"workspace", b"workspacf"))


STRANGERS: dict[str, tuple[str, Callable[[Page], bytes]]] = {
    "a page of HTML": ("halted", lambda page: http(200, b"<html>welcome</html>", "text/html")),
    "JSON": ("halted", lambda page: http(200, b'{"rows":[]}', "application/json")),
    "nothing": ("halted", lambda page: http(200, b"")),
    "zeros": ("halted", lambda page: http(200, b"\x00" * 100)),
    "another key": ("halted", of_another_key),
    "another key that says it is the pinned one": ("halted", under_its_hash),
    "rows in another order": ("halted", in_another_order),
    "a byte changed": ("halted", tampered),
    "a signed page that is cut": ("halted", lambda page: http(200, signed(page)[:-1])),
    "gzip that is cut": ("halted", lambda page: compressed(gzip.compress(signed(page))[:-9])),
    "gzip that is none": ("halted", lambda page: compressed(b"no gzip")),
    "a coding nobody asked for": ("halted", lambda page: compressed(signed(page), "br")),
    "a bomb": ("halted", lambda page: compressed(gzip.compress(b"\x00" * (PAGE_BYTES_MAX + 1), 1))),
    "a bomb as a refusal": (
        "live",
        lambda page: http(503, gzip.compress(b"\x00" * 10_000_000), "text/html", content_encoding="gzip"),
    ),
    "a redirect": ("live", lambda page: http(302, b"", location="http://127.0.0.1:1/v1/feed/changes")),
    "a part": ("live", lambda page: http(206, signed(page))),
    "no content": ("live", lambda page: http(204, b"")),
    "a gateway's page": ("live", lambda page: http(502, b"<html>bad gateway</html>", "text/html")),
    "a refusal that is no problem": ("live", lambda page: http(409, b'["forked"]', "application/json")),
    "no HTTP": ("live", lambda page: b"\x16\x03\x01 what\r\n\r\n"),
}
"""What is said for a page, and what becomes of the gate at once: `live` is as fresh as what it had."""


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_given_a_stranger_then_nothing_that_it_says_is_applied_and_the_next_true_word_is(
    server: FeedServer, followed: Followed, stranger: str
) -> None:
    state, says = STRANGERS[stranger]
    position = followed.replica.position
    server.ledger.given(opt_out(), workspace("w3"))
    server.says = lambda after: says(server.page(after))
    assert await followed.step() > 0
    assert followed.follower.why and followed.replica.position == position
    assert followed.state == state or (state == "live" and followed.state == "stale")
    assert state == "live" or not followed.gate.check("acme")
    await followed.until(lambda: not followed.gate.check("w2"))
    assert followed.replica.position == position
    server.says = None
    await followed.until(lambda: bool(followed.gate.check("w3")))
    assert not followed.gate.check("acme") and not followed.follower.why


@pytest.mark.parametrize("echo", ["", "of another question"])
async def test_given_a_page_that_something_between_had_kept_then_it_is_no_answer_and_keeps_nothing_fresh(
    server: FeedServer, followed: Followed, echo: str
) -> None:
    kept = server.told(Token(ORIGIN, EPOCH, followed.replica.position))
    server.ledger.given(opt_out())
    server.says, server.echo = lambda after: kept, lambda question: echo
    assert await followed.step() > 0
    assert "another question" in followed.follower.why
    await followed.until(lambda: not followed.gate.check("acme"))
    assert followed.gate.check("acme").reasons[0].code == "stale"
    server.says, server.echo = None, lambda question: question
    await followed.until_live()
    assert not followed.gate.check("acme") and followed.gate.check("w2")


async def in_drops(said: bytes) -> AsyncIterator[bytes]:
    for number in range(len(said)):
        yield said[number : number + 1]
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("part", ["all of it", "the body"])
async def test_given_one_who_answers_byte_by_byte_for_ever_then_the_gate_stops_listening(
    server: FeedServer, followed: Followed, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_source, "ANSWER_SECONDS_MAX", 0.4)
    position = followed.replica.position
    server.ledger.given(opt_out())

    async def slowly(after: Token | None) -> AsyncIterator[bytes]:
        told = server.told(after)
        head = told.index(b"\r\n\r\n") + 4 if part == "the body" else 0
        yield told[:head]
        async for drop in in_drops(told[head:]):
            yield drop

    server.says = slowly
    assert await followed.step() > 0
    assert "not whole" in followed.follower.why and followed.replica.position == position
    await followed.until(lambda: not followed.gate.check("w2"))
    server.says = None
    await followed.until_live()
    assert not followed.gate.check("acme")


@pytest.mark.parametrize("announced", [True, False])
async def test_given_a_body_that_never_ends_then_it_is_cut_off_at_the_largest_page(
    server: FeedServer, followed: Followed, announced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_source, "PAGE_BYTES_MAX", 1_000_000)
    sent = 0

    async def endless(after: Token | None) -> AsyncIterator[bytes]:
        nonlocal sent
        length = "content-length: 99999999999\r\n" if announced else ""
        yield f"HTTP/1.1 200 So\r\ncontent-type: {MEDIA_TYPE}\r\n{length}\r\n".encode()
        while True:
            sent += 100_000
            yield bytes(100_000)

    server.says = endless
    assert await followed.step() > 0
    assert "more than 1000000 bytes" in followed.follower.why and followed.state == "halted"
    assert sent < 50_000_000
    server.says = None
    await followed.until_live()


async def test_given_a_page_that_ends_before_it_should_then_it_is_asked_again(
    server: FeedServer, followed: Followed
) -> None:
    async def cut(after: Token | None) -> AsyncIterator[bytes]:
        yield server.told(after)[:-10]

    server.ledger.given(opt_out())
    server.says = cut
    assert await followed.step() > 0
    assert followed.state != "halted"
    server.says = None
    await followed.until(lambda: not followed.gate.check("acme"))


async def test_given_a_key_that_is_revoked_then_permits_end_when_stale_and_it_says_that_the_key_was_refused(
    server: FeedServer, followed: Followed
) -> None:
    server.keys = set()
    server.ledger.given(opt_out())
    await followed.until(lambda: not followed.gate.check("w2") and bool(followed.follower.why))
    assert followed.gate.check("w2").reasons[0].code == "stale"
    assert "refused the API key: unauthenticated: " in followed.follower.why
    server.keys = {KEY}
    await followed.until_live()
    assert not followed.gate.check("acme")


# -- how often it is asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "given", "least"),
    [
        (503, "7", 7.0),
        (429, "3", 3.0),
        (503, "999999999", RETRY_AFTER_SECONDS_MAX),
        (503, "9" * 400, 0.0),
        (503, "-5", 0.0),
        (503, "Fri, 31 Dec 2099 23:59:59 GMT", 0.0),
        (503, "soon", 0.0),
    ],
)
async def test_given_a_ledger_that_says_when_to_come_back_then_it_is_asked_no_earlier_and_not_all_at_once(
    server: FeedServer, followed: Followed, status: int, given: str, least: float
) -> None:
    server.says = lambda after: http(status, b"{}", retry_after=given)
    waits = [await followed.step() for _ in range(5)]
    assert all(least <= wait <= least + WAIT_SECONDS_MAX for wait in waits)
    assert len(set(waits)) > 1


async def test_given_one_who_says_at_once_that_there_is_nothing_then_it_is_not_asked_without_a_pause(
    server: FeedServer, followed: Followed
) -> None:
    server.says = server.told
    asked, began = len(server.asked), time.monotonic()
    for _ in range(4):
        await followed.step()
    assert len(server.asked) - asked <= 2 + (time.monotonic() - began) / http_source.IDLE_SECONDS_MIN
    assert followed.gate.check("w2")


async def test_given_an_outage_while_a_snapshot_is_fetched_then_it_goes_on_where_it_stopped(
    server: FeedServer, side: Side, tmp_path: Path
) -> None:
    made = Followed(side, tmp_path / "other")
    server.says = lambda after: server.told_in_part(after, 1)
    for _ in range(2):
        assert await made.step() == 0
    begun = server.asked[-1]
    server.says = lambda after: problem("overloaded", retry_after="1")
    assert await made.step() >= 1
    assert not made.gate.check("w2")
    server.ledger.given(opt_out())  # what changes meanwhile comes later in the same run
    server.says = lambda after: server.told_in_part(after, 1)
    asked = len(server.asked)
    await made.until_live()
    assert begun is not None and server.asked[asked] is not None
    assert server.asked.count(None) == 1 and not made.gate.check("acme")
    made.follower.close()
    await made.source.close()
