"""`consent monitor` on a real ledger, with real witnesses, webhooks and signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from consent_command import Ran, Stack, consent, started
from consent_domain.checkpoints import Checkpoint, parse_checkpoint, text
from consent_domain.notes import Note, format_note, parse_key, parse_note
from consent_gate.signatures import Signer
from http_service import free_port
from ledger_events import enrolled, opt_out, policy
from served_logs import TOKEN, served
from servers import temporary_folder
from signed_logs import KEY, SignedLog, encoded, lawful
from witnessed import COSIGNER, key_files, serving


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with temporary_folder() as folder, started(folder) as running:
        yield running


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "TOKEN", "CONFIG", "FEED_KEY", "REPLICA", "VERIFIER_KEY", "WEBHOOK"):
        monkeypatch.delenv(f"CONSENT_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def verifier_key(stack: Stack) -> str:
    return str(json.loads(Path(stack.credentials).read_text())["verifierKey"])


def looked(stack: Stack, folder: Path, *words: str) -> Ran:
    """A look as an auditor takes it, with the key of that role and nothing else."""
    return consent(
        "monitor", "--once", "--state", str(folder), "--key", verifier_key(stack), "--json", *words,
        **stack.settings("auditor"),
    )  # fmt: skip


# -- a real ledger -------------------------------------------------------------------------------------------


def test_given_a_real_ledger_then_all_of_it_holds_and_the_next_look_goes_on_from_there(
    stack: Stack, tmp_path: Path
) -> None:
    first = looked(stack, tmp_path / "memory", "--sample", "40")
    assert (first.code, first.told["alarms"], first.told["unchecked"]) == (0, [], []), first
    assert first.told["events"] == first.told["position"] == first.told["size"] > 300
    assert first.told["compared"] >= 40

    stack.post("/v1/workspaces", {"workspace": "after-the-first-look", "plan": "free", "region": "eu"})
    time.sleep(2)
    second = looked(stack, tmp_path / "memory")
    assert (second.code, second.told["alarms"]) == (0, []), second
    assert 1 <= second.told["events"] < 10
    assert second.told["since"] == first.told["size"]


def test_given_a_key_of_a_pipeline_then_it_is_not_checked(stack: Stack, tmp_path: Path) -> None:
    ran = consent(
        "monitor", "--once", "--state", str(tmp_path / "m"), "--key", verifier_key(stack), "--json",
        **stack.settings("pipeline"),
    )  # fmt: skip
    assert (ran.code, ran.told["result"]) == (2, "unchecked")
    assert "forbidden" in ran.told["unchecked"][0]


@contextmanager
def witness_of(stack: Stack, folder: Path) -> Iterator[tuple[str, str]]:
    """A witness of the stack's log: its verifier key and its address."""
    folder.mkdir()
    key, port = key_files(folder), free_port()
    verifier = consent("witness", "keys", "--key-file", str(key)).out.strip()
    with serving(key, port, "--log", verifier_key(stack)):
        yield verifier, f"http://127.0.0.1:{port}"


def own_key(stack: Stack) -> Signer:
    """The log's own private key, as a thief has it."""
    name = parse_key(verifier_key(stack)).name
    folder = Path(stack.credentials).parent / "keys"
    signers = [Signer(name, file.read_bytes()) for file in folder.iterdir() if file.stat().st_size == 32]
    return next(one for one in signers if str(one.verifier) == verifier_key(stack))


def test_given_a_witness_that_was_shown_another_log_then_the_monitor_finds_it(
    stack: Stack, tmp_path: Path
) -> None:
    note = httpx.get(f"{stack.url}/log/checkpoint").content
    checkpoint = parse_checkpoint(parse_note(note).text)
    fork = text(Checkpoint(checkpoint.name, checkpoint.size, sha256(b"another history").digest()))
    forged = format_note(Note(fork, (own_key(stack).sign_note(fork),)))
    with (
        witness_of(stack, tmp_path / "one") as (one, one_url),
        witness_of(stack, tmp_path / "two") as (two, two_url),
    ):
        for url, shown in ((one_url, note), (two_url, forged)):
            answer = httpx.post(f"{url}/add-checkpoint", content=b"old 0\n\n" + shown, timeout=20)
            assert answer.status_code == 200, answer.text
        (tmp_path / "policy").write_text(
            f"witness one {one} {one_url}\nwitness two {two} {two_url}/\nquorum none\n"
        )
        ran = looked(stack, tmp_path / "memory", "--policy", str(tmp_path / "policy"))
    assert ran.code == 1
    assert ran.told["witnesses"] == {"one": checkpoint.size, "two": checkpoint.size}
    (found,) = ran.told["alarms"]
    assert (found["kind"], found["seen"].startswith(fork)) == ("split_view", True)
    assert json.loads(ran.err.splitlines()[0])["event"] == "split_view"


