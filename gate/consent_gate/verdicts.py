"""Verdicts on many rows: for each workspace once, at which collection times which verdict holds.

A row's verdict depends on its workspace and its collection time. For one workspace, or all plain
ones of a class, it changes only at a few instants; between them it is what `settle` says of any
instant there. So `settle` is asked once a stretch, and rows only compare numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from consent_domain.decide import AHEAD_MAX, Collected, Decision, settle
from consent_domain.errors import ConsentError
from consent_domain.facts import Book, OrganisationFacts, WorkspaceFacts
from consent_domain.grounds import Case, prepare
from consent_domain.identifiers import is_id
from consent_domain.instants import Micros
from consent_domain.ruling import BEGINNING, Ruling, Snapshot, for_member, rule_case, rule_class


class Verdict(NamedTuple):
    """What a row can be told: permitted or not, the code of the first reason, and what lies behind it."""

    permit: bool
    code: str
    because: str = ""


class Step(NamedTuple):
    """From `start` (inclusive) to the next step's: the number of the verdict on data collected then."""

    start: Micros
    verdict: int


class Standing(NamedTuple):
    """One workspace: its line of steps, from when on the line counts, and the verdict without a time.

    Before `since` the verdict is `before_enrolment`.
    """

    line: int
    since: Micros
    unstated: int


class Judge(Protocol):
    """Where workspaces stand on one purpose, as of one position and ledger time.

    What it does not know to permit, it denies. `table` and `lines` may grow, and never change.
    """

    @property
    def table(self) -> list[Verdict]:
        """Every verdict given so far, by number. The first two are those of the constants below."""

    @property
    def lines(self) -> list[tuple[Step, ...]]:
        """Every line of steps so far, by number; the first step of each starts before anything."""

    @property
    def everybody(self) -> Any:
        """Where everybody stands, if known: a record batch of `workspace` and the members of `Standing`."""

    def standings(self, names: Sequence[str]) -> list[Standing]:
        """Where each workspace stands."""


class Class(NamedTuple):
    """What plain members share. Who became a customer at `reach` or later has no permitted time."""

    permit: bool
    line: int
    reach: Micros
    starts: list[Micros]
    unstated: list[int]
    """For who became a customer at the start of the same index or later: the verdict without a time."""
    until: Micros | None
    """When all of it may change by time alone; None: not before facts do."""


class _Gone:
    """A snapshot that was let go of: nothing can be decided by it."""

    @property
    def book(self) -> Book:
        raise self._error()

    def workspace(self, name: str) -> WorkspaceFacts | None:
        raise self._error()

    def organisation(self, name: str) -> OrganisationFacts | None:
        raise self._error()

    def _error(self) -> ConsentError:
        return ConsentError("unavailable", "what was to decide was let go of; begin another job")


_FOR_EVER: Micros = 1 << 62
NO_WORKSPACE, BEFORE_ENROLMENT = 0, 1
"""Numbers of the verdicts on rows without an owner, and on rows older than the workspace."""


