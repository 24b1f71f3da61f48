"""A run's manifest: what was made of whose data, on which answer of the ledger, and what came out.

It names a set of workspaces by the SHA-256 of its bytes: a 64-bit Roaring bitmap (portable format,
https://github.com/RoaringBitmap/RoaringFormatSpec) over *ordinals*, the positions of enrolment.
The ledger computes every answer again before it signs (`consent_ledger.runs`).
"""

from __future__ import annotations

import re
from datetime import datetime

import msgspec

from consent_domain.errors import ConsentError
from consent_domain.events import RunOutput
from consent_domain.identifiers import is_id, parse_token
from consent_domain.instants import Micros, micros
from consent_domain.notes import NOTE_BYTES_MAX
from consent_domain.purposes import Wire

FORMAT = "consent-manifest.v1"
SIGNED_CONTEXT = b"consent-manifest.v1\n"
"""Signed in front of a manifest's SHA-256, so that no other signature of the same key can pass for one."""
MANIFEST_BYTES_MAX = 64 * 1024
SET_BYTES_MAX = 16 * 1024 * 1024
SET_SIZE_MAX = 16_000_000
"""A bitmap of few bytes may hold more than anybody can look up."""
OUTPUT_KINDS = ("dataset", "model", "index", "features")
MODES = ("replica", "snapshot", "server")
COLLECTED = ("unstated", "range", "rows")
SCOPES = ("met", "all")
NAMES_MAX = 100
TEXT_MAX = 1_000

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_LATEST = micros(datetime.fromisoformat("9000-01-01T00:00:00Z"))


class Input(Wire, frozen=True, kw_only=True):
    """What was read: where, its digest, and how many rows (decimal), as far as known."""

    uri: str
    digest: str = ""
    rows: str = ""


class Manifest(Wire, frozen=True, kw_only=True):
    """One run. Numbers of 64 bits are decimal strings; times of the ledger are exact to the microsecond.

    `categories` empty: all that the purpose takes. `collected` says how collection times were judged:
    `unstated` (all the past counts), `range` (everything was collected within `collected_from` and
    `collected_to`), or `rows` (each row by its own time, so that only data of its workspace's windows is in).
    `set_scope` is `met` for the workspaces whose data was met, `all` for everybody who permitted.
    `checkpoint` is a signed note of the log from after the token, as `GET /log/checkpoint` gives it.
    `overtaken`: somebody of the set withdrew while the run went on, or nobody could tell.
    """

    format: str = FORMAT
    run: str
    purpose: str
    categories: list[str]
    token: str
    at: datetime
    policy_version: str
    mode: str
    collected: str
    workspaces: str
    set_sha256: str
    set_scope: str = "met"
    checkpoint: str = ""
    code: str = ""
    inputs: list[Input] = []
    outputs: list[RunOutput] = []
    parents: list[str] = []
    collected_from: datetime | None = None
    collected_to: datetime | None = None
    rows_in: str = ""
    rows_out: str = ""
    reasons: dict[str, str] = {}
    overtaken: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Manifest).decode


def encode(manifest: Manifest) -> bytes:
    """The one JSON of a manifest: what is hashed, kept and signed. Inverse of `decode`."""
    return _encode(manifest)


def decode(data: bytes) -> Manifest:
    """The manifest of `data`, checked by itself.

    Raises ConsentError: `too_large` above MANIFEST_BYTES_MAX, `malformed` for no manifest, `invalid_id`,
    `invalid_token`, `invalid_time` or `invalid_value` with the member and what it must be.
    """
    if len(data) > MANIFEST_BYTES_MAX:
        raise ConsentError("too_large", f"the manifest takes {len(data)} bytes of {MANIFEST_BYTES_MAX}")
    try:
        manifest = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConsentError("malformed", f"this is no manifest: {error}") from error
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    """Raise ConsentError, as `decode` does, for a manifest that says what cannot be."""
    if manifest.format != FORMAT:
        raise ConsentError("invalid_value", f"format must be {FORMAT}")
    for what, name in (("run", manifest.run), ("purpose", manifest.purpose)):
        _require_id(name, what)
    _require_names(manifest.categories, "categories")
    _require_names(manifest.parents, "parents")
    if manifest.run in manifest.parents:
        raise ConsentError("invalid_value", "parents names the run itself")
    parse_token(manifest.token)
    _require_word(manifest.mode, MODES, "mode")
    _require_word(manifest.collected, COLLECTED, "collected")
    _require_word(manifest.set_scope, SCOPES, "setScope")
    for what, moment in (
        ("at", manifest.at), ("collectedFrom", manifest.collected_from),
        ("collectedTo", manifest.collected_to), ("startedAt", manifest.started_at),
        ("endedAt", manifest.ended_at),
    ):  # fmt: skip
        if moment is not None:
            _require_instant(moment, what)
    _require_range(manifest)
    _require_set(manifest)
    _require_lists(manifest)


