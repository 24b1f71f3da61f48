"""Events that are changed, deleted, moved or added where they are stored.

The docstring of each test names a row of the table in docs/explanation/tampering.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from attacked import GENERATIVE, Honest, Place, kinds, remembered, until
from consent_domain.events import (
    Notice,
    OptInGranted,
    OptOutWithdrawn,
    RecipientNotified,
    RecordedBy,
    Requester,
    WorkspaceChanged,
)
from consent_domain.purposes import Purpose
from consent_ledger.log.publisher import State
from http_service import RULES
from recovering import kinds as found_by
from recovering import positions
from superuser import Ledger, Stored

BY = RecordedBy(principal="staff-1", authentication="api_key")
OWNER = Requester(role="owner", authority="verified")
OPT_OUT = "opt-out-requested.v1"


def changed(at: Stored) -> WorkspaceChanged:
    """What stands where something else stood."""
    return WorkspaceChanged(recorded_by=BY, effective_at=at.recorded_at, plan="business", region="eu")


def narrowed(row: Stored) -> Stored:
    return row.changed('"keys":["ranking.train"]', '"keys":["ranking.serve"]')


def narrowed_and_hashed(row: Stored) -> Stored:
    return narrowed(row).fitting


def of_another_type(row: Stored) -> Stored:
    noted = row.changed(OPT_OUT, "note-taken.v1").changed('"effect":"standing"', '"effect":"none"')
    return noted._replace(type="note-taken.v1").fitting


# -- events that a checkpoint covers -------------------------------------------------------------------------


@pytest.mark.parametrize("change", [narrowed, narrowed_and_hashed, of_another_type])
def test_given_an_opt_out_changed_where_it_is_stored_then_fsck_names_it_and_a_monitor_the_decision(
    honestly: Honest, change: Callable[[Stored], Stored]
) -> None:
    """a stored event is changed"""
    place = honestly.place
    before = place.she.ledger()
    row = before.event("workspace/acme", OPT_OUT)
    place.she.write(before.with_event(change(row)))
    assert place.code("acme") == "opt_out_requested", "the replica does not read it again"
    assert kinds(place.look(honestly.memory)) == {"other_decision"}

    checked = place.fsck()
    assert positions(checked) == [row.position]
    assert any("what was signed has another" in one.detail for one in checked.findings)
    assert place.halt is not None and place.halt.reason == "event_damaged"
    until(lambda: place.code("acme") == "halted", "nothing is decided any more")


def test_given_a_changed_event_when_hash_and_head_are_made_to_fit_then_the_publisher_halts_the_log(
    honestly: Honest,
) -> None:
    """a stored event is changed, its hash and the head with it"""
    place = honestly.place
    before = place.she.ledger()
    row = before.event("workspace/acme", OPT_OUT)
    place.she.write(before.with_event(of_another_type(row)).fitting())
    until(lambda: place.halt is not None, "the publisher halts the log", 10)
    assert place.halt is not None and place.halt.reason == "forked"
    until(lambda: place.code("initech") == "halted", "nothing is decided any more")
    assert place.post("/v1/workspaces", {"workspace": "x", "plan": "free", "region": "eu"}).status_code >= 500
    assert "halted" in kinds(place.look(honestly.memory))
    checked = place.fsck()
    assert (found_by(checked), positions(checked)) == ({"event_damaged", "forked"}, [row.position])


def test_given_the_last_events_deleted_when_the_head_is_moved_back_then_everybody_notices(
    honestly: Honest,
) -> None:
    """the last events are deleted, and a checkpoint covered them"""
    place = honestly.place
    before = place.she.ledger()
    place.she.write(before.before(before.position_of("workspace/hooli", OPT_OUT)))
    until(lambda: honestly.gate.status().state == "halted", "the gate denies everything", 10)
    until(lambda: place.halt is not None, "the publisher halts the log", 10)
    assert place.halt is not None and place.halt.reason == "behind"
    assert place.post("/v1/workspaces", {"workspace": "x", "plan": "free", "region": "eu"}).status_code >= 500
    assert "behind" in found_by(place.fsck())
    assert kinds(place.look(honestly.memory)) & {"does_not_know", "halted"}
    place.put_back(before)
    until(lambda: honestly.gate.check("initech"), "the gate permits again")


def test_given_two_stored_events_when_they_change_places_then_fsck_names_both_and_a_monitor_the_decision(
    honestly: Honest,
) -> None:
    """two stored events change places"""
    place = honestly.place
    before = place.she.ledger()
    enrolled = before.event("workspace/acme", "workspace-enrolled.v1")
    out = before.event("workspace/acme", OPT_OUT)
    place.she.write(before.swapped(enrolled, out))
    assert kinds(place.look(honestly.memory)) == {"other_decision"}
    assert {enrolled.position, out.position} <= set(positions(place.fsck()))


def test_given_an_event_inserted_when_all_behind_it_move_then_the_publisher_halts_and_fsck_knows(
    copied: Place,
) -> None:
    """an event is inserted, and all behind it moved"""
    before = copied.she.ledger()
    at = before.position_of("workspace/acme", OPT_OUT)
    copied.she.write(before.inserted(at, "recipient/nobody", RecipientNotified(recorded_by=BY, position="1")))
    step = asyncio.run(copied.host.publish())
    assert (step.state, copied.halt is not None) == (State.HALTED, True)
    assert copied.halt is not None and copied.halt.reason == "forked"
    checked = copied.fsck()
    assert found_by(checked) == {"event_damaged", "forked"}
    assert positions(checked)[0] == at, "from there on every event is another"


# -- events that no checkpoint covers yet: about a second ----------------------------------------------------


def test_given_an_event_deleted_before_a_checkpoint_covers_it_then_only_who_followed_it_knows(
    honestly: Honest,
) -> None:
    """the last events are deleted, and no checkpoint covered them yet"""
    place = honestly.place
    place.enrol("late")
    place.until_published()
    with honestly.publisher.paused():
        position = place.opt_out("late")
        until(lambda: honestly.gate.check("late").decision == "deny", "the gate has followed it")
        until(lambda: place.code("late") == "opt_out_requested", "so has the host")
        recorded = place.she.ledger()
        place.she.write(recorded.before(position))
        until(lambda: honestly.gate.status().state == "halted", "the gate denies everything", 10)
        until(lambda: place.code("late") == "halted", "so does this host", 10)
    assert place.fsck().findings == [], "nothing that was signed contradicts it"
    assert place.halt is None
    assert kinds(place.look(honestly.memory)) == {"halted", "unpublished"}
    place.put_back(recorded)
    place.until_published()


def test_given_an_event_exchanged_before_a_checkpoint_covers_it_then_the_answers_give_it_away(
    honest: Honest, accomplice: Place, tmp_path: Path
) -> None:
    """an event is exchanged for another one, and no checkpoint covered it yet"""
    place = accomplice
    place.enrol("exchanged")
    place.opt_out("exchanged")
    recorded = place.she.ledger()
    last = recorded.events[-1]
    place.she.write(recorded.with_event(last.exchanged(changed(last))).fitting())
    assert asyncio.run(place.host.publish()).state is State.PUBLISHED or place.halt is None
    assert place.fsck().findings == [], "it is of one piece"
    assert place.code("exchanged") == "opt_out_requested", "who followed the log knows better, for now"
    ran = place.look(remembered(honest, tmp_path), witnessed=False)
    assert kinds(ran) >= {"other_decision"}
    assert any(one.get("workspace") == "exchanged" for one in ran.told["alarms"])


def test_given_two_events_swapped_before_a_checkpoint_covers_them_then_the_publisher_halts_the_log(
    copied: Place,
) -> None:
    """two events change places, and no checkpoint covered them yet"""
    recorded = copied.she.ledger()
    for workspace in ("acme", "umbrella"):
        stream = f"workspace/{workspace}"
        recorded = recorded.appended(stream, changed(recorded.events[-1]))
    copied.she.write(recorded.swapped(*recorded.events[-2:]))
    assert asyncio.run(copied.host.publish()).state is State.HALTED
    assert copied.halt is not None and copied.halt.reason == "event_damaged"
    assert len(positions(copied.fsck())) == 2


# -- events that nobody recorded, of one piece with all others -----------------------------------------------


def withdrawal(request: str, at: Ledger) -> OptOutWithdrawn:
    return OptOutWithdrawn(
        recorded_by=BY, request=request, requester=OWNER, effective_at=at.events[-1].recorded_at
    )


def append(place: Place, stream: str, body: OptOutWithdrawn | OptInGranted) -> None:
    place.she.write(place.she.ledger().appended(stream, body))
    assert asyncio.run(place.host.publish()).state is not State.HALTED, "it fits, so it is signed"


def test_given_a_withdrawal_of_a_request_that_nobody_made_then_a_monitor_says_that_it_cannot_be(
    honest: Honest, accomplice: Place, tmp_path: Path
) -> None:
    """an event is added that cannot have happened"""
    append(accomplice, "workspace/initech", withdrawal(str(uuid4()), accomplice.she.ledger()))
    assert accomplice.fsck().findings == []
    ran = accomplice.look(remembered(honest, tmp_path), witnessed=False)
    assert "quarantined" in kinds(ran)
    assert any(one.get("stream") == "workspace/initech" for one in ran.told["alarms"])


def test_given_a_consent_that_nobody_was_asked_for_then_a_monitor_says_so_and_until_then_it_permits(
    honest: Honest, accomplice: Place, tmp_path: Path
) -> None:
    """a consent is added that nobody had asked for"""
    ledger = accomplice.she.ledger()
    shown = next(one for one in RULES["purposes"] if one["key"] == GENERATIVE)
    at = ledger.events[-1].recorded_at
    granted = OptInGranted(
        recorded_by=BY,
        opt_in=str(uuid4()),
        shown=[msgspec.convert(shown, Purpose)],
        notice=Notice(given_at=at, channel="email"),
        requester=OWNER,
        effective_at=at - timedelta(seconds=60),
    )
    assert accomplice.check("umbrella", GENERATIVE)["decision"] == "deny"
    append(accomplice, "workspace/umbrella", granted)
    until(lambda: accomplice.check("umbrella", GENERATIVE)["decision"] == "permit", "pipelines are permitted")
    ran = accomplice.look(remembered(honest, tmp_path), witnessed=False)
    assert "quarantined" in kinds(ran)
    assert any(one.get("stream") == "workspace/umbrella" for one in ran.told["alarms"])


def test_given_a_withdrawal_that_reads_like_any_other_then_nothing_finds_it(
    honest: Honest, accomplice: Place, tmp_path: Path
) -> None:
    """an event is added that could have happened"""
    ledger = accomplice.she.ledger()
    request = ledger.event("workspace/hooli", OPT_OUT).id
    append(accomplice, "workspace/hooli", withdrawal(str(request), ledger))
    until(lambda: accomplice.check("hooli")["decision"] == "permit", "pipelines are permitted")
    assert accomplice.fsck().findings == []
    ran = accomplice.look(remembered(honest, tmp_path), witnessed=False)
    assert not any("hooli" in str(one) for one in ran.told["alarms"])
