"""What is due after somebody whose data was used objects, takes consent back or is erased.

Asked of a workspace: every run that used its data, and every run that followed from those. Asked of a
run: everybody in its set, and in the sets of the runs that it followed from. Claims are folded from the
log, runs read from the views; an answer is good up to the position that both know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from consent_domain.facts import (
    Book,
    OrganisationFacts,
    WorkspaceFacts,
    unpack_organisation,
    unpack_workspace,
)
from consent_domain.grounds import Case, prepare
from consent_domain.requests import Request
from consent_domain.runs import Claim, Due, Run, claims, dues
from consent_domain.state import StreamState
from consent_plumbing.postgres import Pool

from consent_ledger.books import Books
from consent_ledger.database import STATEMENTS
from consent_ledger.runs import reading
from consent_ledger.runs.verification import SLICE_ROWS, workspaces_by_ordinal
from consent_ledger.time_travel import View, When, viewing

OBLIGATIONS_MAX = 1_000
RUNS_MAX = 100_000


class Obligation(NamedTuple):
    """What one claim of one workspace makes due of one run. `via` is the run that used its data."""

    workspace: str
    run: Run
    via: str
    claim: Claim
    due_at: int
    dues: list[Due]

    @property
    def is_open(self) -> bool:
        """Whether anything of it is still to be done."""
        return any(due.discharge is None for due in self.dues)


class Obligations(NamedTuple):
    """What is due by all that was known at `token`. `more`: there are others, which are not here."""

    token: str
    found: list[Obligation]
    more: bool


async def of_workspace(pool: Pool, books: Books, name: str) -> Obligations | None:
    """What is due because of a workspace, None if there is no such workspace."""
    async with viewing(pool, books, When()) as view:
        token = await _token(view)
        facts = (await view.facts([name])).workspace(name)
        if facts is None:
            return None
        book = (await view.everybody()).book
        claimant = await _claimant(view, name, facts)
        page = await reading.runs_using(view.connection, facts.position, "", 0, RUNS_MAX)
        found: list[Obligation] = []
        for run in page.runs:
            claimed = _claims(claimant, book, run, view.at)
            if not claimed:
                continue
            following = await reading.descendants(view.connection, {run.id})
            found += _due(claimant, [run, *following], run.id, claimed)
    kept = list(_each_once(found))
    return Obligations(token, kept[:OBLIGATIONS_MAX], len(kept) > OBLIGATIONS_MAX or bool(page.last))


async def of_run(pool: Pool, books: Books, name: str) -> Obligations:
    """What is due of a run, because of anybody whose data it or a run before it used.

    Raises ConsentError `unknown_run`, `damaged` if a set cannot be read, and `stale`.
    """
    found: list[Obligation] = []
    async with viewing(pool, books, When()) as view:
        token = await _token(view)
        run = await reading.run_named(view, name)
        used = [run, *await reading.ancestors(view.connection, run)]
        book = (await view.everybody()).book
        for one in used:
            ordinals = await reading.set_kept(pool, one)
            async for workspace, facts in _changed(pool, view, one, ordinals):
                claimant = await _claimant(view, workspace, facts)
                claimed = _claims(claimant, book, one, view.at)
                found += _due(claimant, [run], one.id, claimed)
                if len(found) > OBLIGATIONS_MAX:
                    return Obligations(token, found[:OBLIGATIONS_MAX], True)
    return Obligations(token, list(_each_once(found)), False)


async def _token(view: View) -> str:
    """Up to where both the log as it is read and the views are known."""
    position = await view.connection.fetchval(STATEMENTS["runs_view_position"])
    return str(view.token._replace(position=min(view.token.position, position or 0)))


# -- claims --------------------------------------------------------------------------------------------------


class _Claimant(NamedTuple):
    name: str
    facts: WorkspaceFacts
    organisations: Mapping[str, OrganisationFacts]
    requests: Mapping[str, Request]


async def _claimant(view: View, name: str, facts: WorkspaceFacts) -> _Claimant:
    """A workspace with everything that it may claim by."""
    streams = [f"workspace/{name}", *(f"organisation/{one}" for one in reading.organisations_of(facts))]
    states: dict[str, StreamState] = await view.streams(streams)
    organisations = {
        stream.partition("/")[2]: state.facts
        for stream, state in states.items()
        if isinstance(state.facts, OrganisationFacts)
    }
    requests = {key: request for state in states.values() for key, request in state.requests.items()}
    own = states.get(f"workspace/{name}")
    if own is not None and isinstance(own.facts, WorkspaceFacts):
        facts = own.facts
    return _Claimant(name, facts, organisations, requests)


def _claims(claimant: _Claimant, book: Book, run: Run, at: int) -> list[Claim]:
    """What the workspace claims of a run that used its data. An opt-in that was taken back before the run
    was not what permitted it."""
    case: Case = prepare(book, run.purpose, (), at)
    return [
        claim
        for claim in claims(claimant.facts, claimant.organisations, claimant.requests, case, at)
        if claim.kind != "opt_in_withdrawn" or claim.position > run.known_at
    ]


def _due(claimant: _Claimant, runs: Iterable[Run], via: str, claimed: list[Claim]) -> Iterator[Obligation]:
    for run in runs:
        for claim in claimed:
            due = dues(run, claim.reach, claim.position)
            request = claimant.requests.get(claim.request)
            due_at = request.due_at if request is not None and request.due_at is not None else claim.since
            if due:
                yield Obligation(claimant.name, run, via, claim, due_at, due)


def _each_once(found: Iterable[Obligation]) -> Iterator[Obligation]:
    """A run that followed from several owes the same only once."""
    seen = set()
    for one in found:
        key = one.workspace, one.run.id, one.claim.kind, one.claim.request
        if key not in seen:
            seen.add(key)
            yield one


# -- who has anything to claim -------------------------------------------------------------------------------


async def _changed(
    pool: Pool, view: View, run: Run, ordinals: Any
) -> AsyncIterator[tuple[str, WorkspaceFacts]]:
    """Those in a run's set whose facts, or whose organisation's, changed since the run was decided."""
    after = run.known_at
    while True:
        rows = await view.connection.fetch(STATEMENTS["facts_changed_after"], "workspace", after, SLICE_ROWS)
        for _, name, packed in rows:
            facts = unpack_workspace(packed)
            if facts.position in ordinals:
                yield name, facts
        if len(rows) < SLICE_ROWS:
            break
        after = rows[-1]["position"]
    organisations = await _organisations_changed(view, run.known_at)
    if not organisations:
        return
    each = iter(ordinals)
    while some := list(islice(each, SLICE_ROWS)):
        for row in await workspaces_by_ordinal(pool, some, 0):
            if row["facts"] is None or row["changed"] > run.known_at:
                continue
            facts = unpack_workspace(row["facts"])
            if organisations.intersection(reading.organisations_of(facts)):
                yield row["workspace"], facts


async def _organisations_changed(view: View, after: int) -> set[str]:
    """The organisations that chose anything since a position."""
    found: set[str] = set()
    while True:
        rows = await view.connection.fetch(
            STATEMENTS["facts_changed_after"], "organisation", after, SLICE_ROWS
        )
        for _, name, packed in rows:
            choices = unpack_organisation(packed).choices
            if choices.opt_outs or choices.opt_ins:
                found.add(name)
        if len(rows) < SLICE_ROWS:
            return found
        after = rows[-1]["position"]
