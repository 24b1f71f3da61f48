"""`consent export`: the log, or a part of it, as a folder or an archive that stands alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from consent_domain.errors import ConsentError

from consent_gate.audit.export import Exported, Wanted, export, require_absent
from consent_gate.audit.sources import FILE_BYTES_MAX, HttpSource
from consent_gate.audit.trust import Trust, in_words
from consent_gate.commands.pinned import pinned, pinning
from consent_gate.commands.richly import progress
from consent_gate.commands.terminal import plain
from consent_gate.commands.usage import EXIT_CODES_OF_CHECKS, GOOD, Subcommands, examples

_EXAMPLES = """\
  consent export audit.tar.gz
  consent export audit --from 1 --to 10000 --text principles.md"""


def add(commands: Subcommands, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    command = commands.add_parser(
        "export", parents=[pinning()], **examples(_EXAMPLES, EXIT_CODES_OF_CHECKS),
        help="the log as files that anybody can check without us",
    )  # fmt: skip
    command.add_argument(
        "out", metavar="OUT", help="a folder, or an archive if it ends in .tar, .tar.gz or .tgz"
    )
    command.add_argument("--from", dest="first", type=int, default=1, metavar="A", help="position; default 1")
    command.add_argument(
        "--to", dest="last", type=int, metavar="B", help="position; by default all that the checkpoint covers"
    )
    command.add_argument(
        "--text", action="append", default=[], metavar="FILE",
        help="the words of a policy or notice that an exported event names by SHA-256; may be repeated",
    )  # fmt: skip
    command.add_argument("--url", help="the ledger's address (CONSENT_URL)")
    command.set_defaults(run=run, checks=True)


def run(options: argparse.Namespace) -> int:
    """Export, print what was exported, return 0. Raises ConsentError; the target is not there then."""
    trusted, found = pinned(options)
    out = Path(options.out)
    require_absent(out)
    texts = [_text(Path(path)) for path in options.text]
    source = HttpSource(found.url, found.token)
    try:
        about = source.about()
        wanted = Wanted(
            origin=str(about.get("origin", "")),
            first=options.first,
            last=options.last,
            texts=texts,
            keys=_strings(about.get("verifierKeys")),
            witnesses=_witnesses(trusted),
        )
        with progress("exporting", "events") as told:
            exported = export(source, trusted, wanted, out, told)
    finally:
        source.close()
    print(json.dumps(_told(exported, out)) if options.json else _in_words(exported, out))
    return GOOD


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConsentError("invalid_value", f"{path} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise ConsentError("invalid_value", f"{path} has more than {FILE_BYTES_MAX} bytes")
    return data


def _strings(given: Any) -> list[str]:
    return [one for one in given if isinstance(one, str)] if isinstance(given, list) else []


def _witnesses(trusted: Trust) -> list[str]:
    return [] if trusted.policy is None else [one.key for one in trusted.policy.witnesses.values()]


def _told(exported: Exported, out: Path) -> dict[str, object]:
    manifest = exported.manifest
    return {
        "result": "good",
        "out": str(out),
        "log": manifest.log,
        "from": manifest.first,
        "to": manifest.last,
        "size": manifest.size,
        "files": len(manifest.files) + 1,
        "signedBy": list(exported.opened.signed_by),
        "cosignedBy": dict(exported.opened.cosigned_by),
        "textsMissing": exported.texts_missing,
    }


def _in_words(exported: Exported, out: Path) -> str:
    manifest = exported.manifest
    lines = [f"checked: {sentence}" for sentence in in_words(exported.opened)]
    lines.append(
        f"exported: events {manifest.first:,} to {manifest.last:,} of {manifest.log}, each proven, "
        f"{len(manifest.files) + 1:,} files, to {out}"
    )
    if exported.texts_missing:
        lines.append(
            "not in it: texts of policies or notices that events name by SHA-256; --text gives them:"
        )
        lines += [f"  {digest}" for digest in exported.texts_missing]
    return "\n".join(map(plain, lines))
