"""`consent snapshot`: all facts of a ledger as a file, for gates that work offline."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from consent_domain.errors import ConsentError
from consent_domain.instants import rfc3339

from consent_gate.commands.richly import progress
from consent_gate.commands.settings import Settings, settings_of
from consent_gate.commands.terminal import painted, plain
from consent_gate.commands.usage import EXIT_CODES_OF_CHECKS, GOOD, UNCHECKED, Subcommands, examples
from consent_gate.offline import note_of
from consent_gate.signatures import Verifier
from consent_gate.snapshots.loading import open_snapshot
from consent_gate.snapshots.note import SnapshotNote
from consent_gate.snapshots.pulling import pull

_PULLS = """  consent snapshot pull -o facts.parquet            fetch it, with its note in facts.parquet.note
  consent snapshot pull -o facts.parquet --resume   go on where the network broke"""
_VERIFIES = "  consent snapshot verify facts.parquet --feed-key ledger.example+a1b2c3d4+AX…"


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the commands to the program's."""
    command = commands.add_parser(
        "snapshot", help="all facts as a file, for gates that work offline",
        **examples(f"{_PULLS}\n{_VERIFIES}", EXIT_CODES_OF_CHECKS),
    )  # fmt: skip
    below = command.add_subparsers(dest="verb", required=True, metavar="VERB")
    pulling = below.add_parser(
        "pull", parents=[shared], **examples(_PULLS, EXIT_CODES_OF_CHECKS),
        help="fetch the ledger's newest snapshot; it is there once it is whole and verified",
    )  # fmt: skip
    pulling.add_argument("-o", "--out", required=True, metavar="FILE", help="replaced if it is there")
    pulling.add_argument(
        "--resume", action="store_true", help="go on with what was begun, if the ledger still has it"
    )
    pulling.set_defaults(run=pulled, checks=True)
    verifying = below.add_parser(
        "verify", parents=[shared], **examples(_VERIFIES, EXIT_CODES_OF_CHECKS),
        help="check every byte and every row of a snapshot against its note; no network is used",
    )  # fmt: skip
    verifying.add_argument("file", metavar="FILE", help="the snapshot; its note lies beside it")
    verifying.set_defaults(run=verified, checks=True)


def pulled(options: argparse.Namespace) -> int:
    """Fetch, print what was fetched, return 0. Raises ConsentError; what was there before still is then."""
    found = settings_of(options, "pipeline")
    out, verifier = Path(options.out), _verifier(found)
    with progress("fetching", "bytes") as told:
        done = pull(found.url, found.token, out, verifier, options.resume, told)
    _print(options, out, done.note, verifier, {"resumedBytes": done.resumed})
    return GOOD


def verified(options: argparse.Namespace) -> int:
    """Check, print what it is, return 0, or 2 if no key says whose it should be.

    Raises ConsentError, with a code of bad things for bad ones.
    """
    path, verifier = Path(options.file), _verifier(settings_of(options, "pipeline", ()))
    note = note_of(path, verifier)
    with open_snapshot(path, note) as file, progress("checking", "rows") as told:
        rows = 0
        for cells in file.cells():
            rows += len(cells.keys)
            told(rows, note.rows)
    if rows != note.rows:
        raise ConsentError("proof_invalid", f"{path} has {rows:,} rows, and {note.rows:,} are promised")
    _print(options, path, note, verifier, {})
    return UNCHECKED if verifier is None else GOOD


def _verifier(found: Settings) -> Verifier | None:
    return Verifier.parse(found.feed_key) if found.feed_key else None


def _print(
    options: argparse.Namespace,
    path: Path,
    note: SnapshotNote,
    verifier: Verifier | None,
    more: dict[str, Any],
) -> None:
    age = time.time() - note.time / 1_000_000
    if options.json:
        told = {
            "result": "unsigned" if verifier is None else "good",
            "file": str(path),
            "origin": note.origin,
            "epoch": note.epoch,
            "position": str(note.position),
            "token": str(note.token),
            "ledgerTime": rfc3339(note.time),
            "ageSeconds": round(age, 3),
            "rows": note.rows,
            "bytes": note.bytes,
            "sha256": note.sha256,
        }
        print(json.dumps(told | more))
        return
    word = painted("UNSIGNED", "undecided") if verifier is None else painted("GOOD", "permit")
    print(f"{word}  {plain(str(path))}: all facts of {plain(note.origin)} at position {note.position:,}")
    print(f"  ledger time  {rfc3339(note.time)}, {_in_words(age)}")
    print(f"  content      {note.rows:,} rows, {note.bytes:,} bytes, SHA-256 {note.sha256}")
    if verifier is None:
        print("  WHOSE IT IS WAS NOT CHECKED: say the ledger's public key by --feed-key")


def _in_words(age_seconds: float) -> str:
    if age_seconds < 0:
        return "which is AFTER THIS HOST'S CLOCK: no gate will use it before"
    minutes, seconds = divmod(int(age_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min ago" if hours else f"{minutes} min {seconds} s ago"
