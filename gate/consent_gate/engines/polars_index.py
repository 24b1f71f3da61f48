"""Where a workspace is among all of the ledger, looked up by columns of polars.

Arrow's `index_in` and polars' `is_in` hash all names again on each call, and plans of polars are judged in
blocks of some 100,000 rows: with as many workspaces most of the time goes there. A cast to an `Enum` hashes
them once, and then takes several times as long for each row. So the table is ours, and every step through
it a kernel of polars: a row's hash says which slot to look in, the slot says which name it could be, and
that name is compared with the row's. What no slot of the first table has room for is in the second one,
and so on. Hashes only say where to look: a place is given for a name that is equal, and for nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl
import pyarrow.compute as pc

from consent_gate.engines.pinned import Pinned
from consent_gate.standings import Placed, Steps

_SLOTS_MIN, _TABLES_MAX = 1 << 16, 32
"""A table has room for three quarters of what is left, or more: ten are enough for all that memory holds."""
_ID = r"\A[A-Za-z0-9._-]{1,128}\z"


class Indexed:
    """The pinned standings: a `consent_gate.standings.LookUp`. May be shared by threads."""

    def __init__(self, pinned: Pinned) -> None:
        names, *standings = pinned.everybody.columns
        self._pinned = pinned
        self._index = Index(pl.Series(names, dtype=pl.String))
        self._placed = Placed(Steps(pinned), *standings).with_more(pinned.strangers)
        self._unknown = len(pinned.everybody)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process makes its own: its polars may hash in another way."""
        return Indexed, (self._pinned,)

    def verdicts(self, owners: Any, collected: Any) -> Any:
        """See `LookUp`. Never raises."""
        texts = pl.Series(owners, dtype=pl.String)
        return self._placed.verdicts(self._with_strangers(self._index.places(texts), texts), collected)

    def _with_strangers(self, places: pl.Series, owners: pl.Series) -> Any:
        """The places; whom the ledger does not know is behind everybody, and what is no id after that."""
        found = places.to_arrow()
        if places.null_count() == owners.null_count():
            return found
        strange = places.is_null() & owners.is_not_null()
        is_id = owners.filter(strange).str.contains(_ID)
        others = pl.select(pl.when(is_id).then(self._unknown).otherwise(self._unknown + 1)).to_series()
        return pc.replace_with_mask(found, strange.to_arrow(), others.cast(pl.UInt32).to_arrow())


class _Table(NamedTuple):
    """Of some names, hashed with `seed`: in each slot the place of one, or of any other in an empty slot."""

    seed: int
    mask: int
    places: pl.Series

    def slots(self, names: pl.Series) -> pl.Series:
        """The slot of each name; of a null, any."""
        return names.hash(self.seed) & self.mask


class Index:
    """Distinct texts. Cost: about 20 bytes a text besides the texts; 30 ns to look one up."""

    def __init__(self, names: pl.Series) -> None:
        """Raises ValueError for a name that is null, and if names hash to the same again and again."""
        if names.null_count():
            raise ValueError("a name is missing")  # whoever is missing too would be found there
        self._names = names
        self._tables: list[_Table] = []
        places = pl.int_range(len(names), dtype=pl.UInt32, eager=True)
        left = pl.DataFrame({"name": names, "place": places})
        while len(left):
            if len(self._tables) == _TABLES_MAX:
                raise ValueError(f"{len(left)} names share a slot in each of {_TABLES_MAX} tables")
            left = self._add_table(left)

    def _add_table(self, left: pl.DataFrame) -> pl.DataFrame:
        """Put into a new table what has room there, and return what has not."""
        slots = max(_SLOTS_MIN, 1 << (2 * len(left) - 1).bit_length())
        table = _Table(len(self._tables), slots - 1, pl.repeat(0, slots, dtype=pl.UInt32, eager=True))
        mine = table.slots(left["name"])
        table.places.scatter(mine, left["place"])  # of those that share a slot, one is there at the end
        self._tables.append(table)
        return left.filter(table.places.gather(mine) != left["place"])

    def places(self, owners: pl.Series) -> pl.Series:
        """The index of each text among the names, as UInt32; null for one that is null or not among them."""
        if not self._tables:
            return pl.repeat(None, len(owners), dtype=pl.UInt32, eager=True)
        found = here = self._looked_up(self._tables[0], owners)
        rows = None
        for table in self._tables[1:]:
            if here.null_count() == owners.null_count():
                break
            missed = here.is_null() & owners.is_not_null()
            rows = missed.arg_true() if rows is None else rows.filter(missed)
            owners = owners.filter(missed)
            here = self._looked_up(table, owners)
            found = found.scatter(rows, here)
        return found

    def _looked_up(self, table: _Table, owners: pl.Series) -> pl.Series:
        possible = table.places.gather(table.slots(owners))
        is_it = self._names.gather(possible).eq_missing(owners)  # never null, or a null would find somebody
        return possible.set(~is_it, None)
