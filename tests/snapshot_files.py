"""Snapshots of logs told as stories, written and signed as a ledger does, for tests that attack them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from consent_domain.facts import BOOK_ID, pack
from consent_domain.feed import Row
from consent_domain.instants import SECOND
from consent_gate.signatures import Signer
from consent_gate.snapshots.layout import KINDS
from consent_gate.snapshots.note import SnapshotNote, sign_note
from consent_gate.snapshots.writing import SnapshotWriter
from gate_ledger import EPOCH, rows
from scenario import ORIGIN, Ledger

FEED = Signer(ORIGIN, bytes(range(32)))
KEY = str(FEED.verifier)
CUSTOMERS = ("acme", "Zeta", "a.b", "a-b", "a_b", "0")


def in_order(found: Iterable[Row]) -> list[Row]:
    """As a ledger reads them from its view."""
    return sorted(found, key=lambda row: (KINDS.index(row.kind), row.id.encode()))


def noted(ledger: Ledger, path: Path, **changed: Any) -> SnapshotNote:
    """What an honest note says of the file at `path`, but for what is changed."""
    data = path.read_bytes()
    said: dict[str, Any] = {
        "origin": ORIGIN,
        "epoch": EPOCH,
        "generation": 1,
        "position": len(ledger.log),
        "time": ledger.now,
        "rows": pq.read_metadata(path).num_rows,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return SnapshotNote(**(said | changed))


def note_beside(path: Path) -> Path:
    return path.with_name(path.name + ".note")


def sign(ledger: Ledger, path: Path, signer: Signer = FEED, **changed: Any) -> SnapshotNote:
    """Put a signed note beside the file."""
    note = noted(ledger, path, **changed)
    note_beside(path).write_bytes(sign_note(note, signer))
    return note


def snapshot_of(ledger: Ledger, folder: Path, name: str = "facts.parquet", **changed: Any) -> Path:
    """A snapshot of the log's end, with its note; `changed` are members of the note."""
    path = folder / name
    writer = SnapshotWriter(path)
    writer.add(in_order(rows(ledger)))
    writer.finish()
    sign(ledger, path, **changed)
    return path


def altered(ledger: Ledger, path: Path, alter: Any) -> Path:
    """The file's table as `alter` makes it anew, signed as if it were the ledger's own."""
    parquet = pq.ParquetFile(path)
    groups = [parquet.read_row_group(group) for group in range(parquet.num_row_groups)]
    found = alter(groups)
    with pq.ParquetWriter(path, found[0].schema) as writer:
        for group in found:
            writer.write_table(group)
    sign(ledger, path)
    return path


def book_row(ledger: Ledger) -> Row:
    return Row("book", BOOK_ID, len(ledger.log), pack(ledger.book))


def until_now(ledger: Ledger, seconds_ago: float = 60.0) -> Ledger:
    """Ledger time goes on until so many seconds ago."""
    ledger.now = time.time_ns() // 1_000 - int(seconds_ago * SECOND)
    return ledger
