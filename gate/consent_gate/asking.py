"""Asking a gate, and waiting for it: the same whether it has a replica or asks the ledger each time.

What may take longer than some microseconds has a form for asynchronous code beside it, which never
blocks the loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from consent_domain.errors import ConsentError

from consent_gate.answers import Answer
from consent_gate.batches import SLICE_ROWS, Answers
from consent_gate.questions import When
from consent_gate.states import Status

STALENESS_SECONDS_MAX = 5.0
Self_ = TypeVar("Self_")
Given = ParamSpec("Given")
Returned = TypeVar("Returned")


class Slices(Protocol):
    """A question about many workspaces that are handed over slice by slice."""

    def take(self, workspaces: Sequence[str]) -> None:
        """Ask about these too. Never raises but for what stops the process."""

    def answers(self) -> Answers:
        """What was answered so far. Never raises but for what stops the process."""


class Answering(Protocol):
    """Who knows the answers. Whatever goes wrong is one, `undecided`; nothing raises."""

    def check(
        self,
        workspace: str | Sequence[str],
        purpose: str | None,
        categories: tuple[str, ...],
        collected: When,
        staleness_seconds_max: float | None,
        at_least: int,
    ) -> Answer:
        """The answer to one question."""


class Asking(ABC):
    """What every gate is asked."""

    asks_over_the_network: bool
    """Whether an answer may take a while."""
    poll_seconds = 0.005
    """How often those who wait look again."""

    def __init__(self, answering: Answering, purpose: str | None) -> None:
        self.purpose = purpose
        self._checks = answering

    def check(
        self,
        workspace: str | Sequence[str],
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Answer:
        """Whether data of `workspace` (of all of them, if several own it) may be used. Never raises.

        `collected` is when the data was collected: a datetime with a zone, or the first and last one;
        None says that this is not known. `categories` are those in the data, none: all that the
        purpose takes. `max_staleness` (seconds) and `at_least` (a position) may ask for
        more than the gate does. Cost: some microseconds from a replica, else a request.
        """
        if type(categories) is not tuple:
            categories = tuple_of(categories)
        return self._checks.check(
            workspace,
            self.purpose if purpose is None else purpose,
            categories,
            collected,
            max_staleness,
            at_least,
        )

    async def check_async(
        self,
        workspace: str | Sequence[str],
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Answer:
        """`check` for asynchronous code that does not know which mode its gate is in."""

        def ask() -> Answer:
            return self.check(
                workspace,
                purpose,
                categories=categories,
                collected=collected,
                max_staleness=max_staleness,
                at_least=at_least,
            )

        return await asyncio.to_thread(ask) if self.asks_over_the_network else ask()

    def check_many(
        self,
        workspaces: Sequence[str],
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Answers:
        """The same question about each workspace, about a microsecond a row from a replica. Never raises."""
        batch = self.batch(
            purpose,
            categories=categories,
            collected=collected,
            max_staleness=max_staleness,
            at_least=at_least,
        )
        for start in range(0, len(workspaces), SLICE_ROWS):
            batch.take(workspaces[start : start + SLICE_ROWS])
        return batch.answers()

    async def check_many_async(
        self,
        workspaces: Sequence[str],
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Answers:
        """`check_many`, letting others run after every 1,000 rows."""
        batch = self.batch(
            purpose,
            categories=categories,
            collected=collected,
            max_staleness=max_staleness,
            at_least=at_least,
        )
        for start in range(0, len(workspaces), SLICE_ROWS):
            batch.take(workspaces[start : start + SLICE_ROWS])
            await asyncio.sleep(0)
        return await asyncio.to_thread(batch.answers) if self.asks_over_the_network else batch.answers()

    @abstractmethod
    def batch(
        self,
        purpose: str | None = None,
        *,
        categories: Sequence[str] = (),
        collected: When = None,
        max_staleness: float | None = None,
        at_least: int = 0,
    ) -> Slices:
        """A question about many workspaces that are handed over slice by slice."""

    # -- how it is -------------------------------------------------------------------------------------------

    @abstractmethod
    def status(self) -> Status:
        """Whether checks can be answered now, and on what they stand. Never raises."""

    def position(self) -> int:
        """The position that answers stand on now, 0 for none."""
        return self.status().position

    def wait_until_live(self, seconds_max: float) -> bool:
        """Wait until checks can be answered; False if that took longer."""
        deadline = time.monotonic() + seconds_max
        while not _is_live(self.status()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(self.poll_seconds)
        return True

    async def until_live(self, seconds_max: float) -> bool:
        """`wait_until_live` for asynchronous code."""
        return await self._until(_is_live, seconds_max)

    async def until_position(self, position: int, seconds_max: float) -> bool:
        """Wait until answers stand on `position` or later; False if that took longer."""
        return await self._until(lambda status: status.position >= position, seconds_max)

    async def _until(self, wanted: Callable[[Status], bool], seconds_max: float) -> bool:
        deadline = time.monotonic() + seconds_max
        while not wanted(await self._status_async()):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(self.poll_seconds)
        return True

    async def _status_async(self) -> Status:
        return await asyncio.to_thread(self.status) if self.asks_over_the_network else self.status()

    # -- its end ---------------------------------------------------------------------------------------------

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)


def in_thread(
    method: Callable[Concatenate[Self_, Given], Returned],
) -> Callable[Concatenate[Self_, Given], Coroutine[Any, Any, Returned]]:
    """The form for asynchronous code of a method that blocks: the same, in a thread."""

    @wraps(method)
    async def awaited(self: Self_, /, *given: Given.args, **named: Given.kwargs) -> Returned:
        return await asyncio.to_thread(method, self, *given, **named)

    return awaited


def require_staleness(seconds: object) -> None:
    """Raises ConsentError `invalid_value` for what is no number of seconds."""
    if not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        raise ConsentError(
            "invalid_value", f"max_staleness is {seconds!r}; it is a number of seconds, 0 or more"
        )


def tuple_of(categories: object) -> tuple[str, ...]:
    """Categories as a tuple. What is none stays what it is, and the check says `malformed`."""
    if isinstance(categories, (list, set, frozenset)):
        return tuple(categories)
    return categories  # type: ignore[return-value]


def _is_live(status: Status) -> bool:
    return status.state == "live"
