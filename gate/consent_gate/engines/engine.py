"""What an engine is, and which one some data belongs to. No engine is imported before its data is here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from consent_domain.errors import ConsentError

from consent_gate.engines.where import Where
from consent_gate.verdicts import Judge, Verdict

if TYPE_CHECKING:
    from consent_gate.engines.rows import Rows
    from consent_gate.filter import Filter

Made = TypeVar("Made")
Progress = Callable[[int, int | None], None]
"""Called now and then with the rows done, and the rows there are, if that is known."""

EXTRAS = {
    "pyarrow": "arrow",
    "polars": "polars",
    "pandas": "pandas",
    "duckdb": "duckdb",
    "_duckdb": "duckdb",
    "datasets": "datasets",
    "torch": "torch",
    "pyspark": "spark",
    "ray": "ray",
}
"""The engine, which is also the name of its extra, by the package that defines the type of the data."""


class Counts(Protocol):
    """Rows met so far, by verdict."""

    @property
    def counts(self) -> dict[Verdict, int] | None:
        """None as long as nothing was counted."""


class Task(Protocol):
    """One piece of data on its way through a job, as an engine sees it."""

    where: Where
    reasons: bool
    """Whether rows are to be counted by reason: an engine with a join of its own may do without, faster."""
    progress: Progress

    def judge(self) -> Judge:
        """Where workspaces stand, for this process and as long as the task. Cheap for few workspaces."""

    def pinned(self) -> Any:
        """All standings (`consent_gate.engines.pinned.Pinned`): for other processes, joins, and later."""

    def of_pinned(self, make: Callable[[Any], Made]) -> Made:
        """What `make` makes of `pinned`, once a job."""

    def filtering(self) -> Filter:
        """A filter of the task's columns by its judge, whose counts are the report's. Needs pyarrow."""

    def items(self) -> Rows:
        """What judges the task's items one by one, or in blocks; its counts are the report's."""

    def counting(self, counts: Counts) -> None:
        """Take the report's numbers from there."""

    def counted(self, rows: Callable[[], tuple[int | None, int | None]]) -> None:
        """Report these rows in and out whenever it is asked, and no reasons."""

    def end(self) -> None:
        """All rows have been met. Idempotent."""

    def planned(self) -> None:
        """Rows are met later, if at all: what is needed for that went out."""


class Engine(Protocol):
    """A module of this package. Both raise ConsentError `invalid_value` for data that cannot be judged."""

    def filtered(self, task: Task, data: Any) -> Any:
        """The rows that stay, in the type and order of `data` as far as it has one."""

    def masked(self, task: Task, data: Any) -> Any:
        """For each row whether it stays, never null."""


def engine_of(data: object) -> Engine:
    """The engine of some data; plain iterables are one too.

    Raises ConsentError `invalid_value` for what holds no rows, `unavailable` if the extra is missing.
    """
    packages = (kind.__module__.partition(".")[0] for kind in type(data).__mro__)
    name = next((EXTRAS[package] for package in packages if package in EXTRAS), None)
    if name is None:
        if isinstance(data, (str, bytes, bytearray, memoryview, dict)) or not isinstance(data, Iterable):
            raise ConsentError(
                "invalid_value", f"a {type(data).__name__} holds no rows that could be filtered"
            )
        name = "iterables"
    try:
        return import_module(f"consent_gate.engines.{name}")
    except ModuleNotFoundError as error:
        raise ConsentError(
            "unavailable", f"{error.name} is not installed: pip install 'consent-gate[{name}]'"
        ) from error


def refuse_mask(data: object) -> ConsentError:
    """The error for a mask of data whose rows have no lasting order, or are not there yet."""
    return ConsentError(
        "invalid_value",
        f"a {type(data).__name__} has no rows in a lasting order, so there is no mask for it; filter it",
    )
