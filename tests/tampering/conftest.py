"""One honest ledger that is attacked and put back, and copies of it for attacks that cannot be taken back."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from attacked import (
    OUT,
    PURPOSE,
    Honest,
    Paused,
    Place,
    Rewritten,
    Watching,
    kinds,
    make_history,
    remembered,
    until,
)
from consent_domain.events import RecordedBy, WorkspaceChanged
from consent_domain.merkle import EMPTY_ROOT
from consent_gate.gate import Gate
from consent_gate.witness.state import open_state
from http_service import free_port, make_keys
from servers import fresh_database, temporary_folder
from witnessed import key_files, serving


@pytest_asyncio.fixture(scope="session")
async def databases(postgres_url: str, migrated_database_template: str) -> AsyncIterator[list[str]]:
    """Four ledgers' databases, empty and migrated."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(fresh_database(postgres_url, template=migrated_database_template))
            for _ in range(4)
        ]


@pytest.fixture(scope="session")
def honest(databases: list[str], nats_url: str) -> Iterator[Honest]:
    """With its history recorded, published, cosigned and looked at once."""
    with temporary_folder() as folder, ExitStack() as stack:
        keys = asyncio.run(make_keys(databases[0]))
        place = Place(folder / "honest", databases[0], nats_url, keys)
        witness, port = key_files(folder), free_port()
        stack.enter_context(serving(witness, port, "--log", place.log_key))
        _, verifier = open_state(Path(f"{witness}.state"))
        place.policy.write_text(f"witness w {verifier} http://127.0.0.1:{port}\nquorum w\n")
        process = stack.enter_context(place.publishing())
        projector = stack.enter_context(place.projecting())
        stack.enter_context(place.serving())
        asyncio.run(make_history(place.url, keys))
        place.until_published()
        place.until_witnessed()
        memory = folder / "memory"
        assert kinds(place.look(memory)) == set()
        gate = Gate.connect(
            place.url, keys["pipeline"], purpose=PURPOSE, replica_dir=folder / "gate", max_staleness=3.0
        )
        stack.callback(gate.close)
        until(lambda: gate.check("initech"), "the gate permits")
        watching = stack.enter_context(Watching(place, gate))
        yield Honest(place, Paused(process), Paused(projector), gate, memory, watching)


@pytest.fixture
def honestly(honest: Honest, tmp_path: Path) -> Iterator[Honest]:
    """The honest ledger, and a memory of the test's own; put back at the end, nobody wrongly permitted."""
    before, asked = honest.place.she.ledger(), honest.watching.asked
    yield honest._replace(memory=remembered(honest, tmp_path))
    until(lambda: honest.watching.asked > asked + len(OUT), "everybody was asked about meanwhile")
    after = honest.place.she.ledger()
    if honest.place.halt is not None or after.events[: len(before.events)] != before.events:
        honest.place.put_back(before)
    assert honest.watching.permits == []


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those that a test gives, and no long waits for a publisher that is not there."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "TOKEN", "CONFIG", "FEED_KEY", "REPLICA", "VERIFIER_KEY", "WEBHOOK"):
        monkeypatch.delenv(f"CONSENT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("consent_gate.audit.monitor.look.CATCH_UP_SECONDS", 0.5)


@pytest.fixture(scope="session")
def accomplice(
    honest: Honest, databases: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A copy that is served, and whose publisher signs when a test says so."""
    place = honest.place.copy(tmp_path_factory.mktemp("accomplice") / "place", databases[1])
    with place.serving():
        yield place


@pytest.fixture(scope="session")
def rewritten(
    honest: Honest, databases: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rewritten]:
    """A copy in which `acme` never opted out: rewritten, signed by the log's own key, and served.

    She has the database, the log's folder and key, and the signer's memory; not the witness.
    """
    honest.place.until_witnessed()
    place = honest.place.copy(tmp_path_factory.mktemp("rewritten") / "place", databases[2])
    ledger = place.she.ledger()
    row = ledger.event("workspace/acme", "opt-out-requested.v1")
    changed = WorkspaceChanged(
        recorded_by=RecordedBy(principal="staff-1", authentication="api_key"),
        effective_at=row.recorded_at,
        plan="business",
        region="eu",
    )
    place.she.write(ledger.with_event(row.exchanged(changed)).fitting())
    step = asyncio.run(place.host.publish())
    halt = place.halt
    place.host.log.clear_halt()
    shutil.rmtree(place.folder / "log")
    with sqlite3.connect(place.folder / "signer.sqlite") as state:
        state.execute("UPDATE signed SET size = 0, root = ?", (EMPTY_ROOT,))
    state.close()
    with place.publishing(), place.serving():
        place.until_published()
        yield Rewritten(place, step, halt)


@pytest.fixture
def copied(honest: Honest, databases: list[str], tmp_path: Path) -> Place:
    """A copy that nobody serves or publishes."""
    return honest.place.copy(tmp_path / "copied", databases[3])
