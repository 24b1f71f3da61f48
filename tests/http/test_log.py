"""Given a published log, when it is fetched over HTTP, then strangers can check it and get nothing more."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from consent_domain import tiles
from consent_domain.envelope import decode
from consent_domain.merkle import leaf_hash
from consent_domain.proofs import range_root, verify_inclusion
from consent_domain.tiles import TileHashes
from consent_domain.tlog_proofs import parse_proof
from consent_gate.checkpoints import Opened, open_checkpoint
from consent_gate.signatures import Signer, Verifier
from consent_ledger.http.dispatcher import Dispatcher
from consent_ledger.log.folder import LogFolder
from consent_ledger.log.keys import load_seeds, make_log_key
from consent_ledger.log.proving import Proofs
from consent_ledger.log.publication import NO_WITNESSES, Publication
from consent_ledger.log.publisher import Publisher, State
from consent_ledger.log.signer import SignerState
from consent_ledger.worker import Worker
from consent_projector.hints import Hints
from http_service import (
    ORIGIN,
    Caller,
    client_of,
    enrol,
    free_port,
    in_process,
    make_keys,
    publish_first_policy,
    publisher,
    server,
    settings_for,
    until_ready,
)
from projecting import drain, projected
from servers import fresh_database

OWNER = {"role": "owner", "authority": "verified"}
OPT_OUT = {"selector": {"keys": ["ranking.train"]}, "applicant": OWNER}
FOR_EVER = "max-age=31536000, immutable"


class Ledger(NamedTuple):
    """An application whose log is published only when a test says so."""

    call: Caller
    worker: Worker
    key_file: Path
    publisher: Publisher
    dispatcher: Dispatcher

    @property
    def key(self) -> Verifier:
        return Signer(ORIGIN, self.key_file.read_bytes()).verifier

    async def publish(self) -> int:
        """Publish everything committed; the size of the checkpoint."""
        while True:
            step = await self.publisher.step(wanted=True)
            assert step.state is not State.HALTED
            if step.state is State.IDLE:
                return step.size

    async def get(self, path: str, by: str | None = None, **more: Any) -> httpx.Response:
        return await self.call("GET", path, by, **more)

    async def opened(self, path: str = "/log/checkpoint") -> Opened:
        return open_checkpoint((await self.get(path)).content, [self.key])


@pytest_asyncio.fixture(scope="module")
async def ledger(
    postgres_url: str,
    nats_url: str,
    migrated_database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Ledger]:
    folder = tmp_path_factory.mktemp("ledger")
    async with fresh_database(postgres_url, template=migrated_database_template) as database_url:
        keys = await make_keys(database_url, ("workspace", "acme"), ("organisation", "group"))
        settings = settings_for(folder, database_url, nats_url)
        async with in_process(settings) as dispatcher, client_of(dispatcher) as client:
            call, worker = Caller(client, keys), dispatcher.worker
            assert worker is not None
            state = SignerState(folder / "signer.sqlite")
            make_log_key(folder / "log.key", state, ORIGIN)
            publishing = Publisher(
                LogFolder(settings.log_folder),
                worker.store,
                state,
                lambda: load_seeds(folder / "log.key", {}),
                ORIGIN,
                time.monotonic,
                Publication(LogFolder(settings.log_folder), NO_WITNESSES).publish,
            )
            await publish_first_policy(call)
            await call.done("POST", "/v1/organisations", json={"organisation": "group"})
            for name in ("acme", "other"):
                await enrol(call, name)
            await call.done("POST", "/v1/organisations/group/opt-outs", json=OPT_OUT)
            made = Ledger(call, worker, folder / "log.key", publishing, dispatcher)
            await made.publish()
            yield made


async def events_of(ledger: Ledger) -> list[bytes]:
    return (await ledger.get("/v1/events?limit=10000", "auditor")).content.splitlines()


# -- files ---------------------------------------------------------------------------------------------------


async def test_given_a_stranger_when_it_reads_checkpoint_and_tiles_then_they_prove_every_event(
    ledger: Ledger,
) -> None:
    checkpoint = (await ledger.opened()).checkpoint
    stored = (await events_of(ledger))[: checkpoint.size]
    assert len(stored) == checkpoint.size > 5
    name = f"{len(stored)}"
    hashes = (await ledger.get(f"/log/tile/0/000.p/{name}")).content
    assert hashes == tiles.leaf_hashes(stored)
    bundle = await ledger.get(f"/log/tile/entries/000.p/{name}", "auditor")
    assert tiles.decode_entries(bundle.content, checkpoint.size) == stored
    tree = TileHashes(lambda _: hashes, checkpoint.size)
    assert range_root(tree, 0, checkpoint.size) == checkpoint.root


async def test_given_each_kind_of_file_when_fetched_then_caches_are_told_how_long_it_holds(
    ledger: Ledger,
) -> None:
    size = (await ledger.opened()).checkpoint.size
    for path, by, media, caching in (
        ("/log/checkpoint", None, "text/plain; charset=utf-8", "no-cache"),
        ("/log/checkpoint.witnessed", None, "text/plain; charset=utf-8", "no-cache"),
        ("/log/keys.json", None, "application/json", "no-cache"),
        (f"/log/tile/0/000.p/{size}", None, "application/octet-stream", f"public, {FOR_EVER}"),
        (f"/log/tile/entries/000.p/{size}", "auditor", "application/octet-stream", f"private, {FOR_EVER}"),
    ):
        answer = await ledger.get(path, by)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media), path
        assert answer.headers["cache-control"] == caching, path
        head = await ledger.call("HEAD", path, by)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == media and head.headers["cache-control"] == caching
        assert "set-cookie" not in answer.headers


async def test_given_an_entry_bundle_when_gzip_is_accepted_then_it_is_the_same_bytes_packed(
    ledger: Ledger,
) -> None:
    size = (await ledger.opened()).checkpoint.size
    path = f"/log/tile/entries/000.p/{size}"
    plain = await ledger.get(path, "auditor", headers={"accept-encoding": "identity, gzip;q=0"})
    assert "content-encoding" not in plain.headers and plain.headers["vary"] == "accept-encoding"
    for accepted in ("gzip", "br, gzip", "GZIP;q=0.5, br"):
        packed = await ledger.get(path, "auditor", headers={"accept-encoding": accepted})
        assert packed.headers["content-encoding"] == "gzip" and packed.content == plain.content
    assert "content-encoding" not in (await ledger.get(f"/log/tile/0/000.p/{size}")).headers


async def test_given_more_events_when_published_then_tiles_fetched_before_are_still_the_same_bytes(
    ledger: Ledger,
) -> None:
    before = (await ledger.opened()).checkpoint.size
    path = f"/log/tile/0/000.p/{before}"
    was = (await ledger.get(path)).content
    await ledger.call.done("POST", "/v1/workspaces/other/opt-outs", json=OPT_OUT)
    ahead = before + 1
    assert (await ledger.get(f"/log/tile/0/000.p/{ahead}")).status_code == 404
    assert await ledger.publish() == ahead
    assert (await ledger.get(f"/log/tile/0/000.p/{ahead}")).content[: len(was)] == was
    assert (await ledger.get(path)).content == was
    assert (await ledger.opened()).checkpoint.size == ahead


WRONG_PATHS = [
    "tile/0/999",
    "tile/0/000",
    "tile/0/000.p/0",
    "tile/0/000.p/256",
    "tile/0/000.p/0SIZE",
    "tile/0/0000.p/SIZE",
    "tile/0/x000/000.p/SIZE",
    "tile/64/000.p/SIZE",
    "tile/-1/000.p/SIZE",
    "tile/00/000.p/SIZE",
    "tile/+0/000.p/SIZE",
    "tile/0//000.p/SIZE",
    "tile//0/000.p/SIZE",
    "/tile/0/000.p/SIZE",
    "tile/0/./000.p/SIZE",
    "tile/0/../0/000.p/SIZE",
    "tile/0/000.p/SIZE\n",
    "tile/0/000\0.p/SIZE",
    "tile/0/٠٠٠.p/SIZE",
    "checkpoint/",
    "/checkpoint",
    "tile/0/000.p/SIZE/",
    "tile/../checkpoint",
    "tile/0/../../checkpoint",
    "tile/0/../../../../log.key",
    "tile/0//etc/passwd",
    "../log.key",
    "2/../../log.key",
    "2/../1/checkpoint",
    "halt",
    "publisher.lock",
    "publisher.json",
    "unfinished",
    "1/checkpoint",
    "01/checkpoint",
    "2/checkpoint",
    "2/tile/0/000.p/SIZE",
    "99999999999/checkpoint",
    "٢/checkpoint",
    "checkpoint.bak",
    "Checkpoint",
    "tile",
    "",
]


@pytest.mark.parametrize("path", WRONG_PATHS)
@pytest.mark.parametrize("by", [None, "auditor"])
async def test_given_a_path_that_is_no_file_of_the_log_when_fetched_then_404_and_nothing_of_the_disk(
    ledger: Ledger, path: str, by: str | None
) -> None:
    size = (await ledger.opened()).checkpoint.size
    status, headers, body = await untidied(ledger, f"/log/{path.replace('SIZE', str(size))}", by)
    assert status == 404, (path, body)
    assert json.loads(body)["code"] == "not_found" and b"no-store" in headers[b"cache-control"]
    assert str(ledger.key_file.parent).encode() not in body


async def untidied(ledger: Ledger, path: str, by: str | None) -> tuple[int, dict[bytes, bytes], bytes]:
    """A request whose path no client tidied up: percent-encoding is decoded already, as servers do."""
    sent: list[dict[str, Any]] = []
    headers = [] if by is None else [(b"authorization", f"Bearer {ledger.call.keys[by]}".encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": quote(path).encode(), "query_string": b"", "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("ledger.test", 80),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await ledger.dispatcher(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])


async def test_given_entries_when_asked_for_by_a_way_around_their_role_then_nobody_gets_them(
    ledger: Ledger,
) -> None:
    size = (await ledger.opened()).checkpoint.size
    for path in (
        "tile/entries/000.p/SIZE",
        "tile//entries/000.p/SIZE",
        "/tile/entries/000.p/SIZE",
        "tile/./entries/000.p/SIZE",
        "tile/0/../entries/000.p/SIZE",
        "tile/Entries/000.p/SIZE",
        "tile/entries//000.p/SIZE",
        "1/tile/entries/000.p/SIZE",
        "2/../tile/entries/000.p/SIZE",
        "tile/entries/000.p/SIZE/",
    ):
        for by in (None, "admin", "pipeline", "workspace/acme", "organisation/group"):
            status, _, body = await untidied(ledger, f"/log/{path.replace('SIZE', str(size))}", by)
            assert status in (401, 403, 404), (path, by)
            assert b"acme" not in body


async def test_given_a_later_epoch_when_it_is_published_then_each_has_files_of_its_own(
    ledger: Ledger,
) -> None:
    root = ledger.worker.log.path
    shutil.copytree(root / "1", root / "7")
    try:
        size = (await ledger.opened()).checkpoint.size
        for path, by in (
            ("checkpoint", None),
            ("keys.json", None),
            (f"tile/0/000.p/{size}", None),
            (f"tile/entries/000.p/{size}", "auditor"),
        ):
            first, later = await ledger.get(f"/log/{path}", by), await ledger.get(f"/log/7/{path}", by)
            assert (later.status_code, later.content) == (200, first.content)
            assert later.headers["cache-control"] == first.headers["cache-control"]
        assert (await ledger.get(f"/log/7/tile/entries/000.p/{size}", "admin")).status_code == 403
        told = (await ledger.get("/v1/log")).json()
        assert [(one["epoch"], one["prefix"]) for one in told["epochs"]] == [(1, "/log"), (7, "/log/7")]
        assert (told["epoch"], told["name"], told["prefix"]) == (7, f"{ORIGIN}/7", "/log/7")
    finally:
        shutil.rmtree(root / "7")


async def test_given_the_log_when_a_stranger_asks_what_it_is_then_name_keys_and_size_are_told(
    ledger: Ledger,
) -> None:
    told = (await ledger.get("/v1/log")).json()
    size = str((await ledger.opened()).checkpoint.size)
    assert (told["origin"], told["epoch"], told["name"], told["prefix"]) == (ORIGIN, 1, ORIGIN, "/log")
    assert told["size"] == told["witnessedSize"] == size
    assert told["verifierKeys"] == [str(ledger.key)]
    keys = (await ledger.get("/log/keys.json")).json()
    assert keys["verifierKeys"] == told["verifierKeys"]


async def test_given_files_that_cannot_be_read_when_asked_then_where_they_lie_is_not_told(
    ledger: Ledger,
) -> None:
    size = await ledger.publish()
    note, bundle = (
        ledger.worker.log.path / "1" / path for path in ("checkpoint", f"tile/entries/000.p/{size}")
    )
    for file, path, by, code in (
        (note, "/v1/log", None, "damaged"),
        (note, "/log/tile/0/000", None, "damaged"),
        (note, "/v1/log/checkpoint", "auditor", "damaged"),
        (bundle, "/v1/events/1/proof", "auditor", "unavailable"),
        (bundle, f"/log/tile/entries/000.p/{size}", "auditor", "unavailable"),
    ):
        sound = file.read_bytes()
        forget(ledger)
        file.unlink()
        # A note that is none; or what the system refuses to read, as it does a broken disk.
        file.write_bytes(b"no note") if file == note else file.symlink_to(file)
        try:
            answer = await ledger.call("POST" if path.endswith("/checkpoint") else "GET", path, by)
        finally:
            file.unlink()
            file.write_bytes(sound)
            forget(ledger)
        assert answer.json()["code"] == code, path
        assert str(ledger.key_file.parent) not in answer.text, path


async def test_given_nothing_published_when_asked_then_it_says_so_and_serves_no_file(
    migrated_database_url: str, nats_url: str, tmp_path: Path
) -> None:
    keys = await make_keys(migrated_database_url)
    settings = settings_for(tmp_path / "ledger", migrated_database_url, nats_url)
    async with in_process(settings) as dispatcher, client_of(dispatcher) as client:
        call = Caller(client, keys)
        told = (await call("GET", "/v1/log", None)).json()
        assert (told["epoch"], told["size"], told["verifierKeys"]) == (1, "0", [])
        assert (await call("GET", "/log/checkpoint", None)).status_code == 404
        await publish_first_policy(call)
        assert (await call("GET", "/v1/events/1/proof", "auditor")).json()["code"] == "beyond_checkpoint"
        started = asyncio.get_running_loop().time()
        refused = await call("POST", "/v1/log/checkpoint", "auditor")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert asyncio.get_running_loop().time() - started < 5


# -- proofs --------------------------------------------------------------------------------------------------


def require_proven(proof: bytes, position: int, key: Verifier) -> bytes:
    """The event's bytes, if the proof holds. Nothing of ours but the key is believed."""
    parsed = parse_proof(proof)
    opened = open_checkpoint(parsed.checkpoint, [key])
    assert parsed.index == position - 1 and parsed.extra is not None
    size = opened.checkpoint.size
    verify_inclusion(leaf_hash(parsed.extra), parsed.index, 0, size, parsed.hashes, opened.checkpoint.root)
    assert decode(parsed.extra).position == position
    return parsed.extra


