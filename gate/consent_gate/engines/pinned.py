"""Where every workspace of the ledger stands, in columns: what goes out to other processes and engines.

It needs no replica and asks nobody. It is as of one position and ledger time, so it is good for one
job: whoever keeps it for the next one uses what was withdrawn meanwhile.

Needs pyarrow. Cost: one to two microseconds a workspace to make, 30 bytes each to hold.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from consent_domain.decide import AHEAD_MAX
from consent_domain.identifiers import is_id
from consent_domain.instants import Micros

from consent_gate.cells import PLAIN, PREFIX_BYTES, decode_plain, plain_facts
from consent_gate.pin import Pin
from consent_gate.store import Snapshot
from consent_gate.verdicts import Class, Standing, Step, Verdict, Verdicts

FIRST, LAST = -(1 << 63), (1 << 63) - 1
"""Before and after all collection times; `FIRST` stands for one that nobody stated."""
_BISECTED_MAX = 64
_BLOCK_ROWS = 1 << 16
_FIELDS: list[pa.Field[Any]] = [
    pa.field("workspace", pa.string()),
    pa.field("line", pa.int32()),
    pa.field("since", pa.int64()),
    pa.field("unstated", pa.int32()),
]
_SCHEMA = pa.schema(_FIELDS)


class Stretch(NamedTuple):
    """Of a line: data collected from `start` to before `end` gets this verdict."""

    start: Micros
    end: Micros
    verdict: int


class Strangers(NamedTuple):
    """Where stands whom the ledger does not know, and what is no id at all."""

    unknown: Standing
    invalid: Standing


class Pinned(NamedTuple):
    """All standings on one purpose: a `Judge` that can be pickled."""

    token: str
    at: Micros
    purpose: str
    categories: tuple[str, ...]
    policy_version: str
    table: list[Verdict]
    lines: list[tuple[Step, ...]]
    strangers: Strangers
    everybody: pa.RecordBatch
    """A row for every workspace the ledger knows, by id: `workspace`, and the members of its `Standing`."""

    def standings(self, names: Sequence[str]) -> list[Standing]:
        """Where each workspace stands. Never raises."""
        ids = self.everybody["workspace"]
        if len(names) <= _BISECTED_MAX:
            return [self._standing(name, _place(ids, name)) for name in names]
        places = pc.index_in(pa.array(names, pa.string()), value_set=ids)
        found = [self.everybody[name].take(places).to_pylist() for name in Standing._fields]
        return [
            self.strangers[not is_id(name)] if line is None else Standing(line, since, unstated)
            for name, line, since, unstated in zip(names, *found, strict=True)
        ]

    def _standing(self, name: str, place: int | None) -> Standing:
        if place is None:
            return self.strangers[not is_id(name)]
        return Standing(*(self.everybody[field][place].as_py() for field in Standing._fields))

    def permitted(self) -> Any:
        """The ids of all workspaces that permit some collection time or other, sorted."""
        permitted_until = pa.array(
            [max((one.end for one in self.allowed(line)), default=FIRST) for line in range(len(self.lines))],
            pa.int64(),
        )
        at_times = pc.less(self.everybody["since"], permitted_until.take(self.everybody["line"]))
        return self.everybody["workspace"].filter(pc.or_(at_times, self._permitted_unstated()))

    def permitted_unstated(self) -> Any:
        """The ids of all workspaces that permit data of a collection time that nobody stated, sorted."""
        return self.everybody["workspace"].filter(self._permitted_unstated())

    def _permitted_unstated(self) -> Any:
        return pa.array([verdict.permit for verdict in self.table], pa.bool_()).take(
            self.everybody["unstated"]
        )

    def stretches(self, line: int) -> list[Stretch]:
        """The verdicts on all collection times by a line, first to last, without a gap."""
        steps = self.lines[line]
        ends = [*(step.start for step in steps[1:]), LAST]
        found = [Stretch(step.start, end, step.verdict) for step, end in zip(steps, ends, strict=True)]
        return [found[0]._replace(start=FIRST), *found[1:]]

    def all_stretches(self) -> pa.Table:
        """Those of all lines, as rows for joins: `line`, and the members of `Stretch`."""
        rows = [(line, *one) for line in range(len(self.lines)) for one in self.stretches(line)]
        columns = zip(*rows, strict=True) if rows else ((), (), (), ())
        kinds = (pa.int32(), pa.int64(), pa.int64(), pa.int32())
        told = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
        return pa.table(told, names=["line", *Stretch._fields])

    def allowed(self, line: int) -> list[Stretch]:
        """Those of a line's stretches that permit."""
        return [one for one in self.stretches(line) if self.table[one.verdict].permit]

    def allowed_times(self) -> pa.Table:
        """The same as rows for joins: `workspace`, and a half-open range of times from `start` to `end`.

        A collection time that nobody stated is at `FIRST`; no stated one may be looked up there.
        """
        stretches = [(line, *one) for line in range(len(self.lines)) for one in self.allowed(line)]
        lines, starts, ends, _ = zip(*stretches, strict=True) if stretches else ((), (), (), ())
        kinds = [pa.array(lines, pa.int32()), pa.array(starts, pa.int64()), pa.array(ends, pa.int64())]
        permitted = pa.Table.from_batches([self.everybody]).join(
            pa.table(kinds, names=["line", "start", "end"]), keys="line", join_type="inner"
        )
        start = pc.max_element_wise(permitted["start"], permitted["since"], FIRST + 1)
        found = pa.table({"workspace": permitted["workspace"], "start": start, "end": permitted["end"]})
        unstated = self.permitted_unstated()
        never = pa.table(
            {
                "workspace": unstated,
                "start": pa.repeat(FIRST, len(unstated)).cast(pa.int64()),
                "end": pa.repeat(FIRST + 1, len(unstated)).cast(pa.int64()),
            }
        )
        return pa.concat_tables([found.filter(pc.less(start, permitted["end"])), never])

    def fingerprint(self) -> str:
        """SHA-256, hex, of all that can let a row pass: position, purpose, and who permits what when.

        For keys of caches: what was kept under one was permitted under it. Ledger time as such is no part
        of it, or no cache would ever hit; what time changes is.
        """
        digest = hashlib.sha256()
        for said in (self.token, self.purpose, *self.categories, self.policy_version):
            digest.update(said.encode() + b"\n")
        lines = pc.unique(
            self.everybody["line"]
        )  # numbered anew: their order depends on what was asked first
        for line in lines.to_pylist():
            digest.update(repr(self._times(line)).encode() + b"\n")
        _update(digest, self.everybody["workspace"])
        _update(digest, pc.index_in(self.everybody["line"], value_set=lines).cast(pa.int32()))
        _update(digest, self.everybody["since"])
        _update(digest, self._permitted_unstated().cast(pa.int8()))
        return digest.hexdigest()

    def _times(self, line: Any) -> list[tuple[Micros, Micros]]:
        """The permitted times, where "until now" is the same at any time."""
        now = self.at + AHEAD_MAX + 1
        return [(one.start, LAST if one.end == now else one.end) for one in self.allowed(line)]


