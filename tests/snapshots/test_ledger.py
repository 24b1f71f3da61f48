"""Given a ledger that serves, when its snapshot is pulled, then a gate offline answers as the ledger does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from consent_domain.errors import ConsentError
from consent_gate.gate import Gate
from consent_gate.signatures import Verifier
from consent_gate.snapshots.note import note_beside, read_note
from consent_gate.snapshots.pulling import pull
from consent_ledger.key_files import load_signer
from consent_ledger.log.folder import LogFolder
from consent_ledger.settings import LedgerSettings
from http_service import (
    STAFF,
    Caller,
    enrol,
    free_port,
    make_keys,
    publish_first_policy,
    publisher,
    server,
    settings_for,
    until_ready,
)
from projecting import drain, projected
from servers import fresh_database

PURPOSE = "ranking.train"
SNAPSHOT = "/v1/feed/snapshot"


class Served(NamedTuple):
    """A ledger with two worker processes, and facts in its view."""

    url: str
    settings: LedgerSettings
    call: Caller
    verifier: Verifier

    async def project(self) -> None:
        async with projected(self.settings.database_url) as database:
            await drain(database.consumer("facts"))
            await database.expire("facts")

    def pull(self, out: Path, **more: Any) -> Any:
        given: dict[str, Any] = {
            "resume": False,
            "verifier": self.verifier,
            "progress": lambda *_: None,
        } | more
        return pull(self.url, self.call.keys["pipeline"], out, **given)


@pytest_asyncio.fixture(scope="module")
async def served(
    postgres_url: str,
    nats_url: str,
    migrated_database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("ledger")
    async with fresh_database(postgres_url, template=migrated_database_template) as database_url:
        keys = await make_keys(database_url)
        settings = settings_for(folder, database_url, nats_url)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        verifier = load_signer(Path(settings.feed_key_file), settings.origin).verifier
        with publisher(settings), server(settings, port, folder / "server.log", workers=2):
            async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                await until_ready(client)
                call = Caller(client, keys)
                await publish_first_policy(call)
                await call.done("POST", "/v1/organisations", json={"organisation": "group"})
                for name, organisation in (("acme", ""), ("other", ""), ("member", "group")):
                    await enrol(call, name, organisation=organisation)
                body = {"selector": {"all": True}, "applicant": STAFF}
                answer = await call("POST", "/v1/workspaces/other/opt-outs", json=body)
                assert answer.status_code == 202, answer.text
                made = Served(url, settings, call, verifier)
                await made.project()
                yield made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def answered(served: Served) -> httpx.Response:
    """The newest note, however long it takes to make."""
    while (answer := await served.call("GET", SNAPSHOT, "pipeline")).status_code == 503:
        assert answer.json()["beingMade"] and int(answer.headers["retry-after"]) <= 2
    assert answer.status_code == 200, answer.text
    return answer


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*facts*"))


def aged(settings: LedgerSettings) -> None:
    """As if the newest snapshot were an hour old."""
    for note in settings.snapshots_path.glob("*.note"):
        os.utime(note, (note.stat().st_atime, note.stat().st_mtime - 3_600))


async def test_given_many_who_ask_at_once_then_one_snapshot_is_made_and_all_get_it(served: Served) -> None:
    answers = await asyncio.gather(*(answered(served) for _ in range(8)))
    assert len({answer.content for answer in answers}) == 1
    note = read_note(answers[0].content, served.verifier)
    assert note.origin == served.settings.origin and note.rows > 5
    assert len(list(served.settings.snapshots_path.glob("*.parquet"))) == 1
    assert not list(served.settings.snapshots_path.glob("*.partial"))


async def test_given_a_pull_then_a_gate_offline_answers_as_the_ledger_does(
    served: Served, tmp_path: Path
) -> None:
    out = tmp_path / "facts.parquet"
    done = await asyncio.to_thread(served.pull, out)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == done.note.sha256
    assert files_in(tmp_path) == ["facts.parquet", "facts.parquet.note"]
    head = (await served.call.done("GET", "/v1/purposes"))["token"]
    with Gate.offline(out, verifier_key=str(served.verifier), purpose=PURPOSE, max_age=600) as gate:
        assert gate.status().token == head
        for name in ("acme", "other", "member", "nobody"):
            asked = {"workspace": name, "purpose": PURPOSE}
            online = await served.call("POST", "/v1/check", "pipeline", json=asked)
            assert bool(gate.check(name)) == (online.json()["decision"] == "permit"), name
        assert gate.check("acme") and gate.check("member") and not gate.check("other")


@pytest.mark.timeout(180)
async def test_given_a_snapshot_that_is_new_enough_then_it_is_told_again_and_an_old_one_is_followed(
    served: Served,
) -> None:
    first = await answered(served)
    await enrol(served.call, "late")
    await served.project()
    assert (await answered(served)).content == first.content
    aged(served.settings)
    second = await answered(served)
    old, new = (read_note(answer.content, served.verifier) for answer in (first, second))
    assert new.position > old.position and new.time > old.time
    aged(served.settings)
    await enrol(served.call, "later")
    await served.project()
    await answered(served)
    assert len(list(served.settings.snapshots_path.glob("*.parquet"))) == 2
    gone = await served.call("GET", f"/v1/feed/snapshots/{old.sha256}", "pipeline")
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


async def test_given_a_snapshot_then_it_is_sent_in_ranges(served: Served) -> None:
    note = read_note((await answered(served)).content, served.verifier)
    path, size = f"/v1/feed/snapshots/{note.sha256}", note.bytes

    async def get(**headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await served.call("GET", path, "pipeline", headers=given)

    whole = await get()
    tag = whole.headers["etag"]
    assert whole.status_code == 200 and whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == size == len(whole.content)
    for asked, expected in {
        "bytes=0-0": (0, 1),
        "bytes=10-": (10, size),
        "bytes=-7": (size - 7, size),
        f"bytes=5-{size + 100}": (5, size),
        f"bytes=-{size + 5}": (0, size),
    }.items():
        part = await get(range=asked)
        assert part.status_code == (200 if expected == (0, size) else 206), asked
        assert part.content == whole.content[slice(*expected)]
        if part.status_code == 206:
            assert part.headers["content-range"] == f"bytes {expected[0]}-{expected[1] - 1}/{size}"
    for asked in ("bytes=1-0", "bytes=-", "lines=0-1", "bytes=0-1,4-5", "bytes=x-"):
        assert (await get(range=asked)).status_code == 200
    assert (await get(range="bytes=0-1", if_range=tag)).status_code == 206
    assert (await get(range="bytes=0-1", if_range='"other"')).content == whole.content
    beyond = await get(range=f"bytes={size}-")
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{size}"
    assert (await served.call("HEAD", path, "pipeline")).headers["content-length"] == str(size)
    for wrong in ("0" * 64, "x", "../making.lock", "A" * 64):
        assert (await served.call("GET", f"/v1/feed/snapshots/{wrong}", "pipeline")).status_code == 404


async def test_given_an_ended_pull_then_it_goes_on_where_it_was(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "facts.parquet"
    answer = await answered(served)
    note = read_note(answer.content, served.verifier)
    data = (await served.call("GET", f"/v1/feed/snapshots/{note.sha256}", "pipeline")).content
    partial = tmp_path / f".facts.parquet.{note.sha256}.partial"
    for have in (data[:100], data, data + b"more"):
        partial.write_bytes(have)
        note_beside(partial).write_bytes(answer.content)
        done = await asyncio.to_thread(served.pull, out, resume=True)
        assert done.resumed == min(len(have), len(data)) and out.read_bytes() == data
    partial.write_bytes(b"x" * 100)  # of something else
    note_beside(partial).write_bytes(answer.content)
    with pytest.raises(ConsentError, match=r"proof_invalid.*SHA-256"):
        await asyncio.to_thread(served.pull, out, resume=True)
    assert out.read_bytes() == data and not partial.exists()
    assert (await asyncio.to_thread(served.pull, out, resume=True)).resumed == 0


async def test_given_two_processes_that_pull_to_one_file_then_it_is_whole(
    served: Served, tmp_path: Path
) -> None:
    out = tmp_path / "facts.parquet"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONSENT_")}
    environment |= {
        "CONSENT_URL": served.url,
        "CONSENT_TOKEN": served.call.keys["pipeline"],
        "CONSENT_FEED_KEY": str(served.verifier),
    }
    program = str(Path(sys.executable).with_name("consent"))
    command = [program, "snapshot", "pull", "-o", str(out), "--json"]
    processes = [
        await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        for _ in range(2)
    ]
    told = [await asyncio.wait_for(process.communicate(), 60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    said = json.loads(told[0][0])
    assert said["result"] == "good" and said["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    read_note(note_beside(out).read_bytes(), served.verifier)
    assert files_in(tmp_path) == ["facts.parquet", "facts.parquet.note"]


async def test_given_a_halted_log_then_no_snapshot_is_told_nor_sent(served: Served) -> None:
    note = read_note((await answered(served)).content, served.verifier)
    log = LogFolder(served.settings.log_folder)
    log.halt("event_changed", "event 3 was changed")
    try:
        await asyncio.sleep(0.3)
        for path in (SNAPSHOT, f"/v1/feed/snapshots/{note.sha256}"):
            refused = await served.call("GET", path, "pipeline")
            assert (refused.status_code, refused.json()["code"]) == (500, "damaged")
    finally:
        log.clear_halt()
        await asyncio.sleep(0.3)


async def test_given_another_role_or_no_key_then_nothing_is_told(served: Served) -> None:
    for path in (SNAPSHOT, f"/v1/feed/snapshots/{'0' * 64}"):
        assert (await served.call("GET", path, "auditor")).status_code == 403
        assert (await served.call("GET", path, None)).status_code == 401


async def test_given_another_key_pinned_then_nothing_is_pulled(served: Served, tmp_path: Path) -> None:
    out = tmp_path / "facts.parquet"
    out.write_bytes(b"what was there")
    other = load_signer(Path(served.settings.feed_key_file), "other.test/ledger").verifier
    with pytest.raises(ConsentError, match="other_origin"):
        await asyncio.to_thread(served.pull, out, verifier=other)
    assert out.read_bytes() == b"what was there" and not note_beside(out).exists()
