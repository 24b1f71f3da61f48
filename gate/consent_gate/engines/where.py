"""Where in the data its owners and its collection times stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from consent_domain.errors import ConsentError

Place = str | Callable[[Any], Any]
"""A column, key or attribute; or, for plain iterables, what takes an item and returns the value."""


class Where(NamedTuple):
    """The places of the owners' ids, all of which must permit, and of the collection time if there is one."""

    owners: tuple[Place, ...]
    collected: Place | None

    @property
    def columns(self) -> list[str]:
        """The owners' columns. Raises ConsentError `invalid_value` if one is none."""
        return [_name(place) for place in self.owners]

    @property
    def collected_column(self) -> str:
        """The collection time's column, empty for none. Raises as `columns` does."""
        return "" if self.collected is None else _name(self.collected)


def where(workspace: Place | Sequence[Place], collected: Place | None) -> Where:
    """Raises ConsentError `invalid_value` for no owner, or one that names no place."""
    single = isinstance(workspace, str) or callable(workspace)
    owners: tuple[Any, ...] = (workspace,) if single else tuple(workspace)  # type: ignore[arg-type]
    places = owners if collected is None else (*owners, collected)
    if not owners or not all((isinstance(one, str) and one) or callable(one) for one in places):
        raise ConsentError("invalid_value", "name at least one column that holds workspace ids, by its name")
    return Where(owners, collected)


def _name(place: Place) -> str:
    if isinstance(place, str):
        return place
    raise ConsentError("invalid_value", f"columns go by names, and {place!r} is none")
