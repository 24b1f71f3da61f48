"""What is due after somebody whose data was used objects, takes consent back or is erased.

Asked of a workspace: every run that used its data, and every run that followed from those. Asked of a
run: everybody in its set, and in the sets of the runs that it followed from. Where data went from one
workspace to another, what either of them objects to is due of the other's too: nobody can tell whose it
was. Claims are folded from the log, runs read from the views; an answer is good up to the position that
both know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from consent_domain.facts import unpack_organisation, unpack_workspace
from consent_domain.grounds import Case, prepare
from consent_domain.runs import REVIEW, Claim, Due, Run, claims, dues, reviews
from consent_plumbing.postgres import Pool

from consent_ledger.books import Books
from consent_ledger.database import STATEMENTS
from consent_ledger.runs import reading
from consent_ledger.runs.verification import SLICE_ROWS, workspaces_by_ordinal
from consent_ledger.time_travel import Folded, View, When, viewing

OBLIGATIONS_MAX = 1_000
RUNS_MAX = 100_000


class Obligation(NamedTuple):
    """What one claim makes due of one run, or to be reviewed, for the data of `workspace`.

    `by` is the workspace that claims it: itself, or one that it shares data with. `via` is the run that used
    the data. `dues` are all of the one kind, or all of the other.
    """

    workspace: str
    by: str
    run: Run
    via: str
    claim: Claim
    due_at: int
    dues: list[Due]

    @property
    def is_open(self) -> bool:
        """Whether anything of it is still to be done."""
        return any(due.discharge is None for due in self.dues)

    @property
    def is_objection(self) -> bool:
        """Whether nothing of it is due: it is to be reviewed."""
        return self.dues[0].action == REVIEW


class Obligations(NamedTuple):
    """What is due, and what is to be reviewed, by all that was known at `token`.

    `more`, `objections_more`: there are others, which are not here.
    """

    token: str
    found: list[Obligation]
    more: bool
    objections: list[Obligation]
    objections_more: bool


async def of_workspace(pool: Pool, books: Books, name: str, *, alone: bool) -> Obligations | None:
    """What is due because of a workspace, None if there is no such workspace.

    `alone`: of its own data only, and not also of the data of those that it shares some with.
    """
    async with viewing(pool, books, When()) as view:
        token = await _token(view)
        folded = await view.facts([name])
        if folded.workspace(name) is None:
            return None
        claimants = _Claimants(folded, view.at)
        found: list[Obligation] = []
        more = False
        for member in [name] if alone else folded.workspaces:
            facts = folded.workspace(member)
            assert facts is not None, "it is one of them"
            page = await reading.runs_using(view.connection, facts.position, "", 0, RUNS_MAX)
            more = more or bool(page.last)
            for run in page.runs if claimants.may_claim else ():
                following = await reading.descendants(view.connection, {run.id})
                found += claimants.due(member, [run, *following], run)
    return _told(token, found, more, more)


async def of_run(pool: Pool, books: Books, name: str) -> Obligations:
    """What is due of a run, because of anybody whose data it or a run before it used.

    Raises ConsentError `unknown_run`, `damaged` if a set cannot be read, and `stale`.
    """
    found: list[Obligation] = []
    objections: list[Obligation] = []
    is_cut = False
    async with viewing(pool, books, When()) as view:
        token = await _token(view)
        run = await reading.run_named(view, name)
        for one in [run, *await reading.ancestors(view.connection, run)]:
            ordinals = await reading.set_kept(pool, one)
            async for workspace in _changed(pool, view, one, ordinals):
                claimants = _Claimants(await view.facts([workspace]), view.at)
                for due in claimants.due(workspace, [run], one):
                    if not due.is_objection:
                        found.append(due)
                    elif len(objections) <= OBLIGATIONS_MAX:
                        objections.append(due)
                    else:
                        is_cut = True
                if len(found) > OBLIGATIONS_MAX:
                    return _told(token, found + objections, True, True)
    return _told(token, found + objections, False, is_cut)


def _told(token: str, found: list[Obligation], more: bool, objections_more: bool) -> Obligations:
    """Each once, and no more than an answer holds: of what is due first, whatever else there is."""
    kept = list(_each_once(found))
    due = [one for one in kept if not one.is_objection]
    objections = [one for one in kept if one.is_objection]
    return Obligations(
        token,
        due[:OBLIGATIONS_MAX],
        len(due) > OBLIGATIONS_MAX or more,
        objections[:OBLIGATIONS_MAX],
        len(objections) > OBLIGATIONS_MAX or objections_more,
    )


async def _token(view: View) -> str:
    """Up to where both the log as it is read and the views are known."""
    position = await view.connection.fetchval(STATEMENTS["runs_view_position"])
    return str(view.token._replace(position=min(view.token.position, position or 0)))


# -- claims --------------------------------------------------------------------------------------------------


class _Claimants:
    """A workspace, those that it shares data with, and everything that they may claim by."""

    def __init__(self, folded: Folded, at: int) -> None:
        self._folded = folded
        self._at = at
        self._requests = folded.requests

    @property
    def may_claim(self) -> bool:
        """Whether any of them, or an organisation of theirs, ever chose anything, or was erased."""
        for name in self._folded.workspaces:
            facts = self._folded.workspace(name)
            if facts is not None:
                organisations = map(self._folded.organisation, reading.organisations_of(facts))
                chose = [facts.choices, *(one.choices for one in organisations if one is not None)]
                if facts.erased_position or any(one.opt_outs or one.opt_ins for one in chose):
                    return True
        return False

    def _claimed(self, run: Run) -> list[tuple[str, Claim]]:
        """What any of them claims of the purpose of a run, and who does.

        An opt-in that was taken back before the run was not what permitted it.
        """
        case: Case = prepare(self._folded.book, run.purpose, (), self._at)
        return [
            (name, claim)
            for name in self._folded.workspaces
            for claim in self._claims_of(name, case)
            if claim.kind != "opt_in_withdrawn" or claim.position > run.known_at
        ]

    def _claims_of(self, name: str, case: Case) -> list[Claim]:
        facts = self._folded.workspace(name)
        if facts is None:
            return []
        organisations = {
            one: found
            for one in reading.organisations_of(facts)
            if (found := self._folded.organisation(one)) is not None
        }
        return claims(facts, organisations, self._requests, case, self._at)

    def due(self, workspace: str, runs: Iterable[Run], via: Run) -> Iterator[Obligation]:
        """What they claim of runs, due or to be reviewed, for the data of `workspace`, which `via` used.

        Whoever objects to what `via` was for objects to what came of it; and whoever objects to what a later
        run was for objects to that one, through whatever its data came there.
        """
        claimed = self._claimed(via)
        for run in runs:
            own = [] if run.purpose == via.purpose else self._claimed(run)
            for by, claim in [*claimed, *(one for one in own if one not in claimed)]:
                request = self._requests.get(claim.request)
                due_at = request.due_at if request is not None and request.due_at is not None else claim.since
                for some in (
                    dues(run, claim.reach, claim.position),
                    reviews(run, claim.reach, claim.position),
                ):
                    if some:
                        yield Obligation(workspace, by, run, via.id, claim, due_at, some)


def _each_once(found: Iterable[Obligation]) -> Iterator[Obligation]:
    """A run that followed from several owes the same only once."""
    seen = set()
    for one in found:
        key = one.workspace, one.by, one.run.id, one.claim.kind, one.claim.request, one.is_objection
        if key not in seen:
            seen.add(key)
            yield one


# -- who has anything to claim -------------------------------------------------------------------------------


async def _changed(pool: Pool, view: View, run: Run, ordinals: Any) -> AsyncIterator[str]:
    """Those in a run's set who may claim anything since the run was decided, each once."""
    seen: set[str] = set()
    async for name in _changed_themselves(view, run, ordinals):
        if name not in seen:
            seen.add(name)
            yield name
    organisations = await _organisations_changed(view, run.known_at)
    if not organisations:
        return
    each = iter(ordinals)
    while some := list(islice(each, SLICE_ROWS)):
        for row in await workspaces_by_ordinal(pool, some, 0):
            if row["facts"] is None or row["workspace"] in seen:
                continue
            facts = unpack_workspace(row["facts"])
            # Who shares data may share an organisation that it never was in: looked at one by one.
            if facts.successions or organisations.intersection(reading.organisations_of(facts)):
                yield row["workspace"]


async def _changed_themselves(view: View, run: Run, ordinals: Any) -> AsyncIterator[str]:
    """Those in the set whose facts changed, or the facts of one that they share data with."""
    after = run.known_at
    while True:
        rows = await view.connection.fetch(STATEMENTS["facts_changed_after"], "workspace", after, SLICE_ROWS)
        for _, name, packed in rows:
            facts = unpack_workspace(packed)
            if facts.position in ordinals:
                yield name
            if facts.successions:
                folded = await view.facts([name])
                for other in folded.workspaces:
                    found = folded.workspace(other)
                    if found is not None and found.position in ordinals:
                        yield other
        if len(rows) < SLICE_ROWS:
            return
        after = rows[-1]["position"]


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
