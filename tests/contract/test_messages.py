"""The published messages and the structs are the same, both ways: names, kinds, lists, what is required."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
import pytest
from bodies import SIXTY_FOUR_BIT
from consent_domain.events import EVENT_TYPES, STREAM_KINDS
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

PACKAGE = "consent.v1"
PROTO = Path(__file__).resolve().parents[2] / "proto"
SOURCES = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))


class Field(NamedTuple):
    """What a field is on either side."""

    name: str
    kind: str
    repeated: bool
    required: bool


def structs() -> dict[str, type[msgspec.Struct]]:
    """Every struct that a body is made of, by name."""
    found: dict[str, type[msgspec.Struct]] = {}
    waiting: list[type[msgspec.Struct]] = [kind.body for kind in EVENT_TYPES]
    while waiting:
        struct = waiting.pop()
        if struct.__name__ not in found:
            found[struct.__name__] = struct
            waiting += (
                part
                for field in msgspec.structs.fields(struct)
                for part in _parts(field.type)
                if isinstance(part, type) and issubclass(part, msgspec.Struct)
            )
    return found


def _parts(kind: Any) -> Iterator[Any]:
    inside = get_args(kind)
    if not inside:
        yield kind
    for part in inside:
        yield from _parts(part)


STRUCTS = structs()


def fields_of_struct(struct: type[msgspec.Struct]) -> list[Field]:
    made = []
    for field in msgspec.structs.fields(struct):
        repeated = get_origin(field.type) is list
        (kind,) = (part for part in _parts(field.type) if part is not NoneType)
        if (struct.__name__, field.name) in SIXTY_FOUR_BIT:
            assert kind is str, "JSON writes 64-bit integers as strings"
            word = "uint64"
        elif issubclass(kind, msgspec.Struct):
            word = f"{PACKAGE}.{kind.__name__}"
        else:
            word = {
                str: "string",
                bytes: "bytes",
                bool: "bool",
                int: "uint32",
                datetime: "google.protobuf.Timestamp",
            }[kind]
        made.append(Field(field.encode_name, word, repeated, field.required))
    return sorted(made)


WORDS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def fields_of_message(pool: DescriptorPool, message: Descriptor) -> list[Field]:
    made = []
    for field in message.fields:
        word = field.message_type.full_name if field.message_type else WORDS[field.type]
        made.append(Field(field.json_name, word, field.is_repeated, _is_required(pool, field)))
    return sorted(made)


def _is_required(pool: DescriptorPool, field: FieldDescriptor) -> bool:
    extension = pool.FindExtensionByName(f"{PACKAGE}.required")
    options = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FieldOptions"))
    read: Any = options.FromString(field.GetOptions().SerializeToString())
    return bool(read.Extensions[extension])


def messages(pool: DescriptorPool) -> dict[str, Descriptor]:
    return {
        name: message
        for source in SOURCES
        for name, message in pool.FindFileByName(source).message_types_by_name.items()
    }


def test_there_is_a_message_for_every_struct_and_a_struct_for_every_message(contract: DescriptorPool) -> None:
    assert sorted(messages(contract)) == sorted(STRUCTS)


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_a_message_has_the_fields_of_its_struct(contract: DescriptorPool, name: str) -> None:
    assert fields_of_message(contract, messages(contract)[name]) == fields_of_struct(STRUCTS[name])


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_a_field_that_may_be_missing_is_its_zero_value_then(name: str) -> None:
    """JSON leaves zero values out and so does protobuf: no struct may read more into a missing field."""
    for field in msgspec.structs.fields(STRUCTS[name]):
        if not field.required:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            assert not default, f"{name}.{field.name}"


def test_the_first_fields_of_every_event_are_the_same_numbers(contract: DescriptorPool) -> None:
    for kind in EVENT_TYPES:
        numbers = {field.name: field.number for field in messages(contract)[kind.body.__name__].fields[:4]}
        assert numbers == {"recorded_by": 1, "on_behalf_of": 2, "provenance": 3, "occurred_at": 4}


def test_no_message_skips_or_repeats_a_number(contract: DescriptorPool) -> None:
    for message in messages(contract).values():
        assert [field.number for field in message.fields] == list(range(1, len(message.fields) + 1))


def test_every_event_names_a_message_of_the_contract(contract: DescriptorPool) -> None:
    for kind in EVENT_TYPES:
        assert kind.dataschema == f"proto:{messages(contract)[kind.body.__name__].full_name}"


def test_every_message_and_file_says_what_it_is() -> None:
    for source in SOURCES:
        lines = (PROTO / source).read_text().splitlines()
        assert lines[0].startswith("// "), source
        for number, line in enumerate(lines):
            if line.startswith("message "):
                assert lines[number - 1].startswith("// "), f"{source}: {line}"


def test_every_event_is_named_where_its_message_stands() -> None:
    text = "".join((PROTO / source).read_text() for source in SOURCES)
    for kind in EVENT_TYPES:
        assert f"// {kind.name}" in text, kind.name


def test_the_streams_of_the_envelope_are_those_of_the_code() -> None:
    text = (PROTO / "consent" / "v1" / "common.proto").read_text()
    assert all(f'"{kind}/' in text for kind in STREAM_KINDS)
