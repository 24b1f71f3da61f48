"""A replica of made-up facts, and somebody who keeps it fresh: what the tests of engines stand on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from consent_domain.facts import (
    BOOK_ID,
    Attributes,
    Book,
    Choices,
    OptIn,
    OptOut,
    OrganisationFacts,
    Published,
    WorkspaceFacts,
    pack,
)
from consent_domain.feed import Row
from consent_domain.instants import Micros
from consent_gate.boot import boot_nanoseconds
from consent_gate.gate import Gate
from consent_gate.marks import Mark
from consent_gate.replica import Replica
from scenario import ALL, ORIGIN, purpose, rule, rules

EPOCH = 1
_WATERMARK_EVERY_SECONDS = 0.004


class World:
    """Facts at a position, told to a replica and kept fresh there."""

    def __init__(
        self,
        folder: Path,
        book: Book,
        workspaces: Mapping[str, WorkspaceFacts],
        organisations: Mapping[str, OrganisationFacts],
        now: Micros,
    ) -> None:
        self.now = now
        self.position = 100
        self.replica = Replica.open(folder)
        build = self.replica.build(ORIGIN, EPOCH)
        build.add([_workspace(name, facts) for name, facts in workspaces.items()])
        build.add([Row("organisation", name, 3, pack(facts)) for name, facts in organisations.items()])
        build.add([Row("book", BOOK_ID, 1, pack(book))])
        build.finish(self.position, now, self._mark())
        self.gate = Gate(self.replica, purpose="train", max_staleness=60)

    def changed(self, workspaces: Mapping[str, WorkspaceFacts], book: Book | None = None) -> None:
        """The ledger records what changes these."""
        self.position += 1
        rows = [_workspace(name, facts) for name, facts in workspaces.items()]
        rows += [Row("book", BOOK_ID, 1, pack(book))] if book else []
        self.replica.apply_rows(rows, self.position, self.now, self._mark())

    def _mark(self) -> Mark:
        """A watermark asked for now; each says a later time than the last one, or it would not count."""
        self.now += 1
        return Mark(EPOCH, self.position, self.now, boot_nanoseconds())

    @contextmanager
    def followed(self) -> Iterator[Gate]:
        """A gate whose replica is fresh, until the end."""
        done = threading.Event()

        def follow() -> None:
            while not done.wait(_WATERMARK_EVERY_SECONDS):
                self.replica.note_watermark(self._mark())

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield self.gate
        finally:
            done.set()
            thread.join()
            self.gate.close()


ACME = {"acme": OrganisationFacts(3)}
"""The organisation of all customers."""


def customer(position: int, since: Micros = 10, kind: str = "production", **more: Choices) -> WorkspaceFacts:
    """A workspace enrolled at a position."""
    return WorkspaceFacts(
        kind, position, since, (Attributes(since, position, "free", "eu", "", "acme"),), **more
    )


def opted_out(since: Micros, ended: Micros | None = None) -> Choices:
    """An opt-out from everything, which may be over."""
    return Choices((OptOut("r", ALL, since, 90, 2, ended=ended),))


def opted_in(since: Micros) -> Choices:
    """Explicit consent to what was shown, which covers what was collected before."""
    shown = purpose()
    return Choices(opt_ins=(OptIn("i", (shown,), (shown.key,), since, 91, covers_before=True),))


def book(*regimes: str) -> Book:
    """Policies that follow each other at 0, 40, 80 and so on, each with one rule for everybody."""
    policies = [
        Published(str(number), number + 1, 40 * number, "looser", rules(rule(regime)))
        for number, regime in enumerate(regimes)
    ]
    return Book(tuple(policies), opened=9)


def permitted(folder: Path) -> World:
    """`w0` to `w7` permit everything since 10."""
    return World(folder, book("opt_out"), {f"w{n}": customer(10 + n) for n in range(8)}, ACME, 100)


def windows(folder: Path) -> World:
    """Workspaces that permit all, some, or none of the time since 10, under policies of 0, 40 and 80."""
    facts = {f"w{number}": customer(10 + number, since=10 + 5 * number) for number in range(4)}
    facts["w4"] = customer(14, choices=opted_out(85))
    facts["w5"] = customer(15, choices=opted_out(50, ended=60))
    facts["w6"] = customer(16, kind="sandbox")
    facts["w7"] = customer(17, since=90)
    return World(folder, book("opt_out", "prohibited", "opt_out"), facts, ACME, 100)


def consents(folder: Path) -> World:
    """Workspaces that permit by default, because they opted in, or not at all."""
    facts = {f"w{number}": customer(10 + number) for number in range(3)}
    facts |= {f"w{number}": customer(10 + number, choices=opted_in(50)) for number in range(3, 6)}
    facts["w6"] = customer(16, choices=opted_out(50))
    facts["w7"] = customer(17, kind="sandbox")
    return World(folder, book("opt_out"), facts, ACME, 100)


def _workspace(name: str, facts: WorkspaceFacts) -> Row:
    return Row("workspace", name, facts.position, pack(facts))
