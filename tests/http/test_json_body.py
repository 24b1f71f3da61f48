"""Given JSON from outside, when it is looked at, then nothing deep or crafted to be slow gets through."""

from __future__ import annotations

import time

import msgspec
import pytest
from consent_domain.errors import ConsentError
from consent_ledger.http.json_body import DEPTH_MAX, decode_members, require_shallow
from hypothesis import given
from hypothesis import strategies as some


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


@pytest.mark.parametrize("depth", [1, 2, DEPTH_MAX])
def test_given_json_as_deep_as_allowed_when_looked_at_then_it_passes(depth: int) -> None:
    require_shallow(nested(depth))
    require_shallow(b"[" + nested(depth - 1) + b"," + b"[]," * 1_000 + b"0]" if depth > 1 else b"{}")


@pytest.mark.parametrize(
    "body",
    [nested(DEPTH_MAX + 1), b'{"a":[' * 17 + b"]}" * 17, b"[" * 300_000, b'{"a":[' * 100_000, nested(50_000)],
)
def test_given_json_that_is_too_deep_when_looked_at_then_it_is_refused_before_anything_recurses(
    body: bytes,
) -> None:
    with pytest.raises(ConsentError) as refusal:
        require_shallow(body)
    assert refusal.value.code == "too_deep"


def test_given_brackets_inside_strings_when_looked_at_then_they_do_not_count() -> None:
    require_shallow(msgspec.json.encode({"why": "[" * 1_000 + '"' + "{" * 1_000 + "\\"}))


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * 150_000,
        b'\\"' * 150_000 + b"[" * 40,
        b'"' * 300_001 + b"[" * 40,
        b"[}" * 150_000,
        b"]" * 300_000,
        b'"' + b"\\" * 300_001,
    ],
)
def test_given_bytes_crafted_to_be_slow_when_looked_at_then_it_takes_no_second(body: bytes) -> None:
    started = time.perf_counter()
    try:
        require_shallow(body)
    except ConsentError as refusal:
        assert refusal.code == "too_deep"
    assert time.perf_counter() - started < 1.0


@given(
    some.recursive(
        some.none() | some.text() | some.integers(),
        lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
        max_leaves=60,
    )
)
def test_given_any_json_when_looked_at_then_only_its_real_depth_counts(value: object) -> None:
    body = msgspec.json.encode(value)
    if depth_of(value) <= DEPTH_MAX:
        require_shallow(body)
    else:
        with pytest.raises(ConsentError):
            require_shallow(body)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a":1}}', b"\xff\xfe", b'{"a":"\\ud800"}', b"[]", b"null", b'"a"']
)
def test_given_what_is_no_json_object_when_read_then_it_is_malformed(body: bytes) -> None:
    with pytest.raises(ConsentError) as refusal:
        decode_members(body)
    assert refusal.value.code == "malformed"
