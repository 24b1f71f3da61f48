"""Floors: what this process has answered for must not be denied again by an older replica.

After a commit the streams it touched get a floor, their last position. A check that depends on
a stream whose floor is ahead of the replica denies `stale`, so nobody who was told "recorded" is
answered from before it by the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

STREAMS_MAX = 10_000
_EVERYBODYS = ("policy", "log")


class Floors:
    """Floors by stream, in memory. Those that the replica has passed are dropped; their number is bounded."""

    def __init__(self, replica_position: Callable[[], int], streams_max: int = STREAMS_MAX) -> None:
        """`replica_position` tells how far this host's replica is; it is asked only when there are many."""
        self._replica_position = replica_position
        self._streams_max = streams_max
        self._floors: dict[str, int] = {}
        self._everybody = 0
        self.highest = 0
        """The highest floor ever raised: a replica that has reached it may answer anything."""

    def raise_floor(self, stream: str, position: int) -> None:
        """From now on, answers that depend on `stream` need a replica at `position` or later.

        Policies and the log concern everybody. When more than `streams_max` streams wait for a
        replica that lags, everybody waits for it: the floors are merged into one.
        """
        self.highest = max(self.highest, position)
        if stream.partition("/")[0] in _EVERYBODYS:
            self._everybody = max(self._everybody, position)
            return
        self._floors[stream] = max(self._floors.get(stream, 0), position)
        if len(self._floors) > self._streams_max:
            self._shrink()

    def _shrink(self) -> None:
        reached = self._replica_position()
        self._floors = {stream: floor for stream, floor in self._floors.items() if floor > reached}
        if len(self._floors) > self._streams_max // 2:
            self._everybody = max(self._everybody, *self._floors.values())
            self._floors = {}

    def floor_of(self, workspace: str, organisations: Iterable[str], purpose: str) -> int:
        """The position that a replica must have reached to answer for these; 0 if any will do."""
        floors = self._floors
        if not floors:
            return self._everybody
        return max(
            self._everybody,
            floors.get(f"workspace/{workspace}", 0),
            floors.get(f"purpose/{purpose}", 0),
            *(floors.get(f"organisation/{organisation}", 0) for organisation in organisations),
        )
