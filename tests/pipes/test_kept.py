"""Given a filter that notes whose rows stay, then it names all of them, nobody else, whatever they are in."""

from __future__ import annotations

import pickle
from typing import Any

import pyarrow as pa
import pytest
from consent_gate.filter import Filter
from consent_gate.verdicts import Verdicts
from pipes_files import NOW, SINCE, OneGood

OWNERS = ["good", "007", "bad", None, "1e5", "good"]
TIMES = pa.array([SINCE + 1, SINCE - 1, SINCE + 1, SINCE + 1, SINCE + 5, NOW], pa.int64()).cast(
    pa.timestamp("us", "UTC")
)


def noting(columns: list[str], collected: str = "") -> Filter:
    return Filter(Verdicts(OneGood(), NOW, "train"), columns, collected, notes_kept=True)


def kept(columns: dict[str, Any], owners: list[str], collected: str = "") -> set[str] | None:
    rows = noting(owners, collected)
    rows.mask(pa.record_batch(columns))
    return rows.kept


@pytest.mark.parametrize(
    "column",
    [
        pa.array(OWNERS),
        pa.array(OWNERS, pa.large_string()),
        pa.array(OWNERS, pa.string_view()),
        pa.array(OWNERS).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_given_owners_of_any_type_when_one_has_no_row_of_a_time_that_is_permitted_then_it_is_not_named(
    column: Any,
) -> None:
    assert kept({"w": column, "t": TIMES}, ["w"], "t") == {"good", "1e5"}
    assert kept({"w": column}, ["w"]) == {"good", "007", "1e5"}


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, pa.list_view, pa.large_list_view])
def test_given_lists_of_owners_when_a_row_stays_then_all_of_them_are_named(kind: Any) -> None:
    lists = pa.array([["good", "007"], ["1e5", "bad"], [], None, ["1e5", None]], kind(pa.string()))
    assert kept({"w": lists}, ["w"]) == {"good", "007"}
    assert kept({"w": lists.slice(1)}, ["w"]) == set()


def test_given_several_columns_when_a_row_stays_then_the_owners_in_all_of_them_are_named() -> None:
    columns = {"a": pa.array(["good", "good", "bad"]), "b": pa.array(["007", "bad", "1e5"])}
    assert kept(columns, ["a", "b"]) == {"good", "007"}


def test_given_batches_one_after_the_other_then_all_are_named() -> None:
    rows = noting(["w"])
    for name in ("good", "bad", "007"):
        rows.mask(pa.record_batch({"w": pa.array([name])}))
    assert rows.kept == {"good", "007"}


def test_given_a_filter_that_went_to_another_process_then_nobody_here_says_who_it_kept() -> None:
    """What stays there is not heard of here: too few would be named."""
    rows = Filter(Nobody(), ["w"], notes_kept=True)
    pickle.dumps(rows)
    assert rows.kept is None


def test_given_a_filter_that_notes_nothing_then_it_does_not_say_that_nobody_was_kept() -> None:
    assert Filter(Verdicts(OneGood(), NOW, "train"), ["w"]).kept is None


class Nobody:
    """A judge that can be sent to another process."""

    table: list[Any] = []
    lines: list[Any] = []
    everybody = None

    def standings(self, names: Any) -> list[Any]:
        return []
