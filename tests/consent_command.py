"""The command `consent`, in this process or as one of its own, and a ledger that it can ask."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import httpx
from consent_gate.cli import main
from consent_local.demo.examples import Customer, Examples, import_lines
from consent_local.demo.stage import Stage

ROOT = Path(__file__).resolve().parents[1]
TRAIN = "train.search_ranking"
SERVE = "serve.search_ranking"
COMMAND_SECONDS_MAX = 100


class Ran(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> Any:
        """What it printed for programs."""
        return json.loads(self.out)


def consent(*words: str, **environment: str) -> Ran:
    """`consent WORDS` in this process, with more variables in its environment."""
    stopping = signal.getsignal(signal.SIGTERM)
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, environment), redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as exit:
            assert isinstance(exit.code, int), "argparse exits with a number"
            code = exit.code
        finally:
            signal.signal(signal.SIGTERM, stopping)
    return Ran(code, out.getvalue(), err.getvalue())


def consent_process(*words: str, **environment: str) -> Ran:
    """`consent WORDS` as a process of its own, as a shell starts it."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("consent")), *words],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


class Stack:
    """A running ledger and who may ask it. `on`, `owner_out` and `sandbox` are workspaces."""

    def __init__(self, stage: Stage, customers: list[Customer]) -> None:
        self.url: str = stage.credentials["url"]
        self.keys: dict[str, str] = stage.credentials["keys"]
        self.feed_key: str = stage.credentials["feedKey"]
        self.credentials = str(stage.data / "credentials.json")
        self.on = [one.workspace for one in customers if one.is_on]
        self.out = [one.workspace for one in customers if one.opted_out_at]
        self.sandbox = next(one.workspace for one in customers if one.kind == "sandbox")

    def settings(self, role: str = "pipeline", **more: str) -> dict[str, str]:
        """The environment of somebody with a key of that role."""
        return {"CONSENT_URL": self.url, "CONSENT_TOKEN": self.keys[role], **more}

    def post(self, path: str, body: object, role: str = "admin") -> Any:
        """Write, which must succeed."""
        headers = {"authorization": f"Bearer {self.keys[role]}"}
        answer = httpx.post(self.url + path, json=body, headers=headers, timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json()


@contextmanager
def started(folder: Path) -> Iterator[Stack]:
    """A ledger with two versions of the example policies and 300 workspaces, opened, stopped at the end."""
    stage = Stage(folder)
    examples = Examples(ROOT / "examples")
    customers = examples.customers()
    sandbox = next(one for one in customers if one.kind == "sandbox")
    customers = [*customers[:300], *([sandbox] if sandbox not in customers[:300] else [])]
    try:
        stage.start()
        stack = Stack(stage, customers)
        names = ("1-analysis/import", "2-training-by-default/import")
        lines = import_lines(map(examples.policy, names), customers)
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        headers = {
            "authorization": f"Bearer {stack.keys['admin']}",
            "content-type": "application/x-ndjson",
        }
        answer = httpx.post(f"{stack.url}/v1/import", content=content, headers=headers, timeout=60)
        assert answer.json()["applied"] == len(lines), answer.text
        stack.post("/v1/commands", {"commands": [{"command": "open-ledger"}]})
        yield stack
    finally:
        stage.stop()
        stage.remove()
