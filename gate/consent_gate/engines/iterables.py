"""Plain iterables of mappings or objects. A list or tuple comes back as a list, all else as an iterator.

A list is judged in blocks, by functions that are written in C as far as that goes. An iterator is asked for
one item at a time, and never for one more than was wanted: it may be a stream that others still write to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import itemgetter
from typing import Any

from consent_domain.errors import ConsentError

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.rows import Rows
from consent_gate.engines.where import Place

BLOCK_ROWS, PROGRESS_ROWS = 1_000, 10_000
"""A block is gone through several times, so it should lie in the cache of a processor."""


def filtered(task: Task, data: Iterable[Any]) -> Any:
    """See `Engine`. `workspace` and `collected` may be callables that take an item."""
    rows = task.items()
    if not isinstance(data, (list, tuple)):
        return _streamed(task, rows, data)
    kept: list[Any] = []
    for block, permitted in _blocks(task, rows, data):
        kept.extend(compress(block, permitted))
    return kept


def masked(task: Task, data: Iterable[Any]) -> list[bool]:
    """See `Engine`. For lists and tuples only: whoever went through an iterator has its items no more."""
    if not isinstance(data, (list, tuple)):
        raise refuse_mask(data)
    rows = task.items()
    return [one for _, permitted in _blocks(task, rows, data) for one in permitted]


def _blocks(task: Task, rows: Rows, data: Sequence[Any]) -> Iterator[tuple[Sequence[Any], list[bool]]]:
    places, collected = task.where
    for start in range(0, len(data), BLOCK_ROWS):
        block = data[start : start + BLOCK_ROWS]
        owners = [_values(place, block) for place in places]
        yield block, rows.permit(owners, None if collected is None else _values(collected, block))
        done = start + len(block)
        if done % PROGRESS_ROWS == 0 or done == len(data):
            task.progress(done, len(data))
    task.end()


def _values(place: Place, items: Sequence[Any]) -> list[Any]:
    """What each item has there. Raises as `getter` says."""
    if isinstance(place, str) and set(map(type, items)) == {dict}:
        try:
            return list(map(itemgetter(place), items))
        except KeyError:
            pass  # which item it was, is said below
    return list(map(getter(place), items))


def _streamed(task: Task, rows: Rows, data: Iterable[Any]) -> Iterator[Any]:
    owners = [getter(place) for place in task.where.owners]
    collected = None if task.where.collected is None else getter(task.where.collected)
    done = 0
    for done, item in enumerate(data, 1):
        when = None if collected is None else collected(item)
        if rows.permits([owner(item) for owner in owners], when):
            yield item
        if done % PROGRESS_ROWS == 0:
            task.progress(done, None)
    task.progress(done, None)
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
