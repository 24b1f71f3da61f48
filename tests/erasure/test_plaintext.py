"""The whole ledger on real servers, told a person's name, then searched for it: everywhere, in every form.

Searched are all tables, PostgreSQL's files with the write-ahead log, JetStream's files, what went over
NATS, the logs of all processes, the replica, the key store, and every answer over HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import nats
import pytest
from consent_ledger.api_keys import create_key
from http_service import Caller, enrol, publish_first_policy
from nats.aio.msg import Msg
from servers import temporary_folder
from stack import Stack, running_stack

SUBJECT = "zanzibar.quux@plaintext.example"
LOCAL_PART = "zanzibar.quux"
APPLICANT = {"role": "owner", "authority": "verified", "subject": SUBJECT}
NOTICE = {"givenAt": "2026-01-01T00:00:00Z", "channel": "console"}
ALL = {"selector": {"all": True}}
FOLLOWED_SECONDS_MAX = 30.0
BEHIND = "SELECT count(*) FROM views.cursors WHERE position < (SELECT position FROM ledger.head)"


def forms(text: str) -> set[bytes]:
    """The text as it may be written: in UTF-8 and UTF-16, in hexadecimal, in base64 wherever it begins."""
    data = text.encode()
    found = {data, text.encode("utf-16-le"), text.encode("utf-16-be"), quote(text, safe="").encode()}
    found |= {data.hex().encode(), data.hex().upper().encode()}
    for before in range(3):
        # Without the characters that depend on what stands around it.
        encoded = base64.b64encode(b"\0" * before + data)[(0, 2, 3)[before] :]
        whole = encoded[: len(encoded) // 4 * 4 - 4]
        found |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return found


FORMS = forms(SUBJECT) | forms(LOCAL_PART)


def where_found(places: Iterator[tuple[str, bytes]]) -> list[str]:
    return [f"{name}: {form!r}" for name, content in places for form in FORMS if form in content]


def test_given_the_forms_when_a_text_holds_one_then_it_is_found() -> None:
    for before in (b"", b"a", b"ab", b"abc"):
        text = before + SUBJECT.encode() + b" and more"
        for written in (text, text.hex().encode(), base64.b64encode(text), base64.urlsafe_b64encode(text)):
            assert where_found(iter([("here", b"..." + written + b"...")]))


# -- the stack, and ears everywhere --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def started() -> Iterator[Stack]:
    with temporary_folder() as folder, running_stack(folder, workers=2) as stack:
        yield stack


class Heard:
    """Every answer over HTTP, and every message on NATS."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, bytes]] = []
        self.messages: list[tuple[str, bytes]] = []

    async def keep_answer(self, answer: httpx.Response) -> None:
        await answer.aread()
        headers = b"\n".join(name + b": " + value for name, value in answer.headers.raw)
        what = f"answer {answer.status_code} to {answer.request.method} {answer.request.url.path}"
        self.answers.append((what, headers + b"\n\n" + answer.content))

    async def keep_message(self, message: Msg) -> None:
        self.messages.append((f"message {message.subject}", message.data))


@asynccontextmanager
async def listening(stack: Stack) -> AsyncIterator[tuple[Caller, Heard]]:
    heard = Heard()
    messenger = await nats.connect(stack.credentials["natsUrl"], connect_timeout=10)
    await messenger.subscribe(">", cb=heard.keep_message)
    await messenger.flush()
    hooks = {"response": [heard.keep_answer]}
    try:
        async with httpx.AsyncClient(base_url=stack.url, timeout=20, event_hooks=hooks) as client:
            yield Caller(client, stack.keys), heard
    finally:
        await messenger.close()


# -- what people do ------------------------------------------------------------------------------------------


