"""HTTP checks a second: one worker, authenticated, beside a bare ASGI application in the same run.

.venv/bin/python bench/http_check.py [--json FILE] [--seconds 5] [--workspaces 10000]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import msgspec
from http_load import Load, request, run
from http_report import Line, report
from http_servers import bare, enrol_many, ledger

CONNECTIONS = 32
BATCH_WORKSPACES = 10_000
PURPOSE = "ranking.train"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workspaces", type=int, default=10_000)
    asked = parser.parse_args()
    names = [f"workspace-{number:07d}" for number in range(asked.workspaces)]
    with ledger() as served, bare() as bare_port:
        enrol_many(served, names)
        key = served.keys["pipeline"]
        bodies = [msgspec.json.encode({"workspace": name, "purpose": PURPOSE}) for name in names]
        checks = [request("POST", "/v1/check", body, key) for body in bodies]
        batch = {"purpose": PURPOSE, "workspaces": (names * BATCH_WORKSPACES)[:BATCH_WORKSPACES]}
        batches = [request("POST", "/v1/check/batch", msgspec.json.encode(batch), key)]
        limit = run(Load(bare_port, CONNECTIONS, asked.seconds, checks))
        check = run(Load(served.port, CONNECTIONS, asked.seconds, checks))
        many = run(Load(served.port, 2, asked.seconds, batches))
        routed = [request("GET", "/health/live")]
        live = run(Load(served.port, CONNECTIONS, asked.seconds, routed))
    report(
        "HTTP check, one worker; the load generator shares the cores",
        [
            Line("check, 32 connections, authenticated", check, limit, 20_000, 5),
            Line("a route through Litestar (health)", live, limit),
            Line("decisions in batches of 10,000", many, None, 500_000, each=BATCH_WORKSPACES),
        ],
        served.folder.parent,
        asked.json,
    )


if __name__ == "__main__":
    main()
