"""Witnesses that are dead, slow, lying or in order: none makes another wait, none is believed unverified."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from consent_domain.errors import ConsentError
from consent_domain.notes import parse_note, signature_line
from consent_domain.witness_policy import parse_policy
from consent_gate.checkpoints import open_checkpoint
from consent_gate.signatures import Cosigner
from consent_ledger.log.folder import WITNESSED
from consent_ledger.log.publication import Publication
from consent_ledger.log.witnesses import Witnesses
from consent_local.children import free_port
from publishing import MemoryLedger, Site, audit
from witnessed import key_files, serving

NAME = "witness.example/"
Answer = Callable[[bytes], Awaitable[tuple[int, str, bytes]]]


class Policed:
    """A site whose policy names witnesses at addresses, and a publisher that offers to them."""

    def __init__(self, site: Site, policy_text: str) -> None:
        self.site = site
        self.ledger = MemoryLedger()
        self.policy = parse_policy(policy_text)
        self.publication = Publication(site.folder, self.policy)
        self.publisher = site.publisher(self.ledger, publication=self.publication)
        self.witnesses = Witnesses(self.policy, self.publication.add_cosignatures)

    async def publish(self, count: int) -> int:
        """Record events, publish them, and offer the checkpoint; its size."""
        self.ledger.append(count)
        await self.site.publish_all(self.publisher)
        offered = self.publication.offered(1)
        assert offered is not None
        self.witnesses.offer(*offered)
        return self.site.published().size

    def cosigned_by(self, path: str = "checkpoint") -> set[str]:
        note = self.site.folder.note(1, path)
        if note is None:
            return set()
        nobody = self.policy._replace(quorum="none")
        return set(open_checkpoint(note, [self.site.verifier], nobody).cosigned_by)

    async def until(self, what: Callable[[], bool], seconds_max: float = 8.0) -> float:
        """Wait until it is so; how long it took."""
        begun = time.monotonic()
        while not what():
            assert time.monotonic() - begun < seconds_max, [one.status for one in self.witnesses.witnesses]
            await asyncio.sleep(0.02)
        return time.monotonic() - begun

    def state(self, name: str) -> str:
        return next(one.status.state for one in self.witnesses.witnesses if one.name == name)


@asynccontextmanager
async def policed(tmp_path: Path, policy_text: str) -> AsyncIterator[Policed]:
    found = Policed(Site(tmp_path / "site"), policy_text)
    task = asyncio.create_task(found.witnesses.run())
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[str]:
    """An HTTP server that says to every request what it is told to; its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split("\r\n")[0])
            status, kind, body = await answer(await reader.readexactly(length))
            lines = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
            writer.write(f"{lines}connection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def cosigner(name: str) -> Cosigner:
    return Cosigner(NAME + name, name.encode().ljust(32, b"."))


def line(name: str, url: str) -> str:
    return f"witness {name} {cosigner(name).verifier} {url}\n"


def honest(name: str) -> Answer:
    async def answer(body: bytes) -> tuple[int, str, bytes]:
        note = parse_note(body.partition(b"\n\n")[2])
        return 200, "text/plain", signature_line(cosigner(name).cosign(note.text, 1_800_000_000)).encode()

    return answer


def saying(status: int, kind: str, body: bytes) -> Answer:
    async def answer(_: bytes) -> tuple[int, str, bytes]:
        return status, kind, body

    return answer


async def test_given_real_witnesses_when_published_then_their_cosignatures_are_on_the_checkpoint(tmp_path):
    site = Site(tmp_path / "site")
    lines, keys, ports = "", [], []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        keys.append(key_files(tmp_path / str(number), f"{NAME}{number}"))
        ports.append(free_port())
        key = Cosigner(f"{NAME}{number}", keys[-1].read_bytes()).verifier
        lines += f"witness w{number} {key} http://127.0.0.1:{ports[-1]}/\n"
    policy = f"{lines}group both all w1 w2\nquorum both\n"
    log = ("--log", str(site.verifier))
    with serving(keys[0], ports[0], *log):
        async with policed(tmp_path, policy) as publishing:
            first = await publishing.publish(300)
            await publishing.until(lambda: publishing.cosigned_by() == {"w1"})
            assert site.folder.note(1, WITNESSED) is None, "one is not enough"
            assert "w2" in publishing.witnesses.lacking
            second = await publishing.publish(300)
            with serving(keys[1], ports[1], *log):
                # The second was down, and has seen nothing: the proof for it starts from nothing.
                await publishing.until(lambda: publishing.cosigned_by(WITNESSED) == {"w1", "w2"})
                assert first < second == site.folder.checkpoint(1, WITNESSED).size
                assert publishing.witnesses.lacking == ""
                audit(site, publishing.ledger)
                await publishing.publish(257)
                await publishing.until(lambda: publishing.cosigned_by() == {"w1", "w2"})
        # A new process knows nothing of what they have seen: 409 tells it.
        with serving(keys[1], ports[1], *log):
            async with policed(tmp_path, policy) as publishing:
                publishing.ledger.append(857)
                third = await publishing.publish(43)
                assert third == 900
                await publishing.until(lambda: site.folder.checkpoint(1, WITNESSED).size == 900)
                assert publishing.cosigned_by(WITNESSED) == {"w1", "w2"}


async def test_given_a_dead_a_slow_and_lying_witnesses_when_one_is_honest_then_nobody_waits_for_them(
    tmp_path,
):
    async def slow(body: bytes) -> tuple[int, str, bytes]:
        await asyncio.sleep(3.0)
        return await honest("slow")(body)

    async def forging(body: bytes) -> tuple[int, str, bytes]:
        note = parse_note(body.partition(b"\n\n")[2])
        other = note.text.replace("test", "best")
        return 200, "text/plain", signature_line(cosigner("forging").cosign(other, 1)).encode()

    async with (
        answering(honest("good")) as good,
        answering(slow) as slow_url,
        answering(forging) as forging_url,
        answering(honest("stranger")) as stranger,
        answering(saying(200, "text/plain", b"\xff garbage")) as garbage,
        answering(saying(200, "text/plain", b"x" * 100_000)) as endless,
        answering(saying(409, "text/plain", b"7\n")) as no_size,
        answering(saying(409, "text/x.tlog.size", b"-1\n")) as bad_size,
        answering(saying(409, "text/x.tlog.size", b"0\n")) as stubborn,
        answering(saying(409, "text/x.tlog.size", b"999999\n")) as ahead,
        answering(saying(500, "text/plain", b"")) as failing,
        answering(saying(302, "text/plain", b"")) as elsewhere,
    ):
        urls = {
            "good": good,
            "slow": slow_url,
            "dead": f"http://127.0.0.1:{free_port()}",
            "forging": forging_url,
            "misplaced": stranger,
            "garbage": garbage,
            "endless": endless,
            "nosize": no_size,
            "badsize": bad_size,
            "stubborn": stubborn,
            "ahead": ahead,
            "failing": failing,
            "elsewhere": elsewhere,
        }
        text = "".join(line(name, url) for name, url in urls.items()) + "quorum good\n"
        async with policed(tmp_path, text) as publishing:
            begun = time.monotonic()
            size = await publishing.publish(10)
            assert time.monotonic() - begun < 2.5, "publishing waits for no witness"
            took = await publishing.until(lambda: "good" in publishing.cosigned_by(WITNESSED))
            assert took < 2.5, "the honest one is not held up by the slow one"
            await publishing.until(lambda: publishing.cosigned_by() == {"good", "slow"})
            await publishing.until(lambda: publishing.state("dead") == "failing")
            states = {name: publishing.state(name) for name in urls}
            assert states == {
                "good": "cosigning",
                "slow": "cosigning",
                "dead": "failing",
                "forging": "refusing",
                "misplaced": "refusing",
                "garbage": "refusing",
                "endless": "refusing",
                "nosize": "refusing",
                "badsize": "refusing",
                "stubborn": "refusing",
                "ahead": "ahead",
                "failing": "failing",
                "elsewhere": "refusing",
            }
            assert publishing.site.folder.checkpoint(1, WITNESSED).size == size
            assert publishing.site.folder.halted() is None, "what a witness claims halts nothing"


async def test_given_a_quorum_that_needs_a_slow_witness_when_checkpoints_come_faster_then_some_satisfy_it(
    tmp_path,
):
    async def slow(body: bytes) -> tuple[int, str, bytes]:
        await asyncio.sleep(0.7)
        return await honest("slow")(body)

    async with answering(honest("good")) as good, answering(slow) as slow_url:
        text = line("good", good) + line("slow", slow_url) + "group both all good slow\nquorum both\n"
        async with policed(tmp_path, text) as publishing:
            sizes = set()
            for _ in range(15):
                sizes.add(await publishing.publish(3))
                await asyncio.sleep(0.15)
            assert publishing.cosigned_by(WITNESSED) == {"good", "slow"}
            witnessed = publishing.site.folder.checkpoint(1, WITNESSED)
            assert witnessed is not None and 9 < witnessed.size <= 45 and witnessed.size in sizes
            audit(publishing.site, publishing.ledger)


async def test_given_a_restart_when_a_checkpoint_has_cosignatures_then_they_are_kept(tmp_path):
    async with answering(honest("good")) as good:
        text = line("good", good) + line("dead", f"http://127.0.0.1:{free_port()}") + "quorum good\n"
        async with policed(tmp_path, text) as publishing:
            await publishing.publish(5)
            await publishing.until(lambda: publishing.cosigned_by() == {"good"})
            ledger = publishing.ledger
    async with answering(honest("dead")) as risen:
        text = line("good", f"http://127.0.0.1:{free_port()}") + line("dead", risen) + "quorum good\n"
        async with policed(tmp_path, text) as publishing:
            publishing.ledger = ledger
            publishing.publisher = publishing.site.publisher(ledger, publication=publishing.publication)
            await publishing.publish(0)
            await publishing.until(lambda: publishing.cosigned_by() == {"good", "dead"})


async def test_given_no_policy_when_published_then_every_checkpoint_satisfies_it(tmp_path):
    async with policed(tmp_path, "quorum none\n") as publishing:
        await publishing.publish(5)
        assert publishing.site.folder.checkpoint(1, WITNESSED) == publishing.site.folder.checkpoint(1)


def test_given_a_policy_that_cannot_be_read_when_loaded_then_it_is_refused(tmp_path):
    from consent_ledger.log.publication import load_policy

    with pytest.raises(ConsentError):
        load_policy(tmp_path / "missing")
    (tmp_path / "policy").write_text("quorum nobody-knows\n")
    with pytest.raises(ConsentError):
        load_policy(tmp_path / "policy")
