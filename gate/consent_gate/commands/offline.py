"""`--offline FILE --max-age AGE`: a command asks a snapshot, where no ledger can be reached."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from consent_domain.errors import ConsentError

from consent_gate.commands.settings import settings_of
from consent_gate.gate import Gate

_AGE = re.compile(r"([1-9][0-9]{0,8})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_offline(command: argparse.ArgumentParser) -> None:
    """Add the arguments to a command's."""
    group = command.add_argument_group("where no ledger can be reached")
    group.add_argument(
        "--offline", metavar="FACTS.parquet",
        help="ask this snapshot (see `consent snapshot`); takes --feed-key and --max-age",
    )  # fmt: skip
    group.add_argument(
        "--max-age", metavar="AGE", help="how old the snapshot may be and still permit, as 90s, 15m, 24h, 7d"
    )


def is_offline(options: argparse.Namespace, without: Mapping[str, str]) -> bool:
    """Whether the arguments name a snapshot. `without`: options that only a ledger can answer, and where
    they stand in the arguments. Raises ConsentError `invalid_value` for what does not go together.
    """
    if options.offline is None:
        if options.max_age is not None:
            raise ConsentError("invalid_value", "--max-age is for --offline FACTS.parquet")
        return False
    for name, place in without.items():
        if getattr(options, place):
            raise ConsentError("invalid_value", f"only a ledger can answer {name}: leave out --offline")
    return True


@contextmanager
def offline_gate(options: argparse.Namespace) -> Iterator[Gate]:
    """A gate over the snapshot that the arguments name. Raises ConsentError as `Gate.offline` does, and
    `invalid_value` without a key or an age."""
    found = settings_of(options, "pipeline", ())
    if not found.feed_key:
        raise ConsentError(
            "invalid_value",
            "--offline takes the ledger's public key, which says whose the snapshot must be: say it by "
            "--feed-key, CONSENT_FEED_KEY or `feed_key` in the settings",
        )
    with Gate.offline(
        options.offline, verifier_key=found.feed_key, max_age=_seconds(options.max_age)
    ) as gate:
        yield gate


def _seconds(age: str | None) -> float:
    if age is None:
        raise ConsentError(
            "invalid_value", "--offline takes --max-age, how old the snapshot may be: 90s, 15m, 24h, 7d"
        )
    found = _AGE.fullmatch(age)
    if found is None:
        raise ConsentError("invalid_value", f"--max-age is {age!r}; it reads as 90s, 15m, 24h or 7d")
    return float(int(found[1]) * _SECONDS[found[2]])