def pinned_set(pin: Pin, verdicts: Verdicts, purpose: str, categories: tuple[str, ...]) -> Pinned:
    """Where all workspaces of the pin's snapshot stand, by the verdicts' rules.

    Raises lmdb.Error or msgspec.MsgspecError if the replica is broken.
    """
    strangers = Strangers(verdicts.by_the_rules(_nobody(pin.snapshot)), verdicts.by_the_rules(""))
    rows = _Rows(pin.snapshot, verdicts)
    blocks, cells = [], pin.snapshot.cells()
    while block := list(islice(cells, _BLOCK_ROWS)):
        names = pa.array([name for name, _ in block], pa.binary()).cast(pa.string())
        told = zip(*(rows.standing(name, cell) for name, cell in block), strict=True)
        kinds = [field.type for field in _SCHEMA][1:]
        columns = [pa.array(values, kind) for values, kind in zip(told, kinds, strict=True)]
        blocks.append(pa.RecordBatch.from_arrays([names, *columns], schema=_SCHEMA))
    table = pa.Table.from_batches(blocks, _SCHEMA).combine_chunks()
    columns = [
        column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in table.columns
    ]
    return Pinned(
        str(pin.token),
        pin.at,
        purpose,
        categories,
        verdicts.policy_version,
        list(verdicts.table),
        list(verdicts.lines),
        strangers,
        pa.RecordBatch.from_arrays(columns, schema=_SCHEMA),
    )


class _Rows:
    """Standings from cells. A class of workspaces is judged once."""

    def __init__(self, snapshot: Snapshot, verdicts: Verdicts) -> None:
        self._snapshot = snapshot
        self._verdicts = verdicts
        self._classes: dict[bytes, Class] = {}

    def standing(self, name: bytes, cell: bytes) -> Standing:
        found = self._member(cell) if cell[:1] == PLAIN else None
        return self._verdicts.by_the_rules(name.decode()) if found is None else found

    def _member(self, cell: bytes) -> Standing | None:
        prefix = cell[:PREFIX_BYTES]
        shared = self._classes.get(prefix)
        number, _, since = decode_plain(cell)
        if shared is None:
            facts = plain_facts(cell, self._snapshot.class_of(number))
            shared = self._classes[prefix] = self._verdicts.class_of(facts)
        return self._verdicts.member(shared, since)


def _nobody(snapshot: Snapshot) -> str:
    """An id that no workspace has."""
    return next(name for name in _ids() if snapshot.workspace(name) is None)


def _ids() -> Iterator[str]:
    number = 0
    while True:
        yield f"nobody-{number}"
        number += 1


def _place(ids: Any, name: str) -> int | None:
    """The index of a name. Ids are ASCII, so that their bytes sort as their letters."""
    if not is_id(name):
        return None
    place = bisect_left(range(len(ids)), name, key=lambda index: ids[index].as_py())
    return place if place < len(ids) and ids[place].as_py() == name else None


def _update(digest: Any, column: Any) -> None:
    for buffer in column.buffers():
        digest.update(b"-" if buffer is None else buffer)