async def test_given_every_event_when_an_auditor_asks_then_its_proof_holds_and_has_its_bytes(
    ledger: Ledger,
) -> None:
    await ledger.publish()
    for position, stored in enumerate(await events_of(ledger), 1):
        answer = await ledger.get(f"/v1/events/{position}/proof", "auditor")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"] == f'attachment; filename="{position}.tlog-proof"'
        assert "public" not in answer.headers["cache-control"]
        assert require_proven(answer.content, position, ledger.key) == stored


async def test_given_owners_when_they_ask_then_each_gets_its_own_events_and_of_others_not_even_that_they_are(
    ledger: Ledger,
) -> None:
    await ledger.publish()
    nowhere = await ledger.get("/v1/events/999999999/proof", "workspace/acme")
    got: dict[str, int] = {}
    for position, stored in enumerate(await events_of(ledger), 1):
        stream = decode(stored).stream
        for owner in ("workspace/acme", "organisation/group"):
            answer = await ledger.get(f"/v1/events/{position}/proof", owner)
            if stream == owner:
                got[owner] = got.get(owner, 0) + 1
                assert require_proven(answer.content, position, ledger.key) == stored
            else:
                told, other = answer.json(), nowhere.json()
                assert answer.status_code == 404 and told["code"] == "not_found"
                assert told["detail"].replace(str(position), "N") == other["detail"].replace("999999999", "N")
                assert stream.startswith("log/") or stream.partition("/")[2] not in answer.text
    assert got.keys() == {"workspace/acme", "organisation/group"}


