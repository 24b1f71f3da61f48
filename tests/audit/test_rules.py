"""Events are read at once where they can be; the quick way and the slow one say the same of any bytes."""

from __future__ import annotations

import json

import pytest
from consent_domain.envelope import decode
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.proofs import ProofInvalid
from consent_gate.audit.rules import Rules, with_body
from hypothesis import given
from hypothesis import strategies as st
from ledger_events import ORIGIN
from scenario import enrolled, opt_out
from signed_logs import lawful

ENTRIES = lawful(60)


def rules_before(position: int) -> Rules:
    rules = Rules(ORIGIN)
    for at, entry in enumerate(ENTRIES[: position - 1], 1):
        rules.read(at, entry)
    return rules


def slowly(position: int, entry: bytes) -> tuple[object, ...]:
    try:
        envelope = rules_before(position).envelope(position, entry)
    except ConsentError as error:
        return type(error), error.detail
    read = with_body(position, envelope, entry)
    return read.body, bool(read.wrong), envelope.type, envelope.time


def quickly(position: int, entry: bytes) -> tuple[object, ...]:
    try:
        read = rules_before(position).read(position, entry)
    except ConsentError as error:
        assert isinstance(error, ProofInvalid | Unreadable)
        return type(error), error.detail
    return read.body, bool(read.wrong), read.envelope.type, read.envelope.time


@given(st.integers(2, 60), st.data())
def test_both_ways_agree_on_changed_bytes(position: int, data: st.DataObject) -> None:
    entry = bytearray(ENTRIES[position - 1])
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(entry) - 1))
        change = data.draw(st.sampled_from(("byte", "cut", "double")))
        if change == "byte":
            entry[at] = data.draw(st.integers(0, 255))
        else:
            until = data.draw(st.integers(at, min(at + 40, len(entry))))
            part = entry[at:until]
            entry[at:until] = b"" if change == "cut" else part + part
    assert quickly(position, bytes(entry)) == slowly(position, bytes(entry))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(entry: bytes) -> None:
    assert quickly(3, entry) == slowly(3, entry)


@pytest.mark.parametrize(
    "pair", [("type", "x.v1"), ("effect", "none"), ("source", "y"), ("specversion", "2")]
)
def test_a_member_that_stands_there_twice_counts_as_the_ledger_reads_it(pair: tuple[str, str]) -> None:
    first = f'{{"{pair[0]}":"{pair[1]}",'.encode()
    entry = ENTRIES[9].replace(b"{", first, 1)
    assert quickly(10, entry) == slowly(10, entry)
    last = ENTRIES[9][:-1] + f',"{pair[0]}":"{pair[1]}"}}'.encode()
    assert quickly(10, last) == slowly(10, last)


def test_what_the_handlers_write_keeps_every_rule() -> None:
    ledger = enrolled()
    ledger.given(opt_out("train"))
    rules = Rules(ORIGIN)
    for position, entry in enumerate(ledger.log, 1):
        read = rules.read(position, entry)
        assert (read.event, read.wrong) == (decode(entry), "")
        assert read.envelope.type == json.loads(entry)["type"]
