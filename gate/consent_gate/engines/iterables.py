"""Plain iterables of mappings or objects. A list or tuple comes back as a list, all else as an iterator.

An iterator is asked for one item at a time, and never for one more than was wanted: it may be a stream that
others still write to. So there is one function that judges an item, and most items go the short way through
it: a dictionary whose owner is plain text, of a time between two changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import compress, islice
from typing import Any

from consent_domain.errors import ConsentError

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.rows import Rows
from consent_gate.engines.where import Place, Where

PROGRESS_ROWS = 10_000
Judged = Callable[[Any], bool]
"""Whether an item stays. It counts the item, and raises ConsentError `invalid_value` for a wrong one."""


def filtered(task: Task, data: Iterable[Any]) -> Any:
    """See `Engine`. `workspace` and `collected` may be callables that take an item."""
    rows = task.items()
    permits = judged(rows, task.where)
    if not isinstance(data, (list, tuple)):
        return _streamed(task, rows, permits, data)
    kept: list[Any] = []
    for block in _blocks(task, data):
        kept.extend(compress(block, map(permits, block)))
    return kept


def masked(task: Task, data: Iterable[Any]) -> list[bool]:
    """See `Engine`. For lists and tuples only: whoever went through an iterator has its items no more."""
    if not isinstance(data, (list, tuple)):
        raise refuse_mask(data)
    permits = judged(task.items(), task.where)
    return [permits(item) for block in _blocks(task, data) for item in block]


def _blocks(task: Task, data: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The data, and progress as they are done with."""
    for start in range(0, len(data), PROGRESS_ROWS):
        yield data[start : start + PROGRESS_ROWS]
        task.progress(min(start + PROGRESS_ROWS, len(data)), len(data))
    task.end()


def _streamed(task: Task, rows: Rows, permits: Judged, data: Iterable[Any]) -> Iterator[Any]:
    items, done, is_over = iter(data), 0, False
    while not is_over:
        yield from filter(permits, islice(items, PROGRESS_ROWS))
        before, done = done, rows.met
        is_over = done - before < PROGRESS_ROWS
        task.progress(done, None)
    task.end()


# -- one item ------------------------------------------------------------------------------------------------


def judged(rows: Rows, where: Where) -> Judged:
    """What judges an item by what stands where in it."""
    if len(where.owners) > 1:
        return _by_all(rows, where)
    if where.collected is None:
        return _by_owner(rows, where.owners[0])
    return _by_time(rows, where.owners[0], where.collected)


def _by_owner(rows: Rows, place: Place) -> Judged:
    keyed, owner_of = _keyed(place), getter(place)
    unstated = rows.unstated

    def permits(item: Any) -> bool:
        try:
            owner = item[place] if type(item) is keyed else owner_of(item)
        except KeyError:
            owner = owner_of(item)  # which says what is missing where
        if type(owner) is not str:
            return rows.permits((owner,), None)
        tally = unstated[owner]
        tally.rows += 1
        return tally.permit

    return permits


def _by_time(rows: Rows, place: Place, collected: Place) -> Judged:
    keyed, owner_of, timed, time_of = _keyed(place), getter(place), _keyed(collected), getter(collected)
    verdict_at, tallies = rows.owners.verdict_at, rows.tallies

    def permits(item: Any) -> bool:
        try:
            owner = item[place] if type(item) is keyed else owner_of(item)
            when = item[collected] if type(item) is timed else time_of(item)
        except KeyError:
            owner, when = owner_of(item), time_of(item)
        if type(owner) is not str or type(when) is not datetime or when.tzinfo is None:
            return rows.permits((owner,), when)
        tally = tallies[verdict_at(owner, when)]
        tally.rows += 1
        return tally.permit

    return permits


def _by_all(rows: Rows, where: Where) -> Judged:
    places = [getter(place) for place in where.owners]
    time_of = None if where.collected is None else getter(where.collected)

    def permits(item: Any) -> bool:
        return rows.permits([place(item) for place in places], time_of and time_of(item))

    return permits


def _keyed(place: Place) -> Any:
    """The type of the items that have the value under a key: that of none if `place` is a callable."""
    return dict if isinstance(place, str) else _NoItem


class _NoItem:
    """What no item is."""


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
