"""What is tampered with is found, and said with its place; nothing that is wrong leaves with 0."""

from __future__ import annotations

import json
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from consent_command import Ran, consent
from consent_domain.checkpoints import log_name
from consent_gate.audit.sources import HttpSource
from consent_gate.signatures import Cosigner, Signer
from ledger_events import ORIGIN
from served_logs import served
from signed_logs import KEY, SIGNER, STRANGER, SignedLog, encoded, lawful, relist

ONE = Cosigner("witness.test/one", bytes([1] * 32))
TWO = Cosigner("witness.test/two", bytes([2] * 32))


def verified(*words: object, key: str = KEY) -> Ran:
    return consent("verify", *map(str, words), "--key", key)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def policy(folder: Path, quorum: str) -> Path:
    lines = [f"witness one {ONE.verifier}", f"witness two {TWO.verifier}", "group both 2 one two"]
    return written(folder / "policy", "\n".join([*lines, f"quorum {quorum}", ""]).encode())


# -- whom to believe -----------------------------------------------------------------------------------------


def test_without_a_key_nothing_is_checked_and_it_says_what_to_say(exported: Path) -> None:
    ran = consent("verify", str(exported))
    assert (ran.code, ran.out) == (2, "")
    assert "--key" in ran.err
    assert "--no-key" in ran.err


def test_no_key_says_loudly_that_nobody_was_checked(exported: Path) -> None:
    ran = consent("verify", str(exported), "--no-key")
    assert ran.code == 0
    assert "NOBODY'S SIGNATURE was checked" in ran.out
    assert "anybody could have made such an export" in ran.out
    assert ran.out.splitlines()[-1].startswith("UNSIGNED")
    assert consent("verify", str(exported), "--no-key", "--json").told["result"] == "unsigned"


def test_an_export_whose_own_keys_fit_its_checkpoint_is_refused_under_the_real_key(
    exported: Path, tmp_path: Path, log: SignedLog
) -> None:
    forged = SignedLog(log.entries, STRANGER).note
    (exported / "checkpoint").write_bytes(forged)
    (exported / "keys.json").write_text(json.dumps({"verifierKeys": [str(STRANGER.verifier)]}))
    relist(exported)
    ran = verified(exported)
    assert ran.code == 1
    assert "signed by no key that is known" in ran.err
    assert consent("verify", str(exported), "--no-key").code == 0, "it fits together, and says so only"


def test_no_key_still_asks_for_a_signature_by_the_key_that_the_export_names(
    exported: Path, log: SignedLog
) -> None:
    (exported / "checkpoint").write_bytes(SignedLog(log.entries, STRANGER).note)
    relist(exported)
    assert consent("verify", str(exported), "--no-key").code == 1


@pytest.mark.parametrize("key", ["", "nonsense", "a+b+c", KEY.replace("+", "-"), str(ONE.verifier)])
def test_a_key_that_is_none_is_wrong_usage(exported: Path, key: str) -> None:
    assert verified(exported, key=key).code == 2


def test_a_key_comes_from_the_settings_too(exported: Path, tmp_path: Path) -> None:
    assert consent("verify", str(exported), CONSENT_VERIFIER_KEY=KEY).code == 0
    (tmp_path / "consent.toml").write_text(f'verifier_key = "{KEY}"\n')
    assert consent("verify", str(exported)).code == 0
    assert verified(exported, key=str(STRANGER.verifier)).code == 1, "a flag comes first"


def test_the_key_of_a_log_counts_for_its_later_epochs_and_for_no_other_log(tmp_path: Path) -> None:
    later = log_name(ORIGIN, 2)
    note = SignedLog(lawful(3), Signer(later, bytes(range(32))), later).note
    ran = verified(written(tmp_path / "checkpoint", note))
    assert ran.code == 0
    assert "A LATER EPOCH" in ran.out
    other = f"{ORIGIN}-other"
    note = SignedLog(lawful(3), Signer(other, bytes(range(32))), other).note
    assert verified(written(tmp_path / "other", note)).code == 1


def test_witnesses_that_the_policy_demands_must_have_cosigned(tmp_path: Path) -> None:
    for cosigners, quorum, code in (
        ((ONE, TWO), "both", 0),
        ((ONE,), "both", 1),
        ((), "one", 1),
        ((), "none", 0),
    ):
        note = written(tmp_path / "checkpoint", SignedLog(lawful(3), cosigners=cosigners).note)
        ran = verified(note, "--policy", policy(tmp_path, quorum))
        assert ran.code == code, (cosigners, quorum, ran)
    note = written(tmp_path / "checkpoint", SignedLog(lawful(3), cosigners=(ONE,)).note)
    assert "witness two has not cosigned" in verified(note, "--policy", policy(tmp_path, "both")).err