async def opt_outs(call: Caller) -> None:
    """Opt-outs in every state, of workspaces and of an organisation, singly and in a batch."""
    await call.done("POST", "/v1/organisations", json={"organisation": "group"})
    for name in ("acme", "globex"):
        await enrol(call, name, organisation="group")
    body = {**ALL, "applicant": APPLICANT}
    keyed = {"idempotency-key": f"opt-out/{SUBJECT}"}
    path = "/v1/workspaces/acme/opt-outs"
    first = await call.done("POST", path, json=body, headers=keyed)
    assert (await call.done("POST", path, json=body, headers=keyed))["replayed"]
    await call.done("POST", f"/v1/requests/{first['request']}/acknowledge", json={})
    await call.done("POST", f"/v1/requests/{first['request']}/process", json={})
    told = await call.done("POST", "/v1/organisations/group/opt-outs", json=body)
    await call.done("POST", f"/v1/requests/{told['request']}/withdraw", json={"applicant": APPLICANT})
    stranger = {**body, "applicant": {**APPLICANT, "authority": "unverified"}}
    second = await call.done("POST", "/v1/workspaces/globex/opt-outs", json=stranger)
    rejected = {"reason": "no_authority"}
    await call.done("POST", f"/v1/requests/{second['request']}/reject", json=rejected)
    command = {"command": "request-opt-out", "scope": {"kind": "workspace", "id": "acme"}, **body}
    dry = await call.done("POST", "/v1/commands?dryRun=true", json={"commands": [command]})
    real = await call.done("POST", "/v1/commands", json={"commands": [command, {**command, "scope": {}}]})
    assert [one["status"] for one in (*dry["verdicts"], *real["verdicts"])].count("applied") == 1


async def opt_ins(call: Caller) -> None:
    """Opt-ins granted, refused and withdrawn."""
    for outcome in ("grant", "refuse"):
        asked = {"keys": ["assistant.train"], "applicant": APPLICANT}
        told = await call.done("POST", "/v1/workspaces/globex/opt-ins", json=asked)
        path = f"/v1/opt-ins/{told['optIn']}"
        more = {"notice": NOTICE} if outcome == "grant" else {}
        await call.done("POST", f"{path}/{outcome}", json={"applicant": APPLICANT, **more})
        if outcome == "grant":
            await call.done("POST", f"{path}/withdraw", json={"applicant": APPLICANT})