@pytest.mark.parametrize(
    ("position", "status", "code"),
    [
        ("0", 400, "malformed"),
        ("-1", 400, "malformed"),
        ("1.0", 400, "malformed"),
        ("one", 400, "malformed"),
        ("1e3", 400, "malformed"),
        ("%201", 400, "malformed"),
        ("١", 400, "malformed"),
        ("9223372036854775808", 400, "malformed"),
        ("9" * 30, 400, "malformed"),
        ("9223372036854775807", 404, "not_found"),
        ("1000000", 404, "not_found"),
    ],
)
async def test_given_a_position_that_is_none_when_asked_then_it_is_said_which_way(
    ledger: Ledger, position: str, status: int, code: str
) -> None:
    answer = await ledger.get(f"/v1/events/{position}/proof", "auditor")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_given_an_event_beyond_the_checkpoint_when_asked_then_409_until_it_is_published(
    ledger: Ledger,
) -> None:
    size = await ledger.publish()
    told = await ledger.call.done("POST", "/v1/workspaces/acme/opt-outs", json=OPT_OUT)
    early = await ledger.get(f"/v1/events/{told['position']}/proof", "auditor")
    assert (early.status_code, early.json()["code"]) == (409, "beyond_checkpoint")
    assert early.json()["size"] == str(size)
    later = await ledger.get(f"/v1/events/{int(told['position']) + 1}/proof", "auditor")
    assert later.json()["code"] == "not_found"
    await ledger.publish()
    proof = await ledger.get(f"/v1/events/{told['position']}/proof", "workspace/acme")
    require_proven(proof.content, int(told["position"]), ledger.key)