@pytest.mark.parametrize("content", [b"", b"quorum nobody\n", b"\xff\xfe", b"witness"])
def test_a_policy_that_cannot_be_read_is_wrong_usage(tmp_path: Path, exported: Path, content: bytes) -> None:
    assert verified(exported, "--policy", written(tmp_path / "policy", content)).code == 2
    assert verified(exported, "--policy", tmp_path / "nowhere").code == 2


# -- proofs --------------------------------------------------------------------------------------------------


def test_a_proof_is_checked_and_says_of_what(tmp_path: Path, log: SignedLog) -> None:
    for position in (1, 2, 256, 257, 600):
        ran = verified(written(tmp_path / "proof", log.proof(position)), "--json")
        assert ran.code == 0, ran
        stored = json.loads(log.entries[position - 1])
        assert (ran.told["position"], ran.told["type"]) == (position, stored["type"])
        assert any(f"event {position} is a leaf" in sentence for sentence in ran.told["checked"])


def test_a_proof_that_carries_another_event_is_bad(tmp_path: Path, log: SignedLog) -> None:
    ran = verified(written(tmp_path / "proof", log.proof(17, extra=log.entries[17])))
    assert (ran.code, "does not lead from leaf 16" in ran.err) == (1, True)
    without = log.proof(17).decode().split("\n")
    assert verified(written(tmp_path / "proof", "\n".join([without[0], *without[2:]]).encode())).code == 1


def test_a_proof_of_another_log_is_bad(tmp_path: Path) -> None:
    other = "other.test/ledger"
    proof = SignedLog(encoded([], origin=other) or lawful(5), Signer(other, bytes(range(32))), other).proof(2)
    assert verified(written(tmp_path / "proof", proof)).code == 1
    # Signed by the right key, but the event is of another ledger.
    foreign = [entry.replace(ORIGIN.encode(), b"other.test/ledger") for entry in lawful(5)]
    ran = verified(written(tmp_path / "proof", SignedLog(foreign).proof(2)))
    assert (ran.code, "is of the ledger 'other.test/ledger'" in ran.err) == (1, True)


def test_a_proof_of_an_event_at_another_position_is_bad(tmp_path: Path) -> None:
    entries = lawful(5)
    moved = [entries[1], *entries[1:]]
    ran = verified(written(tmp_path / "proof", SignedLog(moved).proof(1)))
    assert (ran.code, "event 1 has the sequence" in ran.err) == (1, True)


def test_no_cut_off_or_bent_proof_is_good(tmp_path: Path, log: SignedLog) -> None:
    whole = log.proof(300)
    file = tmp_path / "proof"
    for size in range(0, len(whole), 23):
        assert verified(written(file, whole[:size])).code == 1, size
    for at in range(0, len(whole), 23):
        bent = whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :]
        assert verified(written(file, bent)).code == 1, at


def test_a_proof_reaches_beyond_its_checkpoint_in_vain(tmp_path: Path, log: SignedLog) -> None:
    proof = log.proof(600).replace(b"index 599", b"index 600")
    assert verified(written(tmp_path / "proof", proof)).code == 1


# -- checkpoints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"x", b"a\n1\nb\n\n", bytes(1000), b"\xff" * 100, b"\n\n\n\n"])
def test_what_is_no_note_is_bad(tmp_path: Path, content: bytes) -> None:
    ran = verified(written(tmp_path / "checkpoint", content))
    assert (ran.code, "malformed" in ran.err) == (1, True)


def test_a_file_that_is_not_there_was_not_checked(tmp_path: Path) -> None:
    assert verified(tmp_path / "nowhere").code == 2
    assert verified(tmp_path / "nowhere.tar").code == 2


def test_bad_outranks_not_checked_outranks_good(tmp_path: Path, log: SignedLog) -> None:
    good, bad = written(tmp_path / "good", log.note), written(tmp_path / "bad", b"bad")
    nowhere = tmp_path / "nowhere"
    assert [verified(good).code, verified(good, nowhere).code, verified(nowhere, bad, good).code] == [0, 2, 1]
    lines = consent("verify", str(good), str(bad), str(nowhere), "--key", KEY, "--json").out.splitlines()
    assert [json.loads(line)["result"] for line in lines] == ["good", "bad", "unchecked"]