class Verdicts:
    """All verdicts on one purpose, as of one snapshot and ledger time. Grows with what is asked for."""

    def __init__(
        self,
        snapshot: Snapshot,
        at: Micros,
        purpose: str,
        categories: tuple[str, ...] = (),
        until: Micros | None = None,
    ) -> None:
        """`snapshot` must stay readable. No category means all that the purpose takes. `until`: see Case."""
        self.at = at
        self.table: list[Verdict] = [Verdict(False, "no_workspace"), Verdict(False, "before_enrolment")]
        """Every verdict given so far, by number."""
        self.lines: list[tuple[Step, ...]] = []
        """Every line of steps so far, by number; the first step of each starts before anything."""
        self._snapshot = snapshot
        self._case: Case = prepare(snapshot.book, purpose, categories, at)._replace(until=until)
        self._numbers = {verdict: number for number, verdict in enumerate(self.table)}
        self._line_numbers: dict[tuple[Step, ...], int] = {}
        self._known: dict[str, Standing] = {}
        self._strangers: dict[bool, Standing] = {}
        self._classes: dict[tuple[str, ...], Class] = {}

    def let_go(self) -> None:
        """Of the snapshot, which can be read no more: from now on only those are known who were met.

        As long as anybody refers to a transaction, even one that is over, it takes the place of a reader.
        """
        self._snapshot = _Gone()

    @property
    def everybody(self) -> None:
        """Only those are judged that are asked for."""
        return None

    @property
    def met(self) -> dict[str, Standing]:
        """Where every workspace stands that was asked for so far, and that the ledger knows."""
        return self._known

    @property
    def policy_version(self) -> str:
        """The version of the policy in force, empty for none."""
        return self._case.policies[-1].version if self._case.policies else ""

    def standing(self, workspace: str) -> Standing:
        """Where a workspace stands. About 10 µs for one that is plain, 150 µs with a history, once each.

        Raises as the snapshot does, and for nothing that a workspace could be called.
        """
        known = self._known.get(workspace)
        if known is not None:
            return known
        facts = self._snapshot.workspace(workspace) if is_id(workspace) else None
        if facts is None:
            return self._stranger(workspace)
        known = self._known[workspace] = self._stand(workspace, facts)
        return known

    def standings(self, names: Sequence[str]) -> list[Standing]:
        """Where each workspace stands. Raises as `standing` does."""
        return list(map(self.standing, names))

    def _stranger(self, workspace: str) -> Standing:
        """Where it stands whom the ledger does not know: all of them do, and all that is no id.

        Data may name millions of them, so they are not kept one by one.
        """
        kind = is_id(workspace)
        known = self._strangers.get(kind)
        if known is None:
            known = self._strangers[kind] = self.by_the_rules(workspace)
        return known

    def _stand(self, workspace: str, facts: WorkspaceFacts) -> Standing:
        if facts.attributes and facts.is_plain:
            one = facts.attributes[0]
            since = facts.customer_since
            if (one.since, one.position) == (since, facts.position):
                shared = self.member(self.class_of(facts), since)
                if shared is not None:
                    return shared
        return self.by_the_rules(workspace)

    def by_the_rules(self, workspace: str) -> Standing:
        """Where a workspace stands, whatever others of its class do. Raises as the snapshot does."""
        return self.of_ruling(self.ruling(workspace))

    def ruling(self, workspace: str) -> Ruling:
        """The whole ruling on a workspace. Raises as the snapshot does."""
        return rule_case(self._case, self._snapshot, workspace, self.at)

    def of_ruling(self, ruling: Ruling) -> Standing:
        """Where a workspace with that ruling stands."""
        return Standing(self._line(ruling), BEGINNING, self._number(settle(ruling, None, self.at)))

    def class_of(self, facts: WorkspaceFacts) -> Class:
        """What all plain workspaces of the class of `facts` share."""
        one = facts.attributes[0]
        profile = (facts.kind, one.plan, one.region, one.contract, one.organisation)
        shared = self._classes.get(profile)
        if shared is None:
            shared = self._classes[profile] = self._class(facts)
        return shared

    def member(self, shared: Class, since: Micros) -> Standing | None:
        """Where a plain workspace stands that became a customer then, None if its class cannot say it."""
        if not shared.permit:
            return Standing(shared.line, BEGINNING, shared.unstated[0])
        if since > self.at or since >= shared.reach:
            return None
        return Standing(shared.line, since, shared.unstated[bisect_right(shared.starts, since) - 1])

    def _class(self, facts: WorkspaceFacts) -> Class:
        organisation = facts.attributes[0].organisation
        ruling = rule_class(
            self._case, self._snapshot.organisation(organisation) if organisation else None, facts, self.at
        )
        starts = [segment.start for segment in ruling.timeline] or [BEGINNING]
        unstated = [
            self._number(settle(for_member(ruling, facts.position, start), None, self.at)) for start in starts
        ]
        ends = [end for _, end in ruling.windows[-1:]]
        reach = ends[0] if ends and ends[0] is not None else _FOR_EVER
        return Class(ruling.permit, self._line(ruling), reach, starts, unstated, ruling.valid_until)

    def _line(self, ruling: Ruling) -> int:
        starts = {BEGINNING, self.at + AHEAD_MAX + 1, *(segment.start for segment in ruling.timeline)}
        if ruling.valid_until is not None:
            starts.add(ruling.valid_until)
        steps: list[Step] = []
        for start in sorted(starts):
            verdict = self._number(settle(ruling, Collected(start, start), self.at))
            if not steps or steps[-1].verdict != verdict:
                steps.append(Step(start, verdict))
        line = tuple(steps)
        number = self._line_numbers.get(line)
        if number is None:
            number = self._line_numbers[line] = len(self.lines)
            self.lines.append(line)
        return number

    def _number(self, decision: Decision) -> int:
        codes = [reason.code for reason in decision.reasons[:2]]
        verdict = Verdict(decision.permit, *codes)
        number = self._numbers.get(verdict)
        if number is None:
            number = self._numbers[verdict] = len(self.table)
            self.table.append(verdict)
        return number
