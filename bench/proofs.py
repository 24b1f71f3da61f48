"""Proofs of inclusion a second over HTTP: one worker, authenticated, beside a bare ASGI application.

.venv/bin/python bench/proofs.py [--json FILE] [--seconds 5] [--workspaces 20000]
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import httpx
from http_load import Load, request, run
from http_report import Line, report
from http_servers import Ledger, bare, enrol_many, ledger

CONNECTIONS = 32
ASKED_MAX = 20_000
"""Different positions that are asked for, in random order: more than the tiles that a worker keeps."""


def published(served: Ledger) -> int:
    """Have a checkpoint made of all there is; how many events it covers."""
    key = {"authorization": f"Bearer {served.keys['auditor']}"}
    answer = httpx.post(f"http://127.0.0.1:{served.port}/v1/log/checkpoint", headers=key, timeout=30)
    assert answer.status_code == 200, answer.text
    return int(answer.text.splitlines()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workspaces", type=int, default=20_000)
    asked = parser.parse_args()
    with ledger(publishing=True) as served, bare() as bare_port:
        enrol_many(served, [f"workspace-{number:07d}" for number in range(asked.workspaces)])
        size = published(served)
        positions = random.Random(1).choices(range(1, size + 1), k=ASKED_MAX)
        key = served.keys["auditor"]
        proofs = [request("GET", f"/v1/events/{position}/proof", key=key) for position in positions]
        limit = run(Load(bare_port, CONNECTIONS, asked.seconds, proofs))
        proof = run(Load(served.port, CONNECTIONS, asked.seconds, proofs))
        level = [request("GET", f"/log/tile/0/{number:03}") for number in range(min(size // 256, 1000))]
        tile = run(
            Load(served.port, CONNECTIONS, asked.seconds, level or [request("GET", "/log/checkpoint")])
        )
    report(
        "Proofs over HTTP, one worker; the load generator shares the cores",
        [
            Line(f"proof of one of {size:,} events, 32 connections", proof, limit, 2_000),
            Line("tile of 256 hashes, to everybody", tile, limit),
        ],
        served.folder.parent,
        asked.json,
    )


if __name__ == "__main__":
    main()
