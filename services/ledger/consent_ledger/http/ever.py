"""The answer to "was this workspace ever opted in, by whom, under which words?", from the log itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from consent_domain.envelope import Event, decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.ever import Consent, Ever, Evidence, Period, ever, evidence_of, is_default_of, sentence
from consent_domain.facts import WorkspaceFacts
from consent_domain.grounds import Reason
from consent_domain.identifiers import require_id
from consent_domain.instants import micros, rfc3339

from consent_ledger.database import STATEMENTS
from consent_ledger.http import messages
from consent_ledger.http.calls import Answer, Call, encode
from consent_ledger.http.permissions import nowhere, require_own
from consent_ledger.http.reads import at_moment


async def ever_of(call: Call) -> Answer:
    """Every period in which a purpose was permitted, every consent, and the events that prove them.

    Raises ConsentError `malformed` without a purpose, `unknown_workspace`, `damaged` while the log is
    halted, and as `at_moment` does.
    """
    name = call.id_in_path("workspace")
    require_own(call.principal, "workspace", name)
    call.worker.halting.require_sound()
    if "purpose" not in call.query:
        raise ConsentError("malformed", "say in the query which purpose is meant")
    purpose = require_id(call.query["purpose"], "purpose")
    async with at_moment(call) as view:
        folded = await view.facts((name,))
        facts = folded.workspace(name)
        if facts is None:
            raise nowhere("workspace", name)
        own_streams = _streams_of(name, facts)
        found = await asyncio.to_thread(ever, folded, name, purpose, view.at)
        own = await view.connection.fetch(
            STATEMENTS["events_of_streams_until"], [f"workspace/{name}"], view.token.position
        )
        others = await view.connection.fetch(STATEMENTS["events_at"], sorted(found.positions))
    read = _readable(row["body"] for row in (*own, *others))
    defaults = {position for position, event in read.items() if is_default_of(event, purpose)}
    proving = {
        position: evidence_of(event)
        for position, event in sorted(read.items())
        if position in found.positions | defaults and _is_told(event.stream, own_streams)
    }
    told = _told(name, purpose, found, proving, defaults, str(view.token))
    return Answer(200, encode(told), [(b"consent-token", told.token.encode())])


def _readable(bodies: Iterable[bytes]) -> dict[int, Event]:
    found = {}
    for body in bodies:
        try:
            event = decode(body)
        except Unreadable:
            continue  # it quarantines its stream, and so permits nothing
        found[event.position] = event
    return found


def _streams_of(name: str, facts: WorkspaceFacts) -> frozenset[str]:
    """The workspace's own stream, and those of the organisations it ever belonged to."""
    belonged = {one.organisation for one in facts.attributes if one.organisation}
    return frozenset({f"workspace/{name}", *(f"organisation/{one}" for one in belonged)})


def _is_told(stream: str, own: frozenset[str]) -> bool:
    """Whether an event's details are the workspace's business: those of another workspace, or of an
    organisation that only its predecessor belonged to, are not."""
    return stream in own or not stream.startswith(("workspace/", "organisation/"))


def _told(
    name: str, purpose: str, found: Ever, proving: dict[int, Evidence], defaults: set[int], token: str
) -> messages.EverAnswer:
    return messages.EverAnswer(
        workspace=name,
        purpose=purpose,
        opted_in=found.opted_in,
        defaulted_on=found.defaulted_on,
        permitted=bool(found.periods),
        sentence=sentence(found, name, purpose, proving),
        periods=[_period(one, proving, defaults) for one in found.periods],
        consents=[_consent(one) for one in found.consents],
        evidence=[_evidence(one) for one in proving.values()],
        token=token,
        ledger_time=rfc3339(found.at),
    )


def _period(one: Period, proving: dict[int, Evidence], defaults: set[int]) -> messages.EverPeriod:
    return messages.EverPeriod(
        standing=one.standing,
        since=rfc3339(one.since),
        until="" if one.until is None else rfc3339(one.until),
        policy_version=one.policy_version,
        reasons=_reasons(one.reasons),
        applied_at=[
            str(position)
            for position in sorted(defaults & proving.keys())
            if one.rests_on("defaulted_on") and proving[position].policy_version == one.policy_version
        ],
        ended_by=_reasons(one.followed_by),
    )


def _reasons(reasons: tuple[Reason, ...]) -> list[messages.ReasonGiven]:
    return [
        messages.ReasonGiven(
            code=one.code, position=str(one.position) if one.position > 0 else "", workspace=one.workspace
        )
        for one in reasons
    ]


def _consent(one: Consent) -> messages.EverConsent:
    return messages.EverConsent(
        scope=one.scope,
        position=str(one.position),
        since=rfc3339(one.since),
        until="" if one.until is None else rfc3339(one.until),
        ended_position=str(one.ended_position) if one.ended_position else "",
    )


def _evidence(one: Evidence) -> messages.EverEvidence:
    return messages.EverEvidence(
        position=str(one.position),
        stream=one.stream,
        type=one.type,
        recorded_at=rfc3339(one.recorded),
        requester_role=one.role,
        authority=one.authority,
        requester_sealed=one.is_sealed,
        recorded_by=one.principal,
        on_behalf_of=one.on_behalf_of,
        policy_version=one.policy_version,
        text_sha256=one.text_sha256,
        notice_given_at="" if one.notice is None else rfc3339(micros(one.notice.given_at)),
        notice_channel="" if one.notice is None else one.notice.channel,
        provenance=one.provenance,
    )
