"""Bytes of strangers: whatever they are, a parser gives what can be written back, or says `malformed`.

Good examples are cut, joined, doubled and overwritten; what is read from the result must be the one
thing that these bytes mean: written again it gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from consent_domain.checkpoints import Checkpoint, parse_checkpoint, text
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.notes import (
    COSIGNS,
    SIGNS_NOTES,
    KeyText,
    Note,
    NoteSignature,
    format_note,
    parse_key,
    parse_note,
    parse_signature_lines,
    signature_line,
)
from consent_domain.tiles import ENTRIES, Tile, decode_entries, encode_entries, parse, path
from consent_domain.tlog_proofs import TlogProof, format_proof, parse_proof
from consent_domain.witness_policy import WitnessPolicy, parse_policy
from hypothesis import given
from hypothesis import strategies as some

CHECKPOINT = text(Checkpoint("example.com/log", 73895, b"r" * 32, ("an extension",)))
SIGNATURES = (
    NoteSignature("example.com/log", b"1234", b"s" * 64),
    NoteSignature("ein.beispiel/zeugin-ü", b"5678", bytes(72)),
)
NOTE = format_note(Note(CHECKPOINT, SIGNATURES))
LINES = "".join(map(signature_line, SIGNATURES))
PROOF = format_proof(TlogProof(73894, (b"a" * 32, b"b" * 32, b"c" * 32), NOTE, b"the event"))
KEYS = [str(KeyText(f"w/{number}", COSIGNS, bytes([number]) * 32)) for number in range(3)]
LOG_KEY = str(KeyText("example.com/log", SIGNS_NOTES, b"l" * 32))
POLICY = (
    f"# ours\nlog {LOG_KEY} https://log.example\nwitness A {KEYS[0]} https://a.example\n"
    f"witness B {KEYS[1]}\nwitness C {KEYS[2]}\ngroup g 1 A B\ngroup h all g C\nquorum h\n"
)
BUNDLE = encode_entries([b"first", b"", b"\x00\x05third"])
PATHS = [path(tile) for tile in (Tile(0, 1234067, 12), Tile(ENTRIES, 0, 3), Tile(63, 1, 256))]

PIECES = [
    b"\n",
    b"\n\n",
    b" ",
    b"\t",
    b"\r",
    b"\x00",
    b"+",
    b"=",
    b"0",
    b"9" * 30,
    b"-1",
    "— ".encode(),
    b"#",
    b"x001/",
]


@some.composite
def changed(draw: some.DrawFn, good: bytes) -> bytes:
    """`good` after up to four changes, or any bytes at all."""
    data = draw(some.just(good) | some.binary(max_size=200))
    for _ in range(draw(some.integers(0, 4))):
        start = draw(some.integers(0, len(data)))
        end = draw(some.integers(start, min(len(data), start + 40)))
        piece = draw(
            some.sampled_from([*PIECES, data[start:end] * 2, data[:start]]) | some.binary(max_size=8)
        )
        data = data[:start] + piece + data[end:]
    return data


def as_text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def judge(parse_it: Callable[[], object], write: Callable[[], object], given_: object) -> None:
    try:
        parse_it()
    except ConsentError as refused:
        assert refused.code == "malformed" and len(refused.detail) < 1000
        return
    assert write() == given_


@given(changed(NOTE))
def test_given_any_bytes_then_they_are_one_note_or_malformed(data: bytes) -> None:
    judge(lambda: parse_note(data), lambda: format_note(parse_note(data)), data)


@given(changed(LINES.encode()).map(as_text))
def test_given_any_text_then_it_is_lines_of_signatures_or_malformed(lines: str) -> None:
    judge(
        lambda: parse_signature_lines(lines),
        lambda: "".join(map(signature_line, parse_signature_lines(lines))),
        lines,
    )


@given(changed(CHECKPOINT.encode()).map(as_text))
def test_given_any_text_then_it_is_one_checkpoint_or_malformed(note_text: str) -> None:
    judge(lambda: parse_checkpoint(note_text), lambda: text(parse_checkpoint(note_text)), note_text)


@given(changed(PROOF))
def test_given_any_bytes_then_they_are_one_proof_or_malformed(data: bytes) -> None:
    judge(lambda: parse_proof(data), lambda: format_proof(parse_proof(data)), data)


@pytest.mark.parametrize("good", [LOG_KEY, KEYS[0]])
@given(data=some.data())
def test_given_any_text_then_it_is_one_key_or_malformed(good: str, data: some.DataObject) -> None:
    key = as_text(data.draw(changed(good.encode())))
    judge(lambda: parse_key(key), lambda: str(parse_key(key)), key)


@given(changed(POLICY.encode()).map(as_text))
def test_given_any_text_then_it_is_a_policy_that_can_be_asked_or_malformed(policy_text: str) -> None:
    policy: WitnessPolicy | None = None
    try:
        policy = parse_policy(policy_text)
    except ConsentError as refused:
        assert refused.code == "malformed" and len(refused.detail) < 1000
    if policy is not None:
        assert policy.satisfied(policy.witnesses), "everybody together is always enough"
        assert policy.satisfied(()) is (policy.quorum == "none")
        assert bool(policy.missing(())) is not policy.satisfied(())


@given(changed(BUNDLE), some.none() | some.integers(0, 300))
def test_given_any_bytes_then_they_are_one_bundle_or_unreadable(data: bytes, width: int | None) -> None:
    try:
        entries = decode_entries(data, width)
    except Unreadable:
        return
    assert encode_entries(entries) == data and width in (None, len(entries))


@pytest.mark.parametrize("good", PATHS)
@given(data=some.data())
def test_given_any_path_then_it_is_one_tile_or_not_found(good: str, data: some.DataObject) -> None:
    asked = as_text(data.draw(changed(good.encode())))
    try:
        tile = parse(asked)
    except ConsentError as refused:
        assert refused.code == "not_found"
        return
    assert path(tile) == asked
