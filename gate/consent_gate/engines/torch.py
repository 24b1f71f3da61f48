"""PyTorch: a map-style dataset comes back as a `Subset`, an iterable one as an iterable one.

    train = split_by_rank(job.filter(stream, "workspace_id"))

Filter before anything is split among ranks or workers: ranks that keep different numbers of items wait
for each other for ever. `split_by_rank` splits what was filtered, evenly. Whatever goes to a worker takes
the permitted set along, and asks nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch.distributed
from torch.utils.data import Dataset, IterableDataset, Subset, get_worker_info

from consent_gate.engines.engine import Task, refuse_mask
from consent_gate.engines.iterables import PROGRESS_ROWS, judged
from consent_gate.engines.rows import Rows
from consent_gate.engines.where import Where
from consent_gate.verdicts import Judge, Verdict


def filtered(task: Task, data: Any) -> Any:
    """See `Engine`. Every item of a map-style dataset is read once, now."""
    if isinstance(data, IterableDataset):
        kept = _Permitted(data, task.where, task.pinned())
        task.counting(kept)
        task.planned()
        return kept
    mask = masked(task, data)
    return Subset(data, [index for index, permitted in enumerate(mask) if permitted])


def masked(task: Task, data: Any) -> list[bool]:
    """See `Engine`. A list, for a map-style dataset."""
    if isinstance(data, IterableDataset) or not isinstance(data, Dataset) or not hasattr(data, "__len__"):
        raise refuse_mask(data)
    permits, mask = judged(task.items(), task.where), []
    for index in range(len(data)):
        mask.append(permits(data[index]))
        if len(mask) % PROGRESS_ROWS == 0:
            task.progress(len(mask), len(data))
    task.progress(len(mask), len(data))
    task.end()
    return mask


def split_by_rank(data: IterableDataset[Any]) -> IterableDataset[Any]:
    """Each rank and worker gets its share of the items, all of them as many: up to one round is left out."""
    return _Share(data)


class _Permitted(IterableDataset[Any]):  # type: ignore[misc]
    """The items of a stream that stay. Counted where it is read, which may be another process."""

    def __init__(self, data: IterableDataset[Any], where: Where, judge: Judge) -> None:
        self._data, self._where, self._judge = data, where, judge
        self._rows: Rows | None = None

    @property
    def counts(self) -> dict[Verdict, int] | None:
        return None if self._rows is None else self._rows.counts

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_rows": None}

    def __iter__(self) -> Iterator[Any]:
        self._rows = Rows(self._judge)
        return filter(judged(self._rows, self._where), self._data)


class _Share(IterableDataset[Any]):  # type: ignore[misc]
    """Every so-manieth item, of rounds that are complete."""

    def __init__(self, data: IterableDataset[Any]) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        ranks, rank = 1, 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            ranks, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        items = iter(self._data)
        while len(complete := list(islice(items, ranks * workers))) == ranks * workers:
            yield complete[rank * workers + number]
