"""Notes, checkpoints, proofs and policies as text: examples of the specifications, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from consent_domain.checkpoints import Checkpoint, epoch_of, log_name, parse_checkpoint, prefix_of, text
from consent_domain.errors import ConsentError
from consent_domain.merkle import EMPTY_ROOT
from consent_domain.notes import (
    COSIGNS,
    SIGNATURES_MAX,
    SIGNS_NOTES,
    KeyText,
    Note,
    NoteSignature,
    encode_base64,
    format_note,
    parse_key,
    parse_note,
    parse_signature_lines,
    signature_line,
)
from consent_domain.proofs import PROOF_HASHES_MAX, SIZE_MAX
from consent_domain.tlog_proofs import TlogProof, format_proof, parse_proof
from consent_domain.witness_policy import DEFINITIONS_MAX, WitnessPolicy, parse_policy

# tlog-checkpoint and tlog-cosignature print this one.
SOFA = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501
# signed-note prints this one.
QUASIMODO = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(ConsentError) as raised:
        act()
    assert raised.value.code == "malformed"
    return raised.value.detail


# --- Notes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("note", [SOFA, QUASIMODO])
def test_given_the_notes_of_the_specifications_then_they_are_read_and_written_back(note: str) -> None:
    read = parse_note(note.encode())
    assert format_note(read) == note.encode()
    assert note.startswith(read.text) and read.text.endswith("\n")
    assert [signature.name for signature in read.signatures] == [
        line.split()[1] for line in note.splitlines() if line.startswith("—")
    ]


def test_given_a_text_with_empty_lines_then_the_last_one_separates_it() -> None:
    assert parse_note(QUASIMODO.encode()).text.endswith("sole:\n\ned è subito sera.\n")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda note: "",
        lambda note: note[:-1],
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note.split("\n\n")[0] + "\n\n",
        lambda note: note + "\n",
        lambda note: note + "trailing\n",
        lambda note: note.replace("—", "-"),
        lambda note: note.replace("— ", "—\u00a0"),
        lambda note: note.replace("— ", "—"),
        lambda note: note.replace("\n", "\r\n"),
        lambda note: note.replace("20852163", "2085\t2163"),
        lambda note: note.replace("20852163", "2085\x002163"),
        lambda note: note.replace("sofa Az", "sofa  Az"),
        lambda note: note.replace("sofa Az", "so+fa Az"),
        lambda note: note.replace("sofa Az", "so\u2003fa Az"),
        lambda note: note.replace("YQ8=\n", "YQ8\n"),
        lambda note: note.replace("YQ8=\n", "YQ9=\n"),
        lambda note: note.replace("YQ8=\n", "YQ8= \n"),
        lambda note: note + "— a AAAA\n",
        lambda note: note + "— a AAAAAA==\n",
        lambda note: note + "— AAAAAAAA\n",
        lambda note: note + f"— {'a' * 256} AAAAAAAA\n",
        lambda note: note + f"— a {encode_base64(bytes(10_000))}\n",
        lambda note: note + "— a AAAAAAAA\n" * SIGNATURES_MAX,
        lambda note: "x" * (1 << 20) + note,
    ],
)
def test_given_a_note_with_something_wrong_then_it_is_malformed(spoil: Callable[[str], str]) -> None:
    assert spoil(SOFA) != SOFA
    refused(lambda: parse_note(spoil(SOFA).encode()))


def test_given_bytes_that_are_not_utf_8_then_they_are_malformed() -> None:
    refused(lambda: parse_note(SOFA.encode()[:-20] + b"\xff" + SOFA.encode()[-20:]))
    refused(lambda: parse_note(b"\xed\xa0\x80" + SOFA.encode()))


def test_given_a_hundred_signatures_then_they_are_read() -> None:
    assert (
        len(parse_note((SOFA + "— a AAAAAAAA\n" * (SIGNATURES_MAX - 2)).encode()).signatures)
        == SIGNATURES_MAX
    )


def test_given_a_note_that_could_not_be_read_back_then_it_is_not_written() -> None:
    signature = NoteSignature("a", b"1234", b"5")
    for note in (
        Note("no newline", (signature,)),
        Note("text\n", ()),
        Note("text\r\n", (signature,)),
        Note("text\n", (signature._replace(name="a b"),)),
        Note("text\n", (signature._replace(name="a\n— b"),)),
        Note("text\n", (signature._replace(key_hash=b"123"),)),
        Note("text\n", (signature._replace(signature=b""),)),
        Note("\ud800\n", (signature,)),
    ):
        refused(lambda note=note: format_note(note))  # type: ignore[misc]


def test_given_the_answer_of_a_witness_then_its_lines_are_read() -> None:
    signatures = parse_note(SOFA.encode()).signatures
    assert parse_signature_lines("".join(map(signature_line, signatures))) == signatures
    assert parse_signature_lines("") == ()
    for lines in ("\n", signature_line(signatures[0])[:-1], signature_line(signatures[0]) + "\n"):
        refused(lambda lines=lines: parse_signature_lines(lines))  # type: ignore[misc]


# --- Keys --------------------------------------------------------------------------------------------------


def test_given_the_published_key_of_the_go_package_then_it_is_read_and_written_back() -> None:
    key = parse_key(PETER)
    assert (key.name, key.kind, key.key_hash.hex(), str(key)) == (
        "PeterNeumann",
        SIGNS_NOTES,
        "c74f20a3",
        PETER,
    )


@pytest.mark.parametrize(
    "key",
    [
        "",
        "+",
        "++",
        "a+b",
        PETER[:-1],
        PETER[1:],
        PETER + "=",
        PETER + " ",
        "\n" + PETER,
        PETER.upper(),
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("c74f20a3", "c74f20a2"),
        "Peter Neumann" + PETER[12:],
        "a+00000000+",
        "a+00000000+AQ==",
        "a+" * 5000,
        "\ud800" + PETER,
    ],
)
def test_given_anything_else_then_it_is_no_key(key: str) -> None:
    refused(lambda: parse_key(key))


# --- Checkpoints -------------------------------------------------------------------------------------------


def test_given_the_checkpoint_of_the_specification_then_it_is_read_and_written_back() -> None:
    note = parse_note(SOFA.encode())
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.name, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert text(checkpoint) == note.text
    extended = checkpoint._replace(extensions=("one", "two words"))
    assert parse_checkpoint(text(extended)) == extended


ROOT = encode_base64(b"r" * 32)


SIZES = ["01", "-1", "+1", " 1", "1 ", "1_0", "١", "0x1", "", "9" * 5000, str(SIZE_MAX + 1)]


@pytest.mark.parametrize(
    "note_text",
    [
        *(f"a\n{size}\n{ROOT}\n" for size in SIZES),
        *("", "\n", "a\n1\n", f"a\n1\n{ROOT}", f"\n1\n{ROOT}\n", f"a\n\n{ROOT}\n", f"a\n1\n\n{ROOT}\n"),
        *(f"a\n1\n{root}\n" for root in (ROOT[:-1], ROOT + " ", encode_base64(b"short"), ROOT + ROOT)),
        *(f"a\n1\n{ROOT}\n\n", f"a\n1\n{ROOT}\nx\n\ny\n", f"a\n1\n{ROOT}\n" + "x" * (1 << 20) + "\n"),
        *(f"a\x00\n1\n{ROOT}\n", f"a\r\n1\r\n{ROOT}\r\n", f"a\n0\n{ROOT}\n", f"\ud800\n1\n{ROOT}\n"),
    ],
)
def test_given_no_checkpoint_then_it_is_malformed(note_text: str) -> None:
    refused(lambda: parse_checkpoint(note_text))


def test_given_the_smallest_and_the_largest_tree_then_they_are_read() -> None:
    for checkpoint in (Checkpoint("a", 0, EMPTY_ROOT), Checkpoint("a b+c", SIZE_MAX, b"r" * 32)):
        assert parse_checkpoint(text(checkpoint)) == checkpoint


@pytest.mark.parametrize(
    ("origin", "epoch", "name", "prefix"),
    [
        ("example.com/log", 1, "example.com/log", "/log"),
        ("example.com/log", 2, "example.com/log/2", "/log/2"),
        ("log/2", 1, "log/2", "/log"),
        ("log/2", 13, "log/2/13", "/log/13"),
    ],
)
def test_given_an_epoch_then_its_log_has_a_name_and_a_prefix_of_its_own(
    origin: str, epoch: int, name: str, prefix: str
) -> None:
    assert (log_name(origin, epoch), prefix_of(epoch), epoch_of(origin, name)) == (name, prefix, epoch)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "log",
        "a/log/2",
        "o/0",
        "o/1",
        "o/02",
        "o/-2",
        "o/2/",
        "o/2/3",
        "o/",
        "o2",
        "o/²",
        "o/٢",
        "o/2 ",
        "o/99999999999",
        "o/4294967296",
    ],
)
def test_given_the_name_of_another_log_then_it_is_no_epoch(name: str) -> None:
    assert epoch_of("o", name) is None


# --- Proofs ------------------------------------------------------------------------------------------------

PROOF = TlogProof(73894, (b"a" * 32, b"b" * 32), SOFA.encode(), b"any bytes")


@pytest.mark.parametrize(
    "proof",
    [
        PROOF,
        PROOF._replace(extra=None),
        PROOF._replace(extra=b""),
        PROOF._replace(hashes=()),
        PROOF._replace(index=0),
        PROOF._replace(hashes=(b"a" * 32,) * PROOF_HASHES_MAX, index=SIZE_MAX),
        PROOF._replace(extra=b"x" * 65_535),
    ],
)
def test_given_a_proof_then_it_is_read_as_it_was_written(proof: TlogProof) -> None:
    assert parse_proof(format_proof(proof)) == proof


def test_given_a_proof_then_it_reads_as_the_specification_says() -> None:
    assert format_proof(PROOF) == (
        b"c2sp.org/tlog-proof@v1\nextra YW55IGJ5dGVz\nindex 73894\n"
        b"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\nYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=\n\n"
        + SOFA.encode()
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"@v1", b"@v2"),
        (b"c2sp", b" c2sp"),
        (b"extra YW55", b"extra  YW55"),
        (b"extra", b"Extra"),
        (b"dGVz\n", b"dGV\n"),
        (b"index 73894\n", b""),
        (b"73894", b"073894"),
        (b"73894", b"-1"),
        (b"73894", b"9223372036854775808"),
        (b"index", b"index "),
        (b"index 73894\n", b"index 73894\r\n"),
        (b"index 73894", b"index 73894\nindex 73894"),
        (b"YWE=\n", b"YWF=\n"),
        (b"YWE=\n", b"YWE= \n"),
        (b"\n\nexample", b"\nexample"),
        (b"YWE=\n", b"YWE=\n\xff"),
        (b"index 73894\n", b"index 73894\n" + b"YQ==\n"),
        (b"index 73894\n", b"index 73894\n" + (encode_base64(b"a" * 32) + "\n").encode() * 63),
    ],
)
def test_given_a_proof_with_something_wrong_then_it_is_malformed(old: bytes, new: bytes) -> None:
    data = format_proof(PROOF)
    assert old in data
    refused(lambda: parse_proof(data.replace(old, new, 1)))


def test_given_no_proof_then_it_is_malformed() -> None:
    head = format_proof(PROOF._replace(checkpoint=b""))
    for data in (b"", b"\n\n", head, SOFA.encode(), b"x" * (1 << 22), b"c2sp.org/tlog-proof@v1\n\nx"):
        refused(lambda data=data: parse_proof(data))  # type: ignore[misc]


# --- Policies ----------------------------------------------------------------------------------------------


def key(number: int, kind: int = COSIGNS, name: str = "") -> str:
    return str(KeyText(name or f"witness.example/{number}", kind, bytes([number]) * 32))


LOG = f"log {key(100, SIGNS_NOTES)} https://log.example/"
WITNESSES = "".join(
    f"witness {name} {key(number)}\n" for number, name in enumerate(("X1", "X2", "X3", "Y1", "Y2", "Y3"))
)
# tlog-policy prints this one.
TWO_LEVELS = f"""# Who watches us
{LOG}

