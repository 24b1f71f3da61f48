"""Rotating a key, as the domain decides it; and that nobody but the ledger's own command can."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from consent_domain.commands import LiveCommand, RotateKey
from consent_domain.errors import ConsentError, Refused
from consent_domain.events import KeyRotated, RecordedBy
from consent_domain.handle import Context, handle
from consent_domain.instants import moment_of
from consent_domain.state import BookState
from consent_gate.signatures import Cosigner, Signer
from consent_ledger.log.keys import Rotation
from consent_ledger.log.rotation import _next_seed
from consent_ledger.memory import Tentative
from publishing import START

OLD, NEW = (str(Signer("test.local/ledger", bytes([n]) * 32).verifier) for n in (1, 2))
LATER = moment_of(START) + timedelta(days=30)
CONTEXT = Context(
    now=START,
    event_ids=[UUID(int=7)],
    recorded_by=RecordedBy(principal="operator", authentication="shell"),
    role="operator",
)


def decided(old: str = OLD, new: str = NEW, until=LATER):
    command = RotateKey(old_key=old, new_key=new, overlap_until=until)
    return handle(Tentative(BookState(), {}), command, CONTEXT)


def test_given_two_keys_when_rotated_then_the_log_says_so():
    [draft] = decided().drafts
    assert draft.stream == "log/ledger" and isinstance(draft.body, KeyRotated)
    assert (draft.body.old_key, draft.body.new_key, draft.body.overlap_until) == (OLD, NEW, LATER)


@pytest.mark.parametrize(
    "old,new,until",
    [
        (OLD, OLD, LATER),
        (OLD, "nonsense", LATER),
        (OLD[:-4] + "AAA=", NEW, LATER),
        (OLD, str(Signer("other.local/ledger", b"2" * 32).verifier), LATER),
        (OLD, str(Cosigner("test.local/ledger", b"2" * 32).verifier), LATER),
        (OLD, NEW, moment_of(START)),
    ],
)
def test_given_keys_or_times_that_cannot_be_when_rotated_then_it_is_refused(old, new, until):
    with pytest.raises(Refused) as raised:
        decided(old, new, until)
    assert raised.value.code == "invalid_value"


def test_given_a_rotation_when_sent_to_the_api_then_it_is_no_command():
    sent = {"command": "rotate-key", "oldKey": OLD, "newKey": NEW, "overlapUntil": "2030-01-01T00:00:00Z"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(sent), type=LiveCommand)


def test_given_a_key_whose_time_is_over_when_it_is_to_follow_then_it_is_refused(monkeypatch):
    # Both keys would have been replaced in the end, and nothing could ever be signed again.
    monkeypatch.setenv("CONSENT_LOG_KEY", " ".join(b64encode(bytes([n]) * 32).decode() for n in (2, 1)))
    rotations = [Rotation(OLD, NEW, START, START + 1)]
    with pytest.raises(ConsentError) as raised:
        _next_seed(None, "test.local/ledger", rotations, START + 2)
    assert raised.value.code == "wrong_state"
