"""Signed notes and checkpoints: published ones verify, every forgery is refused, witnesses are counted."""

from __future__ import annotations

from base64 import b64decode

import pytest
from consent_domain.checkpoints import Checkpoint, text
from consent_domain.errors import ConsentError
from consent_domain.notes import Note, NoteSignature, format_note, parse_note
from consent_domain.proofs import ProofInvalid
from consent_domain.witness_policy import WitnessPolicy, parse_policy
from consent_gate.checkpoints import log_keys, open_checkpoint
from consent_gate.signatures import (
    TIME_MAX,
    CosignatureVerifier,
    Cosigner,
    Signer,
    Verifier,
    WrongSignature,
)

# The example of the Go package golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ry"
    "yBwJnAM=\n"
)

LOG = Signer("example.com/log", b"l" * 32)
NEXT = Signer("example.com/log", b"n" * 32)
STRANGER = Signer("example.com/log", b"s" * 32)
WITNESSES = [Cosigner(f"witness.example/{number}", bytes([number]) * 32) for number in range(3)]
TEXT = text(Checkpoint("example.com/log", 3, b"r" * 32))
OTHER_TEXT = text(Checkpoint("example.com/log", 3, b"R" * 32))
TIME = 1_700_000_000


def policy(quorum: str) -> WitnessPolicy:
    lines = [f"witness {name} {witness.verifier}\n" for name, witness in zip("ABC", WITNESSES, strict=True)]
    return parse_policy("".join(lines) + quorum)


TWO = policy("group two 2 A B C\nquorum two\n")


def note(*signatures: NoteSignature, body: str = TEXT) -> bytes:
    return format_note(Note(body, signatures))


def spoiled(signature: NoteSignature) -> NoteSignature:
    return signature._replace(signature=signature.signature[:-1] + bytes([signature.signature[-1] ^ 1]))


def test_given_the_published_note_of_the_go_package_then_it_verifies_and_a_changed_one_does_not() -> None:
    published = parse_note(PETERS_NOTE.encode())
    key = Verifier.parse(PETER)
    assert str(key) == PETER
    key.verify_note(published.text, published.signatures[0])
    for body, signature in (
        (published.text.replace("problem is", "problem was"), published.signatures[0]),
        (published.text, spoiled(published.signatures[0])),
        (published.text, published.signatures[0]._replace(name="PeterNewman")),
        (published.text, published.signatures[0]._replace(key_hash=b"1234")),
        (published.text, published.signatures[0]._replace(signature=b"")),
    ):
        with pytest.raises(WrongSignature):
            key.verify_note(body, signature)


def test_given_a_signers_note_then_its_verifier_accepts_it_and_the_signature_is_the_plain_one() -> None:
    signature = LOG.sign_note(TEXT)
    LOG.verifier.verify_note(TEXT, signature)
    assert signature.signature == LOG.sign(b"", TEXT.encode())


def test_given_a_cosigner_then_its_key_is_of_its_own_kind_and_tells_the_time() -> None:
    witness = WITNESSES[0]
    key = CosignatureVerifier.parse(str(witness.verifier))
    assert b64decode(str(key).split("+", 2)[2])[0] == 4
    for time in (0, TIME, TIME_MAX):
        assert key.verify(TEXT, witness.cosign(TEXT, time)) == time
    assert key.key_hash != Signer("witness.example/0", bytes(32)).verifier.key_hash


def test_given_a_cosignature_that_was_changed_then_it_is_refused() -> None:
    key, good = WITNESSES[0].verifier, WITNESSES[0].cosign(TEXT, TIME)
    later = (TIME + 1).to_bytes(8, "big") + good.signature[8:]
    for body, signature in (
        (OTHER_TEXT, good),
        (TEXT, good._replace(signature=later)),
        (TEXT, good._replace(signature=good.signature[8:])),
        (TEXT, good._replace(signature=b"")),
        (TEXT, good._replace(signature=b"\xff" * 72)),
        (TEXT, good._replace(name="witness.example/1")),
        (TEXT, WITNESSES[1].cosign(TEXT, TIME)),
        (TEXT, spoiled(good)),
    ):
        with pytest.raises(WrongSignature):
            key.verify(body, signature)


