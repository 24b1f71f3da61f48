"""Importing: lines of any quality, cut anywhere, again after a crash, and with others in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from consent_domain.batch import Committed
from consent_domain.commands import (
    Applicant,
    Command,
    EarlierOptOut,
    ImportOrganisation,
    ImportPolicy,
    ImportWorkspace,
)
from consent_domain.errors import ConsentError
from consent_domain.purposes import Selector
from consent_ledger import importer as importer_module
from consent_ledger.identity import SystemIds
from consent_ledger.importer import LINE_BYTES_MAX, Importer, Summary
from consent_ledger.seams import CommitUnknown, Store
from consent_ledger.store import PostgresStore
from writing import ADMIN, ORIGIN, RULES, Desk, Interrupted, OpenLedger, audit, desk, enrol, fetch, terminate

SINCE = datetime(2020, 1, 1, tzinfo=UTC)


def workspace(name: str, **changes: object) -> ImportWorkspace:
    given: dict[str, object] = {"plan": "free", "region": "eu", "customer_since": SINCE}
    return ImportWorkspace(workspace=name, **(given | changes))  # type: ignore[arg-type]


def earlier(processed: bool = True) -> EarlierOptOut:
    return EarlierOptOut(
        selector=Selector(all=True),
        received_at=SINCE + timedelta(days=5),
        applicant=Applicant(role="owner", authority="verified"),
        processed_at=SINCE + timedelta(days=9) if processed else None,
    )


POLICY = ImportPolicy(
    version="1",
    title="Principles",
    text_sha256="0" * 64,
    published_at=SINCE,
    effective_at=SINCE,
    direction="stricter",
    why="The first",
    rules=RULES,
)
HISTORY: list[Command] = [
    POLICY,
    ImportOrganisation(organisation="acme", opt_outs=[earlier(processed=False)]),
    workspace("w1", organisation="acme"),
    workspace("w2", opt_outs=[earlier(), earlier(processed=False)]),
]


def lines(commands: list[Command]) -> bytes:
    return b"".join(msgspec.json.encode(command) + b"\n" for command in commands)


async def in_parts(data: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def an_importer(
    desk_: Desk, store: Store, on_committed: Callable[[Committed], None] | None = None
) -> Importer:
    return Importer(store, ORIGIN, SystemIds(), desk_.floors, on_committed or desk_.committed.append)


async def run(
    desk_: Desk,
    data: bytes,
    size: int = 1 << 16,
    on_committed: Callable[[Committed], None] | None = None,
) -> Summary:
    store = PostgresStore(desk_.pool)
    try:
        return await an_importer(desk_, store, on_committed).run(in_parts(data, size), ADMIN)
    finally:
        await store.close()


# -- lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
async def test_given_a_history_cut_anywhere_when_imported_then_every_line_is_there(
    migrated_database_url: str, size: int
) -> None:
    async with desk(migrated_database_url) as desk_:
        summary = await run(desk_, lines(HISTORY).rstrip(b"\n"), size)
        assert (summary.lines, summary.applied, summary.refused) == (4, 4, 0)
        assert (summary.first_position, summary.last_position) == ("1", str(summary.events))
        assert summary.token == f"{ORIGIN}/1/{summary.events}"
        assert sum(len(batch.bodies) for batch in desk_.committed) == summary.events
        assert desk_.floors.floor_of("anybody", [], "p") == summary.events
        assert (await desk_.write(enrol("w3"))).status == "applied", "which opens the ledger"
    rows = await fetch(migrated_database_url, "SELECT type FROM ledger.events WHERE stream = 'workspace/w2'")
    assert [row["type"] for row in rows] == [
        "workspace-enrolled.v1",
        "opt-out-requested.v1",
        "opt-out-processed.v1",
        "opt-out-requested.v1",
    ]
    assert await audit(migrated_database_url) == summary.events + 2


async def test_given_bad_lines_among_good_when_imported_then_each_is_refused_with_its_number(
    migrated_database_url: str,
) -> None:
    data = b"".join(
        [
            lines([workspace("w1")]),
            b"not json\n",
            b'{"command":"enrol-workspace","workspace":"x","plan":"p","region":"r"}\n',
            b"\n",
            lines(
                [
                    workspace("w1", plan="other"),
                    workspace("no spaces"),
                    workspace("w2", organisation="nobody"),
                ]
            ),
            b'{"command":"import-workspace","workspace":"w3","plan":"p","region":"r","customerSince":"2020-01-01T00:00:00"}\n',
            b"[" * 10_000 + b"\n",
            b"\xff\xfe\n",
            lines([workspace("later", customer_since=datetime(2999, 1, 1, tzinfo=UTC)), workspace("w4")]),
        ]
    )
    async with desk(migrated_database_url) as desk_:
        summary = await run(desk_, data)
    assert (summary.lines, summary.applied, summary.refused, summary.events) == (12, 2, 10, 2)
    assert [(one.line, one.code) for one in summary.refusals] == [
        (2, "malformed"),
        (3, "malformed"),
        (4, "malformed"),
        (5, "already_exists"),
        (6, "invalid_id"),
        (7, "unknown_organisation"),
        (8, summary.refusals[6].code),
        (9, "malformed"),
        (10, "malformed"),
        (11, "postdated"),
    ]
    assert summary.refusals[6].code in ("malformed", "invalid_time", "invalid_value")
    assert await audit(migrated_database_url) == 2


async def test_given_very_many_bad_lines_when_imported_then_the_reasons_are_bounded(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        summary = await run(desk_, b"{}\n" * 1_000)
    assert (summary.lines, summary.refused, len(summary.refusals)) == (1_000, 1_000, 100)


@pytest.mark.parametrize("end", [b"\n", b""])
async def test_given_a_line_without_end_when_imported_then_it_stops_before_memory_does(
    migrated_database_url: str, end: bytes
) -> None:
    async with desk(migrated_database_url) as desk_:
        with pytest.raises(ConsentError) as refused:
            await run(desk_, lines([workspace("w1")]) + b"x" * (LINE_BYTES_MAX + 1) + end)
    assert refused.value.code == "too_large"


# -- again -----------------------------------------------------------------------------------------------


async def test_given_an_import_when_it_runs_again_then_all_is_skipped_and_what_differs_is_refused(
    migrated_database_url: str,
) -> None:
    async with desk(migrated_database_url) as desk_:
        first = await run(desk_, lines(HISTORY))
        again = await run(desk_, lines(HISTORY))
        assert (again.applied, again.skipped, again.refused) == (0, 4, 0)
        changed = await run(
            desk_,
            lines([workspace("w1", organisation="acme", plan="paid"), workspace("w2"), workspace("w3")]),
        )
        assert (changed.applied, changed.skipped) == (1, 0)
        assert [(one.line, one.code) for one in changed.refusals] == [
            (1, "already_exists"),
            (2, "already_exists"),
        ]
        await desk_.write(OpenLedger())
        late = await run(desk_, lines([*HISTORY, workspace("w9")]))
        assert (late.applied, late.skipped, late.refused) == (0, 4, 1)
        assert late.refusals[0].code == "wrong_state"
    assert await audit(migrated_database_url) == first.events + 2


@pytest.mark.parametrize("step", ["lock_head", "streams", "append_many", "move_head", "commit"])
@pytest.mark.parametrize("after", [False, True])
async def test_given_a_connection_killed_at_a_step_when_imported_again_then_everything_is_there_once(
    migrated_database_url: str, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer_module, "CHUNK_LINES_MAX", 10)
    url = migrated_database_url
    data = lines([workspace(f"w{n}") for n in range(35)])
    async with desk(url) as desk_:
        first = PostgresStore(desk_.pool)
        interrupted = Interrupted(first, step, lambda: terminate(url), after)
        importer = an_importer(desk_, interrupted)
        armed = asyncio.get_running_loop().call_later(0, lambda: setattr(interrupted, "armed", True))
        if step == "commit" and after:
            assert (await importer.run(in_parts(data, 300), ADMIN)).applied == 35
        else:
            with pytest.raises(ConsentError) as stopped:
                await importer.run(in_parts(data, 300), ADMIN)
            assert stopped.value.code in ("unavailable", "outcome_unknown")
            assert stopped.value.extra["summary"]["lines"] > 0  # type: ignore[index]
        armed.cancel()
        await first.close()
        summary = await run(desk_, data)
        assert summary.applied + summary.skipped == 35
    assert await audit(url) == 35


async def test_given_a_commit_that_is_not_answered_when_imported_then_it_stops_and_says_so(
    migrated_database_url: str,
) -> None:
    async def lost() -> None:
        raise CommitUnknown("the answer to COMMIT did not come")

    async with desk(migrated_database_url) as desk_:
        store = PostgresStore(desk_.pool)
        interrupted = Interrupted(store, "commit", lost, after=True)
        interrupted.armed = True
        with pytest.raises(ConsentError) as stopped:
            await an_importer(desk_, interrupted).run(in_parts(lines(HISTORY)), ADMIN)
        await store.close()
        assert stopped.value.code == "outcome_unknown"
        assert (await run(desk_, lines(HISTORY))).skipped == 4


async def test_given_a_line_that_the_database_refuses_when_imported_then_it_alone_is_refused(
    migrated_database_url: str,
) -> None:
    await fetch(migrated_database_url, "ALTER TABLE ledger.events ADD CHECK (stream <> 'workspace/w13')")
    async with desk(migrated_database_url) as desk_:
        summary = await run(desk_, lines([workspace(f"w{n}") for n in range(40)]))
    assert (summary.applied, [(one.line, one.code) for one in summary.refusals]) == (39, [(14, "internal")])
    assert await audit(migrated_database_url) == 39


# -- with others -----------------------------------------------------------------------------------------


async def test_given_an_import_under_way_when_a_command_comes_then_it_gets_its_turn_between_two_chunks(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer_module, "CHUNK_LINES_MAX", 100)
    async with desk(migrated_database_url) as desk_:
        begun = asyncio.Event()
        data = lines([workspace(f"w{n}") for n in range(2_000)])
        importing = asyncio.create_task(run(desk_, data, on_committed=lambda batch: begun.set()))
        await begun.wait()
        opened = await desk_.write(OpenLedger())
        summary = await importing
        assert opened.status == "applied"
        assert 0 < summary.applied < 2_000, "what comes after the opening is refused"
        assert summary.applied + summary.refused == 2_000
        assert {one.code for one in summary.refusals} == {"wrong_state"}
    assert await audit(migrated_database_url) == summary.applied + 1
