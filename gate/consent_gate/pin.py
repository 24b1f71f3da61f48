"""One moment of a replica, held still for as long as a job takes.

A job over a whole file asks thousands of questions and must answer them all as of one position and
one ledger time. It also must know what was recorded before it began: so it waits for a watermark
that was asked for after that, whatever age the gate would allow.

The facts are read in one transaction, whose pages the replica keeps meanwhile: an hour of a busy
ledger costs some hundred megabytes, which come back when the job ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import lmdb
from consent_domain.errors import ConsentError
from consent_domain.identifiers import Token
from consent_domain.instants import Micros

from consent_gate.boot import boot_nanoseconds
from consent_gate.filtering import JOB_WAIT_SECONDS_MAX
from consent_gate.gate import Gate
from consent_gate.reader import Reader, View, snapshot_of
from consent_gate.states import NEEDS_SOMEBODY, Status
from consent_gate.store import Snapshot

HALTED_SECONDS_MAX = 3.0
"""A replica that an earlier process halted goes on with the first good answer; so it gets that long."""
REFUSED_SECONDS_MAX = 10.0
"""After some refusals another process of the host may follow, whose API key is good; so it gets that long."""
_POLL_SECONDS = 0.01


class Pin:
    """The facts at one position, judged at one ledger time. Not to be used after `pinned` ended."""

    def __init__(self, snapshot: Snapshot, view: View, until: Micros | None = None) -> None:
        """`until`: see `consent_domain.grounds.Case`; None but for gates that are offline."""
        self.until = until
        self.snapshot = snapshot
        self.token: Token = view.token
        self.at: Micros = view.at

    def let_go(self) -> None:
        """Of the facts, when `pinned` ended. Idempotent."""
        self.__dict__.pop("snapshot", None)


@contextmanager
def pinned(gate: Gate, seconds_max: float = JOB_WAIT_SECONDS_MAX) -> Iterator[Pin]:
    """A moment that knows all that was recorded before this call; offline, the snapshot's.

    Raises ConsentError `stale` if the gate does not get there within `seconds_max`, after 3 s if it says
    that what it is sent cannot be, and at once for a snapshot that is too old. What somebody must mend is
    raised by its own code, an API key that is refused after 10 s: see `consent_gate.states.NEEDS_SOMEBODY`.
    """
    begun = boot_nanoseconds()
    started = time.monotonic()
    reader = Reader(gate.replica) if gate.snapshot is None else gate.snapshot.reader(gate.replica)
    while True:
        found = _begin(reader)
        if found is not None:
            transaction, view = found
            if gate.knows(view, begun):
                break
            transaction.abort()
        status = gate.status()
        if gate.snapshot is not None:
            raise ConsentError("stale", f"nothing can be decided {status.why} [{status.state}]")
        require_hope(status, time.monotonic() - started, seconds_max)
        reader.open_again()
        time.sleep(_POLL_SECONDS)
    try:
        until = None if gate.snapshot is None else gate.snapshot.now()
        yield Pin(snapshot_of(transaction, view), view, until)
    finally:
        transaction.abort()


def require_hope(status: Status, seconds: float, seconds_max: float) -> None:
    """Whether to wait on for a gate that was waited for so long. Raises as `pinned` does, if not."""
    needs_somebody = status.code in NEEDS_SOMEBODY
    if status.code in ("unauthenticated", "forbidden"):
        seconds_max = min(seconds_max, REFUSED_SECONDS_MAX)
    elif needs_somebody or status.state == "halted" or status.why.startswith("halted"):
        seconds_max = min(seconds_max, HALTED_SECONDS_MAX)
    if seconds >= seconds_max:
        why = f" ({status.why})" if status.why else ""
        raise ConsentError(
            status.code if needs_somebody else "stale",
            f"no fresh state of the ledger came within {seconds:.0f} s: {status.state}{why}",
        )


def _begin(reader: Reader) -> tuple[lmdb.Transaction, View] | None:
    try:
        return reader.begin()
    except (ConsentError, lmdb.Error):
        return None  # no replica yet, or one that is just being replaced
