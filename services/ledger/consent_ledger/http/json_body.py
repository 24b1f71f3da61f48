"""JSON from outside: how deep it may nest, and what is said when it cannot be read.

msgspec recurses once a level and has no limit of its own before Python 3.14, so the depth is
looked at first. A body with few brackets cannot be deep: that costs two counts in C.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from consent_domain.errors import ConsentError

from consent_ledger.json_errors import in_words

DEPTH_MAX = 32
# Always matches from a quote on, also an unterminated string to its end: no place is tried twice.
_STRINGS = re.compile(rb'"[^"\\]*(?:\\.?[^"\\]*)*(?:"|\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_AS_LISTS = bytes.maketrans(b"{}", b"[]")

Wanted = TypeVar("Wanted")
_decode = msgspec.json.Decoder().decode


def require_shallow(body: bytes) -> None:
    """Raises ConsentError `too_deep` if `body` nests deeper than `DEPTH_MAX`. Linear in its length."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return
    brackets = _STRINGS.sub(b"", body).translate(_AS_LISTS, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX):
        # Each pass takes the innermost level away, in C.
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return
    # What is left is too deep, or was never closed: a reader would go down into that as well.
    if b"[]" in brackets or brackets.count(b"[") > DEPTH_MAX:
        raise ConsentError("too_deep", f"the JSON nests deeper than {DEPTH_MAX} levels")


def malformed(error: msgspec.MsgspecError | UnicodeDecodeError) -> ConsentError:
    """What is told of a body that msgspec could not read: where, and what was expected."""
    said = in_words(error)
    detail, _, path = said.partition(" - at ")
    extra = {"path": path.strip("`")} if path else {}
    return ConsentError("malformed", f"the body cannot be read: {said}" if path else detail, **extra)


def decode(decoder: msgspec.json.Decoder[Wanted], body: bytes) -> Wanted:
    """What `body` holds. Raises ConsentError `malformed` or `too_deep`."""
    require_shallow(body)
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(error) from error


def decode_members(body: bytes) -> dict[str, Any]:
    """The members of the JSON object in `body`. Raises ConsentError `malformed` or `too_deep`."""
    require_shallow(body)
    try:
        members = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise malformed(error) from error
    if not isinstance(members, dict):
        raise ConsentError("malformed", "the body must be a JSON object")
    return members


def convert(members: object, kind: type[Wanted]) -> Wanted:
    """Members, read by `decode_members`, as a struct. Raises ConsentError `malformed`."""
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise malformed(error) from error
