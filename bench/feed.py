"""The feed: processor time of one worker per follower, idle and beside changes; bytes that a change costs.

.venv/bin/python bench/feed.py [--seconds 8] [--followers 1000] [--json FILE]

The limit is an application that lets requests wait as long as the feed does and answers them with fixed
bytes, served alike, for as many connections. Followers are connections that read what comes.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import feed_load
import httpx
import psutil
from consent_domain.feed import decode_page, decode_signed
from consent_domain.identifiers import Token
from feed_load import Followed, Following
from harness import arguments
from http_servers import BARE_OPTIONS, ROOT
from http_service import Caller, enrol, free_port, publish_first_policy
from stack import Stack, running_stack, until
from steady_load import OPT_OUT
from table import Row, report

FEW = 100
CHANGES_A_SECOND = 4
FLAT = 1.25
EXTRA_SECONDS_MAX = 60.0
MICROSECONDS = 1_000_000


class Server(NamedTuple):
    """Who is followed on `port` of loopback: the process `pid`, with an API key unless it reads nothing."""

    port: int
    pid: int
    key: str = ""
    after: str = "0"


@contextmanager
def bare() -> Iterator[Server]:
    """granian with the bare application, one worker, as the ledger is served."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "granian", "bare_feed:application", "--port", str(port), *BARE_OPTIONS],
        cwd=ROOT / "bench",
    )
    try:
        until(lambda: _answers(port), "the bare application answers")
        yield Server(port, psutil.Process(process.pid).children()[0].pid)
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/").is_success
    except httpx.TransportError:
        return False


def follow(server: Server, followers: int, seconds: float, beside: Callable[[], None]) -> Followed:
    """Follow with so many connections while `beside` goes on, which is called again and again."""
    asked = Following(server.port, followers, seconds, server.pid, server.key, server.after)
    process = feed_load.start(asked)
    while process.poll() is None:
        beside()
    return feed_load.result(process, EXTRA_SECONDS_MAX)


def used_by(server: Server, seconds: float, beside: Callable[[], None]) -> float:
    """Processor seconds a second that it takes without followers."""
    process, began = psutil.Process(server.pid), time.monotonic()
    before = process.cpu_times()
    while time.monotonic() - began < seconds:
        beside()
    after, took = process.cpu_times(), time.monotonic() - began
    return (after.user + after.system - before.user - before.system) / took


def a_follower(followed: Followed, followers: int, without: float) -> float:
    """Microseconds of processor time for each second that one follower follows."""
    return (followed.processor_seconds / followed.seconds - without) / followers * MICROSECONDS


class Changes:
    """Workspaces that leave and come back, so many changes a second, each by a call of its own."""

    def __init__(self, stack: Stack) -> None:
        self._client = httpx.Client(base_url=stack.url, timeout=20)
        self._key = {"authorization": f"Bearer {stack.keys['admin']}"}
        self._count = 0

    def one(self) -> None:
        """Enrol another workspace, and wait for the next."""
        self._count += 1
        body = {"workspace": f"comes-{self._count}", "plan": "business", "region": "eu"}
        self._client.post("/v1/workspaces", json=body, headers=self._key).raise_for_status()
        time.sleep(1 / CHANGES_A_SECOND)


class Change(NamedTuple):
    """One opt-out as a follower gets it: bytes of the answer, of the page in it, of the row's facts."""

    answer: int
    page: int
    facts: int


async def one_change(stack: Stack) -> Change:
    """What the opt-out of one workspace costs each follower."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        call = Caller(client, stack.keys)
        await enrol(call, "leaves")
        token, answer = await _until_quiet(call)
        told = asyncio.create_task(_page(call, token))
        await asyncio.sleep(0.1)
        await call.done("POST", "/v1/workspaces/leaves/opt-outs", json=OPT_OUT)
        answer = await told
        page = decode_page(decode_signed(answer.content).message)
        assert [row.id for row in page.rows] == ["leaves"], page
        (row,) = page.rows
        headers = sum(len(name) + len(value) + len(": \r\n") for name, value in answer.headers.raw)
        head = len("HTTP/1.1 200 OK\r\n\r\n") + headers
        return Change(head + len(answer.content), len(answer.content), len(row.facts))


async def _page(call: Caller, token: Token | None) -> httpx.Response:
    answer = await call("GET", "/v1/feed/changes", "pipeline", params={"after": str(token or 0)})
    assert answer.status_code == 200, answer.text
    return answer


async def _until_quiet(call: Caller) -> tuple[Token, httpx.Response]:
    """The token after all that has happened."""
    token = None
    while True:
        answer = await _page(call, token)
        page = decode_page(decode_signed(answer.content).message)
        if token is not None and not page.rows and page.watermark.position == page.through:
            return page.token, answer
        token = page.token


async def prepare(stack: Stack) -> str:
    """A policy, a workspace, and the token after them."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        call = Caller(client, stack.keys)
        await publish_first_policy(call)
        await enrol(call, "stays")
        return str((await _until_quiet(call))[0])


def cost(what: str, few: float, many: float, followers: int, note: str = "") -> Row:
    """The cost of a follower among many, beside that among few."""
    return Row(
        f"worker's processor time for a second of one follower of {followers:,}, {what}",
        many,
        "µs",
        f"of {FEW}",
        few,
        f"≤ {FLAT:.2f} ×",
        many <= FLAT * few,
        note,
    )


def measure(stack: Stack, limit: Server, followers: int, seconds: float) -> list[Row]:
    """The rows of the table."""
    token = asyncio.run(prepare(stack))
    change = asyncio.run(one_change(stack))
    port = int(stack.url.rpartition(":")[2])
    server = Server(port, stack.workers()[0], stack.keys["pipeline"], token)
    changes = Changes(stack)

    def nothing() -> None:
        time.sleep(0.1)

    rows = []
    for what, beside in (("idle", nothing), (f"{CHANGES_A_SECOND} changes a second", changes.one)):
        without = used_by(server, seconds, beside)
        one = follow(server, 1, seconds, beside)
        few = follow(server, FEW, seconds, beside)
        many = follow(server, followers, seconds, beside)
        errors = one.errors + few.errors + many.errors
        assert not errors, f"{errors} answers were no pages"
        note = (
            f"one alone {a_follower(one, 1, without):,.0f} µs; {many.answers / many.seconds:,.0f} answers/s, "
            f"in the busiest 20 ms {many.largest_share:.1f} × their mean; "
            f"the worker takes {without:.1%} of a core without followers"
        )
        rows.append(
            cost(what, a_follower(few, FEW, without), a_follower(many, followers, without), followers, note)
        )
        if beside is nothing:
            bare_many = follow(limit, followers, seconds, nothing)
            rows.append(
                Row(
                    f"the same beside the bare application's, {what}",
                    a_follower(many, followers, without),
                    "µs",
                    "bare ASGI that waits",
                    a_follower(bare_many, followers, 0.0),
                )
            )
    rows.append(
        Row(
            "bytes to each follower for the opt-out of one workspace",
            change.answer,
            "bytes",
            "the row's facts",
            change.facts,
            note=f"{change.page} of them the signed page",
        )
    )
    return rows


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--followers", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with running_stack(folder, 1) as stack, bare() as limit:
            rows = measure(stack, limit, given.followers, given.seconds)
        title = f"The feed, one worker, {given.followers:,} followers that share the cores"
        report(title, rows, folder, given.json)


if __name__ == "__main__":
    main()