def forget(ledger: Ledger) -> None:
    """As after a restart: nothing is kept of what was read."""
    ledger.worker.prover._proofs = Proofs(ledger.worker.log)


async def test_given_a_damaged_file_when_a_proof_would_rest_on_it_then_it_is_refused_and_never_handed_out(
    ledger: Ledger,
) -> None:
    await ledger.call.done("POST", "/v1/workspaces/other/opt-outs", json=OPT_OUT)
    size = await ledger.publish()
    for kind in ("0", "entries"):
        file = ledger.worker.log.path / "1" / "tile" / kind / f"000.p/{size}"
        sound = file.read_bytes()
        changed = sound[:40] + bytes((sound[40] ^ 1,)) + sound[41:]
        for damaged, position in ((sound[:-1], size), (changed, 1), (b"", 1), (None, 1)):
            forget(ledger)
            file.unlink() if damaged is None else file.write_bytes(damaged)
            answer = await ledger.get(f"/v1/events/{position}/proof", "auditor")
            assert answer.status_code == 500 and answer.json()["code"] == "damaged", kind
            assert str(ledger.key_file.parent) not in answer.text
            file.write_bytes(sound)
    forget(ledger)
    assert (await ledger.get("/v1/events/1/proof", "auditor")).status_code == 200


async def test_given_an_owner_when_it_reads_its_history_with_proofs_then_each_event_comes_with_its_own(
    ledger: Ledger,
) -> None:
    await ledger.publish()
    await ledger.call.done("POST", "/v1/workspaces/acme/opt-outs", json=OPT_OUT)
    answer = await ledger.get("/v1/workspaces/acme/history?proofs=true", "workspace/acme")
    *published, last = answer.json()["events"]
    for one in published:
        stored = require_proven(one["proof"].encode(), int(one["position"]), ledger.key)
        assert json.loads(stored) == one["event"]
    assert published and "proof" not in last
    plain = (await ledger.get("/v1/workspaces/acme/history", "workspace/acme")).json()["events"]
    assert [one["position"] for one in plain] == [one["position"] for one in (*published, last)]
    assert not any("proof" in one for one in plain)
    other = await ledger.get("/v1/workspaces/other/history?proofs=true", "workspace/acme")
    assert other.status_code == 404


