"""Reads: from the log itself where that is cheap, from the projector's views where people list and filter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import msgspec
import structlog
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.events import PolicyPublished, Scope
from consent_domain.facts import OrganisationFacts, WorkspaceFacts
from consent_domain.identifiers import Token, require_id
from consent_domain.instants import Micros, micros, moment_of, rfc3339
from consent_domain.requests import Request
from consent_domain.ruling import Snapshot
from consent_domain.state import StreamState, fold_stored, policy_at
from consent_gate.answers import milliseconds
from consent_plumbing.postgres import Connection, Pool, acquire

from consent_ledger.database import STATEMENTS
from consent_ledger.http import messages
from consent_ledger.http.calls import Answer, Call, encode
from consent_ledger.http.permissions import nowhere, owns, require_own
from consent_ledger.http.standing import standings
from consent_ledger.time_travel import View, When, parse_when, viewing

if TYPE_CHECKING:
    from asyncpg import Record

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
EVENTS_DEFAULT, EVENTS_MAX = 1_000, 10_000
EVENTS_SLICE = 500
DURATION_DAYS = 90
POSITION_MAX = 2**63 - 1
_SECONDS_A_DAY = 86_400
_UNREACHABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_log = structlog.get_logger()
_decode_request = msgspec.msgpack.Decoder(Request).decode


@asynccontextmanager
async def reading(pool: Pool) -> AsyncIterator[Connection]:
    """A connection on which all reads see one state of the database."""
    async with (
        acquire(pool) as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        yield connection


def when_of(call: Call) -> When:
    """The moment that `knownAt` and `asOf` of the query name. Raises ConsentError as `parse_when` does."""
    return parse_when(call.query.get("knownAt"), call.query.get("asOf"))


def at_moment(call: Call) -> AbstractAsyncContextManager[View]:
    """The log at the moment that the query names: by default now. Raises as `viewing` does."""
    return viewing(call.worker.pool, call.worker.books, when_of(call))


# -- one workspace -------------------------------------------------------------------------------------------


async def workspace(call: Call) -> Answer:
    """A workspace and where it stands: from this host's replica if that has all of the workspace's own
    events and is fresh, else, and at any other moment than now, folded from the log."""
    name = call.id_in_path("workspace")
    require_own(call.principal, "workspace", name)
    worker = call.worker
    worker.halting.require_sound()
    if when_of(call) != When():
        return await _from_log(call, name)
    try:
        async with acquire(worker.pool) as connection:
            head = await connection.fetchrow(STATEMENTS["stream_head"], f"workspace/{name}")
    except _UNREACHABLE:
        return _from_replica(call, name, 0, None)
    if head is None:
        raise nowhere("workspace", name)
    needed = max(head["position"], worker.floors.floor_of(name, (), ""))
    status = worker.gate.status()
    if status.state == "live" and status.position >= needed:
        return _from_replica(call, name, needed, head["version"])
    return await _from_log(call, name)


def _from_replica(call: Call, name: str, needed: int, version: int | None) -> Answer:
    """Raises ConsentError `stale` if the replica is not live, or does not reach to `needed`."""
    status = call.worker.gate.status()
    if status.state != "live" or status.staleness is None:
        raise ConsentError("stale", f"this host's replica is {status.state}; try again")
    with call.worker.replica.snapshot() as snapshot:
        meta = snapshot.meta
        facts = snapshot.workspace(name)
        if meta.position < needed:
            raise ConsentError("stale", "this host's replica went back; try again")
        if facts is None:
            raise nowhere("workspace", name)
        token = Token(meta.origin, meta.epoch, meta.position)
        at, age = meta.time, milliseconds(status.staleness)
        return _workspace_answer(snapshot, name, facts, at, token, age, version)


async def _from_log(call: Call, name: str) -> Answer:
    async with at_moment(call) as view:
        folded = await view.facts((name,))
    facts = folded.workspace(name)
    if facts is None:
        raise nowhere("workspace", name)
    is_now = when_of(call) == When()
    answer = _workspace_answer(folded, name, facts, view.at, view.token, 0, folded.version(name))
    return answer if is_now else _without_etag(answer)


def _workspace_answer(
    snapshot: Snapshot,
    name: str,
    facts: WorkspaceFacts,
    at: Micros,
    token: Token,
    staleness_ms: int,
    version: int | None,
) -> Answer:
    if not facts.attributes:
        raise Unreadable(f"the events of workspace {name} cannot be read", position=str(facts.quarantined))
    current = [one for one in facts.attributes if one.since <= at][-1:] or [facts.attributes[0]]
    state = messages.WorkspaceState(
        workspace=name,
        kind=facts.kind,
        plan=current[0].plan,
        region=current[0].region,
        contract=current[0].contract,
        organisation=current[0].organisation,
        customer_since=rfc3339(facts.customer_since),
        enrolled_position=str(facts.position),
        closed_at="" if facts.closed is None or facts.closed > at else rfc3339(facts.closed),
        version=version or 0,
        purposes=standings(snapshot, name, facts, at),
        token=str(token),
        ledger_time=rfc3339(at),
        staleness_ms=staleness_ms,
    )
    headers = _with_token(token)
    if version is not None:
        headers.append((b"etag", f'"{version}"'.encode()))
    return Answer(200, encode(state), headers)


def _without_etag(answer: Answer) -> Answer:
    """What was is no version to write on."""
    return answer._replace(headers=[one for one in answer.headers if one[0] != b"etag"])


# -- history and events --------------------------------------------------------------------------------------


async def history(call: Call) -> Answer:
    """A page of a workspace's events, as they are stored."""
    workspace = call.id_in_path("workspace")
    require_own(call.principal, "workspace", workspace)
    after = call.number("after", 0, 0, POSITION_MAX)
    limit = call.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    stream = f"workspace/{workspace}"
    async with reading(call.worker.pool) as connection:
        head = await connection.fetchrow(STATEMENTS["stream_head"], stream)
        if head is None:
            raise nowhere("workspace", workspace)
        rows = await connection.fetch(STATEMENTS["events_of_stream_after"], stream, after, limit)
    proofs = await _proofs(call, rows) if call.query.get("proofs") == "true" else {}
    events = [
        messages.HistoryEvent(
            position=str(row["position"]),
            event=msgspec.Raw(row["body"]),
            proof=proofs.get(row["position"], ""),
        )
        for row in rows
    ]
    following = str(rows[-1]["position"]) if rows and rows[-1]["position"] < head["position"] else ""
    headers = [(b"etag", f'"{head["version"]}"'.encode())]
    return Answer(200, encode(messages.History(events=events, next=following)), headers)


