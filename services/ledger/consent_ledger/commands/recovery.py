"""`consent-ledger fsck`, `backup`, `restore`, `import` and `recover`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from consent_domain.errors import ConsentError
from consent_domain.instants import rfc3339
from consent_domain.notes import encode_base64
from consent_gate.commands.richly import progress
from consent_plumbing.process import EXIT_FAILED, EXIT_OK
from consent_plumbing.settings import load

from consent_ledger.commands.telling import fail, say
from consent_ledger.settings import BackupSettings, LogKeySettings, RecoverySettings

if TYPE_CHECKING:
    from consent_ledger.main import Commands
    from consent_ledger.recovery.fsck import Checked
    from consent_ledger.recovery.recover import Recovered

EXIT_UNCHECKED = 2
"""Of `fsck`: nothing was found out. 1: something is damaged."""
KEY_HELP = "verifier key of the log; may be repeated (the key of CONSENT_LOG_KEY_FILE and those before it)"
APART = (
    "Not in it, to be backed up apart: the key files (feed, log, master), the key store, the signer's state, "
    "and the log's folder. Never put back an old signer's state."
)
NEXT_RECOVER = "the log is halted: run `consent-ledger recover`, then `consent-ledger fsck --clear`"


def add(commands: Commands, told: argparse.ArgumentParser) -> None:
    """Add the commands to the parser."""
    keyed = argparse.ArgumentParser(add_help=False)
    keyed.add_argument("--key", action="append", default=[], metavar="VKEY", help=KEY_HELP)

    checking = commands.add_parser(
        "fsck", parents=[told, keyed], help="compare all events with all that was signed; repair tiles"
    )
    checking.add_argument(
        "--clear", action="store_true", help="let a halted log go on, if nothing is damaged"
    )
    checking.set_defaults(run=_fsck)

    saving = commands.add_parser("backup", parents=[told], help="the database's schema `ledger`, in a folder")
    saving.add_argument("out", type=Path, metavar="OUT", help="a folder that is not there yet")
    saving.set_defaults(run=_backup)

    restoring = commands.add_parser(
        "restore", parents=[told, keyed], help="put a backup into an empty, migrated database"
    )
    restoring.add_argument("backup", type=Path, metavar="BACKUP", help="a folder that `backup` made")
    restoring.set_defaults(run=_restore)

    importing = commands.add_parser(
        "import", parents=[told], help="put an export into an empty, migrated database"
    )
    importing.add_argument("export", type=Path, metavar="EXPORT", help="what `consent export` made")
    importing.add_argument(
        "--key",
        action="append",
        required=True,
        metavar="VKEY",
        help="verifier key of the log; may be repeated",
    )
    importing.set_defaults(run=_import)

    recovering = commands.add_parser(
        "recover", parents=[told, keyed], help="after a restore: take back what can be had, begin an epoch"
    )
    recovering.add_argument(
        "--from", dest="exports", action="append", type=Path, default=[], metavar="EXPORT",
        help="an export that may hold more; may be repeated",
    )  # fmt: skip
    stream = recovering.add_mutually_exclusive_group()
    stream.add_argument(
        "--from-jetstream", action="store_true", help="take what only JetStream holds; nobody signed it"
    )
    stream.add_argument("--without-jetstream", action="store_true", help="give up what only JetStream holds")
    epochs = recovering.add_mutually_exclusive_group()
    epochs.add_argument(
        "--epoch", type=int, default=0, metavar="N",
        help="the epoch to begin, if a later one had begun than anything here knows of",
    )  # fmt: skip
    epochs.add_argument(
        "--same-epoch", action="store_true", help="begin no epoch, if it is certain that nothing is gone"
    )
    recovering.add_argument("--dry-run", action="store_true", help="say what would come of it")
    recovering.set_defaults(run=_recover)


def _fsck(arguments: argparse.Namespace) -> int:
    """Whatever keeps it from checking is no finding: the exit code tells the two apart."""
    import asyncpg

    from consent_ledger.recovery.fsck import fsck

    try:
        settings = load(LogKeySettings)
        with progress("checking", "events") as shown:
            checked = asyncio.run(fsck(settings, arguments.key, arguments.clear, shown))
    except ConsentError as error:
        return fail(arguments, error.code, error.detail, EXIT_UNCHECKED)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        said = str(error) or "no answer in time"
        return fail(arguments, type(error).__name__, said, EXIT_UNCHECKED)
    say(arguments, _checked(checked), "\n".join(_checked_in_words(checked)))
    return EXIT_FAILED if checked.findings_count else EXIT_OK


def _checked(checked: Checked) -> dict[str, object]:
    import msgspec

    return {
        "clean": not checked.findings_count,
        "epoch": checked.head.epoch,
        "position": checked.head.position,
        "root": encode_base64(checked.root),
        "signed": [
            {"where": one.where, "epoch": one.epoch, "size": one.size, "root": encode_base64(one.root)}
            for one in checked.claims
        ],
        "tilesRepaired": checked.tiles_repaired,
        "unproven": checked.unproven,
        "findings": [msgspec.to_builtins(one) for one in checked.findings],
        "findingsCount": checked.findings_count,
        "halt": msgspec.to_builtins(checked.halt),
        "cleared": msgspec.to_builtins(checked.cleared),
    }


def _checked_in_words(checked: Checked) -> list[str]:
    head = checked.head
    said = [f"{one.kind}: {one.detail}" for one in checked.findings]
    if checked.findings_count > len(said):
        said.append(f"and {checked.findings_count - len(said)} more")
    if not said:
        said.append(f"all {head.position} events of epoch {head.epoch} are sound, and so are their streams")
        said += [f"{one.where}: epoch {one.epoch}, {one.size} events, as signed" for one in checked.claims]
    if checked.tiles_repaired:
        said.append(f"{checked.tiles_repaired} tiles were missing or wrong, and were made again")
    said += checked.unproven
    if checked.cleared is not None:
        said.append(f"the log goes on: it was halted since {checked.cleared.at} ({checked.cleared.reason})")
    if checked.halt is not None:
        said.append(f"THE LOG IS HALTED ({checked.halt.reason}): nothing is served, appended or signed")
    return said


def _backup(arguments: argparse.Namespace) -> int:
    from consent_ledger.recovery.backup import backup

    with progress("backing up", "bytes") as shown:
        made = asyncio.run(backup(load(BackupSettings), arguments.out, shown))
    manifest = made.manifest
    answer: dict[str, object] = {
        "backup": str(arguments.out),
        "origin": manifest.origin,
        "epoch": manifest.epoch,
        "position": manifest.position,
        "root": encode_base64(manifest.root),
        "checkpoints": made.epochs,
        "bytes": made.size,
    }
    words = (
        f"{arguments.out}: {manifest.position} events of {manifest.origin}, epoch {manifest.epoch}, "
        f"{made.size} bytes\n{APART}"
    )
    return say(arguments, answer, words)


def _restore(arguments: argparse.Namespace) -> int:
    from consent_ledger.recovery.restore import restore

    with progress("checking", "events") as shown:
        done = asyncio.run(restore(load(LogKeySettings), arguments.backup, arguments.key, shown))
    manifest = done.manifest
    answer: dict[str, object] = {
        "origin": manifest.origin,
        "epoch": manifest.epoch,
        "position": manifest.position,
        "comparedWith": [one.where for one in done.claims],
    }
    compared = ", ".join(one.where for one in done.claims) or "no checkpoint: none was at hand"
    words = (
        f"{manifest.position} events of {manifest.origin}, epoch {manifest.epoch}, as of {manifest.made_at}, "
        f"are put back; compared with {compared}\n{NEXT_RECOVER}"
    )
    return say(arguments, answer, words)


def _import(arguments: argparse.Namespace) -> int:
    from consent_ledger.recovery.importing import import_export

    with progress("importing", "events") as shown:
        done = asyncio.run(import_export(load(LogKeySettings), arguments.export, arguments.key, shown))
    answer: dict[str, object] = {
        "origin": done.manifest.origin,
        "epoch": done.epoch,
        "position": done.position,
        "texts": done.texts,
    }
    words = (
        f"{done.position} events of {done.manifest.origin}, epoch {done.epoch}, and {done.texts} texts are "
        "put back, each proven. An export holds no API keys, no Idempotency-Keys and no record of looks at "
        f"sealed fields: they are lost\n{NEXT_RECOVER}"
    )
    return say(arguments, answer, words)


def _recover(arguments: argparse.Namespace) -> int:
    from consent_ledger.recovery.recover import Asked, recover

    asked = Asked(
        arguments.key,
        arguments.exports,
        arguments.from_jetstream,
        arguments.without_jetstream,
        arguments.same_epoch,
        arguments.epoch,
        arguments.dry_run,
    )
    with progress("recovering", "events") as shown:
        done = asyncio.run(recover(load(RecoverySettings), asked, shown))
    answer: dict[str, object] = {
        "before": {"epoch": done.before.epoch, "position": done.before.position},
        "taken": [one._asdict() for one in done.taken],
        "recoveredTo": done.size,
        "signedTo": done.signed,
        "knownTo": done.known,
        "gone": done.gone,
        "lostOptOuts": done.lost,
        "epoch": done.epoch,
        "position": done.position,
        "dryRun": done.dry_run,
        "notes": done.notes,
    }
    return say(arguments, answer, "\n".join(_recovered_in_words(done)))


def _recovered_in_words(done: Recovered) -> list[str]:
    said = ["NOTHING WAS CHANGED: this is what would come of it"] if done.dry_run else []
    said.append(f"the ledger was at epoch {done.before.epoch}, position {done.before.position}")
    said += [f"events {one.first} to {one.last} were taken back from {one.source}" for one in done.taken]
    if any(one.source == "JetStream" for one in done.taken):
        said.append("what came from JetStream was signed by nobody: it is believed because you asked for it")
    if done.taken:
        said.append(
            "their Idempotency-Keys are lost: such a command given again is decided anew; so are API keys "
            "made since the backup, and revocations since then must be done again"
        )
    said += done.notes
    if done.gone:
        said.append(
            f"GONE: at least {done.gone} events, {done.size + 1} to {done.size + done.gone}, were recorded "
            "and are to be had nowhere"
        )
    if done.lost:
        said.append(
            "LOST OPT-OUTS, which this host's replica had followed: record them again before anything else: "
            + ", ".join(done.lost)
        )
    if done.epoch == done.before.epoch and done.position == done.size:
        said.append(f"epoch {done.epoch} goes on at {done.size}: nothing is gone")
    else:
        said.append(
            f"epoch {done.epoch} begins at {done.position}. Whatever was acknowledged after "
            f"{rfc3339(done.time)} and is not in the log is LOST, opt-outs among it: ask for it again, from "
            "what customers were told, support and mail; gates hold nothing of it any more"
        )
    if not done.dry_run:
        said.append("the log is halted: run `consent-ledger fsck --clear`, then start what serves it")
    return said
