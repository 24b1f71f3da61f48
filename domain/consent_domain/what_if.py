"""What if: the facts as they would be, had something been recorded now that was not.

Pure. An `Overlay` holds what imagined events change, and asks the snapshot below it for all else; it
is a snapshot itself, so whatever decides on facts decides on it. Nothing here can reach a ledger.

Imagined events count as the ledger would number and date them: each stands one position and one
microsecond after the one before it, the first one after what the snapshot stands on.
"""

from __future__ import annotations

from uuid import UUID

from consent_domain.commands import Command
from consent_domain.envelope import Event
from consent_domain.errors import Refused
from consent_domain.events import (
    BY_BODY,
    Body,
    OrganisationRegistered,
    RecordedBy,
    WorkspaceEnrolled,
)
from consent_domain.evolve import evolve
from consent_domain.facts import BOOK_ID, Book, Facts, OrganisationFacts, WorkspaceFacts, home_of
from consent_domain.handle import Context, handle, ids_needed
from consent_domain.identifiers import uuid7
from consent_domain.instants import Micros
from consent_domain.ruling import Snapshot
from consent_domain.state import BookState, StreamState

NOBODY = RecordedBy(principal="nobody", authentication="hypothetical")
"""Who recorded what was never recorded."""


class Overlay:
    """A snapshot with what was imagined on top. It never changes: imagining more makes another one."""

    def __init__(
        self,
        snapshot: Snapshot,
        position: int,
        at: Micros,
        imagined: tuple[Event, ...] = (),
        changed: dict[tuple[str, str], Facts | None] | None = None,
    ) -> None:
        """`snapshot` stands on `position`, at ledger time `at`; the rest is for this class alone."""
        self.position = position
        self.at = at
        self.imagined = imagined
        """The events that were imagined so far, in order."""
        self._below = snapshot
        self._changed = changed or {}

    @property
    def book(self) -> Book:
        """What would hold for everybody."""
        found = self._facts("book", BOOK_ID)
        assert isinstance(found, Book), "there is always a book"
        return found

    def workspace(self, name: str) -> WorkspaceFacts | None:
        """The facts of a workspace as they would be. Raises as the snapshot below does."""
        found = self._facts("workspace", name)
        return found if isinstance(found, WorkspaceFacts) else None

    def organisation(self, name: str) -> OrganisationFacts | None:
        """The facts of an organisation as they would be. Raises as the snapshot below does."""
        found = self._facts("organisation", name)
        return found if isinstance(found, OrganisationFacts) else None

    def _facts(self, kind: str, name: str) -> Facts | None:
        if (kind, name) in self._changed:
            return self._changed[kind, name]
        if kind == "book":
            return self._below.book
        return self._below.workspace(name) if kind == "workspace" else self._below.organisation(name)

    # -- imagining -------------------------------------------------------------------------------------------

    def with_body(self, stream: str, body: Body, event_id: UUID | None = None) -> Overlay:
        """The facts after one more event. Raises Refused for one that no history leads to."""
        home = home_of(stream)
        if home is None:
            raise Refused("invalid_value", f"an event of {stream.partition('/')[0]} changes no decision")
        at = self.at + 1
        event = Event(
            self.position + 1,
            str(event_id or self.next_ids(1)[0]),
            stream,
            BY_BODY[type(body)].name,
            at,
            body,
        )
        before = self._facts(*home)
        _require_place(before, stream, body)
        try:
            after = evolve(before, event)
        except AssertionError as error:
            raise Refused("wrong_state", f"{event.type} cannot follow on {stream}: {error}") from error
        changed = {**self._changed, home: after}
        return Overlay(self._below, event.position, at, (*self.imagined, event), changed)

    def with_command(self, command: Command, approved_by: str = "", event_id: UUID | None = None) -> Overlay:
        """The facts after all events that the ledger would record for `command`, were it given now.

        `approved_by` is who proposed what takes two people; `event_id` names the first event, and the
        request that it begins. Raises Refused as the ledger would, for every rule that can be judged by
        facts alone: it knows of no requests, and not which name the policy's stream has.
        """
        ids = self.next_ids(ids_needed(command))
        context = Context(
            now=self.at + 1,
            event_ids=ids if event_id is None else [event_id, *ids[1:]],
            recorded_by=NOBODY,
            role="admin",
            next_position=self.position + 1,
        )
        found: Overlay = self
        for stream, body, event_id in handle(_State(self, approved_by), command, context).drafts:
            found = found.with_body(stream, body, event_id)
        return found

    def next_ids(self, count: int) -> list[UUID]:
        """Ids for the next events: always the same ones, as nothing here is random."""
        milliseconds = max(0, self.at) // 1000
        return [
            uuid7(milliseconds, (self.position + number).to_bytes(10, "big"))
            for number in range(1, count + 1)
        ]


class _State:
    """What the rules of commands read (`consent_domain.state.State`), made of facts."""

    def __init__(self, overlay: Overlay, approved_by: str) -> None:
        self._overlay = overlay
        book = overlay.book
        stops = {stop.key: approved_by for stop in book.suspensions if approved_by}
        self.everybody = BookState(book, proposals=stops, position=overlay.position)

    def stream(self, name: str) -> StreamState | None:
        kind, _, of = name.partition("/")
        facts: WorkspaceFacts | OrganisationFacts | None = None
        if kind == "workspace":
            facts = self._overlay.workspace(of)
        elif kind == "organisation":
            facts = self._overlay.organisation(of)
        return None if facts is None else StreamState(1, facts.position, facts)


def _require_place(before: Facts | None, stream: str, body: Body) -> None:
    kind, _, name = stream.partition("/")
    if kind not in ("workspace", "organisation"):
        return
    begins = isinstance(body, WorkspaceEnrolled | OrganisationRegistered)
    if begins and before is not None:
        raise Refused("already_exists", f"the {kind} {name} exists already")
    if not begins and before is None:
        code = "unknown_workspace" if kind == "workspace" else "unknown_organisation"
        raise Refused(code, f"the ledger knows no {kind} {name}, so nothing can happen to it")
