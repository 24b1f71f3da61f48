"""Where the ledger is, and the API key: from a flag, else the environment, else a file.

The file is TOML with `url`, `token` and, if wanted, `feed_key` (the ledger's public key, which the
gate then pins), `verifier_key` (the log's, which auditors pin) and `replica` (the folder of the
gate's replica). The `credentials.json` that `consent-local up` writes will do as well: of its keys, the
one that the command needs is used.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError

from consent_gate.addresses import require_address, require_key

NAMES = ("url", "token", "feed_key", "replica", "verifier_key")
NEEDED = {"url": "the ledger's address", "token": "an API key"}
HOW_TO_SAY = (
    "say it by --{0}, by CONSENT_{1}, or as `{0}` in consent.toml; or name the credentials.json of "
    "`consent-local up` by --config"
)


class Settings(NamedTuple):
    """What a command works with. What it did not ask for may be empty."""

    url: str
    token: str
    feed_key: str
    replica: str
    verifier_key: str = ""


def settings(
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    config: str | None,
    role: str,
    needed: Collection[str] = tuple(NEEDED),
) -> Settings:
    """The settings of a command that uses the key of `role`; `needed` of `NEEDED` must be there.

    Raises ConsentError `invalid_value` for a file that cannot be read, or what is needed and nobody gave.
    """
    file = _file(config or environment.get("CONSENT_CONFIG"), environment)
    written = {} if file is None else _read(file, role)
    found = {
        name: flags.get(name) or environment.get(f"CONSENT_{name.upper()}") or written.get(name, "")
        for name in NAMES
    }
    for name in needed:
        if not found[name]:
            how = HOW_TO_SAY.format(name, name.upper())
            raise ConsentError("invalid_value", f"{NEEDED[name]} is missing: {how}")
    if found["url"]:
        require_address(found["url"])
    if found["token"]:
        require_key(found["token"])
    return Settings(**found)


def _file(named: str | None, environment: Mapping[str, str]) -> Path | None:
    if named:
        return Path(named)
    own = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "consent" / "config.toml"
    return next((path for path in (Path("consent.toml"), own) if path.is_file()), None)


def _read(path: Path, role: str) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
        return _credentials(json.loads(text), role) if path.suffix == ".json" else _toml(path, text)
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise ConsentError("invalid_value", f"the settings in {path} cannot be read: {error}") from error


def _toml(path: Path, text: str) -> dict[str, str]:
    found = tomllib.loads(text)
    for name, value in found.items():
        if name not in NAMES or not isinstance(value, str):
            raise ConsentError(
                "invalid_value", f"{path} has {name} = {value!r}; it may have {', '.join(NAMES)}, all texts"
            )
    return found


def _credentials(found: Any, role: str) -> dict[str, str]:
    key = found["keys"][role]
    return {
        "url": str(found["url"]),
        "token": str(key),
        "feed_key": str(found.get("feedKey", "")),
        "verifier_key": str(found.get("verifierKey", "")),
    }


def settings_of(options: argparse.Namespace, role: str, needed: Collection[str] = tuple(NEEDED)) -> Settings:
    """`settings` from the flags of a command and the environment of this process."""
    flags = {name: getattr(options, name, None) for name in NAMES}
    return settings(flags, environment_of_process(), options.config, role, needed)


def environment_of_process() -> Mapping[str, str]:
    """The environment as it is."""
    return os.environ