{WITNESSES}
group X-witnesses 2 X1 X2 X3
\tgroup  Y-witnesses\tany Y1 Y2 Y3\x20

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


@pytest.mark.parametrize(
    ("cosigned", "enough"),
    [
        ({"X1", "X2", "Y1"}, True),
        ({"X1", "X3", "Y3"}, True),
        ({"X1", "X2", "X3", "Y1", "Y2", "Y3"}, True),
        ({"X1", "X2", "X3"}, False),
        ({"X1", "Y1", "Y2", "Y3"}, False),
        (set(), False),
        ({"X-and-Y"}, False),
        ({"X-witnesses", "Y-witnesses"}, False),
        ({"none", "Z"}, False),
    ],
)
def test_given_the_policy_of_the_specification_then_it_counts_as_written(
    cosigned: set[str], enough: bool
) -> None:
    policy = parse_policy(TWO_LEVELS)
    assert policy.satisfied(cosigned) is enough
    assert (policy.missing(cosigned) == "") is enough


def test_given_a_policy_then_it_says_in_words_who_is_missing() -> None:
    policy = parse_policy(TWO_LEVELS)
    assert policy.missing({"X2", "Y1"}) == (
        "1 more of 2 needed in group X-and-Y (1 more of 3 needed in group X-witnesses "
        "(witness X1 has not cosigned; witness X3 has not cosigned))"
    )
    assert parse_policy(f"witness A {key(1)}\nquorum A\n").missing([]) == "witness A has not cosigned"


