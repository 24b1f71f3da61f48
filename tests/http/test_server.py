"""Given `consent-ledger` as real processes, when things are killed or taken away, then it fails closed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest_asyncio
from consent_ledger.settings import LedgerSettings
from consent_local.postgres import Postgres
from http_service import (
    Caller,
    command,
    enrol,
    environment_of,
    free_port,
    make_keys,
    publish_first_policy,
    publisher,
    server,
    settings_for,
    until_ready,
)
from servers import temporary_folder

ASKED = {"workspace": "acme", "purpose": "ranking.train"}
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest_asyncio.fixture
async def settings(
    migrated_database_url: str, nats_url: str, tmp_path: Path
) -> AsyncIterator[LedgerSettings]:
    yield settings_for(tmp_path / "ledger", migrated_database_url, nats_url)


def caller(port: int, keys: dict[str, str]) -> Caller:
    return Caller(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20), keys)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "python" in child.name()]


async def eventually(what: str, true: object, seconds_max: float = 20.0) -> None:
    """Wait until `true()` is true. Raises AssertionError naming `what`."""
    deadline = asyncio.get_running_loop().time() + seconds_max
    while True:
        found = true()  # type: ignore[operator]
        if await found if asyncio.iscoroutine(found) else found:
            return
        assert asyncio.get_running_loop().time() < deadline, f"never: {what}"
        await asyncio.sleep(0.05)


async def test_given_a_server_when_a_worker_is_killed_then_another_replaces_it_and_nothing_is_lost(
    settings: LedgerSettings, tmp_path: Path
) -> None:
    keys = await make_keys(settings.database_url)
    port = free_port()
    with server(settings, port, tmp_path / "log", workers=2) as process:
        call = caller(port, keys)
        await until_ready(call.client)
        await publish_first_policy(call)
        told = await enrol(call, "acme")
        before = {worker.pid for worker in workers_of(process)}
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        await eventually("a new worker", lambda: len({one.pid for one in workers_of(process)} - before) == 1)

        async def permits() -> bool:
            try:
                answer = await call("POST", "/v1/check", json={**ASKED, "atLeast": told["token"]})
            except httpx.TransportError:
                return False  # a connection to the one that was killed
            return answer.status_code == 200 and answer.json()["decision"] == "permit"

        await eventually("a permit", permits)
        assert process.poll() is None
        metrics = await call("GET", "/metrics", None)
        assert 'consent_http_requests_total{operation="enrolWorkspace",status="201"} 1.0' in metrics.text


async def test_given_a_server_when_it_is_killed_hard_then_its_workers_end_too_and_the_next_finds_all(
    settings: LedgerSettings, tmp_path: Path
) -> None:
    keys = await make_keys(settings.database_url)
    port = free_port()
    with publisher(settings):
        with server(settings, port, tmp_path / "log") as process:
            call = caller(port, keys)
            await until_ready(call.client)
            await publish_first_policy(call)
            await enrol(call, "acme")
            opt_out = {"selector": {"all": True}, "applicant": {"role": "owner", "authority": "verified"}}
            told = await call.done("POST", "/v1/workspaces/acme/opt-outs", json=opt_out)
            workers = workers_of(process)
            process.kill()
            process.wait(10)
            await eventually("workers end with it", lambda: not any(one.is_running() for one in workers))
        with server(settings, port, tmp_path / "log"):
            call = caller(port, keys)
            await until_ready(call.client)
            answer = await call.done("POST", "/v1/check", json=ASKED)
            assert answer["reasons"] == [{"code": "opt_out_requested", "position": told["position"]}]


async def test_given_postgresql_goes_when_asked_then_writes_are_503_and_checks_go_on_until_stale(
    nats_url: str, tmp_path: Path
) -> None:
    with temporary_folder() as folder:
        postgres = Postgres(folder, port=free_port(), durable=False)
        url = postgres.start()
        try:
            settings = settings_for(tmp_path / "ledger", url, nats_url, max_staleness_ms=1_500)
            done = await asyncio.to_thread(run, settings, "migrate", "--json")
            assert done.returncode == 0 and json.loads(done.stdout)["applied"], done.stderr
            keys = await make_keys(url)
            port = free_port()
            with publisher(settings), server(settings, port, tmp_path / "log"):
                call = caller(port, keys)
                await until_ready(call.client)
                await publish_first_policy(call)
                told = await enrol(call, "acme")
                await call.done("POST", "/v1/check", json={**ASKED, "atLeast": told["token"]})
                await asyncio.to_thread(postgres.stop)
                assert (await call.done("POST", "/v1/check", json=ASKED))["decision"] == "permit"
                body = {"workspace": "b", "plan": "p", "region": "eu"}
                refused = await call("POST", "/v1/workspaces", json=body)
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["code"] in ("unavailable", "outcome_unknown")
                await asyncio.sleep(1.6)
                stale = await call.done("POST", "/v1/check", json=ASKED)
                assert (stale["decision"], stale["reasons"][0]["code"]) == ("undecided", "stale")
                batch = {"purpose": "ranking.train", "workspaces": ["acme"]}
                assert (await call.done("POST", "/v1/check/batch", json=batch))["permitted"] == [False]
                ready = await call("GET", "/health/ready", None)
                assert ready.status_code == 503 and len(ready.json()["failures"]) == 2
                assert (await call("GET", "/health/live", None)).status_code == 200
                postgres.start()
                await until_ready(call.client)
                assert (await call("POST", "/v1/workspaces", json=body)).status_code == 201
        finally:
            postgres.stop()


async def test_given_neither_postgresql_nor_nats_when_started_then_it_lives_and_denies(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path / "ledger", NOWHERE, "nats://127.0.0.1:1")
    port = free_port()
    with server(settings, port, tmp_path / "log") as process:
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20)

        async def lives() -> bool:
            try:
                return (await client.get("/health/live")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually("it lives", lives)
        assert (await client.get("/health/ready")).status_code == 503
        answer = await client.post("/v1/check", json=ASKED, headers={"authorization": "Bearer x"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert process.poll() is None


def run(settings: LedgerSettings | None, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = environment_of(settings) if settings else {"PATH": os.environ["PATH"]}
    return subprocess.run(
        command(*arguments), env=environment | more, capture_output=True, text=True, timeout=60
    )


def test_given_wrong_arguments_or_settings_when_run_then_exit_2_says_which() -> None:
    for arguments in ((), ("fly",), ("keys", "create", "--role", "king", "--name", "x")):
        assert run(None, *arguments).returncode == 2
    done = run(None, "serve")
    assert done.returncode == 2
    assert "CONSENT_DATABASE_URL is not set" in done.stderr and "Traceback" not in done.stderr
    told = run(None, "migrate", "--json")
    assert (told.returncode, json.loads(told.stderr)["error"]) == (2, "settings")


def test_given_what_cannot_work_when_run_then_exit_1_says_why_without_a_trace(
    tmp_path: Path, nats_url: str
) -> None:
    settings = settings_for(tmp_path / "ledger", NOWHERE, nats_url)
    for arguments in (("migrate",), ("keys", "list"), ("keys", "create", "--role", "owner", "--name", "x")):
        done = run(settings, *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    Path(settings.feed_key_file).chmod(0o644)
    done = run(settings, "serve", "--port", str(free_port()))
    assert done.returncode == 1 and "chmod 600" in done.stderr
    Path(settings.feed_key_file).unlink()
    assert "cannot be read" in run(settings, "serve", "--port", str(free_port())).stderr


def test_given_a_port_that_is_taken_when_served_then_exit_1_says_so(tmp_path: Path, nats_url: str) -> None:
    settings = settings_for(tmp_path / "ledger", NOWHERE, nats_url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = run(settings, "serve", "--port", str(listener.getsockname()[1]))
    assert done.returncode == 1 and "cannot listen" in done.stderr and "Traceback" not in done.stderr


def test_given_keys_when_made_listed_and_revoked_then_each_answers_in_json_and_no_secret_is_kept(
    settings: LedgerSettings,
) -> None:
    made = json.loads(run(settings, "keys", "create", "--role", "auditor", "--name", "a", "--json").stdout)
    owner = run(settings, "keys", "create", "--role", "owner", "--name", "o", "--workspace", "acme", "--json")
    assert owner.returncode == 0, owner.stderr
    listed = run(settings, "keys", "list", "--json")
    assert made["key"] not in listed.stdout
    assert [key["scope"] for key in json.loads(listed.stdout)["keys"]] == ["", "workspace/acme"]
    assert json.loads(run(settings, "keys", "revoke", made["prefix"], "--json").stdout)["revoked"]
    assert run(settings, "keys", "revoke", made["prefix"]).returncode == 1
    feed = json.loads(run(settings, "keys", "feed", "--json").stdout)["feedKey"]
    assert feed.startswith("consent.test/ledger+")
