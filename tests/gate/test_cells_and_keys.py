"""The bytes of cells, keys and pages: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

from typing import Any

import pytest
from consent_domain.errors import ConsentError, Unreadable
from consent_domain.facts import Attributes, WorkspaceFacts
from consent_domain.feed import PAGE_CONTEXT, Row, Signed, Watermark, decode_page, encode_page, encode_signed
from consent_gate import cells
from consent_gate.signatures import Signer, Verifier, WrongSignature, read_page
from gate_ledger import ORIGIN, SIGNER, page, signed
from hypothesis import given
from hypothesis import strategies as st
from scenario import enrolled

RFC_8032_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
"""RFC 8032 §7.1, test 1."""
RFC_8032_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


@given(st.integers(0, (1 << 16) - 1), st.integers(0, (1 << 40) - 1), st.integers(-(1 << 55), (1 << 55) - 1))
def test_a_plain_cell_takes_15_bytes_and_reads_back(number: int, ordinal: int, since: int) -> None:
    facts = WorkspaceFacts("production", ordinal, since, (Attributes(since, ordinal, "pro", "eu", "c", "o"),))
    cell = cells.encode_plain(number, facts)
    assert cell is not None and len(cell) == 15
    assert cells.decode_plain(cell) == (number, ordinal, since)
    assert cells.plain_facts(cell, cells.decode_class(cells.class_of(facts))) == facts


@given(st.integers(-(1 << 55), (1 << 55) - 1), st.integers(-(1 << 55), (1 << 55) - 1))
def test_instants_in_cells_sort_as_instants_do(one: int, other: int) -> None:
    assert (one < other) == (cells.encode_instant(one) < cells.encode_instant(other))


@pytest.mark.parametrize(("ordinal", "since"), [(1 << 40, 0), (1, 1 << 55), (1, -(1 << 55) - 1)])
def test_given_numbers_that_do_not_fit_then_there_is_no_plain_cell(ordinal: int, since: int) -> None:
    facts = WorkspaceFacts("production", ordinal, since, (Attributes(since, ordinal, "", "", "", ""),))
    assert cells.encode_plain(1, facts) is None


def test_a_verifier_key_is_written_as_signed_note_says() -> None:
    signer = Signer("example.com/feed", RFC_8032_SEED)
    text = str(signer.verifier)
    name, hashed, encoded = text.split("+", 2)
    assert (name, len(hashed)) == ("example.com/feed", 8)
    assert Verifier.parse(text).key_hash.hex() == hashed
    assert str(Verifier("example.com/feed", RFC_8032_PUBLIC)) == text
    assert encoded.startswith("A")  # the first byte says Ed25519


def test_a_signature_is_that_of_rfc_8032() -> None:
    expected = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    assert Signer("a", RFC_8032_SEED).sign(b"", b"").hex() == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "a+b", "a+00000000+AQID", "a b+00000000+AQID", "a+zz+!!!", str(SIGNER.verifier)[:-4] + "AAA="],
)
def test_a_mistyped_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(ConsentError, match="invalid_value"):
        Verifier.parse(text)


def test_given_a_page_that_was_signed_then_it_reads_back() -> None:
    sent = page(enrolled())
    assert read_page(signed(sent), SIGNER.verifier) == sent


def test_given_a_page_with_any_byte_changed_then_it_is_refused() -> None:
    data = signed(page(enrolled()))
    for index in range(0, len(data), 7):
        changed = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        with pytest.raises(Unreadable):
            read_page(changed, SIGNER.verifier)


def test_given_a_page_signed_by_another_key_of_the_same_name_then_it_is_refused() -> None:
    other = Signer(SIGNER.verifier.name, bytes(32))
    with pytest.raises(WrongSignature):
        read_page(signed(page(enrolled()), other), SIGNER.verifier)


def test_given_a_signature_of_the_same_key_for_something_else_then_it_is_refused() -> None:
    message = encode_page(page(enrolled()))
    for context in (b"", b"consent.v1.manifest\n"):
        forged = Signed(message, SIGNER.verifier.key_hash, SIGNER.sign(context, message))
        with pytest.raises(WrongSignature):
            read_page(encode_signed(forged), SIGNER.verifier)
    assert PAGE_CONTEXT.endswith(b"\n")


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2},
        {"watermark": Watermark("other", 1, 100, 1)},
        {"watermark": Watermark(ORIGIN, 2, 100, 1)},
        {"watermark": Watermark(ORIGIN, 1, 1, 1)},
        {"after": 100},
        {"through": 2},
        {"more": True, "rows": []},
        {"more": True},
        {"rows": [Row("person", "acme", 3, b"")]},
        {"rows": [Row("workspace", "no id", 3, b"")]},
        {"rows": [Row("workspace", "a", 3, b""), Row("workspace", "b", 3, b"")]},
        {"rows": [Row("workspace", "a", 0, b"")]},
        {"rows": [Row("workspace", "a", 50, b"")]},
    ],
)
def test_a_page_that_cannot_be_is_refused_although_it_is_signed(changed: dict[str, Any]) -> None:
    ledger = enrolled()
    told = page(ledger, **changed)
    if changed == {"more": True}:
        told = page(ledger, more=True, through=len(ledger.log) + 1, watermark=Watermark(ORIGIN, 1, 100, 1))
    with pytest.raises(Unreadable):
        decode_page(encode_page(told))


@pytest.mark.parametrize("data", [b"", b"\x93", b"{}", b"\xc1" * 10, b"\x93\xc4\x00\xc4\x00"])
def test_bytes_that_are_no_page_are_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read_page(data, SIGNER.verifier)


@given(st.binary(max_size=40), st.binary(max_size=40), st.data())
def test_given_any_bit_of_a_key_or_its_value_flipped_then_the_checksum_does_not_fit(
    key: bytes, value: bytes, data: st.DataObject
) -> None:
    stored = cells.summed(key, value)
    assert cells.unsummed(key, stored) == value
    together = bytearray(key + stored)
    bit = data.draw(st.integers(0, 8 * len(together) - 1))
    together[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ConsentError, match="damaged"):
        cells.unsummed(bytes(together[: len(key)]), bytes(together[len(key) :]))