async def _proofs(call: Call, rows: Sequence[Record]) -> dict[int, str]:
    """Position → proof of each event that a checkpoint covers.

    Raises ConsentError `damaged` if what is stored is not what was published, and as `Proofs.prove` does.
    """
    found: dict[int, str] = {}
    for row in rows:
        position = row["position"]
        try:
            proven = await call.worker.prover.prove(position)
        except ConsentError as error:
            if error.code == "beyond_checkpoint":
                break
            raise
        if proven.entry != row["body"]:
            _log.error("event_differs_from_published", position=position)
            raise ConsentError("damaged", f"event {position} is stored otherwise than it was published")
        found[position] = proven.proof.decode()
    return found


async def events(call: Call) -> AsyncIterator[bytes]:
    """The stored bytes after a position, one event a line, in slices: no page is held whole."""
    after = call.number("after", 0, 0, POSITION_MAX)
    left = call.number("limit", EVENTS_DEFAULT, 1, EVENTS_MAX)
    return _lines(call.worker.pool, after, left)


async def _lines(pool: Pool, after: int, left: int) -> AsyncIterator[bytes]:
    while left > 0:
        async with acquire(pool) as connection:
            rows = await connection.fetch(STATEMENTS["events_after"], after, min(left, EVENTS_SLICE))
        if not rows:
            return
        yield b"".join(row["body"] + b"\n" for row in rows)
        after, left = rows[-1]["position"], left - len(rows)


# -- policies and purposes -----------------------------------------------------------------------------------


async def _head(connection: Connection) -> Record:
    head = await connection.fetchrow(STATEMENTS["read_head"])
    assert head is not None, "the head has one row, which nothing deletes"
    return head


async def policies(call: Call) -> Answer:
    """Every version published by the moment asked about, in the order of their taking effect."""
    async with at_moment(call) as view:
        book = (await view.everybody()).book
        positions = [published.position for published in book.policies]
        rows = await view.connection.fetch(STATEMENTS["events_at"], positions)
    token = view.token
    in_force = policy_at(book, view.at)
    bodies = {row["position"]: row["body"] for row in rows}
    listed = []
    for published in book.policies:
        event = decode(bodies[published.position])
        assert isinstance(event.body, PolicyPublished), "the position of a policy is that of its publication"
        listed.append(
            messages.PolicyState(
                policy=event.stream.partition("/")[2],
                version=published.version,
                title=event.body.title,
                text_sha256=event.body.text_sha256,
                direction=published.direction,
                why=event.body.why,
                position=str(published.position),
                recorded_at=rfc3339(event.time),
                effective_at=rfc3339(published.effective),
                in_force=published is in_force,
                rules=published.rules,
            )
        )
    return Answer(200, encode(messages.Policies(policies=listed, token=str(token))), _with_token(token))


