"""Checks of single values, each refused with what was wrong, where, and what to do.

A refusal never repeats what is no id: people's names end up in wrong members, and answers in logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from consent_domain.errors import Refused
from consent_domain.evolve import BREADTH
from consent_domain.identifiers import is_id
from consent_domain.instants import Micros, micros, rfc3339
from consent_domain.purposes import Selector, is_well_formed

NAME_CHARACTERS_MAX = 128
TEXT_CHARACTERS_MAX = 2_000
KEYS_MAX = 1_000

_INSTANT_MAX = micros(datetime.fromisoformat("9000-01-01T00:00:00Z"))
_SHA256 = re.compile(r"[0-9a-f]{64}")


def id_of(text: str, what: str) -> str:
    """`text` itself if it may be an id."""
    if not is_id(text):
        raise Refused("invalid_id", f"{what} must be 1 to 128 of A-Z a-z 0-9 . _ -, and is not")
    return text


def ids_of(texts: Iterable[str], what: str) -> list[str]:
    """The texts themselves if each may be an id and none is named twice."""
    found = [id_of(text, what) for text in texts]
    if len(found) > KEYS_MAX:
        raise Refused("invalid_value", f"{what} names {len(found)} of at most {KEYS_MAX}")
    twice = {text for text in found if found.count(text) > 1} if len(set(found)) < len(found) else set()
    if twice:
        raise Refused("invalid_value", f"{what} names {sorted(twice)[0]!r} twice; name it once")
    return found


def name_of(text: str, what: str, *, empty: bool = False) -> str:
    """`text` itself if it is a short name in printable characters."""
    if not text and not empty:
        raise Refused("invalid_value", f"{what} is empty; say it in 1 to {NAME_CHARACTERS_MAX} characters")
    if len(text) > NAME_CHARACTERS_MAX or not text.isprintable():
        raise Refused(
            "invalid_value",
            f"{what} must be at most {NAME_CHARACTERS_MAX} printable characters, and is not",
        )
    return text


def text_of(text: str, what: str, *, empty: bool = False) -> str:
    """`text` itself if it is a sentence or a few."""
    if not text.strip() and not empty:
        raise Refused("invalid_value", f"{what} is empty; say it in a sentence")
    if len(text) > TEXT_CHARACTERS_MAX:
        raise Refused(
            "invalid_value", f"{what} takes {len(text)} characters of at most {TEXT_CHARACTERS_MAX}"
        )
    return text


def word_of(text: str, words: Iterable[str], what: str) -> str:
    """`text` itself if it is one of a closed list of words."""
    known = tuple(words)
    if text not in known:
        raise Refused("invalid_value", f"{what} must be one of {', '.join(known)}")
    return text


def sha256_of(text: str, what: str) -> str:
    """`text` itself if it is a SHA-256 in lower-case hexadecimal."""
    if _SHA256.fullmatch(text) is None:
        raise Refused("invalid_value", f"{what} must be 64 hexadecimal digits in lower case")
    return text


def selector_of(selector: Selector, what: str) -> Selector:
    """The selector itself if it says exactly one thing."""
    if not is_well_formed(selector):
        raise Refused(
            "invalid_value",
            f"{what} must give exactly one of all, keys and class, and a class must say something",
        )
    ids_of(selector.keys, f"{what}.keys")
    if selector.class_ is not None:
        for field in selector.class_.__struct_fields__:
            name_of(getattr(selector.class_, field), f"{what}.class.{field}", empty=True)
    return selector


def authority_of(authority: str, role: str, what: str) -> str:
    """How well the requester's authority is proven; an owner's own key proves it."""
    return "verified" if role == "owner" else word_of(authority, BREADTH, what)


# -- times ---------------------------------------------------------------------------------------------------


def instant_of(moment: datetime, what: str) -> Micros:
    """The instant of a time that says its zone and lies between 1970 and 9000."""
    if moment.tzinfo is None:
        raise Refused("invalid_time", f"{what} says no time zone; write 2026-01-31T09:00:00Z")
    instant = micros(moment)
    if not 0 <= instant < _INSTANT_MAX:
        raise Refused("invalid_time", f"{what} must lie between the years 1970 and 9000")
    return instant


def no_later(moment: datetime | None, now: Micros, what: str) -> Micros:
    """The instant of what narrows or has happened: `now` if not given, `postdated` if later."""
    if moment is None:
        return now
    instant = instant_of(moment, what)
    if instant > now:
        raise Refused(
            "postdated",
            f"{what} is {rfc3339(instant)} and must not lie after {rfc3339(now)}; "
            "leave it out, or record it when it has come",
        )
    return instant


def no_earlier(moment: datetime | None, now: Micros, what: str) -> Micros:
    """The instant of what widens: `now` if not given, `backdated` if earlier."""
    if moment is None:
        return now
    instant = instant_of(moment, what)
    if instant < now:
        raise Refused(
            "backdated",
            f"{what} is {rfc3339(instant)}; what allows more use never reaches back and counts from "
            f"{rfc3339(now)} at the earliest: leave it out, or name a later time",
        )
    return instant
