"""Whether the ledger gave every permit that a manifest claims: computed again, from its own log.

1. The token is of this log and epoch, and its position is recorded.
2. `at` is a time at which the ledger would have answered from that position: not before it was
   recorded, not in the future, and not when the position was old.
3. Everybody in the set is a workspace that was permitted then, with the data that the manifest says.

Facts of the projector's view stand for those whose last event is not after the position, if the view
has got there; everybody else's are folded from the log up to the position. Cost: about 15 µs a
workspace, in slices, off the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from consent_domain.decide import Decision
from consent_domain.errors import ConsentError
from consent_domain.facts import OrganisationFacts, WorkspaceFacts, unpack_workspace
from consent_domain.identifiers import Token, parse_token
from consent_domain.instants import SECOND, Micros, micros, rfc3339
from consent_domain.manifest import Manifest
from consent_domain.state import policy_at
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_ledger.books import Books
from consent_ledger.database import STATEMENTS
from consent_ledger.runs.judging import Judging, stated
from consent_ledger.time_travel import View

if TYPE_CHECKING:
    from asyncpg import Record

SLICE_ROWS = 5_000
FOLDED_AT_ONCE = 200
REFUSED_SHOWN_MAX = 10
OLD_MAX: Micros = 60 * SECOND
"""How long after the next event a gate may still have answered from before it: as long as a commit takes
to be seen, with everything that is slow on the way."""
VIEW_WAIT_SECONDS_MAX = 5.0
VIEW_LOOK_SECONDS = 0.05


class Denied(NamedTuple):
    """Somebody in the set who was not permitted, and why; `workspace` is empty if there is none."""

    ordinal: int
    workspace: str
    reasons: tuple[str, ...]


async def verify(pool: Pool, books: Books, manifest: Manifest, ordinals: Any) -> Token:
    """The token of a manifest whose every claim is true.

    `ordinals` is its set (`consent_ledger.runs.sets.claimed_set`). Raises ConsentError
    `manifest_refused` saying what is not true, with up to ten workspaces that were not permitted, and
    `stale` while the projector's view is behind the manifest.
    """
    at = micros(manifest.at)
    async with acquire(pool) as connection:
        token = await _position(connection, manifest, at)
        view = View(connection, books, token, at)
        book = (await view.everybody()).book
        _require_policy(manifest, book, at)
        highest = ordinals.max() if ordinals else 0
        if highest > token.position:
            raise refused(f"the set names ordinal {highest}, which lies after the token", ())
    judging = Judging(book, manifest.purpose, tuple(manifest.categories), at, stated(manifest))
    denied: list[Denied] = []
    async with aclosing(_read(pool, ordinals, token.position)) as slices:
        async for rows in slices:
            denied += await _judge(pool, books, judging, token, at, rows)
            if len(denied) >= REFUSED_SHOWN_MAX:
                break
    if denied:
        raise refused(
            f"not everybody in the set was permitted {manifest.purpose} at {token}: {_named(denied[0])}",
            denied[:REFUSED_SHOWN_MAX],
        )
    return token


def refused(detail: str, denied: Sequence[Denied]) -> ConsentError:
    """The refusal of a manifest."""
    shown = [
        {"ordinal": str(one.ordinal), "workspace": one.workspace, "reasons": list(one.reasons)}
        for one in denied
    ]
    return ConsentError("manifest_refused", detail, **({"denied": shown} if shown else {}))


def _named(one: Denied) -> str:
    who = f"workspace {one.workspace}" if one.workspace else f"ordinal {one.ordinal}"
    return f"{who} ({', '.join(one.reasons)})"


async def _position(connection: Connection, manifest: Manifest, at: Micros) -> Token:
    """The position that the manifest names, if the ledger may have answered from it at `at`."""
    token = parse_token(manifest.token)
    head = await connection.fetchrow(STATEMENTS["read_head"])
    assert head is not None, "the head has one row, which nothing deletes"
    if (token.origin, token.epoch) != (head["origin"], head["epoch"]):
        raise refused(f"{token} is of another log or epoch than {head['origin']}/{head['epoch']}", ())
    if token.position > head["position"]:
        raise refused(f"{token} lies after the last event, which is {head['position']}", ())
    now = max(micros(head["now"]), micros(head["recorded_at"]))
    if at > now:
        raise refused(f"at is {rfc3339(at)} and lies in the future: ledger time is {rfc3339(now)}", ())
    recorded = await _recorded_at(connection, token.position)
    if recorded is not None and at < recorded:
        raise refused(f"at is {rfc3339(at)}, and {token} was recorded at {rfc3339(recorded)}", ())
    following = await _recorded_at(connection, token.position + 1)
    if following is not None and at > following + OLD_MAX:
        raise refused(
            f"at {rfc3339(at)} the ledger did not answer from {token}: the next event was recorded at "
            f"{rfc3339(following)}",
            (),
        )
    return token


async def _recorded_at(connection: Connection, position: int) -> Micros | None:
    moment = await connection.fetchval(STATEMENTS["event_recorded_at"], position)
    return None if moment is None else micros(moment)


def _require_policy(manifest: Manifest, book: Any, at: Micros) -> None:
    policy = policy_at(book, at)
    version = "" if policy is None else policy.version
    if version != manifest.policy_version:
        raise refused(
            f"policyVersion is {manifest.policy_version!r}, and {version!r} was in force at {rfc3339(at)}", ()
        )
    if policy is None or all(one.key != manifest.purpose for one in policy.rules.purposes):
        raise refused(f"the policy in force at {rfc3339(at)} has no purpose {manifest.purpose}", ())


def _slices(ordinals: Any) -> Iterator[list[int]]:
    each = iter(ordinals)
    while some := list(islice(each, SLICE_ROWS)):
        yield some


async def _read(pool: Pool, ordinals: Any, reached: int) -> AsyncGenerator[list[Record], None]:
    """The rows of all slices, in order: the next one is read while its predecessor is judged."""
    ahead: asyncio.Task[list[Record]] | None = None
    try:
        for some in _slices(ordinals):
            found = None if ahead is None else await ahead
            ahead = asyncio.create_task(workspaces_by_ordinal(pool, some, reached))
            if found is not None:
                yield found
        if ahead is not None:
            yield await ahead
    finally:
        if ahead is not None and not ahead.done():
            ahead.cancel()
            await asyncio.wait([ahead])


async def _judge(
    pool: Pool, books: Books, judging: Judging, token: Token, at: Micros, rows: list[Record]
) -> list[Denied]:
    """Who of a slice was not permitted."""
    facts, folded, denied = await asyncio.to_thread(_sorted, rows, token.position)
    async with acquire(pool) as connection:
        view = View(connection, books, token, at)
        await _load_organisations(view, judging, facts)
        for start in range(0, len(folded), FOLDED_AT_ONCE):
            some = folded[start : start + FOLDED_AT_ONCE]
            past = await view.facts([name for _, name in some])
            for ordinal, name in some:
                against = judging.denial_in(past, name)
                if against is not None:
                    denied.append(_denied(ordinal, name, against))
    return denied + await asyncio.to_thread(_denied_of, judging, facts)


async def workspaces_by_ordinal(pool: Pool, ordinals: list[int], reached: int) -> list[Record]:
    """Rows of `workspaces_by_ordinal.sql`, once the view has reached a position.

    Raises ConsentError `stale` if it has not in VIEW_WAIT_SECONDS_MAX.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + VIEW_WAIT_SECONDS_MAX
    while True:
        async with acquire(pool) as connection:
            rows = await connection.fetch(STATEMENTS["workspaces_by_ordinal"], ordinals)
        if rows and rows[0]["through"] >= reached:
            assert len(rows) == len(ordinals), "an ordinal has one row"
            return rows
        if loop.time() >= deadline:
            raise ConsentError("stale", f"the view of the facts has not reached {reached}; send it again")
        await asyncio.sleep(VIEW_LOOK_SECONDS)