def test_given_a_policy_then_its_logs_and_witnesses_are_told_with_their_addresses() -> None:
    policy = parse_policy(TWO_LEVELS + f"witness Z {key(50)} https://z.example/w\n")
    assert [(log.key, log.url) for log in policy.logs] == [(key(100, SIGNS_NOTES), "https://log.example/")]
    assert (policy.witnesses["Z"].key, policy.witnesses["Z"].url) == (key(50), "https://z.example/w")
    assert policy.witnesses["X1"].url is None


def test_given_no_quorum_is_wanted_then_nobody_is_needed() -> None:
    policy = parse_policy("quorum none\n")
    assert policy == WitnessPolicy((), {}, {}, "none")
    assert policy.satisfied([]) and policy.missing([]) == ""


def test_given_names_that_unicode_thinks_alike_or_blank_then_they_are_names_of_their_own() -> None:
    policy = parse_policy(
        f"witness K {key(1)}\nwitness \u212a {key(2)}\nwitness a\u00a0b {key(3)}\nwitness \udcff {key(4)}\n"
        "group g all K \u212a\nquorum g\n"
    )
    assert not policy.satisfied({"K"}) and policy.satisfied({"K", "\u212a"})


A, B = f"witness A {key(1)}\n", f"witness B {key(2)}\n"
SAME_KEY = f"witness B {key(1, name='another.example/name')}\n"


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("", "no quorum"),
        (A, "no quorum"),
        ("quorum none", "cut off"),
        ("quorum none\nquorum none\n", "line 2"),
        ("quorum A\n" + A, "line 1"),
        ("quorum\n", "line 1"),
        ("quorum none none\n", "line 1"),
        ("Quorum none\n", "line 1"),
        (A + A + "quorum A\n", "line 2"),
        (A + SAME_KEY + "quorum A\n", "already"),
        (f"witness none {key(1)}\nquorum none\n", "taken"),
        (f"witness A {key(1, SIGNS_NOTES)}\nquorum A\n", "kind 4"),
        (f"witness A {key(1, 6)}\nquorum A\n", "kind 4"),
        (f"log {key(1)}\nquorum none\n", "kind 1"),
        (f"log {key(1, SIGNS_NOTES)}\nlog {key(1, SIGNS_NOTES, 'b')}\nquorum none\n", "already"),
        (f"witness A {KeyText('a', COSIGNS, b'short')}\nquorum A\n", "kind 4"),
        (f"witness A {key(1)[:-1]}\nquorum A\n", "line 1"),
        ("witness A\nquorum A\n", "line 1"),
        (f"witness A {key(1)} https://a.example extra\nquorum A\n", "line 1"),
        ("log\nquorum none\n", "line 1"),
        (A + "group g 1\nquorum g\n", "group reads"),
        (A + "group g 0 A\nquorum g\n", "from 1 to 1"),
        (A + "group g 2 A\nquorum g\n", "from 1 to 1"),
        (A + "group g ALL A\nquorum g\n", "from 1 to 1"),
        (A + "group g +1 A\nquorum g\n", "from 1 to 1"),
        (A + "group g ١ A\nquorum g\n", "from 1 to 1"),
        (A + "group g any A A\nquorum g\n", "twice"),
        (A + B + "group g any A B\ngroup h any A\nquorum g\n", "twice"),
        (A + "group g any g\nquorum g\n", "not defined"),
        (A + "group g any B\n" + B + "quorum g\n", "not defined"),
        (A + "group g any none\nquorum g\n", "not defined"),
        (A + "group A any A\nquorum A\n", "taken"),
        (A + "group none any A\nquorum none\n", "taken"),
        ("quorum none\r\n", "control"),
        ("quorum none\x0b\n", "control"),
        ("# \x7f\nquorum none\n", "control"),
        ("quorum none # nobody\n", "line 1"),
        ("quorum none\nmore\n", "line 2"),
        ("#" * (1 << 18) + "\nquorum none\n", "longer"),
        (
            "".join(f"witness {n} {key(n)}\n" for n in range(DEFINITIONS_MAX + 1)) + "quorum 1\n",
            "more than 64",
        ),
    ],
)
def test_given_a_policy_with_something_wrong_then_it_is_malformed_and_says_where(
    policy: str, says: str
) -> None:
    assert says in refused(lambda: parse_policy(policy))


def test_given_as_many_witnesses_and_groups_as_may_be_then_they_nest() -> None:
    lines = [f"witness w{n} {key(n)}\n" for n in range(DEFINITIONS_MAX)]
    lines += [f"group g{n} all w{n}" + (f" g{n - 1}\n" if n else "\n") for n in range(DEFINITIONS_MAX)]
    policy = parse_policy("".join(lines) + f"quorum g{DEFINITIONS_MAX - 1}\n")
    everybody = {f"w{n}" for n in range(DEFINITIONS_MAX)}
    assert policy.satisfied(everybody)
    assert policy.missing(everybody - {"w0"}).count("needed") == DEFINITIONS_MAX
