"""Whose data a run uses, and what each of them permitted when that began: some bytes for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import count

from consent_domain.instants import Micros

from consent_gate.comparing import Side, Times
from consent_gate.verdicts import Standing


class InUse:
    """Workspaces in the order in which they were met, as three columns. Only ever grows.

    `kinds` are numbers of what was permitted to all who stood alike but for `sinces`, from when on it was.
    """

    def __init__(self, side: Side) -> None:
        """`side` says what standings permit; all standings come from its judge."""
        self.names: list[str] = []
        self.kinds = array("q")
        self.sinces = array("q")
        self.whole: list[Times] = []
        """By kind: what would be permitted to somebody who has been there for ever."""
        self._side = side
        self._places: dict[str, int] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._standings: list[Standing] = []

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def kind_of(self, standing: Standing) -> int:
        """The number of a standing's kind."""
        key = standing.line, standing.unstated
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.whole)
            self.whole.append(self._side.whole(standing))
            self._standings.append(standing)
        return number

    def add(self, names: Sequence[str], kinds: Iterable[int], sinces: Iterable[Micros]) -> None:
        """Some who are not among these yet. Who is named twice is twice the same."""
        self._places.update(zip(names, count(len(self.names)), strict=False))
        self.names += names
        self.kinds.extend(kinds)
        self.sinces.extend(sinces)

    def times(self, name: str) -> Times:
        """What was permitted to one of these."""
        place = self._places[name]
        return self._side.times(self._standings[self.kinds[place]]._replace(since=self.sinces[place]))

    def after(self, count: int) -> tuple[Sequence[str], Sequence[int], Sequence[Micros]]:
        """The columns without the first `count`: names, kinds, sinces."""
        if not count:
            return self.names, self.kinds, self.sinces
        return self.names[count:], self.kinds[count:], self.sinces[count:]
