"""The keys that sign checkpoints: which seeds this host holds, and which of them sign when.

The log itself says it: every `key-rotated` event names the old key, the new one, and until when both
sign. Keys are named there by the ledger's origin; the log of a later epoch is signed by the same keys
under its own name. The seed of the key lies in CONSENT_LOG_KEY_FILE, that of the next one beside it
(`.next`) from the moment of the rotation on; or CONSENT_LOG_KEY holds one or two seeds.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from consent_domain.checkpoints import log_name
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import KeyRotated, LogContinued
from consent_domain.instants import Micros, micros, rfc3339
from consent_gate.seeds import make_seed, read_seed
from consent_gate.signatures import SEED_BYTES, Signer, Verifier

from consent_ledger.log.folder import KeyPeriod, PublicKeys
from consent_ledger.log.signer import SignerState
from consent_ledger.seams import Stored

VARIABLE = "CONSENT_LOG_KEY"


class Rotation(NamedTuple):
    """`new` signs from `since` on; `old` until `until`. Both as text, named by the origin."""

    old: str
    new: str
    since: Micros
    until: Micros


class LogHistory(NamedTuple):
    """What the stream of the log itself says: rotations of keys, in order, and epochs that began."""

    rotations: tuple[Rotation, ...] = ()
    continued: tuple[LogContinued, ...] = ()


def read_history(events: Sequence[Stored]) -> LogHistory:
    """The history in all events of the log's own stream. Raises ConsentError `damaged`."""
    rotations: list[Rotation] = []
    continued: list[LogContinued] = []
    for stored in events:
        try:
            event = decode(stored.body)
        except Unreadable as error:
            raise ConsentError(
                "damaged", f"the event of the log at position {stored.position}: {error}"
            ) from error
        body = event.body
        if isinstance(body, KeyRotated):
            rotations.append(Rotation(body.old_key, body.new_key, event.time, micros(body.overlap_until)))
        elif isinstance(body, LogContinued):
            continued.append(body)
    return LogHistory(tuple(rotations), tuple(continued))


def next_file(path: Path) -> Path:
    """Where the key lies that the key at `path` gives way to."""
    return path.with_name(f"{path.name}.next")


def load_seeds(path: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[bytes, ...]:
    """One or two seeds: of the file and the next one beside it, or of CONSENT_LOG_KEY (base64, two with a
    space between).

    Raises ConsentError `unavailable` if neither or both are given, or what is there is no key.
    """
    encoded = environment.get(VARIABLE, "").split()
    if encoded and path is not None:
        raise ConsentError("unavailable", f"{VARIABLE} and {VARIABLE}_FILE are both set; set one")
    if encoded:
        seeds = tuple(_decoded(one) for one in encoded)
        if len(seeds) > 2:
            raise ConsentError("unavailable", f"{VARIABLE} holds {len(seeds)} keys; two at most sign at once")
        return seeds
    if path is None:
        raise ConsentError("unavailable", f"set {VARIABLE} or {VARIABLE}_FILE")
    own = read_seed(path, "log key")
    following = next_file(path)
    return (own, read_seed(following, "next log key")) if following.exists() else (own,)


def make_log_key(path: Path, state: SignerState, origin: str) -> bool:
    """Make the log's key and begin its log, if there is no key; whether it was made.

    Raises ConsentError `unavailable` if the signer's state says that the log was signed by a key which
    is not here any more, OSError where the file cannot be written.
    """
    if path.exists():
        return False
    last = state.last(origin)
    if last is not None and last.size:
        raise ConsentError(
            "unavailable",
            f"{origin} was signed up to {last.size} events by a key that is not at {path}: put that one back",
        )
    state.begin(origin)
    return make_seed(path)


class LogKeys:
    """The seeds that this process holds, and the ledger's history of keys."""

    def __init__(self, origin: str, seeds: Sequence[bytes], rotations: Sequence[Rotation]) -> None:
        self._origin = origin
        self._held = {str(signer.verifier): signer for signer in (Signer(origin, seed) for seed in seeds)}
        self._seeds = {str(Signer(origin, seed).verifier): seed for seed in seeds}
        self._rotations = rotations

    def periods(self) -> list[KeyPeriod]:
        """Every key that ever signed, by the name of the origin, oldest first."""
        first = self._rotations[0].old if self._rotations else next(iter(self._held))
        since = {first: 0} | {one.new: one.since for one in self._rotations}
        until = {one.old: one.until for one in self._rotations}
        return [
            KeyPeriod(
                key, rfc3339(since[key]) if since[key] else "", rfc3339(until[key]) if key in until else ""
            )
            for key in since
        ]

    def public(self, epoch: int) -> PublicKeys:
        """What `keys.json` of an epoch says."""
        name = log_name(self._origin, epoch)
        periods = [
            KeyPeriod(str(Verifier.parse(one.key).renamed(name)), one.signs_from, one.signs_until)
            for one in self.periods()
        ]
        return PublicKeys(
            origin=self._origin,
            epoch=epoch,
            name=name,
            verifier_keys=[period.key for period in periods],
            periods=periods,
        )

    def verifiers(self, epoch: int) -> list[Verifier]:
        """The keys whose signature on a checkpoint of the epoch may be believed."""
        return [Verifier.parse(key) for key in self.public(epoch).verifier_keys]

    @property
    def newest(self) -> str:
        """The key that signs and is replaced by no other, by the name of the origin: the one to pin."""
        return self.periods()[-1].key

    def signing(self, epoch: int, now: Micros) -> list[Signer]:
        """The keys that sign checkpoints of the epoch now, the older one first.

        Raises ConsentError `unavailable` if this process does not hold each of them.
        """
        replaced = {one.old: one.until for one in self._rotations}
        valid = [one.key for one in self.periods() if one.key not in replaced or now < replaced[one.key]]
        missing = [key for key in valid if key not in self._seeds]
        if missing:
            raise ConsentError(
                "unavailable",
                f"the log says that {' and '.join(missing)} sign, and they are not at hand here",
            )
        name = log_name(self._origin, epoch)
        return [Signer(name, self._seeds[key]) for key in valid]


def _decoded(encoded: str) -> bytes:
    try:
        seed = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConsentError("unavailable", f"{VARIABLE} holds no base64") from error
    if len(seed) != SEED_BYTES:
        raise ConsentError("unavailable", f"a key of {VARIABLE} has {len(seed)} bytes, not {SEED_BYTES}")
    return seed
