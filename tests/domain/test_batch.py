"""The message of a commit: the same bytes out as in, in as many messages as it takes."""

from __future__ import annotations

import msgspec
import pytest
from consent_domain.batch import Committed, decode_committed, encode_committed
from consent_domain.errors import Unreadable
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=40), st.integers(100, 2_000))
def test_given_any_bodies_when_framed_then_they_come_back_in_order_and_no_message_is_too_long(
    bodies: list[bytes], bytes_max: int
) -> None:
    messages = list(encode_committed(Committed("o.example/l", 3, 17, bodies), bytes_max))
    batches = [decode_committed(message) for message in messages]
    assert [body for batch in batches for body in batch.bodies] == bodies
    expected = 17
    for batch, message in zip(batches, messages, strict=True):
        assert (batch.origin, batch.epoch, batch.first) == ("o.example/l", 3, expected)
        assert len(message) <= bytes_max + 64 or len(batch.bodies) == 1
        expected = batch.last + 1


def test_given_no_body_when_framed_then_there_is_no_message() -> None:
    assert list(encode_committed(Committed("o", 1, 1, []))) == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"not msgpack at all",
        msgspec.msgpack.encode(["o", 1, 1]),
        msgspec.msgpack.encode(["o", 1, 0, [b"x"]]),
        msgspec.msgpack.encode(["o", 1, 1, []]),
        msgspec.msgpack.encode(["o", 1, 1, ["text"]]),
        msgspec.msgpack.encode({"origin": "o"}),
        b"\x94\xa1\xff\x01\x01\x91\xc4\x01x",
    ],
)
def test_given_other_bytes_when_read_then_they_are_unreadable_and_never_a_batch(message: bytes) -> None:
    with pytest.raises(Unreadable):
        decode_committed(message)
