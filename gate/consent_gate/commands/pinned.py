"""Whom a command about proofs believes: `--key`, `--no-key`, `--policy`, and where logs are read from."""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import urlsplit

from consent_domain.errors import ConsentError
from consent_domain.witness_policy import WitnessPolicy, parse_policy

from consent_gate.audit.archives import TarSource
from consent_gate.audit.sources import FolderSource, HttpSource
from consent_gate.audit.trust import Trust, trust
from consent_gate.commands.settings import Settings, settings_of
from consent_gate.signatures import Verifier

POLICY_BYTES_MAX = 1 << 20


def pinning() -> argparse.ArgumentParser:
    """The arguments of every command about proofs."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("whom to believe")
    group.add_argument(
        "--key", action="append", default=[], metavar="VKEY",
        help="the log's verifier key, name+hash+base64, had from elsewhere than the log; may be repeated "
        "(CONSENT_VERIFIER_KEY, `verifier_key` in the file)",
    )  # fmt: skip
    group.add_argument(
        "--no-key", action="store_true",
        help="believe anybody: this only checks that what is there belongs together",
    )  # fmt: skip
    group.add_argument(
        "--policy", metavar="FILE", help="a C2SP tlog-policy: which witnesses must have cosigned"
    )
    group = parser.add_argument_group("settings, also from CONSENT_… in the environment or from a file")
    group.add_argument("--token", metavar="KEY", help="an API key of an auditor, where a ledger is asked")
    group.add_argument("--config", metavar="FILE", help="TOML, or consent-local's credentials.json")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser


def pinned(options: argparse.Namespace) -> tuple[Trust, Settings]:
    """Whom the arguments and the settings say to believe. Raises ConsentError `invalid_value`."""
    needed = ("url", "token") if hasattr(options, "url") else ()
    found = settings_of(options, "auditor", needed)
    policy = None if options.policy is None else read_policy(Path(options.policy))
    if options.no_key:
        if options.key or policy is not None:
            raise ConsentError("invalid_value", "--no-key believes anybody: say no --key and no --policy")
        return Trust(()), found
    keys = [Verifier.parse(text) for text in options.key or found.verifier_key.split()]
    trusted = trust(keys, policy)
    if not trusted.keys:
        raise ConsentError(
            "invalid_value",
            "whose log it should be is missing: say the log's verifier key by --key, by "
            "CONSENT_VERIFIER_KEY, as `verifier_key` in consent.toml or in the policy; or --no-key, which "
            "proves nothing about who made it",
        )
    return trusted, found


def read_policy(path: Path) -> WitnessPolicy:
    """The witness policy in a file. Raises ConsentError `invalid_value`: it is the caller's own."""
    try:
        with path.open("rb") as file:
            data = file.read(POLICY_BYTES_MAX)
        return parse_policy(data.decode(errors="surrogateescape"))
    except (OSError, ConsentError) as error:
        raise ConsentError("invalid_value", f"the policy {path} cannot be read: {error}") from error


def is_url(text: str) -> bool:
    """Whether `text` is the address of a live log."""
    return text.startswith(("http://", "https://"))


def live(url: str, options: argparse.Namespace, found: Settings) -> HttpSource:
    """The log at an address. The API key of the settings is for their own ledger, and sent to no other."""
    own = not found.url or urlsplit(url)[:2] == urlsplit(found.url)[:2]
    return HttpSource(url, options.token or (found.token if own else ""))


def exported(path: Path) -> FolderSource | TarSource:
    """The export in a folder or an archive. Raises ConsentError `not_found`, and what is wrong with it."""
    try:
        return FolderSource(path) if path.is_dir() else TarSource(path)
    except OSError as error:
        raise ConsentError("not_found", f"{path} cannot be opened: {error.strerror}") from error