# -- exports -------------------------------------------------------------------------------------------------


def test_a_whole_export_is_good_and_said_in_words(exported: Path) -> None:
    ran = verified(exported)
    assert ran.code == 0
    assert f"the log {ORIGIN} signed a tree of 600 events" in ran.out
    assert "events 1 to 600 are the leaves of that tree" in ran.out
    told = verified(exported, "--json").told
    assert (told["result"], told["events"], told["log"], told["signedBy"]) == ("good", 600, ORIGIN, [KEY])


def test_files_are_checked_without_a_network(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert verified(exported).code == 0


@pytest.mark.parametrize("fixed", [False, True])
def test_any_missing_file_is_found(exported: Path, tmp_path: Path, fixed: bool) -> None:
    for file in [path for path in exported.rglob("*") if path.is_file()]:
        copy = tmp_path / "copy"
        shutil.copytree(exported, copy)
        name = file.relative_to(exported)
        (copy / name).unlink()
        if fixed and name.name != "manifest.json":
            relist(copy)
        ran = verified(copy)
        assert (ran.code, str(name) in ran.err) == (1, True), (name, ran)
        shutil.rmtree(copy)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    "extra", ["extra", "tile/0/003", "tile/9/000", "policies/" + "0" * 64, "lost+found/x"]
)
def test_any_extra_file_is_found(exported: Path, extra: str, fixed: bool) -> None:
    (exported / extra).parent.mkdir(exist_ok=True)
    (exported / extra).write_bytes(bytes(8192))
    if fixed:
        relist(exported)
    ran = verified(exported)
    assert ran.code == 1


@pytest.mark.parametrize("fixed", [False, True])
def test_any_changed_file_is_found(exported: Path, fixed: bool) -> None:
    # README.md and keys.json are proven by nobody: changed together with the manifest, they are not found.
    for file in [path for path in exported.rglob("*") if path.is_file()]:
        if fixed and file.name in ("README.md", "keys.json", "manifest.json"):
            continue
        manifest, whole = (exported / "manifest.json").read_bytes(), file.read_bytes()
        file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        if fixed:
            relist(exported)
        ran = verified(exported)
        assert ran.code == 1, (file, ran)
        file.write_bytes(whole)
        (exported / "manifest.json").write_bytes(manifest)
    assert verified(exported).code == 0


