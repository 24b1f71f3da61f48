"""The publisher as a process, on real PostgreSQL and NATS: killed, replaced, and lied to by a superuser."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from consent_domain import merkle
from consent_domain.errors import ConsentError
from consent_domain.notes import parse_note
from consent_gate.checkpoints import open_checkpoint
from consent_gate.signatures import Verifier
from consent_ledger.identity import SystemIds
from consent_ledger.importer import Importer
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.guard import Guard
from consent_local.children import free_port
from consent_plumbing.nats import CHECKPOINT_WANTED_SUBJECT, Bus
from publishing import ORIGIN, require_tiles
from writing import ADMIN, Desk, desk, enrol

PROGRAM = str(Path(sys.executable).with_name("consent-ledger"))


class Place:
    """Where one ledger publishes, by the environment of its processes."""

    def __init__(self, path: Path, database_url: str, nats_url: str) -> None:
        self.database_url = database_url
        self.nats_url = nats_url
        self.path = path
        self.folder = LogFolder(path / "log")
        self.environment = {name: value for name, value in os.environ.items() if "CONSENT_" not in name} | {
            "CONSENT_DATABASE_URL": database_url,
            "CONSENT_NATS_URL": nats_url,
            "CONSENT_ORIGIN": ORIGIN,
            "CONSENT_LOG_KEY_FILE": str(path / "log.key"),
            "CONSENT_SIGNER_STATE_FILE": str(path / "signer.sqlite"),
            "CONSENT_LOG_FOLDER": str(path / "log"),
        }

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *words],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    def told(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        log = (self.path / "publisher.log").open("ab")
        with log:
            return subprocess.Popen(
                [PROGRAM, "publish"], env=self.environment | environment, stdout=log, stderr=log
            )

    @contextmanager
    def publishing(self, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start(**environment)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)

    @property
    def size(self) -> int:
        checkpoint = self.folder.checkpoint(1)
        return -1 if checkpoint is None else checkpoint.size

    async def until(self, what: Callable[[], bool], seconds_max: float = 15.0) -> float:
        begun = time.monotonic()
        while not what():
            assert time.monotonic() - begun < seconds_max, (self.path / "publisher.log").read_text()[-3000:]
            await asyncio.sleep(0.01)
        return time.monotonic() - begun

    async def audit(self, keys: list[Verifier] | None = None) -> int:
        """The published log against the events of the database; its size."""
        note = self.folder.note(1)
        assert note is not None
        known = keys or [Verifier.parse(self.told("keys", "log")["verifierKey"])]
        checkpoint = open_checkpoint(note, known).checkpoint
        rows = await self.sql("SELECT body FROM ledger.events ORDER BY position LIMIT $1", checkpoint.size)
        bodies = [row["body"] for row in rows]
        require_tiles(self.folder, 1, bodies)
        hashes: list[bytes] = []
        for number, body in enumerate(bodies):
            merkle.append(number, hashes, merkle.leaf_hash(body))
        assert merkle.root(hashes) == checkpoint.root
        return checkpoint.size

    async def sql(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url, timeout=10, command_timeout=20)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close(timeout=10)

    async def as_superuser(self, *statements: str) -> None:
        """What the triggers forbid to everybody else."""
        connection = await asyncpg.connect(self.database_url, timeout=10, command_timeout=20)
        try:
            await connection.execute("SET session_replication_role = replica")
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close(timeout=10)


@pytest.fixture
def place(tmp_path: Path, migrated_database_url: str, nats_url: str) -> Place:
    found = Place(tmp_path, migrated_database_url, nats_url)
    assert found.run("keys", "new").returncode == 0
    return found


@asynccontextmanager
async def writing(place: Place) -> AsyncIterator[Desk]:
    guard = Guard(place.folder)
    async with desk(place.database_url, require_current=guard.require_current) as found:
        yield found


async def enrol_many(ledger: Desk, first: int, count: int) -> None:
    outcomes = await asyncio.gather(*(ledger.write(enrol(f"w{n}")) for n in range(first, first + count)))
    assert {outcome.status for outcome in outcomes} == {"applied"}
    # The first command of a ledger records that it was opened, too: positions are one more than commands.


async def test_given_a_publisher_when_events_are_recorded_then_a_checkpoint_covers_them(
    place,
):
    async with writing(place) as ledger:
        with place.publishing():
            await place.until(lambda: place.size == 0)
            await asyncio.sleep(1.1)
            await enrol_many(ledger, 0, 10)
            await place.until(lambda: place.size == 11)
            await enrol_many(ledger, 10, 300)
            await place.until(lambda: place.size == 311)
            assert await place.audit() == 311
            bus = Bus(place.nats_url, "test")
            await place.until(lambda: bus.is_connected)
            await asyncio.sleep(1.0)
            await enrol_many(ledger, 310, 1)
            await place.until(lambda: place.size == 312)
            await enrol_many(ledger, 311, 1)
            await bus.publish(CHECKPOINT_WANTED_SUBJECT, b"")
            await place.until(lambda: place.size == 313)
            await bus.close()
            await place.until(lambda: (said := place.folder.status()) is not None and said.size == 313)


async def test_given_kills_at_random_when_events_keep_coming_then_a_standby_goes_on_and_one_history_is_signed(
    place,
):
    chance = random.Random(7)
    notes: list[bytes] = []
    async with writing(place) as ledger:
        processes = [place.start(), place.start()]
        try:
            for round_ in range(6):
                await enrol_many(ledger, round_ * 150, 150)
                await asyncio.sleep(chance.uniform(0.05, 0.5))
                victim = processes.pop(0)
                victim.kill()
                victim.wait(10)
                processes.append(place.start())
                notes += [note for note in [place.folder.note(1)] if note]
            await place.until(lambda: place.size == 901)
            assert await place.audit() == 901
        finally:
            for process in processes:
                process.kill()
                process.wait(10)
    keys = [Verifier.parse(place.told("keys", "log")["verifierKey"])]
    bodies = [row["body"] for row in await place.sql("SELECT body FROM ledger.events ORDER BY position")]
    for note in notes:
        seen = open_checkpoint(note, keys).checkpoint
        hashes: list[bytes] = []
        for number, body in enumerate(bodies[: seen.size]):
            merkle.append(number, hashes, merkle.leaf_hash(body))
        assert merkle.root(hashes) == seen.root


async def test_given_a_superuser_who_deletes_the_last_events_when_somebody_appends_then_it_is_refused(place):
    async with writing(place) as ledger:
        await enrol_many(ledger, 0, 30)
        [head] = await place.sql("SELECT range FROM ledger.head")
        await enrol_many(ledger, 30, 10)
        with place.publishing():
            await place.until(lambda: place.size == 41)
        # As after restoring a backup.
        await place.as_superuser(
            "DELETE FROM ledger.events WHERE position > 31",
            f"UPDATE ledger.head SET position = 31, range = '\\x{head['range'].hex()}'",  # noqa: S608
        )
        await asyncio.sleep(1.1)
        outcome = await ledger.write(enrol("late"))
        assert outcome.status == "not_applied" and outcome.error_code == "unavailable"
        assert "consent-ledger recover" in outcome.error_detail
        with place.publishing():
            await place.until(lambda: place.folder.halted() is not None)
        halt = place.folder.halted()
        assert halt is not None and halt.reason == "behind"
        assert place.size == 41


async def test_given_a_superuser_who_changes_an_event_when_it_would_be_signed_then_everything_halts(place):
    async with writing(place) as ledger:
        with place.publishing():
            await enrol_many(ledger, 0, 10)
            await place.until(lambda: place.size == 11)
        await enrol_many(ledger, 10, 10)
        await place.as_superuser("UPDATE ledger.events SET body = body || ' ' WHERE position = 15")
        with place.publishing():
            await place.until(lambda: place.folder.halted() is not None)
        halt = place.folder.halted()
        assert halt is not None and halt.reason == "event_damaged" and "15" in halt.detail
        assert place.size == 11
        await asyncio.sleep(1.1)
        outcome = await ledger.write(enrol("late"))
        assert outcome.error_code == "unavailable" and "event_damaged" in outcome.error_detail


async def test_given_a_rotation_by_the_command_when_the_overlap_ends_then_only_the_new_key_signs(place):
    async with writing(place) as ledger:
        with place.publishing():
            await enrol_many(ledger, 0, 5)
            await place.until(lambda: place.size == 6)
            rotated = place.told("keys", "rotate", "--overlap", "4s")
            old, new = Verifier.parse(rotated["oldKey"]), Verifier.parse(rotated["newKey"])
            again = place.run("keys", "rotate")
            assert again.returncode == 1 and "overlap lasts" in again.stderr
            await place.until(lambda: place.size == 7)
            assert signers(place) == {old.key_hash, new.key_hash}
            await asyncio.sleep(4.2)
            await enrol_many(ledger, 5, 1)
            await place.until(lambda: place.size == 8)
            assert signers(place) == {new.key_hash}
            told = place.told("keys", "log")
            assert told["verifierKey"] == str(new) and told["verifierKeys"] == [str(old), str(new)]
            # And once more, now that the old key's time is over.
            third = Verifier.parse(place.told("keys", "rotate", "--overlap", "1h")["newKey"])
            await place.until(lambda: place.size == 9)
            assert signers(place) == {new.key_hash, third.key_hash}
            assert await place.audit([third]) == 9


def test_given_a_key_when_made_again_then_it_is_not_overwritten(place):
    before = (place.path / "log.key").read_bytes()
    again = place.run("keys", "new")
    assert again.returncode == 1 and "not overwritten" in again.stderr
    assert (place.path / "log.key").read_bytes() == before
    assert (place.path / "log.key").stat().st_mode & 0o777 == 0o600
    other = place.run("keys", "new", "--key-file", str(place.path / "other.key"))
    assert other.returncode == 0 and other.stdout.startswith(f"{ORIGIN}+")


async def test_given_the_key_in_the_environment_when_published_then_it_signs(place):
    seed = (place.path / "log.key").read_bytes()
    given = {"CONSENT_LOG_KEY_FILE": "", "CONSENT_LOG_KEY": base64.b64encode(seed).decode()}
    async with writing(place) as ledger:
        await enrol_many(ledger, 0, 3)
        with place.publishing(**given):
            await place.until(lambda: place.size == 4)
        assert await place.audit() == 4
    both = place.run("publish", CONSENT_LOG_KEY=given["CONSENT_LOG_KEY"])
    assert both.returncode == 1 and "set one" in both.stderr


async def test_given_a_halted_log_when_a_file_is_imported_then_it_is_refused_and_says_why(place):
    async def lines() -> AsyncIterator[bytes]:
        yield b'{"command":"import-organisation","organisation":"acme"}\n'

    place.folder.halt("event_damaged", "the event at position 3 was changed")
    async with writing(place) as ledger:
        guard = Guard(place.folder)
        importer = Importer(
            ledger.store, ORIGIN, SystemIds(), ledger.floors, lambda _: None, guard.require_current
        )
        with pytest.raises(ConsentError, match="position 3 was changed") as raised:
            await importer.run(lines(), ADMIN)
        assert raised.value.code == "unavailable"


async def test_given_a_port_for_metrics_when_the_log_halts_then_prometheus_is_told(place):
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    async with writing(place) as ledger:
        await enrol_many(ledger, 0, 3)
        with place.publishing(CONSENT_METRICS_PORT=str(port)):
            await place.until(lambda: place.size == 4)
            found = await asyncio.to_thread(httpx.get, url)
            assert "consent_log_size 4.0" in found.text and "consent_log_halted 0.0" in found.text
            place.folder.halt("test", "somebody found something")
            await asyncio.sleep(1.5)
            found = await asyncio.to_thread(httpx.get, url)
            assert "consent_log_halted 1.0" in found.text


async def test_given_a_log_that_nobody_began_when_the_process_starts_then_it_says_what_to_do_and_ends(place):
    async with writing(place) as ledger:
        await enrol_many(ledger, 0, 3)
    (place.path / "signer.sqlite").unlink()
    ended = place.run("publish")
    assert ended.returncode == 1 and "--begin" in ended.stderr


def signers(place: Place) -> set[bytes]:
    note = place.folder.note(1)
    assert note is not None
    return {signature.key_hash for signature in parse_note(note).signatures}


async def test_given_a_ledger_that_nobody_claimed_when_it_is_claimed_then_it_is_published(place):
    with place.publishing():
        await asyncio.sleep(1.5)
        assert place.size == -1
        async with writing(place) as ledger:
            await enrol_many(ledger, 0, 1)
            await place.until(lambda: place.size == 2)