Facts = list[tuple[int, str, WorkspaceFacts]]


def _sorted(rows: list[Record], position: int) -> tuple[Facts, list[tuple[int, str]], list[Denied]]:
    """Those whose facts of now are those of then; those to be folded; those that are no workspace."""
    facts: Facts = []
    folded: list[tuple[int, str]] = []
    denied: list[Denied] = []
    for ordinal, name, changed, packed, _ in rows:
        if not name:
            denied.append(Denied(ordinal, "", ("unknown_workspace",)))
            continue
        known = None if packed is None or changed > position else unpack_workspace(packed)
        if known is None or known.quarantined or known.successions or known.position != ordinal:
            folded.append((ordinal, name))
        else:
            facts.append((ordinal, name, known))
    return facts, folded, denied


async def _load_organisations(view: View, judging: Judging, facts: Facts) -> None:
    known = judging.known.organisations
    wanted = {
        one.organisation
        for _, _, workspace in facts
        for one in workspace.attributes
        if one.organisation and one.organisation not in known
    }
    found = await view.streams([f"organisation/{name}" for name in sorted(wanted)]) if wanted else {}
    for name in wanted:
        state = found.get(f"organisation/{name}")
        known[name] = state.facts if state and isinstance(state.facts, OrganisationFacts) else None


def _denied_of(judging: Judging, facts: Facts) -> list[Denied]:
    return [
        _denied(ordinal, name, against)
        for ordinal, name, workspace in facts
        if (against := judging.denial(name, workspace)) is not None
    ]


def _denied(ordinal: int, name: str, against: Decision) -> Denied:
    return Denied(ordinal, name, tuple(reason.code for reason in against.reasons))