async def purposes(call: Call) -> Answer:
    """Every purpose of the policy in force at the moment asked about, then of those announced."""
    async with at_moment(call) as view:
        book = (await view.everybody()).book
    token, at = view.token, view.at
    in_force = policy_at(book, at)
    suspended = {
        stop.key for stop in book.suspensions if stop.since <= at and (stop.ended is None or at < stop.ended)
    }
    current = [in_force] if in_force is not None else []
    announced = [policy for policy in book.policies if policy.effective > at]
    listed: dict[str, messages.PurposeState] = {}
    for policy in (*current, *announced):
        for purpose in policy.rules.purposes:
            listed.setdefault(
                purpose.key,
                messages.PurposeState(
                    purpose=purpose,
                    policy_version=policy.version,
                    in_force=policy is in_force,
                    suspended=purpose.key in suspended,
                ),
            )
    answer = messages.Purposes(purposes=list(listed.values()), token=str(token))
    return Answer(200, encode(answer), _with_token(token))


def _with_token(token: Token) -> list[tuple[bytes, bytes]]:
    return [(b"consent-token", str(token).encode())]


# -- organisations -------------------------------------------------------------------------------------------


async def organisations(call: Call) -> Answer:
    """A page of organisations by id; an owner's own alone."""
    if call.principal.scope_kind is not None:
        return await _own_organisation(call)
    after = call.query.get("after", "")
    if after:
        require_id(after, "after")
    limit = call.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    async with reading(call.worker.pool) as connection:
        now = micros((await _head(connection))["now"])
        rows = await connection.fetch(STATEMENTS["organisations_after"], f"organisation/{after}", limit)
        streams = await _folded(connection, [row["stream"] for row in rows])
    listed = [
        _organisation_state(_name(row), micros(row["recorded_at"]), streams[row["stream"]], now)
        for row in rows
    ]
    following = _name(rows[-1]) if len(rows) == limit else ""
    return Answer(200, encode(messages.Organisations(organisations=listed, next=following)))


async def _own_organisation(call: Call) -> Answer:
    """The list of an owner: its own organisation, or nothing."""
    listed: list[messages.OrganisationState] = []
    if call.principal.scope_kind == "organisation":
        async with at_moment(call) as view:
            found = await _organisation_at(view, str(call.principal.scope_id))
        listed = [] if found is None else [found]
    return Answer(200, encode(messages.Organisations(organisations=listed)))


async def organisation(call: Call) -> Answer:
    """One organisation, at the moment asked about."""
    name = call.id_in_path("organisation")
    require_own(call.principal, "organisation", name)
    async with at_moment(call) as view:
        found = await _organisation_at(view, name)
    if found is None:
        raise nowhere("organisation", name)
    headers = _with_token(view.token)
    if when_of(call) == When():
        headers.append((b"etag", f'"{found.version}"'.encode()))
    return Answer(200, encode(found), headers)


async def _organisation_at(view: View, name: str) -> messages.OrganisationState | None:
    stream = f"organisation/{name}"
    state = (await view.streams([stream])).get(stream)
    if state is None or not isinstance(state.facts, OrganisationFacts):
        return None
    recorded_at = await view.connection.fetchval(STATEMENTS["event_recorded_at"], state.facts.position)
    return _organisation_state(name, micros(recorded_at), state, view.at)


def _organisation_state(
    name: str, registered_at: Micros, state: StreamState, at: Micros
) -> messages.OrganisationState:
    facts = state.facts
    assert isinstance(facts, OrganisationFacts), "the stream of an organisation folds to its facts"
    return messages.OrganisationState(
        organisation=name,
        registered_at=rfc3339(registered_at),
        position=str(facts.position),
        version=state.version,
        opt_outs=_standing_opt_outs(facts, at),
    )


def _name(row: Record) -> str:
    name: str = row["stream"].partition("/")[2]
    return name


