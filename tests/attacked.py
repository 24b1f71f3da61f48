"""A ledger with everybody who could notice an attack: real processes, a witness, a gate elsewhere, a monitor.

`Place` is one ledger: its database, its files, its processes. The customers of `OUT` opted out of `PURPOSE`
before the attacks begin, and `Watching` sees to it that nothing ever permits it meanwhile.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from consent_command import Ran, consent
from consent_domain.checkpoints import parse_checkpoint
from consent_domain.notes import parse_note
from consent_gate.gate import Gate
from consent_ledger.log.folder import Halt
from consent_ledger.log.publisher import Step
from consent_ledger.recovery.fsck import Checked
from http_service import (
    Caller,
    command,
    enrol,
    environment_of,
    free_port,
    publish_first_policy,
    publisher,
    server,
    settings_for,
    until_ready,
)
from recovering import Host
from steady_load import OPT_OUT, PURPOSE
from superuser import Ledger, Superuser

GENERATIVE = "assistant.train"
OTHER = "ranking.serve"
OUT = ("acme", "globex", "hooli")
"""Opted out: of `PURPOSE` alone, of everything, and of everything as the last event of all."""
NAMES = (*OUT, "initech", "umbrella", "filler")
FILLED = 260
"""Events of the history, at least: the first tile is full."""
SAMPLE = "100"
"""Of six workspaces and three purposes: a pair is left out by one look in 300."""


class Place:
    """One ledger. What it is, its files, and who looks at it."""

    def __init__(self, folder: Path, database_url: str, nats_url: str, keys: dict[str, str]) -> None:
        self.settings = settings_for(folder, database_url, nats_url)
        self.host = Host(folder, database_url)
        self.she = Superuser(database_url)
        self.folder = folder
        self.keys = keys
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(timeout=20, limits=httpx.Limits(max_keepalive_connections=0))
        self.policy = folder / "policy"

    @property
    def log_key(self) -> str:
        """The log's verifier key."""
        return str(self.host.verifier)

    @property
    def halt(self) -> Halt | None:
        """Why the log is halted."""
        return self.host.log.halted()

    # -- who looks -------------------------------------------------------------------------------------------

    def fsck(self, clear: bool = False) -> Checked:
        """What `consent-ledger fsck` finds."""
        return asyncio.run(self.host.fsck(clear))

    def look(self, memory: Path, *words: str, witnessed: bool = True, sample: str = SAMPLE) -> Ran:
        """What `consent monitor --once` finds that remembers what is in `memory`."""
        policy = ("--policy", str(self.policy)) if witnessed else ()
        return consent(
            "monitor", "--once", "--json", "--state", str(memory), "--key", self.log_key, "--url", self.url,
            "--sample", sample, *policy, *words, CONSENT_TOKEN=self.keys["auditor"],
        )  # fmt: skip

    def check(self, workspace: str, purpose: str = PURPOSE, **more: object) -> dict[str, Any]:
        """How the ledger answers a pipeline."""
        asked = {"workspace": workspace, "purpose": purpose, "collected": {"at": _now()}, **more}
        answer = self.post("/v1/check", asked, by="pipeline")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def code(self, workspace: str, purpose: str = PURPOSE) -> str:
        """The first reason of a check."""
        return str(self.check(workspace, purpose)["reasons"][0]["code"])

    def post(self, path: str, body: object, by: str = "admin", **headers: str) -> httpx.Response:
        """A request."""
        headers |= {"authorization": f"Bearer {self.keys[by]}"}
        return self.client.post(self.url + path, json=body, headers=headers)

    def get(self, path: str, by: str = "auditor") -> httpx.Response:
        """What is there."""
        return self.client.get(self.url + path, headers={"authorization": f"Bearer {self.keys[by]}"})

    def opt_out(self, workspace: str) -> int:
        """An opt-out of everything that was acknowledged; its position."""
        answer = self.post(f"/v1/workspaces/{workspace}/opt-outs", OPT_OUT)
        assert answer.status_code < 300, answer.text
        return int(answer.json()["position"])

    def enrol(self, workspace: str) -> None:
        """A workspace for this test alone."""
        body = {"workspace": workspace, "plan": "business", "region": "eu"}
        answer = self.post("/v1/workspaces", body)
        assert answer.status_code < 300, answer.text

    def at(self, url: str) -> Place:
        """The same ledger as another host serves it, once it answers there."""
        other = copy(self)
        other.url = url
        asyncio.run(_answers(url))
        return other

    # -- the published log -----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many events the published checkpoint covers."""
        checkpoint = self.host.log.checkpoint(1)
        return 0 if checkpoint is None else checkpoint.size

    def until_published(self) -> None:
        """Wait until the published checkpoint covers the head."""
        head = self.she.ledger().head[0]
        until(lambda: self.size >= head, f"{head} events are published")

    def until_witnessed(self) -> None:
        """Wait until the witness has cosigned all."""
        head = self.she.ledger().head[0]
        until(
            lambda: witnessed_size(self.host.log.note(1, "checkpoint.witnessed")) >= head, "all is cosigned"
        )

    # -- processes -------------------------------------------------------------------------------------------

    @contextmanager
    def serving(self) -> Iterator[None]:
        """`consent-ledger serve`, once it answers."""
        with server(self.settings, self.port, self.folder / "serve.log"):
            asyncio.run(_answers(self.url))
            yield

    @contextmanager
    def publishing(self) -> Iterator[subprocess.Popen[bytes]]:
        """`consent-ledger publish`, with the witness's policy."""
        with publisher(self.settings, self.policy) as process:
            yield process

    @contextmanager
    def projecting(self) -> Iterator[subprocess.Popen[bytes]]:
        """`consent-projector run`, of the facts."""
        words = [sys.executable, "-m", "consent_projector.main", "run", "--view", "facts"]
        with (self.folder / "projector.log").open("ab") as output:
            process = subprocess.Popen(
                words, env=self.environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    def environment(self) -> dict[str, str]:
        """What the processes of this place read."""
        files = {"LOG_KEY_FILE": self.host.key_file, "SIGNER_STATE_FILE": self.folder / "signer.sqlite"}
        return environment_of(self.settings) | {f"CONSENT_{name}": str(file) for name, file in files.items()}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of `consent-ledger` in a process of its own."""
        return subprocess.run(
            command(*words), env=self.environment(), capture_output=True, text=True, timeout=60
        )

    def put_back(self, ledger: Ledger) -> None:
        """Undo an attack; what was halted for it goes on."""
        self.she.write(ledger)
        if self.halt is not None:
            assert self.fsck(clear=True).cleared is not None
        until(lambda: self.check("initech")["decision"] == "permit", "the ledger answers again")

    # -- copies ----------------------------------------------------------------------------------------------

    def copy(self, folder: Path, database_url: str) -> Place:
        """This ledger as she has it who took database, files and keys; without its replica and views."""
        folder.mkdir()
        for file in self.folder.iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        shutil.copytree(self.folder / "log", folder / "log", ignore=shutil.ignore_patterns("publisher.*"))
        other = Place(folder, database_url, self.settings.nats_url, self.keys)
        other.she.write(self.she.ledger())
        self.she.copy_table("api_keys", other.she)
        return other


class Paused:
    """A process that can be made to wait while an attack is made."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It does nothing meanwhile, as one that is busy elsewhere."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.go_on()

    def go_on(self) -> None:
        """It goes on, also before the wait is over."""
        self._process.send_signal(signal.SIGCONT)


class Watching:
    """Asks the ledger and a gate elsewhere about everybody in `OUT`, again and again."""

    def __init__(self, place: Place, gate: Gate) -> None:
        self._place = place
        self._gate = gate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.asked = 0
        self.permits: list[str] = []
        """Who was permitted what, by whom."""

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            for workspace in OUT:
                answer = self._place.check(workspace)
                self.permits += [f"ledger: {workspace}"] if answer["decision"] == "permit" else []
                self.permits += [f"gate: {workspace}"] if self._gate.check(workspace) else []
                self.asked += 1


class Honest(NamedTuple):
    """The ledger that nobody attacked yet, its publisher and its projector, a gate elsewhere, and what a
    monitor remembers."""

    place: Place
    publisher: Paused
    projector: Paused
    gate: Gate
    memory: Path
    watching: Watching


class Rewritten(NamedTuple):
    """A ledger that was rewritten, and what its publisher said before the signer's memory was, too."""

    place: Place
    step: Step
    halt: Halt | None


async def make_history(url: str, keys: dict[str, str]) -> None:
    """What is there before the attacks."""
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        call = Caller(client, keys)
        await publish_first_policy(call)
        for name in NAMES:
            await enrol(call, name)
        of_one = {**OPT_OUT, "selector": {"keys": [PURPOSE]}}
        await call.done("POST", "/v1/workspaces/acme/opt-outs", json=of_one)
        await call.done("POST", "/v1/workspaces/globex/opt-outs", json=OPT_OUT)
        plans = [("free", "business")[number % 2] for number in range(FILLED)]
        for begin in range(0, FILLED, 100):
            changes = [
                {"command": "change-workspace", "workspace": "filler", "plan": plan}
                for plan in plans[begin : begin + 100]
            ]
            await call.done("POST", "/v1/commands", json={"commands": changes})
        await call.done("POST", "/v1/workspaces/hooli/opt-outs", json=OPT_OUT)


async def _answers(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        await until_ready(client)


def witnessed_size(note: bytes | None) -> int:
    """The size that a signed note is of."""
    return 0 if note is None else parse_checkpoint(parse_note(note).text).size


def until(holds: Callable[[], Any], what: str, seconds_max: float = 20.0) -> float:
    """Wait until it holds; how long that took. Raises AssertionError naming `what`."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds_max, f"never within {seconds_max:.0f} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - begun


def kinds(ran: Ran) -> set[str]:
    """The alarms of a look. One that found nothing could look at all."""
    told = ran.told
    assert told["result"] != "unchecked", told["unchecked"]
    return {one["kind"] for one in told["alarms"]}


def remembered(honest: Honest, folder: Path) -> Path:
    """What the honest ledger's monitor remembers, for a test to change."""
    shutil.copytree(honest.memory, folder / "memory")
    return folder / "memory"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
