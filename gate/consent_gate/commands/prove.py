"""`consent prove`: one event's `.tlog-proof` from the ledger, checked before anybody gets it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from consent_domain.errors import ConsentError
from consent_domain.proofs import ProofInvalid
from consent_domain.tlog_proofs import PROOF_BYTES_MAX, parse_proof

from consent_gate.audit.sources import HttpSource
from consent_gate.audit.verify import Report, verify_proof
from consent_gate.commands.pinned import pinned, pinning
from consent_gate.commands.terminal import plain
from consent_gate.commands.usage import EXIT_CODES_OF_CHECKS, GOOD, Subcommands, examples

COVERED_SECONDS_MAX = 3.0

_EXAMPLES = """\
  consent prove 66
  consent prove 66 -o 66.tlog-proof --key 'ledger.example+a1b2c3d4+AX…'"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "prove", parents=[pinning()], **examples(_EXAMPLES, EXIT_CODES_OF_CHECKS),
        help="a proof that an event is in the log, as a file that anybody can check",
    )  # fmt: skip
    command.add_argument("position", type=int, metavar="POSITION", help="of the event, from 1")
    command.add_argument(
        "-o", "--out", metavar="FILE", help="write it there, whole or not at all; else to standard output"
    )
    command.add_argument("--url", help="the ledger's address (CONSENT_URL)")
    command.set_defaults(run=prove, checks=True)


def prove(options: argparse.Namespace) -> int:
    """Fetch, verify, write; return 0. Raises ConsentError, and nothing is written then."""
    trusted, found = pinned(options)
    out = None if options.out is None else Path(options.out)
    if out is None and options.json:
        raise ConsentError("invalid_value", "--json says what was checked; say by --out where the proof goes")
    if out is not None and os.path.lexists(out):
        raise ConsentError("already_exists", f"{out} is there already; nothing is overwritten")
    source = HttpSource(found.url, found.token)
    try:
        data = _proof(source, options.position)
    finally:
        source.close()
    index = parse_proof(data).index
    if index != options.position - 1:
        raise ProofInvalid(f"event {options.position} was asked for, and the ledger proved {index + 1}")
    report = Report("proof")
    verify_proof(data, trusted, None, report)
    _write(out, data)
    if options.json:
        print(json.dumps({"file": str(out), "result": "good", "checked": report.checked, **report.facts}))
    else:
        for sentence in report.checked:
            print(f"checked: {plain(sentence)}", file=sys.stdout if out else sys.stderr)
    return GOOD


def _proof(source: HttpSource, position: int) -> bytes:
    """The proof; an event that was recorded just now is covered by a checkpoint within a second or two."""
    until = time.monotonic() + COVERED_SECONDS_MAX
    while True:
        try:
            return source.get(f"/v1/events/{position}/proof", PROOF_BYTES_MAX)
        except ConsentError as error:
            if error.code != "beyond_checkpoint" or time.monotonic() > until:
                raise
        time.sleep(0.25)


def _write(out: Path | None, data: bytes) -> None:
    if out is None:
        sys.stdout.flush()
        sys.stdout.write(data.decode())
        return
    new = out.with_name(f"{out.name}.{os.getpid()}.new")
    try:
        with new.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(out)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ConsentError("invalid_value", f"{out} cannot be written: {error.strerror}") from error
