"""A place among all workspaces is given for an equal name and for nothing else, however names hash."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pl = pytest.importorskip("polars", reason="the environments of other engines have no polars")

from consent_gate.engines import polars_index  # noqa: E402
from consent_gate.engines.polars_index import Index  # noqa: E402

names = st.lists(st.text(max_size=3) | st.text("ab", min_size=9, max_size=40), max_size=60, unique=True)
owners = st.lists(st.none() | st.text(max_size=3) | st.text("ab", min_size=9, max_size=40), max_size=60)
few = settings(max_examples=60, deadline=None, database=None)


def places(index: Index, texts: list[Any]) -> list[int | None]:
    found = index.places(pl.Series(texts, dtype=pl.String))
    assert found.dtype == pl.UInt32
    return list(found.to_list())


def expected(known: list[str], texts: list[Any]) -> list[int | None]:
    by_name = {name: place for place, name in enumerate(known)}
    return [by_name.get(text) for text in texts]


def text_series(texts: list[str]) -> Any:
    return pl.Series(texts, dtype=pl.String)


@few
@given(names, owners, st.randoms(use_true_random=False))
def test_given_any_names_and_owners_then_each_is_where_a_dictionary_says(
    known: list[str], others: list[Any], choose: random.Random
) -> None:
    asked = [*others, *known, *known, None]
    choose.shuffle(asked)
    index = Index(text_series(known))
    assert places(index, asked) == expected(known, asked)
    assert places(index, []) == [] and places(index, [None]) == [None]


@few
@given(names, owners, st.integers(1, 3))
def test_given_hashes_that_collide_then_each_is_still_found_in_one_table_or_another(
    known: list[str], others: list[Any], room: int
) -> None:
    """Tables of a few slots: nearly all names share one."""
    with pytest.MonkeyPatch.context() as patch:
        slots = polars_index._Table.slots
        patch.setattr(polars_index._Table, "slots", lambda table, column: slots(table, column) % room)
        patch.setattr(polars_index, "_TABLES_MAX", 10_000)
        assert places(Index(text_series(known)), [*others, *known]) == expected(known, [*others, *known])


@few
@given(names, owners, st.randoms(use_true_random=False))
def test_given_tables_that_point_anywhere_then_nobody_is_found_who_is_not_there(
    known: list[str], others: list[Any], choose: random.Random
) -> None:
    """What another version of polars, or a broken memory, would make of the hashes."""
    index = Index(text_series(known))
    for table in index._tables:
        for slot in choose.sample(range(len(table.places)), 200):
            table.places.scatter(slot, choose.randrange(len(known)))
    asked = [*others, *known, None]
    for found, right in zip(places(index, asked), expected(known, asked), strict=True):
        assert found in (None, right)


def test_given_a_name_that_is_missing_then_there_is_no_index() -> None:
    with pytest.raises(ValueError, match="a name is missing"):
        Index(pl.Series(["a", None]))


def test_given_names_that_hash_alike_whatever_the_seed_then_there_is_no_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        polars_index._Table, "slots", lambda table, column: (column.hash() * 0).cast(pl.UInt64)
    )
    monkeypatch.setattr(polars_index, "_TABLES_MAX", 2)
    with pytest.raises(ValueError, match="1 names share a slot in each of 2 tables"):
        Index(pl.Series(["a", "b", "c"]))


def test_given_more_names_than_a_table_has_room_for_then_all_are_found() -> None:
    known = [f"w{number}" for number in range(200_000)]
    index = Index(text_series(known))
    asked = [*reversed(known), *(f"x{number}" for number in range(1_000))]
    assert places(index, asked) == [*range(199_999, -1, -1), *[None] * 1_000]
    assert 1 < len(index._tables) < 10