async def _folded(connection: Connection, names: Sequence[str]) -> dict[str, StreamState]:
    """These streams, folded. Streams without events are left out."""
    streams: dict[str, StreamState] = {}
    for row in await connection.fetch(STATEMENTS["events_of_streams"], names):
        name = row["stream"]
        streams[name] = fold_stored(streams.get(name), name, row["position"], row["body"])
    return streams


def _standing_opt_outs(facts: OrganisationFacts, at: Micros) -> list[str]:
    return [
        one.request
        for one in facts.choices.opt_outs
        if one.since <= at and (one.ended is None or at < one.ended)
    ]


# -- requests ------------------------------------------------------------------------------------------------


async def requests(call: Call) -> Answer:
    """A page of requests, of the projector's view: it may be some milliseconds behind the log."""
    state = call.query.get("state", "")
    overdue = call.query.get("overdue") == "true"
    after = call.query.get("after", "")
    if after:
        _uuid(after, ConsentError("malformed", "after is the id of a request"))
    limit = call.number("limit", PAGE_DEFAULT, 1, PAGE_MAX)
    scope = (call.principal.scope_kind or "", call.principal.scope_id or "")
    async with reading(call.worker.pool) as connection:
        now = (await _head(connection))["now"]
        rows = await connection.fetch(
            STATEMENTS["requests_after"],
            "" if state == "open" else state,
            state == "open",
            now if overdue else None,
            *scope,
            after,
            limit,
        )
        durations = await _durations(connection, micros(now))
    listed = [_request_state(_decode_request(row["request"]), micros(now)) for row in rows]
    following = rows[-1]["id"] if len(rows) == limit else ""
    return Answer(200, encode(messages.Requests(requests=listed, next=following, last90_days=durations)))


async def request(call: Call) -> Answer:
    """One request, folded from its stream: nothing is more recent. At an earlier moment, as it was then."""
    given = call.path["request_id"]
    unknown = ConsentError("unknown_request", "there is no request with this id")
    name = str(_uuid(given, unknown))
    async with at_moment(call) as view:
        stream = await view.connection.fetchval(STATEMENTS["stream_of_request"], UUID(name))
        kind, _, scope_id = (stream or "").partition("/")
        if stream is None or not owns(call.principal, kind, scope_id):
            raise unknown
        state = (await view.streams([stream])).get(stream) or StreamState()
    found = state.requests.get(name)
    is_now = when_of(call) == When()
    if found is None:
        raise Unreadable(f"the event that began request {name} cannot be read") if is_now else unknown
    durations = await _durations_if_any(call.worker.pool, view.at) if is_now else None
    headers = _with_token(view.token)
    if is_now:
        headers.append((b"etag", f'"{state.version}"'.encode()))
    return Answer(200, encode(_request_state(found, view.at, durations)), headers)


def _uuid(text: str, otherwise: ConsentError) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise otherwise from error


async def _durations_if_any(pool: Pool, now: Micros) -> messages.Durations | None:
    """The view's figures; None while there is no view: a request's state does not depend on it."""
    try:
        async with acquire(pool) as connection:
            return await _durations(connection, now)
    except _UNREACHABLE:
        return None


async def _durations(connection: Connection, now: Micros) -> messages.Durations | None:
    since = moment_of(now) - timedelta(days=DURATION_DAYS)
    row = await connection.fetchrow(STATEMENTS["request_durations"], since)
    if row is None or row["median"] is None:
        return None
    return messages.Durations(
        median=row["median"] / _SECONDS_A_DAY, ninetieth_percentile=row["ninetieth"] / _SECONDS_A_DAY
    )


def _request_state(
    found: Request, now: Micros, durations: messages.Durations | None = None
) -> messages.RequestState:
    return messages.RequestState(
        request=found.id,
        kind=found.kind,
        scope=Scope(kind=found.scope_kind, id=found.scope_id),
        state=found.state,
        authority=found.authority,
        requester_role=found.requester_role,
        channel=found.channel,
        received_at=rfc3339(found.received_at),
        due_at=_time(found.due_at),
        overdue=found.is_overdue(now),
        rule=found.rule,
        law=found.law,
        selector=found.selector,
        keys=list(found.keys),
        joins=found.joins,
        action=found.action,
        reason=found.reason,
        processed_at=_time(found.processed_at),
        ended_at=_time(found.ended_at),
        first_position=str(found.first_position),
        position=str(found.last_position),
        last90_days=durations,
    )


def _time(instant: Micros | None) -> str:
    return "" if instant is None else rfc3339(instant)
