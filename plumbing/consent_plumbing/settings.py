"""Settings from the environment: one variable a field, `CONSENT_` and the field's name in capitals."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, get_type_hints

import msgspec

PREFIX = "CONSENT_"


class SettingsError(ValueError):
    """A variable is missing or wrong; the message names it and what is expected, never its value."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What every process reads. A service extends it with its own fields."""

    SECRETS: ClassVar[frozenset[str]] = frozenset({"database_url", "nats_url"})
    """Fields that `repr` hides: both addresses may hold a password."""

    database_url: str
    nats_url: str = "nats://127.0.0.1:4222"
    origin: str = "consent.local/ledger"
    log_level: str = "info"

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name in self.SECRETS else repr(getattr(self, name))}"
            for name in self.__struct_fields__
        )
        return f"{type(self).__name__}({', '.join(shown)})"


SettingsType = TypeVar("SettingsType", bound=Settings)


def load(kind: type[SettingsType], environment: Mapping[str, str] = os.environ) -> SettingsType:
    """Settings of a kind; an empty variable counts as absent. Raises SettingsError for all bad ones."""
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for field in msgspec.structs.fields(kind):
        variable = PREFIX + field.name.upper()
        text = environment.get(variable, "")
        if text:
            try:
                values[field.name] = msgspec.convert(text, hints[field.name], strict=False)
            except msgspec.ValidationError as error:
                wrong.append(f"{variable}: {_without_value(str(error))}")
        elif field.required:
            expected = getattr(hints[field.name], "__name__", hints[field.name])
            wrong.append(f"{variable} is not set; expected {expected}")
    if wrong:
        raise SettingsError("; ".join(wrong))
    return kind(**values)


def _without_value(message: str) -> str:
    """msgspec repeats an invalid value only for enumerations and literals: cut it off."""
    return message.split(" '", 1)[0]
