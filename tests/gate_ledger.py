"""The other side of a gate, for its tests: logs told as stories, their replicas, pages signed with a key."""

from __future__ import annotations

from pathlib import Path

from consent_domain.envelope import decode
from consent_domain.facts import BOOK_ID, pack
from consent_domain.feed import FORMAT, Page, Row, Watermark
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Recorded, Replica
from consent_gate.signatures import Signer, sign_page
from scenario import ORIGIN, Ledger

EPOCH = 1
SIGNER = Signer("consent.test/feed", bytes(range(32)))


def recorded(ledger: Ledger, after: int = 0) -> list[Recorded]:
    """The events of the log after a position."""
    return [
        Recorded(position, decode(body).stream, body)
        for position, body in enumerate(ledger.log, 1)
        if position > after
    ]


def mark(ledger: Ledger, asked: int | None = None) -> Mark:
    """The log's end as a watermark that was asked for now."""
    return Mark(EPOCH, len(ledger.log), ledger.now, boot_nanoseconds() if asked is None else asked)


def replica_of(ledger: Ledger, folder: Path) -> Replica:
    """A fresh replica, folded from the log."""
    replica = Replica.open(folder)
    replica.build(ORIGIN, EPOCH).finish(0)
    replica.apply_events(recorded(ledger), mark(ledger))
    return replica


def gate_of(ledger: Ledger, folder: Path, **more: float) -> Gate:
    """A gate over a fresh replica, live now."""
    return Gate(replica_of(ledger, folder), purpose="train", **more)


def rows(ledger: Ledger, after: int = 0) -> list[Row]:
    """The newest facts of everything that changed after a position, in the order of positions."""
    found: dict[tuple[str, str], Row] = {}
    for event in recorded(ledger):
        kind, _, name = event.stream.partition("/")
        if kind in ("workspace", "organisation"):
            state = ledger.stream(event.stream)
            assert state is not None
            found[kind, name] = Row(kind, name, event.position, pack(state.facts))
        else:
            found["book", BOOK_ID] = Row("book", BOOK_ID, event.position, pack(ledger.book))
    return sorted((row for row in found.values() if row.position > after), key=lambda row: row.position)


def page(ledger: Ledger, after: int = 0, rows_max: int = 1_000, **changed: object) -> Page:
    """The page that a ledger answers with."""
    changes = rows(ledger, after)
    more = len(changes) > rows_max
    taken = changes[:rows_max]
    said: dict[str, object] = {
        "format": FORMAT,
        "origin": ORIGIN,
        "epoch": EPOCH,
        "generation": 1,
        "after": after,
        "through": taken[-1].position if more else len(ledger.log),
        "more": more,
        "watermark": Watermark(ORIGIN, EPOCH, len(ledger.log), ledger.now),
        "rows": taken,
    }
    return Page(**(said | changed))  # type: ignore[arg-type]


def signed(page: Page, signer: Signer = SIGNER) -> bytes:
    """The bytes that travel."""
    return sign_page(page, signer)
