"""`consent-ledger keys new`, `log` and `rotate`: the key that signs checkpoints."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from pathlib import Path

from consent_domain.errors import ConsentError
from consent_plumbing.settings import load

from consent_ledger.commands.telling import say
from consent_ledger.settings import LogKeySettings

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add(
    key_commands: argparse._SubParsersAction[argparse.ArgumentParser], told: argparse.ArgumentParser
) -> None:
    """Add the commands to those of `keys`."""
    new = key_commands.add_parser("new", help="make the key that signs checkpoints", parents=[told])
    new.add_argument("--key-file", type=Path, help="where (CONSENT_LOG_KEY_FILE); never overwritten")
    new.set_defaults(run=_new)
    log = key_commands.add_parser("log", help="show the keys that sign checkpoints", parents=[told])
    log.set_defaults(run=_log)
    rotating = key_commands.add_parser(
        "rotate", help="let another key sign checkpoints; both sign for a while", parents=[told]
    )
    rotating.add_argument(
        "--overlap",
        type=_duration,
        default=timedelta(days=30),
        help="how long both sign, such as 12h or 30d (30d)",
    )
    rotating.set_defaults(run=_rotate)


def _new(arguments: argparse.Namespace) -> int:
    from consent_gate.seeds import read_seed
    from consent_gate.signatures import Signer

    from consent_ledger.log.keys import make_log_key
    from consent_ledger.log.signer import SignerState

    settings = load(LogKeySettings)
    path: Path | None = arguments.key_file or settings.log_key_path
    if path is None:
        raise ConsentError("invalid_value", "say where with --key-file, or set CONSENT_LOG_KEY_FILE")
    if not make_log_key(path, SignerState(Path(settings.signer_state_file)), settings.origin):
        raise ConsentError(
            "already_exists", f"{path} is there and is not overwritten; `keys rotate` changes it"
        )
    key = str(Signer(settings.origin, read_seed(path, "log key")).verifier)
    return say(arguments, {"verifierKey": key, "keyFile": str(path)}, key)


def _log(arguments: argparse.Namespace) -> int:
    """What was published counts; before the first checkpoint, the key at hand."""
    from consent_domain.checkpoints import log_name
    from consent_gate.signatures import Verifier

    from consent_ledger.log.folder import LogFolder
    from consent_ledger.log.keys import LogKeys, load_seeds

    settings = load(LogKeySettings)
    folder = LogFolder(settings.log_folder)
    epoch = folder.current_epoch()
    published = folder.keys(epoch) if epoch else None
    if published is None:
        epoch = max(epoch, 1)
        published = LogKeys(settings.origin, load_seeds(settings.log_key_path), ()).public(epoch)
    pinned = str(Verifier.parse(published.verifier_keys[-1]).renamed(settings.origin))
    answer: dict[str, object] = {
        "verifierKey": pinned,
        "origin": settings.origin,
        "epoch": epoch,
        "name": log_name(settings.origin, epoch),
        "verifierKeys": published.verifier_keys,
    }
    words = [
        period.key
        + (f"  from {period.signs_from}" if period.signs_from else "")
        + (f"  until {period.signs_until}" if period.signs_until else "")
        for period in published.periods
    ]
    return say(arguments, answer, "\n".join(words))


def _rotate(arguments: argparse.Namespace) -> int:
    import asyncio

    from consent_domain.instants import micros, rfc3339

    from consent_ledger.log.rotation import rotate

    rotated = asyncio.run(rotate(load(LogKeySettings), arguments.overlap))
    until = rfc3339(micros(rotated.overlap_until))
    answer: dict[str, object] = {
        "oldKey": rotated.old_key,
        "newKey": rotated.new_key,
        "overlapUntil": until,
    }
    words = f"{rotated.new_key}\nuntil {until} the old key signs too: {rotated.old_key}"
    return say(arguments, answer, words)


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 30m, 12h or 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