def _require_set(manifest: Manifest) -> None:
    if _SHA256.fullmatch(manifest.set_sha256) is None:
        raise ConsentError("invalid_value", "setSha256 must be 64 hexadecimal digits in lower case")
    _require_number(manifest.workspaces, "workspaces")
    for what, number in (("rowsIn", manifest.rows_in), ("rowsOut", manifest.rows_out)):
        if number:
            _require_number(number, what)
    if manifest.rows_in and manifest.rows_out and int(manifest.rows_out) > int(manifest.rows_in):
        raise ConsentError("invalid_value", "rowsOut is more than rowsIn")


def _require_range(manifest: Manifest) -> None:
    start, end = manifest.collected_from, manifest.collected_to
    if manifest.collected != "range":
        if start is not None or end is not None:
            raise ConsentError("invalid_value", "collectedFrom and collectedTo belong to collected: range")
    elif start is None or end is None:
        raise ConsentError("invalid_value", "collected: range needs collectedFrom and collectedTo")
    elif start > end:
        raise ConsentError("invalid_value", "collectedFrom lies after collectedTo")
    if manifest.started_at and manifest.ended_at and manifest.started_at > manifest.ended_at:
        raise ConsentError("invalid_value", "startedAt lies after endedAt")


def _require_lists(manifest: Manifest) -> None:
    for what, found in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        if len(found) > NAMES_MAX:
            raise ConsentError("invalid_value", f"{what} has {len(found)} of at most {NAMES_MAX}")
    seen = set()
    for output in manifest.outputs:
        _require_word(output.kind, OUTPUT_KINDS, "outputs.kind")
        _require_text(output.uri, "outputs.uri")
        for text in (output.version, output.digest):
            _require_text(text, "outputs.version and digest", empty=True)
        if (output.uri, output.version) in seen:
            raise ConsentError("invalid_value", "outputs names the same uri and version twice")
        seen.add((output.uri, output.version))
    for one in manifest.inputs:
        _require_text(one.uri, "inputs.uri")
        _require_text(one.digest, "inputs.digest", empty=True)
        if one.rows:
            _require_number(one.rows, "inputs.rows")
    if len(manifest.reasons) > NAMES_MAX:
        raise ConsentError("invalid_value", f"reasons has {len(manifest.reasons)} of at most {NAMES_MAX}")
    for code, rows in manifest.reasons.items():
        _require_id(code, "reasons")
        _require_number(rows, f"reasons.{code}")
    if len(manifest.checkpoint) > NOTE_BYTES_MAX:
        raise ConsentError("invalid_value", f"checkpoint has at most {NOTE_BYTES_MAX} characters")
    _require_text(manifest.code, "code", empty=True)
    _require_text(manifest.policy_version, "policyVersion", empty=True)


def _require_names(names: list[str], what: str) -> None:
    if len(names) > NAMES_MAX:
        raise ConsentError("invalid_value", f"{what} has {len(names)} of at most {NAMES_MAX}")
    for name in names:
        _require_id(name, what)
    if len(set(names)) != len(names):
        raise ConsentError("invalid_value", f"{what} names one twice")


def _require_id(name: str, what: str) -> None:
    if not is_id(name):
        raise ConsentError("invalid_id", f"{what} must be 1 to 128 of A-Z a-z 0-9 . _ -, and is not")


def _require_word(word: str, words: tuple[str, ...], what: str) -> None:
    if word not in words:
        raise ConsentError("invalid_value", f"{what} must be one of {', '.join(words)}")


def _require_number(text: str, what: str) -> None:
    if _NUMBER.fullmatch(text) is None:
        raise ConsentError("invalid_value", f'{what} must be a whole number as a string, such as "1200"')


def _require_text(text: str, what: str, *, empty: bool = False) -> None:
    if (not text and not empty) or len(text) > TEXT_MAX or not text.isprintable():
        least = 0 if empty else 1
        raise ConsentError("invalid_value", f"{what} takes {least} to {TEXT_MAX} printable characters")


def _require_instant(moment: datetime, what: str) -> Micros:
    if moment.tzinfo is None:
        raise ConsentError("invalid_time", f"{what} says no time zone; write 2026-01-31T09:00:00Z")
    instant = micros(moment)
    if not 0 <= instant < _LATEST:
        raise ConsentError("invalid_time", f"{what} must lie between the years 1970 and 9000")
    return instant
