"""What a witness answers, as C2SP tlog-witness has it, and what it remembers then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from consent_domain.checkpoints import text
from consent_domain.notes import Note, encode_base64, format_note, parse_note, parse_signature_lines
from consent_gate.signatures import Signer
from consent_gate.witness.rules import BODY_BYTES_MAX, PROOF_LINES_MAX, Rejection, parse_request
from consent_gate.witness.witness import TLOG_SIZE, Answer, Witness
from hypothesis import given, settings
from hypothesis import strategies as st
from witnessed import COSIGNER, LOG, SIGNER, Tree, witness_on

NOW = 1_800_000_000
HONEST = Tree()
FORKED = Tree(forked_at=5)
"""The same first five leaves, then others."""


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return witness_on(tmp_path / "state")


def ask(witness: Witness, body: bytes) -> Answer:
    return witness.add_checkpoint(body, NOW)


def size_of(witness: Witness) -> int:
    return witness.sizes()[LOG]


def cosigned(witness: Witness, *sizes: int) -> None:
    old = 0
    for size in sizes:
        assert ask(witness, HONEST.request(old, size)).status == 200
        old = size


# -- 200 -----------------------------------------------------------------------------------------------------


def test_given_nothing_cosigned_when_a_first_checkpoint_comes_then_its_cosignature_is_answered(
    witness: Witness,
) -> None:
    answer = ask(witness, HONEST.request(0, 7))
    assert (answer.status, answer.body.startswith("— ".encode())) == (200, True)
    (signature,) = parse_signature_lines(answer.body.decode())
    assert COSIGNER.verifier.verify(text(HONEST.checkpoint(7)), signature) == NOW
    assert size_of(witness) == 7


@pytest.mark.parametrize(("old", "size"), [(1, 2), (3, 7), (8, 16), (255, 257), (512, 599)])
def test_given_a_tree_cosigned_when_a_larger_one_continues_it_then_it_is_cosigned(
    witness: Witness, old: int, size: int
) -> None:
    cosigned(witness, old)
    assert ask(witness, HONEST.request(old, size)).status == 200
    assert size_of(witness) == size


def test_given_a_tree_cosigned_when_it_comes_again_then_it_is_cosigned_again(witness: Witness) -> None:
    cosigned(witness, 7)
    assert ask(witness, HONEST.request(7, 7)).status == 200


def test_given_an_empty_log_then_it_is_cosigned_and_may_grow(witness: Witness) -> None:
    assert ask(witness, HONEST.request(0, 0)).status == 200
    assert ask(witness, HONEST.request(0, 3)).status == 200
    assert size_of(witness) == 3


def test_given_a_checkpoint_with_more_lines_then_they_are_cosigned_too(witness: Witness) -> None:
    answer = ask(witness, HONEST.request(0, 7, note=HONEST.note(7, "Timestamp: 1", "more")))
    (signature,) = parse_signature_lines(answer.body.decode())
    COSIGNER.verifier.verify(text(HONEST.checkpoint(7, "Timestamp: 1", "more")), signature)


def test_given_signatures_of_strangers_beside_the_log_s_then_they_are_ignored_and_not_kept(
    witness: Witness,
) -> None:
    note = HONEST.note(7, signers=(Signer("other.example", b"o" * 32), Signer(LOG, b"x" * 32), SIGNER))
    assert ask(witness, HONEST.request(0, 7, note=note)).status == 200
    kept = witness.latest(LOG)
    assert kept is not None
    signers = [(one.name, one.key_hash) for one in parse_note(kept).signatures]
    assert signers == [
        (LOG, SIGNER.verifier.key_hash),
        (COSIGNER.verifier.name, COSIGNER.verifier.key_hash),
    ]


def test_given_two_keys_of_a_log_then_either_may_sign(tmp_path: Path) -> None:
    witness = witness_on(tmp_path / "state")
    new = Signer(LOG, b"n" * 32)
    both = Witness(COSIGNER, witness._state, {LOG: [SIGNER.verifier, new.verifier]})
    assert ask(both, HONEST.request(0, 7)).status == 200
    assert ask(both, HONEST.request(7, 9, note=HONEST.note(9, signers=(new,)))).status == 200


# -- 400, 403, 404 -------------------------------------------------------------------------------------------

MALFORMED = {
    "nothing": b"",
    "no empty line": b"old 0\n" + HONEST.note(7).replace(b"\n\n", b"\n"),
    "no old size": b"\n\n" + HONEST.note(7),
    "another word": HONEST.request(0, 7).replace(b"old", b"new"),
    "two spaces": HONEST.request(0, 7).replace(b"old ", b"old  "),
    "a leading zero": HONEST.request(0, 7).replace(b"old 0", b"old 00"),
    "a sign": HONEST.request(0, 7).replace(b"old 0", b"old +0"),
    "no number": HONEST.request(0, 7).replace(b"old 0", b"old x"),
    "Arabic digits": HONEST.request(0, 7).replace(b"old 0", "old ٣".encode()),
    "2^63": HONEST.request(0, 7).replace(b"old 0", b"old 9223372036854775808"),
    "carriage returns": HONEST.request(0, 7).replace(b"\n", b"\r\n"),
    "proof is no base64": HONEST.request(3, 7, ["!"]),
    "proof without padding": HONEST.request(3, 7, [HONEST.proof(3, 7)[0].rstrip("=")]),
    "proof of 31 bytes": HONEST.request(3, 7, [encode_base64(b"x" * 31)]),
    "64 lines of proof": HONEST.request(3, 7, [encode_base64(b"x" * 32)] * (PROOF_LINES_MAX + 1)),
    "no checkpoint": b"old 0\n\n",
    "no signature": b"old 0\n\n" + text(HONEST.checkpoint(7)).encode() + b"\n",
    "size of the tree is no number": HONEST.request(0, 7).replace(b"\n7\n", b"\nseven\n"),
    "root of 3 bytes": HONEST.request(0, 7).replace(
        encode_base64(HONEST.checkpoint(7).root).encode(), b"AAAA"
    ),
    "old size is larger": HONEST.request(9, 7, []),
    "cut off": HONEST.request(0, 7)[:-1],
    "not UTF-8": HONEST.request(0, 7) + b"\xff",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_given_a_request_that_is_none_then_400(witness: Witness, body: bytes) -> None:
    assert ask(witness, body).status == 400
    assert size_of(witness) == 0


@settings(max_examples=300)
@given(st.binary(max_size=400) | st.binary(max_size=40).map(lambda noise: HONEST.request(0, 7) + noise))
def test_given_any_bytes_then_a_request_is_read_or_rejected_and_nothing_else(body: bytes) -> None:
    try:
        parse_request(body)
    except Rejection as rejection:
        assert rejection.status == 400


def test_given_63_lines_of_proof_then_they_are_read() -> None:
    body = HONEST.request(3, 7, [encode_base64(b"x" * 32)] * PROOF_LINES_MAX)
    assert len(parse_request(body).proof) == PROOF_LINES_MAX
    assert len(body) < BODY_BYTES_MAX


def test_given_a_log_that_is_not_listed_then_404(witness: Witness) -> None:
    other = Tree(name="other.example/log")
    note = other.note(7, signers=(Signer("other.example/log", b"l" * 32),))
    assert ask(witness, other.request(0, 7, note=note)).status == 404


def test_given_a_later_epoch_of_a_log_that_is_listed_then_404_until_it_is_listed_too(
    witness: Witness,
) -> None:
    name = f"{LOG}/2"
    epoch = Tree(name=name)
    note = epoch.note(7, signers=(Signer(name, b"l" * 32),))
    assert ask(witness, epoch.request(0, 7, note=note)).status == 404


def test_given_a_checkpoint_that_only_strangers_signed_then_403(witness: Witness) -> None:
    note = HONEST.note(7, signers=(Signer(LOG, b"x" * 32),))
    assert ask(witness, HONEST.request(0, 7, note=note)).status == 403


def test_given_the_log_s_signature_of_another_tree_then_403(witness: Witness) -> None:
    lie = text(FORKED.checkpoint(7))
    signature = SIGNER.sign_note(text(HONEST.checkpoint(7)))
    assert ask(witness, HONEST.request(0, 7, note=format_note(Note(lie, (signature,))))).status == 403
    assert size_of(witness) == 0


# -- 409, 422 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "size"), [(0, 9), (3, 9), (8, 9), (3, 7), (0, 0)])
def test_given_another_old_size_than_the_last_then_409_with_the_last(
    witness: Witness, old: int, size: int
) -> None:
    cosigned(witness, 7)
    answer = ask(witness, HONEST.request(old, size))
    assert answer == Answer(409, TLOG_SIZE, b"7\n")


def test_given_nothing_cosigned_and_an_old_size_then_409_with_0(witness: Witness) -> None:
    assert ask(witness, HONEST.request(3, 7)) == Answer(409, TLOG_SIZE, b"0\n")


def test_given_the_same_size_and_another_root_then_409_without_a_size(witness: Witness) -> None:
    cosigned(witness, 7)
    answer = ask(witness, FORKED.request(7, 7))
    assert (answer.status, answer.content_type == TLOG_SIZE) == (409, False)


@pytest.mark.parametrize(
    "proof",
    [
        [],
        HONEST.proof(3, 9)[:-1],
        [*HONEST.proof(3, 9), encode_base64(b"x" * 32)],
        list(reversed(HONEST.proof(3, 9))),
        HONEST.proof(4, 9),
        FORKED.proof(3, 9),
    ],
)
def test_given_a_proof_that_leads_elsewhere_then_422(witness: Witness, proof: list[str]) -> None:
    cosigned(witness, 3)
    assert ask(witness, HONEST.request(3, 9, proof)).status == 422
    assert size_of(witness) == 3


def test_given_an_old_size_of_0_and_a_proof_then_422(witness: Witness) -> None:
    assert ask(witness, HONEST.request(0, 7, HONEST.proof(3, 7))).status == 422


def test_given_the_last_size_and_a_proof_then_422(witness: Witness) -> None:
    cosigned(witness, 7)
    assert ask(witness, HONEST.request(7, 7, HONEST.proof(3, 7))).status == 422


# -- alarms --------------------------------------------------------------------------------------------------


def evidence_of(witness: Witness) -> list[tuple[str, int]]:
    with witness._state.transaction() as transaction:
        return [(one.alarm, one.tree.size) for one in transaction.evidence(1_000)]


def test_given_a_fork_at_the_last_size_then_both_checkpoints_are_kept(
    witness: Witness, capsys: pytest.CaptureFixture[str]
) -> None:
    cosigned(witness, 7)
    ask(witness, FORKED.request(7, 7))
    with witness._state.transaction() as transaction:
        (evidence,) = transaction.evidence(10)
    assert parse_note(evidence.cosigned).text == text(HONEST.checkpoint(7))
    assert parse_request(evidence.submitted).note == FORKED.note(7)
    told = json.loads(capsys.readouterr().err)
    assert (told["level"], told["event"], told["log"], told["size"]) == ("critical", "fork", LOG, 7)


def test_given_a_fork_at_an_earlier_size_then_it_is_proven_whatever_is_answered(witness: Witness) -> None:
    cosigned(witness, 3, 7, 9)
    assert ask(witness, FORKED.request(9, 7, [])).status == 400
    assert ask(witness, FORKED.request(3, 7)).status == 409
    assert evidence_of(witness) == [("fork", 7)], "once: it is the same one"


def test_given_a_fork_that_grows_then_it_is_not_cosigned_and_kept_as_inconsistent(
    witness: Witness, capsys: pytest.CaptureFixture[str]
) -> None:
    cosigned(witness, 7)
    assert ask(witness, FORKED.request(7, 9)).status == 422
    assert evidence_of(witness) == [("inconsistent", 9)]
    assert json.loads(capsys.readouterr().err)["level"] == "warning", "anybody could have sent a bad proof"


def test_given_an_honest_checkpoint_that_comes_late_then_it_is_no_alarm(witness: Witness) -> None:
    cosigned(witness, 3, 9)
    for old, size in ((0, 3), (3, 3), (3, 7), (9, 3)):
        assert ask(witness, HONEST.request(old, size, [])).status in (400, 409)
    assert evidence_of(witness) == []


def test_given_very_many_bad_proofs_then_what_is_kept_is_bounded(
    witness: Witness, capsys: pytest.CaptureFixture[str]
) -> None:
    cosigned(witness, 3)
    for size in range(4, 130):
        ask(witness, HONEST.request(3, size, []))
    assert len(evidence_of(witness)) == 100


def test_given_a_state_of_yesterday_when_todays_own_cosignature_comes_then_nothing_is_cosigned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state"
    cosigned(witness_on(path), 3)
    yesterday = path.read_bytes()
    assert ask(witness_on(path), HONEST.request(3, 9)).status == 200
    today = witness_on(path).latest(LOG)
    assert today is not None
    path.write_bytes(yesterday)

    restored = witness_on(path)
    assert ask(restored, HONEST.request(3, 9, note=today)).status == 500
    assert evidence_of(restored) == [("rolled_back", 9)]
    assert json.loads(capsys.readouterr().err)["level"] == "critical"


def test_given_a_state_that_is_put_back_under_a_running_witness_then_it_cosigns_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state"
    witness = witness_on(path)
    cosigned(witness, 3)
    yesterday = path.read_bytes()
    assert ask(witness, HONEST.request(3, 9)).status == 200
    path.write_bytes(yesterday)
    assert ask(witness, FORKED.request(3, 9)).status == 500
    assert ask(witness, HONEST.request(3, 9)).status == 500
    assert size_of(witness) == 3
    assert json.loads(capsys.readouterr().err.splitlines()[0])["event"] == "rolled_back"


def test_given_somebody_who_writes_our_name_under_a_checkpoint_then_it_means_nothing(
    witness: Witness,
) -> None:
    forged = COSIGNER.cosign(text(HONEST.checkpoint(9)), NOW)
    assert ask(witness, HONEST.request(0, 7, note=HONEST.note(7, others=(forged,)))).status == 200


# -- always --------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 20), st.booleans()),
        min_size=1,
        max_size=25,
    )
)
def test_whatever_is_asked_then_what_was_cosigned_is_one_tree_that_only_grows(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[bool, int, int, bool]]
) -> None:
    witness = witness_on(tmp_path_factory.mktemp("any") / "state")
    answered: list[tuple[bool, int]] = []
    for is_fork, old, size, fits in asked:
        tree, old = (FORKED if is_fork else HONEST), (size_of(witness) if fits else old)
        body = tree.request(old, size, None if old <= size else [])
        before = size_of(witness)
        if ask(witness, body).status == 200:
            assert before == old <= size == size_of(witness)
            answered.append((is_fork, size))
        else:
            assert size_of(witness) == before
    beyond_the_fork = {is_fork for is_fork, size in answered if size > 5}
    assert len(beyond_the_fork) <= 1, "both sides of a fork were cosigned"