def test_given_a_witness_that_saw_more_than_is_served_then_the_view_is_held_back(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.audit.monitor.look.CATCH_UP_SECONDS", 0.5)
    checkpoint = parse_checkpoint(parse_note(httpx.get(f"{stack.url}/log/checkpoint").content).text)
    more = text(Checkpoint(checkpoint.name, checkpoint.size + 1_000, sha256(b"more").digest()))
    shown = format_note(Note(more, (own_key(stack).sign_note(more),)))
    with witness_of(stack, tmp_path / "one") as (one, url):
        assert httpx.post(f"{url}/add-checkpoint", content=b"old 0\n\n" + shown).status_code == 200
        (tmp_path / "policy").write_text(f"witness one {one} {url}\nquorum none\n")
        ran = looked(stack, tmp_path / "memory", "--policy", str(tmp_path / "policy"))
    assert [one["kind"] for one in ran.told["alarms"]] == ["behind_witness"]


def test_given_a_witness_that_is_dead_then_it_is_said_and_is_no_alarm(stack: Stack, tmp_path: Path) -> None:
    with witness_of(stack, tmp_path / "one") as (one, url):
        pass
    (tmp_path / "policy").write_text(f"witness one {one} {url}\nquorum none\n")
    ran = looked(stack, tmp_path / "memory", "--policy", str(tmp_path / "policy"))
    assert (ran.code, "failed" in ran.told["witnesses"]["one"]) == (0, True)


def stack_url(stack: Stack) -> str:
    return str(json.loads(Path(stack.credentials).read_text())["databaseUrl"])


async def test_given_a_superuser_who_changes_stored_events_then_the_ledger_s_answers_give_it_away(
    stack: Stack, tmp_path: Path
) -> None:
    """The last test of this ledger: it is spoilt by it."""
    connection = await asyncpg.connect(stack_url(stack), timeout=10, command_timeout=30)
    try:
        await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER ALL")
        await connection.execute(
            """
            UPDATE ledger.events SET body = convert_to(
                replace(convert_from(body, 'UTF8'), '"kind":"production"', '"kind":"sandbox"'), 'UTF8')
            WHERE type = 'workspace-enrolled.v1'
            """
        )
    finally:
        await connection.close(timeout=10)
    ran = looked(stack, tmp_path / "memory", "--sample", "100")
    assert ran.code == 1
    assert {one["kind"] for one in ran.told["alarms"]} <= {"other_decision", "halted"}


# -- webhooks ------------------------------------------------------------------------------------------------


class Hook:
    """An address that takes alarms, or does not; `statuses` are its next answers, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.elsewhere = 0
        self.url = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    given = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = given.statuses.pop(0) if given.statuses else 200
            if self.path != "/hook":
                given.elsewhere += 1
            elif status == 200:
                given.taken.append(json.loads(body))
            self.send_response(status)
            if status == 307:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    given.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield given
    server.shutdown()
    server.server_close()
    thread.join(5)


SPOILT = SignedLog([*lawful(5), *encoded([enrolled("w"), enrolled("w")], 6)])
"""A log in which one event cannot have happened."""


def watched(url: str, folder: Path, *words: str, **more: str) -> Ran:
    settings = {"CONSENT_URL": url, "CONSENT_TOKEN": TOKEN, "CONSENT_VERIFIER_KEY": KEY, **more}
    return consent("monitor", "--once", "--sample", "0", "--state", str(folder), *words, **settings)


def test_given_alarms_then_the_webhook_is_told_once_of_each(hook: Hook, tmp_path: Path) -> None:
    hook.statuses = [503]
    with served(SPOILT, tmp_path / "log") as log:
        ran = watched(log.url, tmp_path / "memory", CONSENT_WEBHOOK=hook.url)
        assert (ran.code, len(hook.taken)) == (1, 1)
        told = hook.taken[0]
        assert told["log"] == SPOILT.checkpoint.name
        assert [one["kind"] for one in told["alarms"] if one["kind"] != "overdue"] == ["quarantined"]
        watched(log.url, tmp_path / "memory", CONSENT_WEBHOOK=hook.url)
        assert len(hook.taken) == 1
        assert hook.url not in ran.out + ran.err, "the address may be a secret"


def test_given_a_webhook_that_does_not_take_alarms_then_they_are_told_at_the_next_look(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hook.statuses = [500, 404, 503]
    with served(SPOILT, tmp_path / "log") as log:
        ran = watched(log.url, tmp_path / "memory", "--webhook", hook.url)
        assert (ran.code, hook.taken) == (1, [])
        assert '"event": "webhook"' in ran.err
        again = watched(log.url, tmp_path / "memory", "--webhook", hook.url, "--json")
    assert (again.code, "quarantined" in [one["kind"] for one in again.told["alarms"]]) == (1, True)
    assert len(hook.taken) == 1


def test_given_a_webhook_that_redirects_then_nobody_else_is_told(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    hook.statuses = [307, 307, 307]
    with served(SPOILT, tmp_path / "log") as log:
        watched(log.url, tmp_path / "memory", "--webhook", hook.url)
    assert (hook.taken, hook.elsewhere) == ([], 0)


# -- running -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-key"], "pin a key"),
        (["--webhook", "ftp://x"], "http:// or https://"),
        (["--sample", "-1"], "--sample"),
        (["--sample", "1001"], "--sample"),
        (["--interval", "0"], "--interval"),
        (["--interval", "nan"], "--interval"),
        (["--unwitnessed", "nan"], "--unwitnessed"),
        (["--policy", "gone"], "gone"),
    ],
)
def test_given_wrong_arguments_then_it_does_not_begin(tmp_path: Path, words: list[str], said: str) -> None:
    ran = watched("http://127.0.0.1:9", tmp_path / "memory", *words)
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert not (tmp_path / "memory").exists()


def test_given_nothing_that_answers_then_it_was_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    ran = watched("http://127.0.0.1:9", tmp_path / "memory", "--json")
    assert (ran.code, ran.told["result"], ran.told["alarms"]) == (2, "unchecked", [])


@contextmanager
def dripping() -> Iterator[str]:
    """The address of somebody who answers one byte after the other, and never ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stopped = threading.Event()

        def drip() -> None:
            listener.settimeout(0.2)
            while not stopped.is_set():
                try:
                    caller, _ = listener.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=dripped, args=(caller,), daemon=True).start()

        def dripped(caller: socket.socket) -> None:
            with caller:
                caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not stopped.wait(0.1):
                    try:
                        caller.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        thread.join(5)


