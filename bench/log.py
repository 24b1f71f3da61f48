"""From an append to a signed checkpoint that covers it, and to one that two witnesses cosigned; and what
tiles and signing cost the appends.

.venv/bin/python bench/log.py [--appends 60] [--seconds 5] [--json FILE]

The ledger, its publisher and both witnesses run as processes of this host. An append counts from its
answer. What publishing costs is measured in turns of the same load: with the publisher running, and
with it stopped (SIGSTOP).
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import httpx
from consent_gate.signatures import CosignatureVerifier, Signer
from consent_ledger.log.folder import CHECKPOINT, WITNESSED, LogFolder
from consent_ledger.log.keys import make_log_key
from consent_ledger.log.signer import SignerState
from http_load import Load, request, run
from http_servers import Ledger, ledger
from http_service import free_port, publisher
from table import Row, report
from witnessed import key_files, serving

EPOCH = 1
SIGNED_MS, COSIGNED_MS = 1_500.0, 3_000.0
SLOWER_MAX = 0.10
WAIT_SECONDS_MAX = 15.0
PAUSE_SECONDS = 0.13
"""Between appends. No part of the second between two checkpoints: appends fall everywhere in it."""
TURNS = 4
CONNECTIONS = 32
REQUESTS_A_SECOND_MAX = 10_000
_numbers = count()


class Covered(NamedTuple):
    """How long it took from an append's answer to the two checkpoints, in milliseconds."""

    signed: float
    cosigned: float


@contextmanager
def witnesses(served: Ledger, vkey: str) -> Iterator[Path]:
    """Two witnesses of the log; the file of the policy that wants both."""
    folder = served.folder
    lines, ports, files = [f"log {vkey}"], [free_port(), free_port()], []
    for number, port in enumerate(ports, 1):
        home = folder / f"witness-{number}"
        home.mkdir()
        files.append(key_files(home, f"witness.example/w{number}"))
        shown = subprocess.run(
            [str(Path(sys.executable).with_name("consent")), "witness", "keys", "--key-file", str(files[-1])],
            check=True, capture_output=True, text=True, timeout=30,
        ).stdout.strip()  # fmt: skip
        CosignatureVerifier.parse(shown)
        lines.append(f"witness w{number} {shown} http://127.0.0.1:{port}")
    policy = folder / "policy"
    policy.write_text("\n".join([*lines, "group both all w1 w2", "quorum both"]) + "\n")
    with serving(files[0], ports[0], "--log", vkey), serving(files[1], ports[1], "--log", vkey):
        yield policy


def log_key(served: Ledger) -> str:
    """The log's verifier key, made where the publisher looks for it."""
    home = Path(served.settings.log_folder).parent
    make_log_key(home / "log.key", SignerState(home / "signer.sqlite"), served.settings.origin)
    return str(Signer(served.settings.origin, (home / "log.key").read_bytes()).verifier)


def body() -> bytes:
    """A command that nothing refuses."""
    return b'{"commands":[{"command":"register-organisation","organisation":"o-%d"}]}' % next(_numbers)


def covered(served: Ledger, appends: int) -> list[Covered]:
    """Append one at a time, and look at the published files until both cover it."""
    folder = LogFolder(served.settings.log_folder)
    headers = {"authorization": f"Bearer {served.keys['admin']}", "content-type": "application/json"}
    found = []
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", headers=headers, timeout=20) as client:
        for _ in range(appends):
            told = client.post("/v1/commands", content=body()).json()
            answered = time.perf_counter()
            position = int(told["verdicts"][0]["position"])
            signed = _until(folder, CHECKPOINT, position)
            cosigned = _until(folder, WITNESSED, position)
            found.append(Covered((signed - answered) * 1000, (cosigned - answered) * 1000))
            time.sleep(PAUSE_SECONDS)
    return found


def _until(folder: LogFolder, path: str, position: int) -> float:
    deadline = time.perf_counter() + WAIT_SECONDS_MAX
    while True:
        checkpoint = folder.checkpoint(EPOCH, path)
        now = time.perf_counter()
        if checkpoint is not None and checkpoint.size >= position:
            return now
        assert now < deadline, f"no {path} covers event {position}"
        time.sleep(0.002)


def appended(served: Ledger, seconds: float) -> float:
    """Appends a second, one an HTTP request."""
    asked = [
        request("POST", "/v1/commands", body(), served.keys["admin"])
        for _ in range(int(seconds * REQUESTS_A_SECOND_MAX))
    ]
    figures = run(Load(served.port, CONNECTIONS, seconds, asked, repeat=False))
    assert figures.errors == 0, f"{figures.errors} appends were refused"
    return figures.a_second


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    parser.add_argument("--appends", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=4.0)
    asked = parser.parse_args()
    with ledger() as served, witnesses(served, log_key(served)) as policy:
        with publisher(served.settings, policy) as publishing:
            covered(served, 3)
            times = covered(served, asked.appends)
            signed = percentile([one.signed for one in times], 0.99)
            cosigned = percentile([one.cosigned for one in times], 0.99)
            with_it, without = [], []
            for _ in range(TURNS):
                with_it.append(appended(served, asked.seconds))
                publishing.send_signal(signal.SIGSTOP)
                try:
                    without.append(appended(served, asked.seconds))
                finally:
                    publishing.send_signal(signal.SIGCONT)
        beside, alone = statistics.median(with_it), statistics.median(without)
        rows = [
            Row(
                "append → signed checkpoint, p99", signed, "ms", target=f"< {SIGNED_MS:.0f} ms",
                reached=signed < SIGNED_MS,
                note=f"median {statistics.median(one.signed for one in times):.0f} ms",
            ),
            Row(
                "append → cosigned by two witnesses, p99", cosigned, "ms", target=f"< {COSIGNED_MS:.0f} ms",
                reached=cosigned < COSIGNED_MS,
                note=f"median {statistics.median(one.cosigned for one in times):.0f} ms",
            ),
            Row(
                "appends beside tiles and signing", beside, "/s", "the same, publisher stopped", alone,
                f"≥ {1 - SLOWER_MAX:.2f} ×", beside >= alone * (1 - SLOWER_MAX),
            ),
        ]  # fmt: skip
        report("Checkpoints, and what they cost", rows, served.folder.parent, asked.json)


if __name__ == "__main__":
    main()
