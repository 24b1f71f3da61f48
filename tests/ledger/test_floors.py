"""Floors: nobody is answered from before what this process has recorded, whatever becomes of their number."""

from __future__ import annotations

from consent_ledger.floors import Floors


def test_given_a_floor_when_anything_that_depends_on_its_stream_is_asked_then_it_holds() -> None:
    floors = Floors(lambda: 0)
    floors.raise_floor("workspace/w", 5)
    floors.raise_floor("organisation/o", 7)
    floors.raise_floor("purpose/p", 6)
    assert floors.floor_of("w", [], "other") == 5
    assert floors.floor_of("other", ["x", "o"], "other") == 7
    assert floors.floor_of("w", [], "p") == 6
    assert floors.floor_of("other", ["x"], "other") == 0


def test_given_a_policy_or_the_log_when_its_floor_is_raised_then_it_holds_for_everybody() -> None:
    floors = Floors(lambda: 0)
    floors.raise_floor("policy/principles", 4)
    assert floors.floor_of("anybody", [], "any") == 4
    floors.raise_floor("log/ledger", 9)
    assert floors.floor_of("anybody", [], "any") == 9


def test_given_a_floor_when_an_older_position_comes_then_it_never_falls() -> None:
    floors = Floors(lambda: 0)
    for stream in ("workspace/w", "policy/p"):
        floors.raise_floor(stream, 9)
        floors.raise_floor(stream, 3)
    assert floors.floor_of("w", [], "p") == 9


def test_given_too_many_floors_when_the_replica_passed_them_then_those_are_dropped() -> None:
    floors = Floors(lambda: 95, streams_max=100)
    for position in range(1, 102):
        floors.raise_floor(f"workspace/w{position}", position)
    assert floors.floor_of("w50", [], "p") == 0
    assert floors.floor_of("w96", [], "p") == 96


def test_given_too_many_floors_when_the_replica_lags_then_everybody_waits_and_none_is_forgotten() -> None:
    floors = Floors(lambda: 0, streams_max=100)
    for position in range(1, 102):
        floors.raise_floor(f"workspace/w{position}", position)
    assert floors.floor_of("w1", [], "p") == 101
    assert floors.floor_of("never-seen", [], "p") == 101
