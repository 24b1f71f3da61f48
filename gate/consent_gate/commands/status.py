"""`consent status`: whether checks and filters could be answered now."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from consent_domain.errors import ConsentError

from consent_gate.commands.ledger import Ledger, asking
from consent_gate.commands.settings import Settings
from consent_gate.commands.terminal import painted, plain, table
from consent_gate.commands.usage import Subcommands, examples
from consent_gate.following import default_folder
from consent_gate.gate import Gate
from consent_gate.replica import Replica

READY, NOT_READY = 0, 2
_EXIT_CODES = "Exit codes: 0 checks can be answered now; 2 they cannot, or wrong usage."
_EXAMPLES = """\
  consent status
  consent status --json --config .data/credentials.json"""
_WHY = {
    "stale": "no process of this host keeps it fresh now; the next `consent filter` or gate goes on",
    "catching_up": "it is not complete; the next `consent filter` or gate fetches the rest",
}
"""What is so when a replica says nothing itself: nobody follows for the look that `status` takes."""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "status", parents=[shared], help="whether the ledger can be asked now, and how the replica is",
        **examples(_EXAMPLES, _EXIT_CODES),
    )  # fmt: skip
    command.set_defaults(run=asking("pipeline", status))


def status(ledger: Ledger, settings: Settings, options: argparse.Namespace) -> int:
    """Print how the ledger, the API key and this host's replica are; 0 if checks can be answered, else 2."""
    found: dict[str, Any] = {"url": settings.url, **_ledger(ledger, settings.feed_key)}
    folder = (
        Path(settings.replica)
        if settings.replica
        else default_folder(settings.url, settings.feed_key or None)
    )
    found["replica"] = {"folder": str(folder), **_replica(folder)}
    print(json.dumps(found) if options.json else in_words(found))
    usable = found["key"] == "accepted" and not found["feedKey"].startswith("wrong_key")
    return READY if found["ledger"]["ready"] and usable else NOT_READY


def _ledger(ledger: Ledger, feed_key: str) -> dict[str, Any]:
    try:
        health = ledger.health()
    except ConsentError as error:
        failed = {"ready": False, "failures": [error.detail]}
        return {"ledger": failed, "key": "not tried", "feedKey": "not tried"}
    return {"ledger": health, "key": _key(ledger), "feedKey": _feed_key(ledger, feed_key)}


def _key(ledger: Ledger) -> str:
    try:
        ledger.get("/v1/policies")
    except ConsentError as error:
        return str(error)
    return "accepted"


def _feed_key(ledger: Ledger, feed_key: str) -> str:
    if not feed_key:
        return "not given"
    try:
        ledger.require_feed(feed_key)
    except ConsentError as error:
        return str(error)
    return "fits"


def _replica(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        return {"state": "none", "why": "the first `consent filter` or gate fetches it"}
    found = Gate(Replica.open(folder)).status()
    return {
        "state": found.state,
        "token": found.token,
        "position": found.position,
        "stalenessSeconds": found.staleness,
        "why": found.why or _WHY.get(found.state, ""),
    }


def in_words(found: dict[str, Any]) -> str:
    """The same for people."""
    ledger, replica = found["ledger"], found["replica"]
    ready = painted("ready", "permit") if ledger["ready"] else painted("not ready", "deny")
    rows = [["ledger", f"{found['url']}: {ready}{_aside(plain(', '.join(ledger.get('failures', []))))}"]]
    if ledger.get("position"):
        rows.append(["", f"position {ledger['position']}, {ledger.get('stalenessMs', 0)} ms old"])
    rows += [
        ["API key", plain(found["key"])],
        ["feed key", plain(found["feedKey"])],
        ["replica", f"{replica['state']}{_aside(plain(replica['why']))}"],
    ]
    if replica.get("token"):
        age = replica["stalenessSeconds"]
        old = "of unknown age" if age is None else f"{age:,.1f} s old"
        rows.append(["", f"position {replica['position']}, {old}, as of {replica['token']}"])
    return table([*rows, ["", replica["folder"]]])


def _aside(text: str) -> str:
    return f" ({text})" if text else ""
