"""A body written by msgspec is read by protobuf, strictly, and back: nothing is lost, nothing is added."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from bodies import bodies
from consent_domain.events import EVENT_TYPES, Body
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from hypothesis import HealthCheck, given, settings

once_a_session = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def message(pool: DescriptorPool, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"consent.v1.{name}"))()


def as_protobuf(pool: DescriptorPool, body: Body) -> Any:
    written = msgspec.json.encode(body)
    return json_format.Parse(written, message(pool, type(body).__name__), descriptor_pool=pool)


@once_a_session
@given(body=bodies())
def test_a_body_comes_back_from_protobuf_json_as_it_was(contract: DescriptorPool, body: Body) -> None:
    back = json_format.MessageToJson(as_protobuf(contract, body), always_print_fields_with_no_presence=True)
    assert msgspec.json.decode(back, type=type(body)) == body


@once_a_session
@given(body=bodies())
def test_a_body_comes_back_from_protobuf_bytes_as_it_was(contract: DescriptorPool, body: Body) -> None:
    parsed = as_protobuf(contract, body)
    again = message(contract, type(body).__name__)
    again.ParseFromString(parsed.SerializeToString())
    assert again == parsed


@once_a_session
@given(body=bodies())
def test_names_and_values_are_written_alike_by_both(contract: DescriptorPool, body: Body) -> None:
    """Apart from zero values, which protobuf leaves out, and decimals of seconds, which it cuts."""
    ours = msgspec.json.decode(msgspec.json.encode(body))
    theirs = json_format.MessageToDict(as_protobuf(contract, body))
    assert _sparse(ours) == _sparse(theirs)


def _sparse(value: Any) -> Any:
    if isinstance(value, dict):
        # An empty message is given or not, and counts: only scalars and lists lose their zero value.
        kept = {key: _sparse(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in ("", 0, False, []) and inner != "0"}
    if isinstance(value, list):
        return [_sparse(inner) for inner in value]
    if isinstance(value, str) and value.endswith("Z") and "." in value:
        whole, _, decimals = value[:-1].partition(".")
        return f"{whole}.{decimals.rstrip('0')}".rstrip(".") + "Z" if decimals.isdigit() else value
    return value


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("unknown", ["extra", "recorded_by_", "RecordedBy"])
def test_neither_side_reads_a_field_that_the_contract_does_not_have(
    contract: DescriptorPool, kind: Any, unknown: str
) -> None:
    text = json.dumps({unknown: "x"})
    with pytest.raises(json_format.ParseError):
        json_format.Parse(text, message(contract, kind.body.__name__), descriptor_pool=contract)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=kind.body)
