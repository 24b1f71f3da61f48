"""Judging many workspaces for one manifest: which of them were not permitted, and why.

Plain workspaces of a class are permitted or not by when they became customers, so for most a look into
a table does; everybody else is judged by the rules. What the table does not say is asked of the rules.
"""

from __future__ import annotations

from typing import NamedTuple

from consent_domain.decide import Collected, Decision, settle
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_domain.grounds import Case, Reason, prepare
from consent_domain.instants import Micros, micros
from consent_domain.manifest import Manifest
from consent_domain.ruling import BEGINNING, Ruling, Snapshot, for_member, rule_case, rule_class

NEVER: Micros = 1 << 62


class Stated(NamedTuple):
    """How a manifest says that collection times were judged: see `consent_domain.manifest.Manifest`."""

    rows: bool
    collected: Collected | None


def stated(manifest: Manifest) -> Stated:
    """What a manifest says of collection times."""
    start, end = manifest.collected_from, manifest.collected_to
    both = Collected(micros(start), micros(end)) if start is not None and end is not None else None
    return Stated(manifest.collected == "rows", both)


class Known:
    """A `Snapshot` of the organisations loaded so far; workspaces are judged by facts that are given."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.organisations: dict[str, OrganisationFacts | None] = {}
        self.workspaces: dict[str, WorkspaceFacts] = {}

    @property
    def book(self) -> Book:
        """See `Snapshot`."""
        return self._book

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """See `Snapshot`."""
        return self.workspaces.get(name)

    def organisation(self, name: str) -> OrganisationFacts | None:
        """See `Snapshot`. An organisation that was not loaded is an error, not an unknown one."""
        return self.organisations[name]


class _Class(NamedTuple):
    """What plain members share: who became a customer in [first, last] is permitted."""

    ruling: Ruling
    first: Micros
    last: Micros


class Judging:
    """One question, judged at one ledger time for as many workspaces as there are."""

    def __init__(
        self, book: Book, purpose: str, categories: tuple[str, ...], at: Micros, how: Stated
    ) -> None:
        self.known = Known(book)
        self._case: Case = prepare(book, purpose, categories, at)
        self._at = at
        self._how = how
        self._classes: dict[tuple[str, ...], _Class] = {}

    def denial(self, name: str, facts: WorkspaceFacts) -> Decision | None:
        """Why the workspace was not permitted; None if it was. Its organisations must be in `known`."""
        if not (facts.attributes and facts.is_plain):
            self.known.workspaces = {name: facts}
            return self.denial_in(self.known, name)
        shared = self._class_of(facts)
        if shared.first <= facts.customer_since <= shared.last:
            return None
        return self._against(for_member(shared.ruling, facts.position, facts.customer_since))

    def denial_in(self, snapshot: Snapshot, name: str) -> Decision | None:
        """`denial` of a workspace whose facts, and all that they lead to, are in `snapshot`."""
        return self._against(rule_case(self._case, snapshot, name, self._at))

    def decision_in(self, snapshot: Snapshot, name: str) -> Decision:
        """The whole decision on a workspace whose facts, and all that they lead to, are in `snapshot`."""
        return self._settled(rule_case(self._case, snapshot, name, self._at))

    def _against(self, ruling: Ruling) -> Decision | None:
        found = self._settled(ruling)
        return None if found.permit else found

    def _settled(self, ruling: Ruling) -> Decision:
        """Where each row was judged by its own time, it is enough that some time is permitted."""
        found = settle(ruling, self._how.collected, self._at)
        if not (self._how.rows and ruling.permit):
            return found
        if any(window.start <= self._at for window in ruling.windows):
            return found._replace(permit=True, reasons=ruling.reasons)
        return found._replace(permit=False, reasons=(Reason("collected_outside_windows"),))

    def _class_of(self, facts: WorkspaceFacts) -> _Class:
        one = facts.attributes[0]
        key = (facts.kind, one.plan, one.region, one.contract, one.organisation)
        shared = self._classes.get(key)
        if shared is None:
            organisation = self.known.organisation(one.organisation) if one.organisation else None
            shared = self._classes[key] = self._shared(rule_class(self._case, organisation, facts, self._at))
        return shared

    def _shared(self, ruling: Ruling) -> _Class:
        """Whom the class's ruling permits beyond doubt. Nobody: each member is asked for by itself."""
        nobody = _Class(ruling, NEVER, BEGINNING)
        if not ruling.permit:
            return nobody
        collected = self._how.collected
        if collected is not None:
            permitted = settle(ruling, collected, self._at).permit
            return _Class(ruling, BEGINNING, min(collected.start, self._at)) if permitted else nobody
        if ruling.timeline[-1].denied is not None:
            return nobody
        if self._how.rows:
            return _Class(ruling, BEGINNING, self._at)
        first = BEGINNING
        for segment, after in zip(ruling.timeline, ruling.timeline[1:], strict=False):
            if segment.denied is not None:
                first = after.start
        return _Class(ruling, first, self._at)