# -- a halted log --------------------------------------------------------------------------------------------


async def test_given_a_halt_when_asked_then_everything_denies_and_what_was_published_can_still_be_read(
    ledger: Ledger,
) -> None:
    call, log = ledger.call, ledger.worker.log
    asked = {"workspace": "acme", "purpose": "ranking.serve"}
    assert (await call.done("POST", "/v1/check", json=asked))["decision"] == "permit"
    log.halt("event_changed", f"event 3 was changed, says {log.path}")
    await asyncio.sleep(0.05)
    try:
        past = {**asked, "asOf": "2026-01-31T09:00:00Z"}
        for question in (asked, past, {**asked, "workspace": "nobody"}):
            told = await call.done("POST", "/v1/check", json=question)
            assert (told["decision"], told["standing"]) == ("undecided", "unknown")
            assert [reason["code"] for reason in told["reasons"]] == ["halted"]
        batch = {"purpose": "ranking.serve", "workspaces": ["acme", "other"]}
        many = await call.done("POST", "/v1/check/batch", json=batch)
        assert many["permitted"] == [False, False]
        assert {many["reasonCodes"][reason] for reason in many["reasons"]} == {"halted"}
        for path, by in (
            ("/v1/workspaces/acme", "admin"),
            ("/v1/workspaces/acme/ever?purpose=ranking.serve", "auditor"),
        ):
            refused = await call("GET", path, by)
            assert (refused.status_code, refused.json()["code"]) == (500, "damaged"), path
            assert str(log.path) not in refused.text
        ready = await call("GET", "/health/ready", None)
        assert ready.status_code == 503 and any("event_changed" in one for one in ready.json()["failures"])
        assert (await ledger.get("/log/checkpoint")).status_code == 200
        assert (await ledger.get("/v1/events/1/proof", "auditor")).status_code == 200
    finally:
        log.clear_halt()
        await asyncio.sleep(0.05)
    assert (await call.done("POST", "/v1/check", json=asked))["decision"] == "permit"


