"""Plain iterables of mappings or objects. A list or tuple comes back as a list, all else as an iterator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from consent_domain.errors import ConsentError

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.rows import Rows
from consent_gate.engines.where import Place

PROGRESS_ROWS = 10_000


def filtered(task: Task, data: Iterable[Any]) -> Any:
    """See `Engine`. `workspace` and `collected` may be callables that take an item."""
    kept = (item for item, permitted in _judged(task, data) if permitted)
    return list(kept) if isinstance(data, (list, tuple)) else kept


def masked(task: Task, data: Iterable[Any]) -> list[bool]:
    """See `Engine`. For lists and tuples only: whoever went through an iterator has its items no more."""
    if not isinstance(data, (list, tuple)):
        raise refuse_mask(data)
    return [permitted for _, permitted in _judged(task, data)]


def _judged(task: Task, data: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    rows = Rows(task.judge())
    task.counting(rows)
    return _each(task, rows, data)


def _each(task: Task, rows: Rows, data: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    owners = [getter(place) for place in task.where.owners]
    collected = None if task.where.collected is None else getter(task.where.collected)
    total = len(data) if isinstance(data, (list, tuple)) else None
    done = 0
    for done, item in enumerate(data, 1):
        when = None if collected is None else collected(item)
        yield item, rows.permits([owner(item) for owner in owners], when)
        if done % PROGRESS_ROWS == 0:
            task.progress(done, total)
    task.progress(done, total)
    task.end()


def getter(place: Place) -> Callable[[Any], Any]:
    """What takes an item and returns the value there.

    It raises ConsentError `invalid_value` for an item that lacks it: a key misspelt is not a missing owner.
    """
    if not isinstance(place, str):
        return place

    def get(item: Any) -> Any:
        try:
            keyed = type(item) is dict or isinstance(item, Mapping)
            return item[place] if keyed else getattr(item, place)
        except (KeyError, AttributeError) as error:
            raise ConsentError("invalid_value", f"an item has no {place!r}: {item!r:.120}") from error

    return get
