"""The stored bytes are CloudEvents 1.0, as others' software reads them, on one line and never too long."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import pytest
from bodies import bodies, texts
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from consent_domain.envelope import BYTES_MAX, decode, encode, stream_of
from consent_domain.errors import Refused, Unreadable
from consent_domain.events import BY_BODY, Body, PurposeSuspended, RecordedBy
from consent_domain.identifiers import uuid7
from consent_domain.instants import micros, moment_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

ORIGIN = "consent.local/ledger"
RECORDED = RecordedBy(principal="key-12345678", authentication="api_key")
WHEN = datetime(2026, 11, 24, 6, 30, 0, 123456, tzinfo=UTC)
IDS = some.builds(uuid7, some.integers(0, 2**48 - 1), some.binary(min_size=10, max_size=10))
slow_to_make = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def stream(body: Body) -> str:
    kind = BY_BODY[type(body)].streams[0]
    return "log/ledger" if kind == "log" else f"{kind}/A.b_c-1"


def suspended(reason: str, recorded_by: RecordedBy = RECORDED) -> PurposeSuspended:
    return PurposeSuspended(recorded_by=recorded_by, reason=reason, effective_at=WHEN)


def stored(body: Body, position: int = 7) -> bytes:
    return encode(position, uuid7(1, b"0123456789"), ORIGIN, stream(body), micros(WHEN), body)


@slow_to_make
@given(body=bodies(), position=some.integers(1, 10**18), event_id=IDS, time=some.integers(0, 2**52))
def test_another_implementation_reads_the_same_event(
    body: Body, position: int, event_id: UUID, time: int
) -> None:
    written = encode(position, event_id, ORIGIN, stream(body), time, body)
    read = JSONFormat().read(None, written)
    kind = BY_BODY[type(body)]
    assert isinstance(read, CloudEvent)
    assert read.get_specversion() == "1.0"
    assert read.get_id() == str(event_id)
    assert read.get_source() == ORIGIN
    assert read.get_type() == kind.name
    assert read.get_subject() == stream(body)
    assert read.get_time() == moment_of(time)
    assert read.get_datacontenttype() == "application/json"
    assert read.get_dataschema() == f"proto:consent.v1.{type(body).__name__}"
    assert read.get_extension("sequence") == f"{position:020d}"
    assert read.get_extension("effect") == kind.effect
    assert msgspec.convert(read.get_data(), type(body)) == body


@slow_to_make
@given(body=bodies(), position=some.integers(1, 10**18), event_id=IDS, time=some.integers(0, 2**52))
def test_what_was_encoded_is_decoded_as_it_was(body: Body, position: int, event_id: UUID, time: int) -> None:
    written = encode(position, event_id, ORIGIN, stream(body), time, body)
    read = decode(written)
    assert read == (position, str(event_id), stream(body), BY_BODY[type(body)].name, time, body)
    assert stream_of(written) == (stream(body), position)


@slow_to_make
@given(body=bodies())
def test_attributes_keep_the_rules_of_the_specification(body: Body) -> None:
    """CloudEvents 1.0.2 §3: names of a-z and 0-9 up to 20, no null, URIs that are some, no name twice."""
    pairs = json.loads(stored(body), object_pairs_hook=lambda pairs: pairs)
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in names)
    assert all(value for name, value in pairs if name != "data")
    envelope = json.loads(stored(body))
    assert urlsplit(envelope["dataschema"]).scheme == "proto"
    assert re.fullmatch(r"[A-Za-z0-9._~/-]+", envelope["source"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", envelope["time"])
    assert isinstance(envelope["data"], dict)


@given(some.integers(1, 10**19), some.integers(1, 10**19))
def test_sequences_sort_as_positions_do(one: int, other: int) -> None:
    first, second = (json.loads(stored(suspended("x"), position))["sequence"] for position in (one, other))
    assert (first < second) == (one < other)
    assert len(first) == 20


@given(reason=texts | some.text(some.sampled_from('\n\r\u2028\u2029\x85\x00\x1f"\\{}')))
def test_no_text_breaks_the_line(reason: str) -> None:
    written = stored(suspended(reason))
    assert b"\n" not in written
    assert b"\r" not in written
    read = decode(written).body
    assert isinstance(read, PurposeSuspended)
    assert read.reason == reason


@pytest.mark.parametrize("filling", ["a", "é", "\n", '"', "\0", "𝄞"])
def test_the_longest_event_fits_and_one_byte_more_is_refused(filling: str) -> None:
    each = len(stored(suspended(filling * 2))) - len(stored(suspended(filling)))
    count, rest = divmod(BYTES_MAX - len(stored(suspended(""))), each)
    longest = filling * count + "a" * rest
    assert len(stored(suspended(longest))) == BYTES_MAX == 65_535
    with pytest.raises(Refused) as refused:
        stored(suspended(longest + "a"))
    assert refused.value.code == "event_too_large"


@pytest.mark.parametrize(
    ("position", "where"), [(7, 'purpose/a"b'), (7, "purpose/a\\b"), (7, "workspace/W1"), (7, "nothing/x")]
)
def test_a_name_that_was_not_checked_never_reaches_the_bytes(position: int, where: str) -> None:
    with pytest.raises(AssertionError):
        encode(position, uuid7(1, b"0123456789"), ORIGIN, where, 0, suspended("x"))


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "0.3"},
        {"subject": "nothing/x"},
        {"sequence": "first"},
        {"time": "yesterday"},
        {"time": "2026-11-24T06:30:00"},
        {"type": "unheard-of.v1"},
        {"type": "purpose-suspended.v2"},
        {"data": {}},
        {"data": None},
        {"data": {"reason": "x", "more": 1}},
    ],
    ids=str,
)
def test_bytes_that_this_version_cannot_read_are_unreadable_and_name_their_stream(
    change: dict[str, object],
) -> None:
    changed = json.dumps(json.loads(stored(suspended("x"))) | change).encode()
    with pytest.raises(Unreadable):
        decode(changed)
    if "subject" not in change and "sequence" not in change:
        assert stream_of(changed) == ("purpose/A.b_c-1", 7)


@pytest.mark.parametrize("broken", [b"", b"{}", b"[]", b"null", b"\xff", b'{"specversion":"1.0"'])
def test_bytes_that_are_no_event_are_unreadable_and_not_a_crash(broken: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(broken)
    assert stream_of(broken) is None


def test_an_unknown_type_without_effect_is_passed_over() -> None:
    changed = json.loads(stored(suspended("x"))) | {"type": "unheard-of.v1", "effect": "none"}
    read = decode(json.dumps(changed).encode())
    assert read.body is None
    assert (read.position, read.stream, read.type) == (7, "purpose/A.b_c-1", "unheard-of.v1")