async def test_given_a_halt_when_a_gate_asks_the_feed_then_it_gets_neither_facts_nor_a_watermark(
    ledger: Ledger,
) -> None:
    async with projected(ledger.worker.settings.database_url) as database:
        await drain(database.consumer("facts", hints=Hints(ORIGIN)))
        await database.expire("facts")
    page = await ledger.get("/v1/feed/changes?after=0", "pipeline")
    assert page.status_code == 200
    ledger.worker.log.halt("event_changed", "event 3 was changed")
    await asyncio.sleep(0.05)
    try:
        refused = await ledger.get("/v1/feed/changes?after=0", "pipeline")
        assert (refused.status_code, refused.json()["code"]) == (500, "damaged")
    finally:
        ledger.worker.log.clear_halt()


# -- as it is run --------------------------------------------------------------------------------------------


async def test_given_server_and_publisher_when_a_checkpoint_is_wanted_then_it_covers_what_was_just_written(
    migrated_database_url: str, nats_url: str, tmp_path: Path
) -> None:
    keys = await make_keys(migrated_database_url)
    settings = settings_for(tmp_path / "ledger", migrated_database_url, nats_url)
    port = free_port()
    with server(settings, port, tmp_path / "log"):
        with publisher(settings):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                call = Caller(client, keys)
                await until_ready(client)
                await publish_first_policy(call)
                key = Signer(ORIGIN, (tmp_path / "ledger" / "log.key").read_bytes()).verifier
                for number in range(5):
                    told = await enrol(call, f"w{number}")
                    answer = await call("POST", "/v1/log/checkpoint", "auditor")
                    assert answer.headers["content-type"] == "text/plain; charset=utf-8", answer.text
                    checkpoint = open_checkpoint(answer.content, [key]).checkpoint
                    assert checkpoint.size >= int(str(told["position"]))
                position = int(str(told["position"]))
                proof = await call("GET", f"/v1/events/{position}/proof", "auditor")
                require_proven(proof.content, position, key)
                assert (await client.get("/log/checkpoint?")).status_code == 200
                assert (await client.get("/log/%63heckpoint")).status_code == 200
                assert (await client.get("/log//checkpoint")).status_code == 404
                head = await client.head("/log/checkpoint")
                assert (head.status_code, head.content) == (200, b"")
                assert int(head.headers["content-length"]) > 0
                ready = (await client.get("/health/ready")).json()
                assert int(ready["log"]["size"]) >= position and ready["log"]["behindMs"] < 5_000
                packed = await client.send(
                    client.build_request(
                        "GET",
                        f"/log/tile/entries/000.p/{checkpoint.size}",
                        headers={"authorization": f"Bearer {keys['auditor']}", "accept-encoding": "gzip"},
                    ),
                    stream=True,
                )
                raw = b"".join([part async for part in packed.aiter_raw()])
                assert tiles.decode_entries(gzip.decompress(raw), checkpoint.size)
        await stale_without_publisher(port, keys)


async def stale_without_publisher(port: int, keys: dict[str, str]) -> None:
    """Nobody publishes any more: an event that waits for more than 5 s makes the service not ready."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        call = Caller(client, keys)
        await enrol(call, "unpublished")
        assert (await client.get("/health/ready")).status_code == 200
        await asyncio.sleep(5.5)
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert any("behind" in one for one in ready.json()["failures"])
        asked = {"workspace": "unpublished", "purpose": "ranking.train"}
        assert (await call.done("POST", "/v1/check", json=asked))["decision"] == "permit"