def test_given_a_ledger_that_answers_for_ever_then_the_monitor_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.commands.monitor.REQUEST_SECONDS_MAX", 0.5)
    with dripping() as url:
        ran = watched(f"{url}/log", tmp_path / "memory", "--json")
    assert (ran.code, ran.told["result"]) == (2, "unchecked")
    assert "for one answer" in ran.told["unchecked"][0]


def test_given_a_witness_that_answers_for_ever_then_the_look_goes_on_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consent_gate.audit.monitor.witnesses.SECONDS_MAX", 0.5)
    with served(SignedLog(lawful(3)), tmp_path / "log") as log, dripping() as url:
        (tmp_path / "policy").write_text(f"witness one {COSIGNER.verifier} {url}\nquorum none\n")
        ran = watched(log.url, tmp_path / "memory", "--json", "--policy", str(tmp_path / "policy"))
    assert (ran.code, ran.told["witnesses"]) == (0, {"one": "it did not answer within 0 s"})


def test_given_a_monitor_that_runs_when_it_is_told_to_stop_then_its_code_is_the_worst_that_it_saw(
    tmp_path: Path,
) -> None:
    honest = encoded([policy(), enrolled("w1")])
    late = encoded([policy(), enrolled("w1"), opt_out("workspace/w1", "r")])
    with served(SignedLog(honest), tmp_path / "log") as log:
        words = ["monitor", "--state", str(tmp_path / "m"), "--interval", "1", "--sample", "0", "--json"]
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("consent")), *words],
            env={"PATH": "", **log.settings()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["result"] == "good"
        SignedLog(late).write(tmp_path / "log")
        results = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [one["kind"] for one in results[-1]["alarms"]] == ["overdue"], "it was due long ago"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert '"event": "overdue"' in err
    assert "Traceback" not in err