def test_given_the_same_seed_then_a_logs_signature_never_passes_for_a_witness_nor_the_other_way() -> None:
    seed, name = b"x" * 32, "example.com/log"
    log, witness = Signer(name, seed), Cosigner(name, seed)
    with pytest.raises(WrongSignature):
        witness.verifier.verify(TEXT, log.sign_note(TEXT)._replace(key_hash=witness.verifier.key_hash))
    with pytest.raises(WrongSignature):
        log.verifier.verify_note(TEXT, witness.cosign(TEXT, TIME)._replace(key_hash=log.verifier.key_hash))


@pytest.mark.parametrize("kind", [Verifier, CosignatureVerifier])
def test_given_a_key_of_another_kind_or_mistyped_then_it_is_no_key(
    kind: type[Verifier] | type[CosignatureVerifier],
) -> None:
    other = str(WITNESSES[0].verifier) if kind is Verifier else PETER
    for key in (other, "", "name", PETER[:-4], PETER.replace("c74f", "c74e"), "a+b+c", "ü" * 300):
        with pytest.raises(ConsentError) as refused:
            kind.parse(key)
        assert refused.value.code == "invalid_value"


# --- Checkpoints -------------------------------------------------------------------------------------------


def test_given_a_checkpoint_signed_by_the_pinned_key_then_it_opens() -> None:
    opened = open_checkpoint(note(LOG.sign_note(TEXT)), [LOG.verifier])
    assert opened.checkpoint == Checkpoint("example.com/log", 3, b"r" * 32)
    assert opened.signed_by == (str(LOG.verifier),) and opened.cosigned_by == {}


@pytest.mark.parametrize(
    "data",
    [
        note(STRANGER.sign_note(TEXT)),
        note(spoiled(LOG.sign_note(TEXT))),
        note(LOG.sign_note(OTHER_TEXT)),
        note(STRANGER.sign_note(TEXT)._replace(key_hash=LOG.verifier.key_hash)),
        note(LOG.sign_note(TEXT)._replace(name="example.com/log2")),
        note(WITNESSES[0].cosign(TEXT, TIME)),
        note(LOG.sign_note(TEXT), spoiled(LOG.sign_note(TEXT))),
        note(NEXT.sign_note(TEXT), spoiled(LOG.sign_note(TEXT))),
    ],
)
def test_given_a_checkpoint_that_no_pinned_key_signed_or_one_signed_wrongly_then_it_is_refused(
    data: bytes,
) -> None:
    with pytest.raises(WrongSignature):
        open_checkpoint(data, [LOG.verifier, NEXT.verifier])


def test_given_no_keys_then_nothing_opens() -> None:
    with pytest.raises(WrongSignature, match="known: none"):
        open_checkpoint(note(LOG.sign_note(TEXT)), [])


def test_given_lines_of_unknown_keys_then_they_are_ignored() -> None:
    garbage = NoteSignature("example.com/log", b"none", b"of a kind nobody knows")
    stranger = spoiled(STRANGER.sign_note(TEXT))
    opened = open_checkpoint(note(garbage, stranger, LOG.sign_note(TEXT), garbage), [LOG.verifier])
    assert opened.signed_by == (str(LOG.verifier),)


def test_given_an_overlap_of_two_keys_then_either_opens_it_and_both_are_told() -> None:
    data = note(NEXT.sign_note(TEXT), LOG.sign_note(TEXT))
    assert open_checkpoint(data, [LOG.verifier]).signed_by == (str(LOG.verifier),)
    assert open_checkpoint(data, [LOG.verifier, NEXT.verifier]).signed_by == (
        str(NEXT.verifier),
        str(LOG.verifier),
    )


