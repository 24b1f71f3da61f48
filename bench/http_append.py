"""HTTP appends a second: durable, hashed, idempotent, one worker; one event a request, and 100 a request.

.venv/bin/python bench/http_append.py [--json FILE] [--seconds 5]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import msgspec
from http_load import Figures, Load, request, run
from http_report import Line, report
from http_servers import Ledger, bare, enrol_many, ledger

CONNECTIONS = 64
REQUESTS_A_SECOND_MAX = 10_000
BATCHES_A_SECOND_MAX = 400
BATCH = 100
OPT_OUT = {"selector": {"all": True}, "applicant": {"role": "owner", "authority": "verified"}}


def appends(served: Ledger, seconds: float) -> Figures:
    """Organisations, one event each, with an Idempotency-Key."""
    count = int(seconds * REQUESTS_A_SECOND_MAX)
    requests = [
        request(
            "POST",
            "/v1/commands",
            b'{"commands":[{"command":"register-organisation","organisation":"one-%d"}]}' % number,
            served.keys["admin"],
            idempotency_key=f"one-{number}",
        )
        for number in range(count)
    ]
    return run(Load(served.port, CONNECTIONS, seconds, requests, repeat=False))


def batches(served: Ledger, seconds: float) -> Figures:
    """Organisations, 100 a request."""
    requests = []
    for number in range(int(seconds * BATCHES_A_SECOND_MAX)):
        commands = [
            {"command": "register-organisation", "organisation": f"many-{number}-{index}"}
            for index in range(BATCH)
        ]
        body = msgspec.json.encode({"commands": commands})
        requests.append(
            request("POST", "/v1/commands", body, served.keys["admin"], idempotency_key=f"b-{number}")
        )
    return run(Load(served.port, 8, seconds, requests, repeat=False))


def opt_outs(served: Ledger, seconds: float) -> Figures:
    """Opt-outs, each answered when this host denies, of workspaces enrolled before."""
    names = [f"leaves-{number}" for number in range(int(seconds * 2_000))]
    enrol_many(served, names)
    body = msgspec.json.encode(OPT_OUT)
    requests = [
        request("POST", f"/v1/workspaces/{name}/opt-outs", body, served.keys["admin"], idempotency_key=name)
        for name in names
    ]
    return run(Load(served.port, CONNECTIONS, seconds, requests, repeat=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures into this file")
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    with ledger() as served, bare() as bare_port:
        limit = run(Load(bare_port, CONNECTIONS, asked.seconds, [request("POST", "/", b"{}")]))
        one = appends(served, asked.seconds)
        many = batches(served, asked.seconds)
        out = opt_outs(served, asked.seconds)
    report(
        "HTTP append, one worker; the load generator and PostgreSQL share the cores",
        [
            Line("one event a request, 64 connections", one, limit, 4_000, 50),
            Line("events, 100 a request", many, limit, 15_000, each=BATCH),
            Line("opt-outs, answered when this host denies", out, limit, None, 100),
        ],
        served.folder.parent,
        asked.json,
    )


if __name__ == "__main__":
    main()