def bend(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return change


@pytest.mark.parametrize(
    "change",
    [
        bend(lambda manifest: manifest.update(format=2)),
        bend(lambda manifest: manifest.update(size=599)),
        bend(lambda manifest: manifest.update(size=(1 << 62))),
        bend(lambda manifest: manifest.update(size=(1 << 62), to=(1 << 62))),
        bend(lambda manifest: manifest.update({"from": 0})),
        bend(lambda manifest: manifest.update({"from": 601})),
        bend(lambda manifest: manifest.update(to=10)),
        bend(lambda manifest: manifest.update(origin="other.test/ledger")),
        bend(lambda manifest: manifest.update(log="other.test/ledger")),
        bend(lambda manifest: manifest.update(epoch=2)),
        bend(lambda manifest: manifest.update(more=1)),
        bend(lambda manifest: manifest.pop("files")),
        bend(lambda manifest: manifest["files"].update({"../escape": "0" * 64})),
        bend(lambda manifest: manifest["files"].update(checkpoint="nothing")),
    ],
)
def test_a_manifest_that_does_not_fit_is_bad(
    exported: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = exported / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    assert verified(exported).code == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"files": ' * 5000])
def test_a_manifest_that_is_none_is_bad(exported: Path, content: bytes) -> None:
    (exported / "manifest.json").write_bytes(content)
    assert verified(exported).code == 1


def test_archives_are_checked_as_folders_are(exported: Path, tmp_path: Path) -> None:
    for name, mode in (("out.tar", "w"), ("out.tar.gz", "w:gz"), ("named.otherwise", "w"), ("other", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            for file in exported.rglob("*"):
                archive.add(file, file.relative_to(exported), recursive=False)
        assert verified(tmp_path / name).code == 0, name
    data = (tmp_path / "out.tar").read_bytes()
    for keep in (0.1, 0.5, 0.9):
        assert verified(written(tmp_path / "cut.tar", data[: int(keep * len(data))])).code == 1


# -- events --------------------------------------------------------------------------------------------------


def signed_export(entries: list[bytes], folder: Path) -> Path:
    """An export by somebody who holds the right key, of whatever entries."""
    from consent_gate.audit.export import Wanted, export
    from consent_gate.audit.sources import FolderSource
    from consent_gate.audit.trust import trust

    source = FolderSource(SignedLog(entries).write(folder / "signed"))
    export(source, trust([SIGNER.verifier], None), Wanted(ORIGIN), folder / "out", lambda done, total: None)
    return folder / "out"


def replaced(entry: bytes, *pairs: tuple[bytes, bytes]) -> bytes:
    for old, new in pairs:
        assert old in entry
        entry = entry.replace(old, new, 1)
    return entry


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "no JSON": lambda entry: b"{",
    "no object": lambda entry: b"[]",
    "no UTF-8": lambda entry: b'{"id":"\xff"}',
    "nested too deep": lambda entry: b'{"data":' + b"[" * 3000,
    "has the sequence": lambda entry: replaced(entry, (b'"sequence":"0', b'"sequence":"1')),
    "has the sequence '5'": lambda entry: replaced(entry, (b'"00000000000000000005"', b'"5"')),
    "not after the one before": lambda entry: replaced(entry, (b'"time":"2026', b'"time":"2025')),
    "no time zone": lambda entry: replaced(entry, (b'Z","datacontenttype"', b'","datacontenttype"')),
    "is of the ledger": lambda entry: replaced(entry, (ORIGIN.encode(), b"other.test/ledger")),
    "specversion": lambda entry: replaced(entry, (b'"1.0"', b'"2.0"')),
    "does not belong on": lambda entry: replaced(entry, (b'"subject":"workspace/', b'"subject":"run/')),
    "unknown stream": lambda entry: replaced(entry, (b'"subject":"workspace/', b'"subject":"planet/')),
    "its effect": lambda entry: replaced(entry, (b'"effect":"', b'"effect":"some')),
    "unknown here": lambda entry: (
        replaced(
            entry,
            (json.loads(entry)["type"].encode(), b"new.v1"),
            (b'"effect":"none"', b'"effect":"standing"'),
        )
        if b'"effect":"none"' in entry
        else replaced(entry, (json.loads(entry)["type"].encode(), b"new.v1"))
    ),
    "cannot be read": lambda entry: replaced(entry, (b'"data":{', b'"data":{"surprise":1,')),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_event_that_breaks_a_rule_is_bad_even_if_the_log_signed_it(tmp_path: Path, what: str) -> None:
    entries = lawful(8)
    entries[4] = BROKEN[what](entries[4])
    ran = verified(signed_export(entries, tmp_path))
    assert ran.code == 1, ran
    assert "event 5" in ran.err
    if not what.startswith(("no ", "nested")):
        assert what in ran.err


def test_an_unknown_type_that_changes_no_standing_is_passed_over(tmp_path: Path) -> None:
    entries = lawful(8)
    kind = json.loads(entries[4])["type"].encode()
    entries[4] = replaced(entries[4], (kind, b"observed.v7"))
    entries[4] = entries[4].replace(b'"effect":"standing"', b'"effect":"none"')
    assert verified(signed_export(entries, tmp_path)).code == 0


# -- since ---------------------------------------------------------------------------------------------------


def test_since_finds_a_history_that_was_rewritten_and_signed_again(
    exported: Path, tmp_path: Path, log: SignedLog
) -> None:
    for size in (0, 1, 255, 256, 300, 512, 600):
        old = written(tmp_path / "old", SignedLog(log.entries[:size]).note)
        ran = verified(exported, "--since", old)
        assert ran.code == 0, (size, ran)
        assert "it continues the old checkpoint" in ran.out
    for at in (0, 255, 299):
        entries = list(log.entries[:300])
        entries[at] = entries[at].replace(b"a", b"b", 1)
        old = written(tmp_path / "old", SignedLog(entries).note)
        ran = verified(exported, "--since", old)
        assert (ran.code, "THE LOG WAS REWRITTEN: its first 300 events" in ran.err) == (1, True), at


def test_since_a_larger_checkpoint_a_strangers_or_another_logs_is_bad(
    exported: Path, tmp_path: Path, log: SignedLog
) -> None:
    larger = written(tmp_path / "larger", SignedLog(lawful(601)).note)
    ran = verified(exported, "--since", larger)
    assert (ran.code, "never shrinks" in ran.err) == (1, True)
    stranger = written(tmp_path / "stranger", SignedLog(log.entries[:9], STRANGER).note)
    assert verified(exported, "--since", stranger).code == 1
    later = log_name(ORIGIN, 2)
    other = SignedLog(log.entries[:9], Signer(later, bytes(range(32))), later)
    ran = verified(exported, "--since", written(tmp_path / "other", other.note))
    assert (ran.code, "prove nothing about each other" in ran.err) == (1, True)


def test_since_needs_hashes_and_says_so_where_there_are_none(tmp_path: Path, log: SignedLog) -> None:
    old = written(tmp_path / "old", SignedLog(log.entries[:9]).note)
    for name, data in (("checkpoint", log.note), ("proof", log.proof(3))):
        ran = verified(written(tmp_path / name, data), "--since", old)
        assert (ran.code, "cannot be told from a checkpoint alone" in ran.err) == (2, True)
    same = written(tmp_path / "same", log.note)
    assert verified(written(tmp_path / "checkpoint", log.note), "--since", same).code == 0
    fork = SignedLog([*log.entries[:-1], b"{}"]).note
    assert verified(written(tmp_path / "fork", fork), "--since", same).code == 1


# -- live logs -----------------------------------------------------------------------------------------------


def test_a_live_log_is_checked_with_its_events_only_for_who_may_see_them(
    tmp_path: Path, log: SignedLog
) -> None:
    with served(log, tmp_path / "served") as live:
        ran = consent("verify", live.url, **live.settings())
        assert ran.code == 0, ran
        assert "events 1 to 600 are the leaves" in ran.out
        ran = consent("verify", live.url, "--key", KEY)
        assert ran.code == 0, ran
        assert "EVENTS WERE NOT CHECKED" in ran.out
        ran = consent("verify", f"{live.url}/log", "--key", KEY, "--token", "wrong")
        assert (ran.code, "entries name customers" in ran.err) == (2, True)


def test_a_live_log_that_lacks_or_changes_a_file_is_bad(tmp_path: Path, log: SignedLog) -> None:
    with served(log, tmp_path / "served") as live:
        for name in ("tile/0/000", "tile/entries/001", "tile/1/000.p/2"):
            whole = (live.folder / name).read_bytes()
            (live.folder / name).write_bytes(whole[:-1] + b"x")
            assert consent("verify", live.url, **live.settings()).code == 1, name
            (live.folder / name).unlink()
            ran = consent("verify", live.url, **live.settings())
            assert (ran.code, name in ran.err) == (1, True)
            (live.folder / name).write_bytes(whole)
        assert consent("verify", live.url, **live.settings()).code == 0


def test_an_api_key_of_one_ledger_is_sent_to_no_other(tmp_path: Path, log: SignedLog) -> None:
    with served(log, tmp_path / "served") as live:
        elsewhere = {**live.settings(), "CONSENT_URL": "http://ledger.example"}
        ran = consent("verify", live.url, **elsewhere)
        assert "EVENTS WERE NOT CHECKED" in ran.out


def test_a_log_that_answers_later_is_asked_again(
    tmp_path: Path, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with served(log, tmp_path / "served") as live:
        live.refused["/log/tile/0/001"] = 3
        assert consent("verify", live.url, **live.settings()).code == 0
        live.refused["/log/tile/0/001"] = 4
        assert consent("verify", live.url, **live.settings()).code == 2


def test_a_prefix_that_leads_elsewhere_is_not_followed(tmp_path: Path, log: SignedLog) -> None:
    with served(log, tmp_path / "served") as live:
        source = HttpSource(live.url)
        source.about = lambda: {"prefix": "/../admin"}  # type: ignore[method-assign]
        with pytest.raises(Exception, match="where its log is"):
            source.read("checkpoint")


def test_a_live_log_is_taken_where_its_witnesses_have_been(tmp_path: Path, log: SignedLog) -> None:
    lines = [f"log {KEY}", f"witness one {ONE.verifier}", "quorum one", ""]
    wanted = written(tmp_path / "policy", "\n".join(lines).encode())
    with served(log, tmp_path / "served") as live:
        ran = consent("verify", live.url, "--policy", str(wanted), "--token", "x")
        assert (ran.code, "witness one has not cosigned" in ran.err) == (1, True)
        seen = SignedLog(log.entries[:512], cosigners=(ONE,)).note
        (live.folder / "checkpoint.witnessed").write_bytes(seen)
        ran = consent("verify", live.url, "--policy", str(wanted), "--json")
        assert (ran.code, ran.told["size"], list(ran.told["cosignedBy"])) == (0, 512, ["one"]), ran
