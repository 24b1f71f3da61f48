"""`consent-ledger publish`: the process that signs checkpoints and writes tiles."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from consent_plumbing.settings import SettingsError, load

from consent_ledger.settings import PublisherSettings

if TYPE_CHECKING:
    from consent_ledger.main import Commands


def add(commands: Commands, told: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    publish = commands.add_parser(
        "publish", help="sign checkpoints, write tiles and ask witnesses, until told to stop", parents=[told]
    )
    publish.add_argument(
        "--begin",
        action="store_true",
        help="sign a log although nothing is known of it: only where its key never signed",
    )
    publish.set_defaults(run=_publish)


def _publish(arguments: argparse.Namespace) -> int:
    import uvloop
    from consent_plumbing.logs import configure

    from consent_ledger.log.running import run

    settings = load(PublisherSettings)
    try:
        configure(settings.log_level, "publisher")
    except ValueError as error:
        raise SettingsError(str(error)) from error
    return uvloop.run(run(settings, arguments.begin))