def test_given_another_log_of_the_same_key_then_it_opens_only_under_its_own_name() -> None:
    second = text(Checkpoint("example.com/log/2", 3, b"r" * 32))
    signer = Signer("example.com/log/2", b"l" * 32)
    data = note(signer.sign_note(second), body=second)
    assert open_checkpoint(data, [LOG.verifier.renamed("example.com/log/2")]).checkpoint.size == 3
    for body in (second, TEXT):
        with pytest.raises(WrongSignature):
            open_checkpoint(note(signer.sign_note(body), body=body), [LOG.verifier])
    with pytest.raises(WrongSignature):
        # The key of the first log signs the second's text: nobody knows it by that name.
        open_checkpoint(note(LOG.sign_note(second), body=second), [LOG.verifier])


@pytest.mark.parametrize("body", ["no checkpoint\n", "example.com/log\n3\nAAAA\n", "\n"])
def test_given_a_signed_note_that_is_no_checkpoint_then_it_is_malformed(body: str) -> None:
    with pytest.raises(ConsentError) as refused:
        open_checkpoint(note(LOG.sign_note(body), body=body), [LOG.verifier])
    assert refused.value.code == "malformed"


# --- Witnesses ---------------------------------------------------------------------------------------------


def test_given_enough_witnesses_then_it_opens_and_says_who_saw_it_when() -> None:
    data = note(
        LOG.sign_note(TEXT), *(witness.cosign(TEXT, TIME + at) for at, witness in enumerate(WITNESSES[1:]))
    )
    assert open_checkpoint(data, [LOG.verifier], TWO).cosigned_by == {"B": TIME, "C": TIME + 1}


def test_given_one_witness_twice_then_it_counts_once_with_its_later_time() -> None:
    both = [WITNESSES[0].cosign(TEXT, time) for time in (TIME + 9, TIME)]
    data = note(LOG.sign_note(TEXT), *both)
    with pytest.raises(ProofInvalid, match="1 more of 3 needed"):
        open_checkpoint(data, [LOG.verifier], TWO)
    assert open_checkpoint(data, [LOG.verifier], policy("quorum A\n")).cosigned_by == {"A": TIME + 9}


@pytest.mark.parametrize(
    "cosignatures",
    [
        [],
        [WITNESSES[0].cosign(TEXT, TIME)],
        [WITNESSES[0].cosign(TEXT, TIME), Cosigner("witness.example/1", b"?" * 32).cosign(TEXT, TIME)],
        [WITNESSES[0].cosign(TEXT, TIME), WITNESSES[1].cosign(TEXT, TIME)._replace(name="witness.example/9")],
    ],
)
def test_given_too_few_witnesses_then_it_does_not_open(cosignatures: list[NoteSignature]) -> None:
    with pytest.raises(ProofInvalid, match="too few witnesses"):
        open_checkpoint(note(LOG.sign_note(TEXT), *cosignatures), [LOG.verifier], TWO)


def test_given_a_wrong_cosignature_of_a_known_witness_then_it_is_refused_though_others_suffice() -> None:
    good = [witness.cosign(TEXT, TIME) for witness in WITNESSES]
    for bad in (spoiled(good[2]), WITNESSES[2].cosign(OTHER_TEXT, TIME)):
        with pytest.raises(WrongSignature):
            open_checkpoint(note(LOG.sign_note(TEXT), *good[:2], bad), [LOG.verifier], TWO)


def test_given_enough_witnesses_and_no_signature_of_the_log_then_it_does_not_open() -> None:
    with pytest.raises(WrongSignature):
        open_checkpoint(note(*(witness.cosign(TEXT, TIME) for witness in WITNESSES)), [LOG.verifier], TWO)


def test_given_a_policy_with_logs_then_their_keys_open_their_checkpoints() -> None:
    listed = parse_policy(f"log {LOG.verifier} https://log.example\nlog {NEXT.verifier}\nquorum none\n")
    assert [str(key) for key in log_keys(listed)] == [str(LOG.verifier), str(NEXT.verifier)]
    assert open_checkpoint(note(NEXT.sign_note(TEXT)), log_keys(listed), listed).signed_by == (
        str(NEXT.verifier),
    )
