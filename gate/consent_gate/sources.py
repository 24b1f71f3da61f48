"""What a replica follows: a `Source`, and what it may answer."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NamedTuple, Protocol

from consent_domain.feed import Page, Watermark
from consent_domain.identifiers import Token

from consent_gate.replica import Recorded


class SourceUnavailable(Exception):
    """The source did not answer, or not now; ask again later. Nothing was learnt."""

    def __init__(self, why: str, retry_after_seconds: float = 0.0, code: str = "unavailable") -> None:
        """`retry_after_seconds` is what the source asked for: to be asked no earlier than that."""
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds
        self.code = code


class Impossible(Exception):
    """The source answered what cannot be: another key, another log, an older epoch, a fork."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class Pages(NamedTuple):
    """A page of rows, verified. `asked` is the boot clock (ns) when its request was sent."""

    page: Page
    asked: int


class Events(NamedTuple):
    """Events that follow the position asked after, if any, and a watermark, if one was read.

    The watermark is read after the events, or with them: a log that is restored in between shows
    by its epoch that they are not its own. Without a watermark, they are of the epoch asked after.
    `view_generation` is that of the ledger's view of the facts, 0 where nobody looked.
    """

    events: Sequence[Recorded]
    watermark: Watermark | None
    asked: int
    view_generation: int = 0


class StartAnew(NamedTuple):
    """What was asked after cannot be continued: begin with a snapshot."""

    why: str


class Begun(NamedTuple):
    """The source filled the replica itself, with a snapshot: ask after its position now."""


class Source(Protocol):
    """Where a replica's contents come from."""

    def ask(self, after: Token | None) -> Awaitable[Pages | Events | StartAnew | Begun]:
        """What changed after a token, waiting some seconds at most if nothing did; None: everything.

        The first answer for None is a page from 0 on, or events from position 1 on. Raises
        SourceUnavailable for whatever may work later, and Impossible or Unreadable for what cannot be.
        """


class ClosableSource(Source, Protocol):
    """A source that holds connections."""

    def close(self) -> Awaitable[None]:
        """Give them back."""
