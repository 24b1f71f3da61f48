"""What if: imagined events lead to the facts that recorded ones would, and to nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from consent_domain.commands import (
    AcknowledgeOptOut,
    Applicant,
    ChangeWorkspace,
    CloseWorkspace,
    Command,
    EnrolWorkspace,
    GrantOptIn,
    ProcessOptOut,
    RegisterOrganisation,
    RejectOptOut,
    RequestOptIn,
    RequestOptOut,
    SucceedWorkspace,
    SuspendPurpose,
    WithdrawOptIn,
    WithdrawOptOut,
)
from consent_domain.decide import Collected, decide
from consent_domain.errors import Refused
from consent_domain.events import Notice, Scope
from consent_domain.imagined import imagine
from consent_domain.instants import DAY, moment_of
from consent_domain.purposes import Selector
from consent_domain.what_if import Overlay
from scenario import ALL, MEMBER, OWNER, Ledger, policy, purpose, rule, rules

ACME = Scope(kind="workspace", id="acme")
REFUSED_REASON = "unfounded"


def ledger() -> Ledger:
    """`acme` of the organisation `group`, and `other`, under a policy with two purposes."""
    found = Ledger()
    two = rules(rule("opt_out", "train"), rule("opt_in", "learn"), purposes=(purpose(), purpose("learn")))
    found.given(policy(rules=two))
    found.wait(DAY)
    return found.given(
        RegisterOrganisation(organisation="group"),
        EnrolWorkspace(workspace="acme", plan="pro", region="eu", organisation="group"),
        EnrolWorkspace(workspace="other", plan="free", region="us"),
    )


def overlay(of: Ledger) -> Overlay:
    return Overlay(of, len(of.log), of.now)


def decided(snapshot: Any, at: int, workspace: str = "acme", use: str = "train") -> tuple[bool, str]:
    found = decide(snapshot, [workspace], use, (), at, Collected(at, at))
    return found.permit, found.reasons[0].code


def opt_out(**more: Any) -> dict[str, Any]:
    data = {"selector": {"all": True}, "requester": {"role": "owner", "authority": "verified"}}
    return {"type": "opt-out-requested.v1", "subject": "workspace/acme", "data": data | more}


# -- as if recorded ------------------------------------------------------------------------------------------


def stories() -> Iterator[tuple[str, list[Command | str]]]:
    """Commands; a text names the one that takes the id of the request before it."""
    asked = RequestOptOut(scope=ACME, selector=ALL, applicant=OWNER)
    later = moment_of(Ledger().now + 40 * DAY)
    opt_in = RequestOptIn(scope=ACME, keys=["learn"], applicant=OWNER)
    yield "opt-out", [asked]
    yield "of a member", [RequestOptOut(scope=ACME, selector=ALL, applicant=MEMBER)]
    yield (
        "of the organisation",
        [RequestOptOut(scope=Scope(kind="organisation", id="group"), selector=ALL, applicant=OWNER)],
    )
    yield "proven later", [RequestOptOut(scope=ACME, selector=ALL, applicant=MEMBER), "acknowledge"]
    yield "processed", [asked, "process"]
    yield "rejected", [asked, "reject"]
    yield "withdrawn", [asked, "process", "withdraw"]
    yield "opted in", [opt_in, "grant"]
    yield "opted in and out", [opt_in, "grant", "withdraw opt-in"]
    yield "another plan", [ChangeWorkspace(workspace="acme", plan="free")]
    yield "left", [ChangeWorkspace(workspace="acme", organisation="")]
    yield (
        "changed later",
        [
            ChangeWorkspace(workspace="acme", region="us", effective_at=later),
            ChangeWorkspace(workspace="acme", plan="free"),
        ],
    )
    yield "closed", [CloseWorkspace(workspace="acme", reason="left")]
    yield "merged", [SucceedWorkspace(workspace="acme", predecessor="other", kind="merge")]
    yield "stopped", [SuspendPurpose(purpose="train", reason="an incident")]
    yield "enrolled", [EnrolWorkspace(workspace="new", plan="pro", region="eu", organisation="group")]
    yield (
        "a new organisation",
        [
            RegisterOrganisation(organisation="new"),
            ChangeWorkspace(workspace="acme", organisation="new"),
        ],
    )
    stricter = policy("2", Ledger().now + 40 * DAY, direction="stricter", rules=rules(rule("prohibited")))
    yield "a policy", [stricter]


def on(request: str, what: str) -> Command:
    notice = Notice(given_at=moment_of(Ledger().now), channel="mail", text_sha256="ab" * 32)
    commands: dict[str, Command] = {
        "acknowledge": AcknowledgeOptOut(request=request, authority="verified"),
        "process": ProcessOptOut(request=request),
        "reject": RejectOptOut(request=request, reason=REFUSED_REASON, approved_by="staff-2"),
        "withdraw": WithdrawOptOut(request=request, applicant=OWNER),
        "grant": GrantOptIn(opt_in=request, applicant=OWNER, notice=notice),
        "withdraw opt-in": WithdrawOptIn(opt_in=request, applicant=OWNER),
    }
    return commands[what]


@pytest.mark.parametrize("story", list(stories()), ids=lambda story: story[0])
def test_given_a_story_when_its_events_are_imagined_then_the_facts_are_those_of_recording_them(
    story: tuple[str, list[Command | str]],
) -> None:
    real = ledger()
    imagined = overlay(ledger())
    request = ""
    for one in story[1]:
        size = len(real.log)
        real.given(on(request, one) if isinstance(one, str) else one)
        request = real.request() if not isinstance(one, str) else request
        # The first event is written down; what else the command led to, its rules add.
        imagined = imagine(imagined, json.loads(real.log[size]))
    assert imagined.position == len(real.log)
    assert imagined.at == real.now
    for name in ("acme", "other", "new"):
        assert imagined.workspace(name) == real.workspace(name), name
    for name in ("group", "new"):
        assert imagined.organisation(name) == real.organisation(name), name
    assert imagined.book == real.book


def test_given_a_permit_when_an_opt_out_is_imagined_then_it_denies_and_the_ledger_still_permits() -> None:
    real = ledger()
    before = len(real.log)
    found = imagine(overlay(real), opt_out())
    assert decided(found, found.at) == (False, "opt_out_requested")
    assert decided(real, real.now)[0]
    assert len(real.log) == before


def test_given_a_denial_when_consent_is_imagined_then_it_permits_what_is_collected_from_then_on() -> None:
    real = ledger()
    granted = {
        "type": "opt-in-granted.v1",
        "subject": "workspace/acme",
        "data": {
            "optIn": "x",
            "shown": [_purpose("learn")],
            "notice": {"givenAt": "2024-01-01T00:00:00Z", "channel": "mail"},
            "requester": {"role": "owner", "authority": "verified"},
        },
    }
    found = imagine(overlay(real), granted)
    assert decided(real, real.now, use="learn") == (False, "opt_in_missing")
    assert decided(found, found.at, use="learn") == (True, "opted_in")
    earlier = decide(found, ["acme"], "learn", (), found.at, Collected(real.now, real.now))
    assert not earlier.permit


def test_given_an_overlay_when_more_is_imagined_then_the_first_one_is_as_it_was() -> None:
    first = overlay(ledger())
    second = imagine(first, opt_out())
    assert first.imagined == () and decided(first, first.at)[0]
    assert not decided(second, second.at)[0]


def test_given_no_ids_when_requests_are_imagined_then_each_gets_its_own() -> None:
    found = imagine(imagine(overlay(ledger()), opt_out()), opt_out())
    facts = found.workspace("acme")
    assert facts is not None
    assert len({one.request for one in facts.choices.opt_outs}) == 2
    request = facts.choices.opt_outs[0].request
    processed = {"type": "opt-out-processed.v1", "subject": "workspace/acme", "data": {"request": request}}
    assert imagine(found, processed).workspace("acme") != facts


# -- refused -------------------------------------------------------------------------------------------------


def _purpose(key: str) -> dict[str, Any]:
    one = purpose(key)
    return {
        "key": key,
        "processing": one.processing,
        "reach": one.reach,
        "modelClass": one.model_class,
        "recipient": one.recipient,
        "categories": one.categories,
        "legalBasis": one.legal_basis,
        "justification": one.justification,
    }


PROVEN = {"role": "owner", "authority": "verified"}
PLAUSIBLE = {"role": "member", "authority": "plausible"}
LATER, EARLIER = "2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (None, "malformed"),
        ([], "malformed"),
        ("opt-out", "malformed"),
        ({}, "invalid_value"),
        ({"type": "opt-out-requested", "subject": "workspace/acme"}, "invalid_value"),
        ({"type": ["opt-out-requested.v1"], "subject": "workspace/acme"}, "invalid_value"),
        ({"type": "opt-out-requested.v1", "subject": "workspace/"}, "invalid_value"),
        ({"type": "opt-out-requested.v1", "subject": "workspace/a b"}, "invalid_value"),
        ({"type": "opt-out-requested.v1", "subject": "policy/acme"}, "invalid_value"),
        ({"type": "opt-out-requested.v1", "subject": 7}, "invalid_value"),
        ({"type": "run-registered.v1", "subject": "run/r", "data": {}}, "malformed"),
        ({"type": "recipient-notified.v1", "subject": "recipient/r", "data": {"position": "1"}},
         "invalid_value"),
        (opt_out() | {"data": []}, "malformed"),
        (opt_out() | {"dat": {}}, "malformed"),
        (opt_out(selektor={}), "malformed"),
        (opt_out(selector={}), "invalid_value"),
        (opt_out(requester={"role": "owner"}), "malformed"),
        (opt_out(request="no uuid"), "invalid_value"),
        (opt_out(receivedAt=LATER), "postdated"),
        (opt_out(receivedAt="2024-01-01T00:00:00"), "invalid_time"),
        (opt_out(scope={"kind": "channel", "id": "acme"}), "unsupported_scope"),
        (opt_out() | {"subject": "workspace/nobody", "data": opt_out()["data"]}, "unknown_workspace"),
        (opt_out() | {"subject": "organisation/nobody"}, "unknown_organisation"),
        ({"type": "workspace-enrolled.v1", "subject": "workspace/acme",
          "data": {"kind": "production", "plan": "pro", "region": "eu"}}, "already_exists"),
        ({"type": "workspace-enrolled.v1", "subject": "workspace/new",
          "data": {"kind": "production", "plan": "pro", "region": "eu", "customerSince": EARLIER}},
         "backdated"),
        ({"type": "workspace-changed.v1", "subject": "workspace/acme",
          "data": {"plan": "pro", "region": "eu", "effectiveAt": EARLIER}}, "backdated"),
        ({"type": "workspace-closed.v1", "subject": "workspace/acme",
          "data": {"reason": "left", "effectiveAt": LATER}}, "postdated"),
        ({"type": "purpose-suspended.v1", "subject": "purpose/nothing", "data": {"reason": "r"}},
         "unknown_purpose"),
        ({"type": "purpose-resumed.v1", "subject": "purpose/train",
          "data": {"reason": "r", "approvedBy": "b"}}, "not_suspended"),
        ({"type": "opt-out-processed.v1", "subject": "workspace/acme", "data": {"request": "r"}},
         "unknown_request"),
        ({"type": "opt-out-rejected.v1", "subject": "workspace/acme",
          "data": {"request": "r", "reason": "r"}}, "unknown_request"),
        ({"type": "opt-in-withdrawn.v1", "subject": "workspace/acme",
          "data": {"optIn": "r", "requester": {"role": "owner", "authority": "verified"}}}, "unknown_opt_in"),
        ({"type": "opt-in-granted.v1", "subject": "workspace/acme",
          "data": {"optIn": "r", "shown": [_purpose("learn")], "effectiveAt": EARLIER,
                   "notice": {"givenAt": EARLIER, "channel": "mail"},
                   "requester": {"role": "owner", "authority": "verified"}}}, "backdated"),
        ({"type": "opt-in-granted.v1", "subject": "workspace/acme",
          "data": {"optIn": "r", "shown": [_purpose("learn")],
                   "notice": {"givenAt": EARLIER, "channel": "mail"},
                   "requester": {"role": "member", "authority": "plausible"}}}, "authority_insufficient"),
        ({"type": "policy-published.v1", "subject": "policy/principles",
          "data": {"version": "1", "title": "t", "textSha256": "ab" * 32, "direction": "looser", "why": "w",
                   "rules": {"purposes": [], "rules": []}}}, "already_exists"),
    ],
)  # fmt: skip
def test_given_what_the_ledger_would_not_record_when_it_is_imagined_then_it_is_refused(
    written: object, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        imagine(overlay(ledger()), written)
    assert refused.value.code == code, refused.value.detail


@pytest.mark.parametrize(
    ("what", "data", "code"),
    [
        ("rejected", {"reason": REFUSED_REASON, "effectiveAt": EARLIER}, "backdated"),
        ("rejected", {"reason": "not listed"}, "reason_not_listed"),
        ("withdrawn", {"requester": PROVEN, "effectiveAt": EARLIER}, "backdated"),
        ("withdrawn", {"requester": PLAUSIBLE}, "authority_insufficient"),
    ],
)
def test_given_a_request_when_its_end_is_imagined_otherwise_than_the_ledger_would_then_it_is_refused(
    what: str, data: dict[str, Any], code: str
) -> None:
    real = ledger().given(RequestOptOut(scope=ACME, selector=ALL, applicant=OWNER))
    written = {"type": f"opt-out-{what}.v1", "subject": "workspace/acme"}
    with pytest.raises(Refused) as refused:
        imagine(overlay(real), written | {"data": {"request": real.request(), **data}})
    assert refused.value.code == code, refused.value.detail


def test_given_a_request_at_its_end_when_more_is_imagined_of_it_then_it_is_refused() -> None:
    real = ledger().given(
        RequestOptOut(scope=ACME, selector=Selector(keys=["train"]), applicant=Applicant(role="owner"))
    )
    request = real.request()
    real.given(WithdrawOptOut(request=request, applicant=OWNER))
    again = {"type": "opt-out-processed.v1", "subject": "workspace/acme", "data": {"request": request}}
    with pytest.raises(Refused) as refused:
        imagine(overlay(real), again)
    assert refused.value.code == "wrong_state"