def wrong_places() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The subject where none belongs; each of these is refused."""
    opt_out = "/v1/workspaces/acme/opt-outs"
    applicant = {"role": "owner", "authority": "verified"}
    bodies: list[Any] = [
        {**ALL, "applicant": {**APPLICANT, "subject": [SUBJECT]}},
        {**ALL, "applicant": {**APPLICANT, "authority": SUBJECT}},
        {**ALL, "applicant": {**APPLICANT, SUBJECT: 1}},
        {**ALL, "applicant": SUBJECT},
        {**ALL, "applicant": {**APPLICANT, "subject": SUBJECT * 50}},
        {**ALL, "applicant": APPLICANT, SUBJECT: 1},
        {**ALL, "applicant": APPLICANT, "receivedAt": SUBJECT},
        {**ALL, "applicant": APPLICANT, "evidence": SUBJECT},
        {"selector": {"keys": [SUBJECT]}, "applicant": applicant},
        {"selector": {SUBJECT: [SUBJECT]}, "applicant": applicant},
        SUBJECT,
    ]
    yield from (("POST", opt_out, {"json": body}) for body in bodies)
    for content in (f'{{"applicant": "{SUBJECT}', f"{SUBJECT}", f'{{"a": {SUBJECT}}}'):
        yield "POST", opt_out, {"content": content, "headers": {"content-type": "application/json"}}
    for headers in ({"if-match": SUBJECT}, {"idempotency-key": f"my {SUBJECT}"}, {"content-type": SUBJECT}):
        yield "POST", opt_out, {"content": json.dumps({**ALL, "applicant": APPLICANT}), "headers": headers}
    escaped = quote(SUBJECT)
    for path in (
        f"/v1/workspaces/{escaped}",
        f"/v1/workspaces/{escaped}/history",
        f"/v1/requests/{escaped}",
        f"/v1/{escaped}",
        f"/v1/policies?{escaped}={escaped}",
        f"/v1/workspaces/acme/history?after={escaped}",
        f"/v1/requests?state={escaped}",
        f"/v1/requests?after={escaped}",
    ):
        yield "GET", path, {}
    for path, body in (
        (f"/v1/workspaces/{escaped}/opt-outs", {**ALL, "applicant": APPLICANT}),
        (f"/v1/requests/{escaped}/process", {}),
        (f"/v1/opt-ins/{escaped}/refuse", {"applicant": APPLICANT}),
        (f"/v1/persons/{escaped}/erase", {}),
        ("/v1/persons/find", {"subject": [SUBJECT]}),
        ("/v1/persons/find", {"subject": SUBJECT, SUBJECT: 1}),
        ("/v1/workspaces", {"workspace": SUBJECT, "plan": "p", "region": "eu"}),
        ("/v1/workspaces", {"workspace": "x", "plan": "p", "region": "eu", "kind": SUBJECT}),
        ("/v1/purposes/ranking.train/suspend", {"reason": {"why": SUBJECT}}),
        ("/v1/commands", {"commands": [], SUBJECT: 1}),
    ):
        yield "POST", path, {"json": body}


async def mistakes(call: Caller) -> None:
    for method, path, given in wrong_places():
        answer = await call(method, path, **given)
        assert 400 <= answer.status_code < 500, f"{method} {path} {given}: {answer.text}"
    items = [
        {"command": SUBJECT},
        {
            "command": "request-opt-out",
            "scope": {"kind": SUBJECT, "id": "acme"},
            **ALL,
            "applicant": APPLICANT,
        },
        {"command": "process-opt-out", "request": SUBJECT},
        {"command": "reject-opt-out", "request": SUBJECT, "reason": SUBJECT},
    ]
    told = await call.done("POST", "/v1/commands", json={"commands": items})
    assert all(one["status"] == "not_applied" for one in told["verdicts"]), told
    lines = [
        {
            "command": "import-workspace",
            "workspace": SUBJECT,
            "plan": "p",
            "region": "eu",
            "customerSince": "x",
        },
        {"command": "import-organisation", "organisation": SUBJECT, "optOuts": []},
        {"command": SUBJECT},
    ]
    content = "\n".join(json.dumps(line) for line in lines)
    ndjson = {"content-type": "application/x-ndjson"}
    assert (await call.done("POST", "/v1/import", content=content, headers=ndjson))["refused"] == len(lines)
    for wrong in (
        {"workspace": SUBJECT, "purpose": "ranking.train"},
        {"workspace": "acme", "purpose": SUBJECT},
    ):
        await call("POST", "/v1/check", json=wrong)
        await call("POST", "/v1/check", json={**wrong, "knownAt": SUBJECT})
    batch = {"workspaces": ["acme", SUBJECT], "purpose": "ranking.train"}
    await call("POST", "/v1/check/batch", json=batch)
    unauthorised = {"authorization": f"Bearer {SUBJECT}"}
    assert (await call("GET", "/v1/policies", None, headers=unauthorised)).status_code == 401


async def reads(call: Caller) -> None:
    """Everything that can be read, by whoever may."""
    for path, who in (
        ("/v1/events?limit=10000", "auditor"),
        ("/v1/workspaces/acme", "auditor"),
        ("/v1/workspaces/acme/history", "auditor"),
        ("/v1/workspaces/globex/history", "admin"),
        ("/v1/organisations", "admin"),
        ("/v1/requests?limit=1000", "admin"),
        ("/v1/policies", "admin"),
        ("/v1/purposes", "admin"),
        ("/v1/unsealings", "auditor"),
        ("/v1/feed/changes?after=0", "pipeline"),
        ("/metrics", None),
        ("/health/ready", None),
        ("/v1/openapi.json", None),
    ):
        assert (await call("GET", path, who)).status_code == 200, path
    for workspace in ("acme", "globex"):
        asked = {"workspace": workspace, "purpose": "ranking.train"}
        await call.done("POST", "/v1/check", "pipeline", json=asked)
    await call.done("POST", "/v1/persons/find", json={"subject": SUBJECT})


# -- where everything is -------------------------------------------------------------------------------------


async def tables(connection: asyncpg.Connection[asyncpg.Record]) -> AsyncIterator[tuple[str, bytes]]:
    """The rows of every table of every schema, in the binary form, which leaves bytes as they are."""
    names = await connection.fetch(
        "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) AS name"
        " FROM information_schema.tables"
        " WHERE table_type = 'BASE TABLE' AND table_schema <> 'pg_catalog'"
    )
    assert {"ledger.events", "ledger.idempotency", "views.facts"} <= {row["name"] for row in names}
    for row in names:
        content = bytearray()

        async def keep(part: bytes, content: bytearray = content) -> None:
            content.extend(part)

        await connection.copy_from_query(f"TABLE {row['name']}", output=keep, format="binary")
        yield f"table {row['name']}", bytes(content)


def files(*folders: Path) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()


async def everything(stack: Stack, heard: Heard) -> list[str]:
    """Where the subject stands. Before it is searched, everything is written to disk and has followed."""
    connection = await asyncpg.connect(stack.credentials["databaseUrl"], timeout=10, command_timeout=60)
    try:
        async with asyncio.timeout(FOLLOWED_SECONDS_MAX):
            while True:
                if not await connection.fetchval(BEHIND):
                    break
                await asyncio.sleep(0.1)
        await connection.execute("CHECKPOINT")
        found = [place async for table in tables(connection) for place in where_found(iter([table]))]
        data = Path(await connection.fetchval("SHOW data_directory"))
    finally:
        await connection.close(timeout=10)
    seen = {name.rsplit("/", 2)[-2] for name, _ in files(data)}
    assert "pg_wal" in seen, "the write-ahead log is among what is searched"
    found += await asyncio.to_thread(where_found, files(data, stack.folder, stack.folder.parent))
    found += where_found(iter(heard.answers)) + where_found(iter(heard.messages))
    return found


def wrapped_keys(store: Path) -> list[bytes]:
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
        return [row[0] for row in database.execute("SELECT wrapped FROM keys WHERE wrapped IS NOT NULL")]


async def stored(stack: Stack) -> list[tuple[int, bytes, bytes]]:
    connection = await asyncpg.connect(stack.credentials["databaseUrl"], timeout=10, command_timeout=60)
    try:
        rows = await connection.fetch("SELECT position, body, leaf_hash FROM ledger.events ORDER BY position")
        return [tuple(row) for row in rows]
    finally:
        await connection.close(timeout=10)


async def unsealing_auditor(stack: Stack) -> str:
    connection = await asyncpg.connect(stack.credentials["databaseUrl"], timeout=10, command_timeout=60)
    try:
        return await create_key(connection, "auditor", "unseals", may_unseal=True)
    finally:
        await connection.close(timeout=10)


# -- the tests -----------------------------------------------------------------------------------------------


async def test_given_a_person_everywhere_when_searched_for_then_nothing_names_them_and_erasing_leaves_no_key(
    started: Stack,
) -> None:
    stack = started
    async with listening(stack) as (call, heard):
        await mistakes_before_opening(call)
        await publish_first_policy(call)
        await opt_outs(call)
        await opt_ins(call)
        await mistakes(call)
        await reads(call)
        assert await everything(stack, heard) == []
        assert heard.messages and heard.answers

        call.keys["unsealing"] = await unsealing_auditor(stack)
        sealed = [
            position
            for position, body, _ in await stored(stack)
            if "sealed" in json.loads(body)["data"].get("requester", {})
        ]
        assert len(sealed) >= 7
        await asyncio.sleep(1.5)  # until every worker knows the new key
        before = len(heard.answers)
        for position in sealed:
            seen = await call.done(
                "POST", f"/v1/events/{position}/unseal", "unsealing", json={"reason": "the test"}
            )
            assert seen["subject"] == SUBJECT
        looks = heard.answers[before:]
        assert all(len(where_found(iter([look]))) > 0 for look in looks), "the search finds what there is"
        del heard.answers[before:]
        assert await everything(stack, heard) == [], "looking leaves nothing behind either"

        keystore = stack.folder / "keys"
        wrapped = wrapped_keys(keystore / "keystore.sqlite")
        assert len(wrapped) >= 3
        log = await stored(stack)
        found = await call.done("POST", "/v1/persons/find", json={"subject": SUBJECT})
        told = await call.done("POST", f"/v1/persons/{found['person']}/erase", json={})
        assert told["destroyed"] and told["keys"] == len(wrapped)
        for position in sealed:
            answer = await call(
                "POST", f"/v1/events/{position}/unseal", "unsealing", json={"reason": "the test"}
            )
            assert (answer.status_code, answer.json()["code"]) == (410, "erased")
        assert (await stored(stack))[: len(log)] == log, "the bytes and their leaf hashes are what they were"
        left = b"".join(content for _, content in files(keystore))
        assert not [one for one in wrapped if one in left or one[12:44] in left]
        await reads(call)
        assert await everything(stack, heard) == []


async def mistakes_before_opening(call: Caller) -> None:
    """An import that names a person is refused, and remembers nothing of it."""
    line = {
        "command": "import-workspace",
        "workspace": "imported",
        "plan": "p",
        "region": "eu",
        "customerSince": "2020-01-01T00:00:00Z",
        "optOuts": [{**ALL, "receivedAt": "2021-01-01T00:00:00Z", "applicant": APPLICANT}],
    }
    ndjson = {"content-type": "application/x-ndjson"}
    told = await call.done("POST", "/v1/import", content=json.dumps(line), headers=ndjson)
    assert told["refused"] == 1, told
