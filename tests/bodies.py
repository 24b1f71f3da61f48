"""Random bodies of every event, made from the structs themselves: whatever a struct can hold comes up."""

from __future__ import annotations

from datetime import UTC, datetime
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import msgspec
from consent_domain.events import EVENT_TYPES, Body
from hypothesis import strategies as some

SIXTY_FOUR_BIT = frozenset(
    {
        ("DefaultOn", "policy_position"),
        ("RunRegistered", "position"),
        ("RunDischarged", "through"),
        ("RecipientNotified", "position"),
        ("LogContinued", "size"),
    }
)
"""Fields that hold a 64-bit integer, a string in JSON."""

# Half surrogate pairs are no Unicode text: msgspec refuses them in a request already.
texts = some.text(some.characters(codec="utf-8"), max_size=30)
moments = some.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=some.just(UTC))
_SCALARS: dict[type, some.SearchStrategy[Any]] = {
    str: texts,
    bytes: some.binary(max_size=40),
    bool: some.booleans(),
    int: some.integers(0, 2**32 - 1),
    datetime: moments,
}


def bodies() -> some.SearchStrategy[Body]:
    """Any body of any event."""
    return some.one_of(*(structs(kind.body) for kind in EVENT_TYPES))


def structs(struct: type[Any]) -> some.SearchStrategy[Any]:
    """Any instance of one struct."""
    chosen = {}
    for field in msgspec.structs.fields(struct):
        value = _values(field.type)
        if (struct.__name__, field.name) in SIXTY_FOUR_BIT:
            value = some.integers(0, 2**64 - 1).map(str)
        chosen[field.name] = value
    return some.builds(struct, **chosen)


def _values(kind: Any) -> some.SearchStrategy[Any]:
    if get_origin(kind) is UnionType:
        (inner,) = (option for option in get_args(kind) if option is not NoneType)
        return some.none() | _values(inner)
    if get_origin(kind) is list:
        return some.lists(_values(get_args(kind)[0]), max_size=3)
    if kind in _SCALARS:
        return _SCALARS[kind]
    assert issubclass(kind, msgspec.Struct), f"no strategy is known for {kind}"
    return structs(kind)
