"""Filtered first and split then, every rank and worker gets as many items: none waits for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_world
import pytest
from consent_gate.gate import Gate

torch = pytest.importorskip("torch")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with engine_world.permitted(tmp_path).followed() as gate:
        yield gate


def items(count: int) -> list[dict[str, Any]]:
    """Every third row is nobody's, so that ranks which split first would keep different numbers."""
    return [{"row": row, "w": "nobody" if row % 3 == 0 else f"w{row % 8}"} for row in range(count)]


def rank_of(rank: int, data: Any, folder: str, sent: Any) -> None:
    """One of two processes: it steps with the other, item by item, as a training does."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        seen = []
        for item in data:
            seen.append(item["row"])
            torch.distributed.all_reduce(torch.ones(1))
        sent.put((rank, seen))
    finally:
        torch.distributed.destroy_process_group()


def test_given_two_ranks_when_they_step_together_then_both_end(gate: Gate, tmp_path: Path) -> None:
    from consent_gate.engines.torch import split_by_rank
    from torch_data import Stream

    data = split_by_rank(gate.filter(Stream(items(50)), "w").data)
    context = torch.multiprocessing.get_context("spawn")
    sent = context.Queue()
    ranks = [
        context.Process(target=rank_of, args=(rank, data, str(tmp_path), sent), daemon=True)
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    found = dict(sent.get(timeout=90) for _ in ranks)
    for rank in ranks:
        rank.join(20)
        rank.kill()
    assert len(found[0]) == len(found[1]) == 16
    assert not set(found[0]) & set(found[1]) and not [row for row in (*found[0], *found[1]) if row % 3 == 0]


def test_given_workers_when_they_share_a_stream_then_every_item_comes_once(gate: Gate) -> None:
    from consent_gate.engines.torch import split_by_rank
    from torch.utils.data import DataLoader
    from torch_data import Stream

    data = split_by_rank(gate.filter(Stream(items(48)), "w").data)
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(item["row"] for item in loader) == [row for row in range(48) if row % 3]


def test_given_a_worker_that_inherits_nothing_then_the_permitted_set_goes_there_with_the_data(
    gate: Gate,
) -> None:
    from torch.utils.data import DataLoader
    from torch_data import Stream

    kept = gate.filter(Stream(items(48)), "w").data
    loader = DataLoader(kept, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert [item["row"] for item in loader] == [row for row in range(48) if row % 3]
