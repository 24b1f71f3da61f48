"""`consent verify`: proofs, checkpoints, exports and live logs, each checked and said in words."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from consent_domain.checkpoints import Checkpoint
from consent_domain.errors import ConsentError
from consent_domain.notes import NOTE_BYTES_MAX
from consent_domain.tlog_proofs import PROOF_BYTES_MAX

from consent_gate.audit.archives import is_archive
from consent_gate.audit.sources import WRONG_CODES
from consent_gate.audit.trust import Trust
from consent_gate.audit.verify import (
    Report,
    verify_checkpoint,
    verify_export,
    verify_log,
    verify_proof,
)
from consent_gate.commands.pinned import exported, is_url, live, pinned, pinning
from consent_gate.commands.richly import progress
from consent_gate.commands.settings import Settings
from consent_gate.commands.terminal import painted, plain
from consent_gate.commands.usage import BAD, EXIT_CODES_OF_CHECKS, GOOD, UNCHECKED, Subcommands, examples

_PROOF = b"c2sp.org/tlog-proof"
_GZIP = b"\x1f\x8b"
_TAR_AT, _TAR = 257, b"ustar"
_WORDS = {BAD: ("BAD", "deny"), UNCHECKED: ("NOT CHECKED", "undecided")}

_EXAMPLES = """\
  consent verify 66.tlog-proof
  consent verify audit.tar.gz --key 'ledger.example+a1b2c3d4+AX…'"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "verify", parents=[pinning()], **examples(_EXAMPLES, EXIT_CODES_OF_CHECKS),
        help="check proofs, checkpoints, exports and live logs, without trusting the ledger",
    )  # fmt: skip
    command.add_argument(
        "files", nargs="+", metavar="FILE",
        help="a .tlog-proof, a checkpoint, an export (folder, .tar, .tar.gz), or the address of a ledger; "
        "for files no network is used",
    )  # fmt: skip
    command.add_argument(
        "--since", metavar="CHECKPOINT", help="an older checkpoint: nothing that it covers may have changed"
    )
    command.set_defaults(run=verify, checks=True)


def verify(options: argparse.Namespace) -> int:
    """Check every file, print what was checked; 1 if anything is bad, else 2 if anything was not checked."""
    trusted, found = pinned(options)
    old = None if options.since is None else _old(Path(options.since), trusted)
    codes = {_verify(file, trusted, old, options, found) for file in options.files}
    return BAD if BAD in codes else max(codes)


def _verify(
    file: str, trusted: Trust, old: Checkpoint | None, options: argparse.Namespace, found: Settings
) -> int:
    report = Report("file")
    try:
        _check(file, trusted, old, options, found, report)
    except ConsentError as error:
        code = BAD if error.code in WRONG_CODES else UNCHECKED
        _print(file, report, code, options.json, error)
    else:
        code = GOOD
        _print(file, report, code, options.json)
    return code


def _check(
    file: str,
    trusted: Trust,
    old: Checkpoint | None,
    options: argparse.Namespace,
    found: Settings,
    report: Report,
) -> None:
    if is_url(file):
        report.what = "log"
        source = live(file, options, found)
        try:
            with progress("verifying", "events") as told:
                verify_log(source, trusted, old, report, told)
        finally:
            source.close()
        return
    path = Path(file)
    head = b"" if path.is_dir() else _read(path, _TAR_AT + len(_TAR))
    if path.is_dir() or is_archive(file) or head.startswith(_GZIP) or head[_TAR_AT:] == _TAR:
        report.what = "export"
        export = exported(path)
        try:
            with progress("verifying", "events") as told:
                verify_export(export, trusted, old, report, told)
        finally:
            export.close()
    elif head.startswith(_PROOF):
        report.what = "proof"
        verify_proof(_read(path, PROOF_BYTES_MAX + 1), trusted, old, report)
    else:
        report.what = "checkpoint"
        verify_checkpoint(_read(path, NOTE_BYTES_MAX + 1), trusted, old, report)


def _old(path: Path, trusted: Trust) -> Checkpoint:
    """The older checkpoint: signed by the log; who witnessed it then is not asked."""
    try:
        return trusted._replace(policy=None).open(_read(path, NOTE_BYTES_MAX + 1)).checkpoint
    except ConsentError as error:
        raise ConsentError(error.code, f"the old checkpoint {path}: {error.detail}") from error


def _read(path: Path, size_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size_max)
    except OSError as error:
        raise ConsentError("not_found", f"{path} cannot be read: {error.strerror}") from error


def _print(file: str, report: Report, code: int, as_json: bool, error: ConsentError | None = None) -> None:
    unsigned = not report.facts.get("signedBy")
    if as_json:
        wrong = {} if error is None else {"code": error.code, "detail": error.detail, **error.extra}
        result = {GOOD: "unsigned" if unsigned else "good", BAD: "bad", UNCHECKED: "unchecked"}[code]
        told = {"file": file, "kind": report.what, "result": result, **wrong}
        print(json.dumps({**told, "checked": report.checked, **report.facts}))
        return
    for sentence in report.checked:
        print(f"checked: {plain(sentence)}")
    if error is not None:
        word, colour = _WORDS[code]
        sys.stdout.flush()
        said = f"{painted(word, colour, sys.stderr)}  {plain(file)}: {plain(error.detail)} [{error.code}]"
        print(said, file=sys.stderr)
    elif unsigned:
        word = painted("UNSIGNED", "undecided")
        print(f"{word}  {plain(file)}: this {report.what} fits together; WHOSE IT IS WAS NOT CHECKED")
    else:
        print(f"{painted('GOOD', 'permit')}  {plain(file)}: this {report.what} holds")
